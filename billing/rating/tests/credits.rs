//! What credit notes take back of an invoice.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

use permille_rating::invoice::{
    Credit, CreditError, CreditScope, Creditable, Credited, TaxLine, TaxRate, TaxTerms, credit,
    credit_of_lines,
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
    /// Credit that has paid, before or after tax.
    prepaid: (Decimal, Decimal),
    so_far: Credited,
}

impl Invoice {
    fn new(lines: &[&str], rates: &[(&str, &str)]) -> Self {
        Self::prepaid(lines, rates, ("0", "0"))
    }

    /// One of which prepaid credit has paid so much before and after tax.
    fn prepaid(lines: &[&str], rates: &[(&str, &str)], (before, after): (&str, &str)) -> Self {
        let lines: Vec<_> = lines.iter().map(|line| decimal(line)).collect();
        let rates = rates
            .iter()
            .map(|(name, percent)| TaxRate { name: (*name).to_owned(), percent: decimal(percent) });
        let terms = TaxTerms::Standard { rates: rates.collect() };
        let prepaid = (decimal(before), decimal(after));
        let net = lines.iter().sum::<Decimal>() - prepaid.0;
        let taxes = terms.levy(net, Currency::EUR).unwrap();
        Self { lines, taxes, prepaid, so_far: Credited::default() }
    }

    fn net(&self) -> Decimal {
        self.lines.iter().sum::<Decimal>() - self.prepaid.0
    }

    fn total(&self) -> Decimal {
        self.net() + self.taxes.iter().map(|tax| tax.amount).sum::<Decimal>() - self.prepaid.1
    }

