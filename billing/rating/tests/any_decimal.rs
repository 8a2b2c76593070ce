//! Whatever decimals terms, amounts and rates are made of, up to the bound of the schema: what
//! comes out is right or an error, and never a panic.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, outside test functions"
)]

mod event;

use chrono::{DateTime, Days, TimeDelta, Utc};
use chrono_tz::Tz::UTC;
use permille_rating::Meter;
use permille_rating::charge::{PeriodCharge, parse_charge, parse_period_charges, quote};
use permille_rating::fx::{FxRate, FxRates};
use permille_rating::grant::{Grant, GrantOrder, Need, draw};
use permille_rating::invoice::{
    BilledLine, CreditScope, Creditable, Credited, InvoiceDocument, InvoiceHead, Month, MonthBill,
    Part, PartPlan, Prepaid, TaxRate, TaxTerms, UsageSum, bill_interim, bill_month, credit,
};
use permille_rating::period::Period;
use permille_rating::plan::{CreditTaken, CreditTerms, Plan, parse_plans};
use permille_rating::price_book::{PriceBook, parse_price_book};
use permille_rating::prorate::{prorate, prorate_count};
use permille_rating::rate::rate;
use permille_rating::round::{minor_places, round_money};
use permille_types::Currency;
use proptest::{prelude::*, sample::Index};
use rust_decimal::Decimal;

/// Any decimal of the schema: 96 bits, up to 28 places; small ones often, below zero seldom.
fn any_decimal() -> impl Strategy<Value = Decimal> {
    let digits = (any::<u32>(), any::<u32>(), any::<u32>(), 0..=28_u32);
    let any = digits.clone().prop_map(|(low, middle, high, scale)| {
        Decimal::from_parts(low, middle, high, false, scale)
    });
    let below = digits
        .prop_map(|(low, middle, high, scale)| Decimal::from_parts(low, middle, high, true, scale));
    let small = (0..10_000_000_i64, 0..12_u32).prop_map(|(m, scale)| Decimal::new(m, scale));
    let edges = [Decimal::MAX, Decimal::ZERO, Decimal::new(1, 28), Decimal::ONE];
    prop_oneof![4 => any, 12 => small, 1 => below, 2 => prop::sample::select(edges.to_vec())]
}

fn decimals(count: usize) -> impl Strategy<Value = Vec<Decimal>> {
    prop::collection::vec(any_decimal(), count)
}

/// A field that is there or not.
fn field(name: &str, amount: Option<Decimal>) -> String {
    amount.map(|amount| format!("{name} = \"{amount}\"\n")).unwrap_or_default()
}

/// The terms of a charge of one of the four kinds.
fn terms() -> impl Strategy<Value = String> {
    let optional = || prop::option::of(any_decimal());
    (0..4_u8, decimals(12), optional(), optional(), optional()).prop_map(
        |(kind, numbers, discount, maximum, minimum)| {
            let [a, b, c] = [numbers[0], numbers[1], numbers[2]];
            let kind = match kind {
                0 => format!("kind = \"unit\"\nunit = \"{a}\"\n"),
                1 => {
                    format!("kind = \"package\"\nsize = \"{a}\"\nunit = \"{b}\"\nfree = \"{c}\"\n")
                }
                kind => {
                    let mut bounds = numbers[..3].to_vec();
                    bounds.sort();
                    bounds.dedup();
                    let tiers = bounds.iter().zip(&numbers[3..]).map(|(up_to, unit)| {
                        format!("{{ up_to = \"{up_to}\", unit = \"{unit}\", flat = \"{b}\" }}, ")
                    });
                    let name = if kind == 2 { "graduated" } else { "volume" };
                    let last =
                        format!("{{ unit = \"{}\", flat = \"{}\" }}", numbers[8], numbers[9]);
                    format!("kind = \"{name}\"\ntiers = [ {}{last} ]\n", tiers.collect::<String>())
                }
            };
            let more = field("maximum", maximum) + &field("minimum", minimum);
            kind + &field("discount_percent", discount) + &more
        },
    )
}

