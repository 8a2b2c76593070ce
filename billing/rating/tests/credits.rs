//! What credit notes take back of an invoice.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use permille_rating::invoice::{
    Credit, CreditError, CreditScope, Credited, TaxLine, TaxRate, TaxTerms, credit,
};
use permille_types::Currency;
use proptest::prelude::*;
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// An invoice as credits see it.
struct Invoice {
    lines: Vec<Decimal>,
    taxes: Vec<TaxLine>,
    so_far: Credited,
}

impl Invoice {
    fn new(lines: &[&str], rates: &[(&str, &str)]) -> Self {
        let lines: Vec<_> = lines.iter().map(|line| decimal(line)).collect();
        let rates = rates
            .iter()
            .map(|(name, percent)| TaxRate { name: (*name).to_owned(), percent: decimal(percent) });
        let terms = TaxTerms::Standard { rates: rates.collect() };
        let taxes = terms.levy(lines.iter().sum(), Currency::EUR).unwrap();
        Self { lines, taxes, so_far: Credited::default() }
    }

    fn credit(&mut self, scope: CreditScope) -> Result<Credit, CreditError> {
        let made = credit(&self.lines, &self.taxes, &self.so_far, scope, Currency::EUR)?;
        self.so_far.lines.resize(self.lines.len(), Decimal::ZERO);
        self.so_far.taxes.resize(self.taxes.len(), Decimal::ZERO);
        for (number, amount) in &made.lines {
            self.so_far.lines[number - 1] += amount;
        }
        for (place, tax) in made.taxes.iter().enumerate() {
            self.so_far.taxes[place] += tax.amount;
        }
        Ok(made)
    }
}

fn texts(credit: &Credit) -> (Vec<(usize, String)>, String, Vec<String>, String) {
    (
        credit.lines.iter().map(|(number, amount)| (*number, amount.to_string())).collect(),
        credit.net.to_string(),
        credit.taxes.iter().map(|tax| tax.amount.to_string()).collect(),
        credit.gross.to_string(),
    )
}

#[test]
fn an_amount_is_spread_over_the_lines_and_carries_its_tax() {
    let mut invoice = Invoice::new(&["100.00", "50.00", "0.00"], &[("VAT", "20")]);

    let first = invoice.credit(CreditScope::Amount(decimal("0.10"))).unwrap();
    let rest = invoice.credit(CreditScope::Rest).unwrap();

    let lines = vec![(1, "0.07".to_owned()), (2, "0.03".to_owned())];
    assert_eq!(texts(&first), (lines, "0.10".into(), vec!["0.02".into()], "0.12".into()));
    let lines = vec![(1, "99.93".to_owned()), (2, "49.97".to_owned())];
    assert_eq!(texts(&rest), (lines, "149.90".into(), vec!["29.98".into()], "179.88".into()));
    assert_eq!(invoice.credit(CreditScope::Rest), Err(CreditError::NothingLeft));
}

#[test]
fn a_line_is_credited_in_part_and_then_what_is_left_of_it() {
    let mut invoice = Invoice::new(&["10.00", "5.00"], &[("VAT", "19")]);
    let line =
        |number, amount: Option<&str>| CreditScope::Line { number, amount: amount.map(decimal) };

    let part = invoice.credit(line(2, Some("1.50"))).unwrap();
    let rest = invoice.credit(line(2, None)).unwrap();

    assert_eq!(part.lines, [(2, decimal("1.50"))]);
    assert_eq!(rest.lines, [(2, decimal("3.50"))]);
    assert_eq!(invoice.credit(line(2, None)), Err(CreditError::NothingLeft));
    let left = CreditError::Above { asked: decimal("10.01"), left: decimal("10.00") };
    assert_eq!(invoice.credit(line(1, Some("10.01"))), Err(left));
    let above = invoice.credit(CreditScope::Amount(decimal("10.01"))).unwrap_err();
    assert!(above.to_string().contains("up to 10.00"), "{above}");
    for number in [0, 3] {
        let error = invoice.credit(line(number, None)).unwrap_err();
        assert_eq!(error, CreditError::NoLine { number, lines: 2 });
    }
}

#[test]
fn what_is_no_amount_of_the_currency_is_refused() {
    let mut invoice = Invoice::new(&["10.00"], &[]);

    for bad in ["0", "-1", "0.001"] {
        let error = invoice.credit(CreditScope::Amount(decimal(bad))).unwrap_err();
        assert!(matches!(error, CreditError::NoAmount { places: 2, .. }), "{bad}: {error}");
    }
    let yen = credit(
        &[decimal("10")],
        &[],
        &Credited::default(),
        CreditScope::Amount(decimal("0.5")),
        Currency::JPY,
    );
    assert!(matches!(yen, Err(CreditError::NoAmount { places: 0, .. })));
    assert!(invoice.credit(CreditScope::Amount(decimal("1.000"))).is_ok());
}

proptest! {
    /// However an invoice is credited in parts, the parts add up to it, taxes too, and no part is
    /// ever above what is left.
    #[test]
    fn credits_in_any_parts_add_up_to_the_invoice(
        cents in proptest::collection::vec(0_i64..100_000, 1..8),
        percents in proptest::collection::vec(0_i64..1_000_000, 0..3),
        steps in proptest::collection::vec((0_usize..10, 1_i64..60_000), 0..20),
    ) {
        let lines: Vec<_> = cents.iter().map(|cents| Decimal::new(*cents, 2)).collect();
        let rates: Vec<_> = percents
            .iter()
            .enumerate()
            .map(|(place, percent)| TaxRate {
                name: format!("t{place}"),
                percent: Decimal::new(*percent, 4),
            })
            .collect();
        let terms = TaxTerms::Standard { rates };
        let net: Decimal = lines.iter().sum();
        let taxes = terms.levy(net, Currency::EUR).unwrap();
        let total = net + taxes.iter().map(|tax| tax.amount).sum::<Decimal>();
        let mut invoice = Invoice { lines, taxes, so_far: Credited::default() };
        let mut credited = Decimal::ZERO;

        for (line, amount) in steps {
            let amount = Decimal::new(amount, 2);
            let scope = match line {
                0 => CreditScope::Amount(amount),
                number => CreditScope::Line { number, amount: Some(amount) },
            };
            if let Ok(made) = invoice.credit(scope) {
                prop_assert_eq!(made.net, amount);
                prop_assert!(made.taxes.iter().all(|tax| tax.amount >= Decimal::ZERO));
                credited += made.gross;
            }
            for (line, part) in invoice.lines.iter().zip(&invoice.so_far.lines) {
                prop_assert!(part <= line && *part >= Decimal::ZERO);
            }
            prop_assert!(credited <= total);
        }
        match invoice.credit(CreditScope::Rest) {
            Ok(rest) => credited += rest.gross,
            Err(error) => prop_assert_eq!(error, CreditError::NothingLeft),
        }

        prop_assert_eq!(credited, if net.is_zero() { Decimal::ZERO } else { total });
    }
}