    fn credit(&mut self, scope: CreditScope) -> Result<Credit, CreditError> {
        let of = Creditable {
            lines: &self.lines,
            taxes: &self.taxes,
            net: self.net(),
            total: self.total(),
            currency: Currency::EUR,
        };
        let made = credit(of, &self.so_far, scope)?;
        self.so_far.lines.resize(self.lines.len(), Decimal::ZERO);
        self.so_far.taxes.resize(self.taxes.len(), Decimal::ZERO);
        for (number, amount) in &made.lines {
            self.so_far.lines[number - 1] += amount;
        }
        for (place, tax) in made.taxes.iter().enumerate() {
            self.so_far.taxes[place] += tax.amount;
        }
        self.so_far.prepaid += made.prepaid;
        self.so_far.total += made.total;
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
    let ten = decimal("10");
    let of =
        Creditable { lines: &[ten], taxes: &[], net: ten, total: ten, currency: Currency::JPY };
    let yen = credit(of, &Credited::default(), CreditScope::Amount(decimal("0.5")));
    assert!(matches!(yen, Err(CreditError::NoAmount { places: 0, .. })));
    assert!(invoice.credit(CreditScope::Amount(decimal("1.000"))).is_ok());
}

/// Late usage may lower a charge: its line is below zero, and its tax too.
#[test]
fn an_amount_is_never_spread_on_lines_below_zero_and_its_tax_is_of_its_rate() {
    let mut invoice = Invoice::new(&["100.00", "-40.00", "20.00"], &[("VAT", "20")]);
    assert_eq!(invoice.total(), decimal("96.00"));

    let spread = invoice.credit(CreditScope::Amount(decimal("30"))).unwrap();
    let line = CreditScope::Line { number: 1, amount: Some(decimal("50.01")) };
    let above = invoice.credit(line).unwrap_err();
    let line = CreditScope::Line { number: 1, amount: None };
    let most = invoice.credit(line).unwrap();

    let lines = vec![(1, "25.00".to_owned()), (3, "5.00".to_owned())];
    assert_eq!(texts(&spread), (lines, "30.00".into(), vec!["6.00".into()], "36.00".into()));
    assert!(above.to_string().contains("up to 50.00"), "{above}");
    let lines = vec![(1, "50.00".to_owned())];
    assert_eq!(texts(&most), (lines, "50.00".into(), vec!["10.00".into()], "60.00".into()));
    assert_eq!(invoice.credit(CreditScope::Rest), Err(CreditError::NothingLeft));
    let tax = CreditScope::Line { number: 2, amount: Some(decimal("1")) };
    assert_eq!(invoice.credit(tax), Err(CreditError::NothingLeft));
}

#[test]
fn what_prepaid_credit_has_paid_goes_back_to_it_after_the_money() {
    let mut invoice = Invoice::prepaid(&["12.00"], &[("VAT", "10")], ("0", "10.00"));
    assert_eq!(invoice.total(), decimal("3.20"));

    let first = invoice.credit(CreditScope::Amount(decimal("2"))).unwrap();
    let second = invoice.credit(CreditScope::Amount(decimal("1"))).unwrap();
    let rest = invoice.credit(CreditScope::Rest).unwrap();

    let back = |made: &Credit| [made.gross, made.total, made.prepaid].map(|sum| sum.to_string());
    assert_eq!(back(&first), ["2.20", "2.20", "0.00"]);
    assert_eq!(back(&second), ["1.10", "1.00", "0.10"]);
    assert_eq!(back(&rest), ["9.90", "0.00", "9.90"]);
}

#[test]
fn credit_that_lowered_the_net_goes_back_with_the_lines_and_the_tax_keeps_its_rate() {
    let mut invoice = Invoice::prepaid(&["70.00"], &[("VAT", "10")], ("40.00", "0"));
    assert_eq!(invoice.total(), decimal("33.00"));

    let part = invoice.credit(CreditScope::Amount(decimal("7"))).unwrap();
    let rest = invoice.credit(CreditScope::Rest).unwrap();

    let back = |made: &Credit| {
        [made.subtotal, made.prepaid, made.net, made.taxes[0].amount, made.total]
            .map(|sum| sum.to_string())
    };
    assert_eq!(back(&part), ["7.00", "4.00", "3.00", "0.30", "3.30"]);
    assert_eq!(back(&rest), ["63.00", "36.00", "27.00", "2.70", "29.70"]);
}

#[test]
fn a_note_over_given_lines_is_the_note_that_came_to_them() {
    let mut invoice = Invoice::prepaid(&["10.00", "5.00"], &[("VAT", "20")], ("3", "0"));
    let made = invoice.credit(CreditScope::Amount(decimal("6"))).unwrap();
    let of = Creditable {
        lines: &invoice.lines,
        taxes: &invoice.taxes,
        net: invoice.net(),
        total: invoice.total(),
        currency: Currency::EUR,
    };
    let again = |lines| credit_of_lines(of, &Credited::default(), lines);

    // 6 of 15 take back 6/15 of the 3 that credit has paid before tax, and of the tax.
    let tax = TaxLine {
        name: "VAT".to_owned(),
        percent: decimal("20"),
        base: decimal("4.80"),
        amount: decimal("0.96"),
    };
    assert_eq!((made.prepaid, &made.taxes), (decimal("1.20"), &vec![tax]));
    assert_eq!(
        (made.net, made.gross, made.total),
        (decimal("4.80"), decimal("5.76"), decimal("5.76"))
    );
    assert_eq!(again(made.lines.clone()), Ok(made));
    assert_eq!(again(vec![(2, decimal("1"))]).unwrap().subtotal, decimal("1"));
    for number in [0, 3, usize::MAX] {
        let refused = again(vec![(1, decimal("1")), (number, decimal("1"))]);
        assert_eq!(refused, Err(CreditError::NoLine { number, lines: 2 }));
    }
}

proptest! {
    /// Lines of either sign, credit before or after tax, several rates: no note gives back more of
    /// a line than it has, each has the rate of its invoice to a cent, and in the end money and
    /// credit have gone back to the last cent.
    #[test]
    fn credits_of_any_invoice_leave_nothing_and_never_take_too_much(
        cents in proptest::collection::vec(-50_000_i64..100_000, 1..8),
        percents in proptest::collection::vec(0_i64..500_000, 0..3),
        (paid, before) in (0_i64..100, any::<bool>()),
        steps in proptest::collection::vec((0_usize..10, 1_i64..60_000), 0..20),
    ) {
        let lines: Vec<String> =
            cents.iter().map(|cents| Decimal::new(*cents, 2).to_string()).collect();
        let whole: i64 = cents.iter().sum();
        prop_assume!(whole > 0);
        let rates: Vec<(String, String)> = percents
            .iter()
            .enumerate()
            .map(|(place, percent)| (format!("t{place}"), Decimal::new(*percent, 4).to_string()))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let rates: Vec<(&str, &str)> =
            rates.iter().map(|(name, rate)| (name.as_str(), rate.as_str())).collect();
        let paid = Decimal::new(whole * paid / 100, 2).to_string();
        let prepaid = if before { (paid.as_str(), "0") } else { ("0", paid.as_str()) };
        let mut invoice = Invoice::prepaid(&lines, &rates, prepaid);
        let (net, total) = (invoice.net(), invoice.total());

        for (line, cents) in steps {
            let amount = Decimal::new(cents, 2);
            let scope = match line {
                0 => CreditScope::Amount(amount),
                number => CreditScope::Line { number, amount: Some(amount) },
            };
            if let Ok(made) = invoice.credit(scope) {
                prop_assert_eq!(made.subtotal, amount);
                prop_assert!(made.total >= Decimal::ZERO && made.prepaid >= Decimal::ZERO);
                let sum: Decimal = made.taxes.iter().map(|tax| tax.amount).sum();
                prop_assert_eq!(made.net + sum, made.gross);
                prop_assert_eq!(made.subtotal + sum, made.total + made.prepaid);
                for tax in &made.taxes {
                    let exact = tax.base * tax.percent / Decimal::ONE_HUNDRED;
                    let off = (tax.amount - exact).abs();
                    prop_assert!(off <= Decimal::new(3, 2), "{} of {}", tax.amount, exact);
                }
            }
            for (line, part) in invoice.lines.iter().zip(&invoice.so_far.lines) {
                prop_assert!(part <= &(*line).max(Decimal::ZERO) && *part >= Decimal::ZERO);
            }
            prop_assert!(invoice.so_far.total <= total);
        }
        let rest = invoice.credit(CreditScope::Rest);
        prop_assert!(rest.is_ok() || rest == Err(CreditError::NothingLeft));

        prop_assert_eq!(invoice.so_far.total, total, "of {}", net);
        prop_assert_eq!(invoice.so_far.prepaid, invoice.prepaid.0 + invoice.prepaid.1);
    }

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
        let prepaid = (Decimal::ZERO, Decimal::ZERO);
        let mut invoice = Invoice { lines, taxes, prepaid, so_far: Credited::default() };
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