/// A charge for single tokens, if its terms are accepted.
fn charge(terms: &str) -> Option<PeriodCharge> {
    let text = format!(
        "[[charge]]\nname = \"c\"\ncustomer = \"acme\"\ncurrency = \"CNY\"\nper = \"token\"\n\
         classes = [\"output_text\"]\nfrom = 2020-01-01T00:00:00Z\n{terms}"
    );
    parse_period_charges(&text, "test").ok()?.pop()
}

/// A plan of any amounts, if they are accepted.
fn plan(numbers: &[Decimal], tokens: u64) -> Option<Plan> {
    let [fee, minimum, commitment, threshold, allowance, overage] = numbers else { return None };
    let allowance = if tokens.is_multiple_of(2) {
        format!("tokens = {}\noverage_per_1k = \"{overage}\"", tokens >> 1)
    } else {
        format!("amount = \"{allowance}\"")
    };
    let text = format!(
        "[[plan]]\nname = \"p\"\nkind = \"commitment\"\ncurrency = \"CNY\"\nfee = \"{fee}\"\n\
         minimum = \"{minimum}\"\ncommitment = \"{commitment}\"\nthreshold = \"{threshold}\"\n\
         [plan.allowance]\n{allowance}\n"
    );
    parse_plans(&text, "test").ok()?.pop()
}

/// Two classes at any price that a price file may have, each within what it takes for sane.
fn book(price: Decimal) -> PriceBook {
    let of = |price: Decimal| {
        parse_price_book(
            &format!(
                "[[price]]\nmodel = \"m\"\ncurrency = \"CNY\"\nfrom = 2020-01-01T00:00:00Z\n\
                 source = \"a test\"\ninput = \"{price}\"\noutput = \"{price}\"\n"
            ),
            "test",
        )
    };
    PriceBook::new(of(price).or_else(|_| of(Decimal::new(12, 3))).unwrap()).unwrap()
}

fn sums(book: &PriceBook, quantities: [u64; 2]) -> Vec<UsageSum> {
    let of = |(class, quantity): (&str, u64)| UsageSum {
        project: "web".parse().unwrap(),
        model: "m".parse().unwrap(),
        meter: Meter::named(class),
        price_version: book.prices().first().unwrap().version.clone(),
        band: 0,
        quantity,
    };
    ["input_uncached", "output_text"].into_iter().zip(quantities).map(of).collect()
}

/// November, the second part of it under the plan; what `taken` says was billed by `billed`.
fn november(
    used: [Vec<UsageSum>; 2],
    (plan, charge): (Option<Plan>, Option<PeriodCharge>),
    billed: Vec<BilledLine>,
    cut_seconds: i64,
) -> Month {
    let period = Period::month("2026-11", UTC).unwrap();
    let cut = period.start + TimeDelta::seconds(cut_seconds);
    let [all, left] = used;
    let part = |start, end| Part {
        period: Period { start, end },
        plan: None,
        all: Vec::new(),
        left: Vec::new(),
        billed: Vec::new(),
    };
    let second = Part {
        plan: plan.map(|plan| PartPlan { plan, is_trial: false }),
        all,
        left,
        billed,
        ..part(cut, period.end)
    };
    let project = "default".parse().unwrap();
    let parts = vec![part(period.start, cut), second];
    Month { corrects: None, period, project, parts, charges: charge.into_iter().collect() }
}

fn grant(id: usize, left: Decimal) -> Grant {
    Grant {
        id: id.to_string(),
        amount: left,
        paid: left,
        left,
        priority: 0,
        expires_at: None,
        models: Vec::new(),
        granted_at: DateTime::<Utc>::UNIX_EPOCH,
    }
}

fn total(amounts: impl IntoIterator<Item = Decimal>) -> Decimal {
    amounts.into_iter().sum()
}

/// What an invoice over a bill says adds up, and so does what a note takes back of it.
fn check_document(bill: MonthBill, numbers: &[Decimal], taken: CreditTaken) {
    let rate = TaxRate { name: "VAT".to_owned(), percent: Decimal::new(9_975, 3) };
    let head = InvoiceHead {
        id: None,
        customer: "acme".parse().unwrap(),
        period: Period::month("2026-11", UTC).unwrap(),
        time_zone: UTC,
        currency: Currency::CNY,
        tax_terms: TaxTerms::Standard { rates: vec![rate] },
    };
    let grants: Vec<Grant> = numbers
        .iter()
        .enumerate()
        .map(|(id, left)| grant(id, round_money(left.abs(), Currency::CNY)))
        .collect();
    let terms = CreditTerms { taken, order: GrantOrder::Priority };
    let made = InvoiceDocument::with_credit(head, bill, Prepaid { terms, grants: &grants });
    let Ok(document) = made else { return };
    let taxes = total(document.tax.iter().map(|tax| tax.amount));
    let lines: Vec<Decimal> = document.lines.iter().map(|line| line.amount).collect();
    assert_eq!(total(lines.iter().copied()), document.subtotal);
    assert_eq!(document.net + taxes, document.gross);
    let paid = document.prepaid.unwrap_or_default();
    assert_eq!(document.subtotal + taxes, document.total + paid);
    let json = document.to_json().unwrap();
    assert_eq!(InvoiceDocument::from_json(&json).unwrap().to_json().unwrap(), json);

    let of = Creditable {
        lines: &lines,
        taxes: &document.tax,
        net: document.net,
        total: document.total,
        currency: document.currency,
    };
    let amount = numbers[0];
    let line = CreditScope::Line { number: 1, amount: Some(amount) };
    for scope in [CreditScope::Amount(amount), line, CreditScope::Rest] {
        if let Ok(note) = credit(of, &Credited::default(), scope) {
            assert_eq!(total(note.lines.iter().map(|(_, amount)| *amount)), note.subtotal);
            let taxes = total(note.taxes.iter().map(|tax| tax.amount));
            assert_eq!(note.net + taxes, note.gross);
            assert_eq!(note.subtotal + taxes, note.total + note.prepaid);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_charge_of_any_terms_quotes_any_quantity(terms in terms(), quantity in any_decimal()) {
        let text = format!("[charge]\ncurrency = \"CNY\"\n{terms}");
        let Ok(charge) = parse_charge(&text, "test") else { return Ok(()) };

        if let Ok(quoted) = quote(&charge, quantity) {
            prop_assert!(quoted.exact >= Decimal::ZERO, "{terms} {quantity}: {quoted:?}");
            prop_assert_eq!(quoted.amount, round_money(quoted.exact, Currency::CNY));
            // Digits that the sum of `rust_decimal` would lose are not compared with it.
            let sum = quoted.lines.iter().try_fold(Decimal::ZERO, |sum, line| {
                permille_rating::exact::add(sum, line.amount).ok()
            });
            prop_assert!(sum.is_none_or(|sum| sum == quoted.exact), "{quoted:?}");
        }
    }

    #[test]
    fn a_month_of_any_plan_and_charge_is_billed_and_credited_whole_or_not_at_all(
        terms in terms(),
        numbers in decimals(6),
        credits in decimals(3),
        price in any_decimal(),
        quantities in any::<[u64; 2]>(),
        shift in 0..64_u32,
        cut_seconds in 0..=2_592_000_i64,
        tokens in any::<u64>(),
        before_tax in any::<bool>(),
    ) {
        let book = book(price);
        let used = quantities.map(|quantity| quantity >> shift);
        let all = sums(&book, used);
        let terms = (plan(&numbers, tokens), charge(&terms));
        let price = |version: &_| book.by_version(version);
        let early = november([all.clone(), all.clone()], terms.clone(), Vec::new(), cut_seconds);
        let taken = if before_tax { CreditTaken::BeforeTax } else { CreditTaken::AfterTax };

        let billed = match bill_interim(&early, price, Currency::CNY) {
            Ok(bill) => bill.lines.iter().map(BilledLine::of).collect(),
            Err(_) => Vec::new(),
        };
        if let Ok(bill) = bill_month(&early, price, Currency::CNY) {
            check_document(bill, &credits, taken);
        }
        let rest = november([all, Vec::new()], terms, billed, cut_seconds);
        if let Ok(bill) = bill_month(&rest, price, Currency::CNY) {
            check_document(bill, &credits, taken);
        }
    }

    #[test]
    fn grants_of_any_amounts_pay_no_more_than_is_owed_and_than_they_have(
        lefts in decimals(4),
        needs in decimals(3),
        by_expiry in any::<bool>(),
    ) {
        let grants: Vec<Grant> =
            lefts.iter().enumerate().map(|(id, left)| grant(id, left.abs())).collect();
        let model = || "m".parse().unwrap();
        let needs: Vec<Need> =
            needs.into_iter().map(|amount| Need { model: model(), amount }).collect();
        let order = if by_expiry { GrantOrder::Expiry } else { GrantOrder::Priority };

        for (place, amount) in draw(&grants, &needs, order).unwrap_or_default() {
            prop_assert!(amount > Decimal::ZERO && amount <= grants[place].left);
        }
    }

    #[test]
    fn any_amount_is_prorated_to_no_more_than_itself(
        amount in any_decimal(),
        count in any::<u64>(),
        from in 0..=2_592_000_i64,
        until in 0..=2_592_000_i64,
        currency in prop::sample::select(vec![Currency::CNY, Currency::JPY, Currency::KWD]),
    ) {
        let whole = Period::month("2026-11", UTC).unwrap();
        let at = |seconds| whole.start + TimeDelta::seconds(seconds);
        let part = Period { start: at(from.min(until)), end: at(from.max(until)) };

        if let Ok(share) = prorate(amount, part, whole, currency) {
            prop_assert!(share.scale() <= minor_places(currency), "{share}");
            prop_assert!(share.abs() <= round_money(amount.abs(), currency), "{share}");
        }
        prop_assert!(prorate_count(count, part, whole).unwrap() <= count);
    }

    #[test]
    fn any_rate_converts_any_amount_exactly_or_says_that_it_cannot(
        rates in decimals(3),
        amount in any_decimal(),
        pairs in prop::collection::vec(any::<[Index; 2]>(), 3),
        age in any::<u32>(),
    ) {
        let all = [Currency::CNY, Currency::USD, Currency::EUR];
        let day: chrono::NaiveDate = "2026-11-20".parse().unwrap();
        let of = |(rate, [base, quote]): (Decimal, [Index; 2])| FxRate {
            base: *base.get(&all),
            quote: *quote.get(&all),
            day,
            rate,
            source: "a test".to_owned(),
        };
        let rates = FxRates::new(rates.into_iter().zip(pairs).map(of));

        for from in all {
            for to in all {
                let asked = day + Days::new(u64::from(age % 12));
                if let Some(worth) = rates.worth(from, to, asked, age)
                    && let Ok(converted) = worth.convert(amount)
                {
                    let exact = permille_rating::exact::mul(amount, worth.rate).unwrap();
                    prop_assert_eq!(converted, exact);
                }
            }
        }
    }

    /// The list at any amount, a discount and a markup of any percent on it, any tokens.
    #[test]
    fn any_discount_and_any_markup_price_any_request(
        list in any_decimal(),
        percent in any_decimal(),
        quantity in any::<u64>(),
        markup in any::<bool>(),
    ) {
        let (side, term) = if markup {
            ("side = \"cost\"\n", "markup_percent")
        } else {
            ("", "discount_percent")
        };
        let entry = |lines: String| {
            format!(
                "[[price]]\nmodel = \"m\"\ncurrency = \"CNY\"\nfrom = 2020-01-01T00:00:00Z\n\
                 source = \"a test\"\n{lines}\n"
            )
        };
        let text = entry(format!("{side}input = \"{list}\""))
            + &entry(format!("customer = \"acme\"\n{term} = \"{percent}\""));
        let Ok(book) = parse_price_book(&text, "test").map(PriceBook::new) else { return Ok(()) };
        let Ok(book) = book else { return Ok(()) };
        let mut event = event::event("m", &[("input_uncached", quantity)]);
        event.customer = "acme".parse().unwrap();

        if let Ok(rated) = rate(&event, &book, Currency::CNY)
            && let Some(cost) = rated.cost
        {
            prop_assert!(!cost.amount().is_sign_negative() || cost.amount().is_zero());
        }
    }
}
