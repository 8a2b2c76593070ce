//! What charges make of the sums of a month, on its invoice and on those over late usage.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use chrono_tz::Tz::UTC;
use permille_rating::charge::{PeriodCharge, parse_charge, parse_period_charges, quote};
use permille_rating::invoice::{
    BilledLine, InvoiceLine, Month, MonthBill, Part, UsageSum, bill_month,
};
use permille_rating::period::Period;
use permille_rating::price_book::{PriceBook, parse_price_book};
use permille_rating::{Meter, Term};
use permille_types::Currency;
use proptest::prelude::*;
use rust_decimal::Decimal;

const PRICES: &str = r#"
[[price]]
model = ["small", "large"]
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.012"
output = "0.036"
searches = "0.03"
"#;

fn book() -> PriceBook {
    PriceBook::new(parse_price_book(PRICES, "test").unwrap()).unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// `terms` with what every charge says.
fn charge(terms: &str) -> PeriodCharge {
    let text = format!(
        "[[charge]]\nname = \"tokens\"\ncurrency = \"CNY\"\nfrom = 2026-01-01T00:00:00Z\n{terms}\n"
    );
    parse_period_charges(&text, "charge.toml").unwrap().remove(0)
}

const GRADUATED: &str = "kind = \"graduated\"\ntiers = [ { up_to = \"100\", unit = \"0.01\" }, \
                         { unit = \"0.005\" } ]";

fn sum(model: &str, meter: &str, quantity: u64) -> UsageSum {
    let version = book().prices().iter().find(|p| p.model == model).unwrap().version.clone();
    UsageSum {
        project: "web".parse().unwrap(),
        model: model.parse().unwrap(),
        meter: Meter::named(meter),
        price_version: version,
        band: 0,
        quantity,
    }
}

fn month(all: Vec<UsageSum>, charges: Vec<PeriodCharge>) -> Month {
    let period = Period::month("2026-11", UTC).unwrap();
    let part = Part { period, plan: None, left: all.clone(), all, billed: Vec::new() };
    Month {
        corrects: None,
        period,
        project: "default".parse().unwrap(),
        parts: vec![part],
        charges,
    }
}

fn billed(month: &Month) -> MonthBill {
    let book = book();
    bill_month(month, |version| book.by_version(version), Currency::CNY).unwrap()
}

fn total(lines: &[InvoiceLine]) -> Decimal {
    lines.iter().map(|line| line.amount).sum()
}

fn amounts(bill: &MonthBill) -> Vec<String> {
    bill.lines.iter().map(|line| format!("{} {} {}", line.model, line.meter, line.amount)).collect()
}

#[test]
fn covered_lines_keep_their_cost_and_share_the_amount_of_the_charge() {
    let sums = vec![sum("small", "input_uncached", 90_000), sum("small", "output_text", 30_000)];

    let bill = billed(&month(sums, vec![charge(GRADUATED)]));

    // 120 thousand: 100 at 0.01 and 20 at 0.005 are 1.10; the costs 1.08 and 1.08 share it.
    assert_eq!(amounts(&bill), ["small input_uncached 0.55", "small output_text 0.55"]);
    assert!(bill.lines.iter().all(|line| line.exact == decimal("1.08")));
    let [applied] = &bill.charges[..] else { panic!("{:?}", bill.charges) };
    assert_eq!((applied.quantity, applied.amount), (decimal("120"), decimal("1.10")));
    assert_eq!((applied.billed, applied.billed_before), (decimal("1.10"), None));
    assert_eq!(applied.steps.len(), 2);
    assert!(bill.lines.iter().all(|line| line.charge.as_ref() == Some(&applied.charge)));
}

#[test]
fn what_no_charge_covers_costs_what_it_costs() {
    let sums = vec![
        sum("large", "input_uncached", 90_000),
        sum("small", "input_uncached", 90_000),
        sum("small", "output_text", 1_000),
        sum("small", "searches", 2),
    ];
    let covering =
        charge(&format!("models = \"small\"\nclasses = \"input_uncached\"\n{GRADUATED}"));

    let bill = billed(&month(sums, vec![covering]));

    let expected = [
        "large input_uncached 1.08",
        "small input_uncached 0.90",
        "small output_text 0.04",
        "small searches 0.06",
    ];
    assert_eq!(amounts(&bill), expected);
}

#[test]
fn each_quantity_is_covered_once_own_charges_first_then_the_more_special() {
    let unit = |name: &str, whose: &str, models: &str, unit: &str| {
        let text = format!(
            "[[charge]]\nname = \"{name}\"\n{whose}\ncurrency = \"CNY\"\nkind = \"unit\"\n\
             models = {models}\nfrom = 2026-01-01T00:00:00Z\nunit = \"{unit}\"\n"
        );
        parse_period_charges(&text, "charge.toml").unwrap().remove(0)
    };
    let everyone = [unit("all", "", "\"*\"", "1"), unit("small", "", "\"small\"", "2")];
    let own = unit("own", "customer = \"acme\"", "\"lar*\"", "3");
    let sums = vec![sum("large", "output_text", 1_000), sum("small", "output_text", 1_000)];

    let bill = billed(&month(sums, [everyone.to_vec(), vec![own]].concat()));

    assert_eq!(amounts(&bill), ["large output_text 3.00", "small output_text 2.00"]);
    assert_eq!(bill.charges.len(), 2, "each quantity once: {:?}", bill.charges);
}

#[test]
fn a_charge_for_units_counts_units() {
    let searches = charge("kind = \"package\"\nper = \"search\"\nsize = \"10\"\nunit = \"0.20\"");

    let bill = billed(&month(vec![sum("small", "searches", 11)], vec![searches]));

    assert_eq!(amounts(&bill), ["small searches 0.40"]);
}

#[test]
fn a_minimum_of_ones_own_is_owed_without_usage_and_one_for_everyone_is_not() {
    let minimum = "kind = \"unit\"\nunit = \"0.01\"\nminimum = \"100\"";
    let own = charge(&format!("customer = \"acme\"\n{minimum}"));

    let bill = billed(&month(Vec::new(), vec![own]));
    let nothing = billed(&month(Vec::new(), vec![charge(minimum)]));

    assert_eq!(amounts(&bill), ["tokens charge 100.00"]);
    assert_eq!(bill.lines.first().unwrap().meter, Meter::Term(Term::Charge));
    assert_eq!(nothing, MonthBill::default());
}

/// The invoice over `late` after one over `before`.
fn late(before: &[UsageSum], late: Vec<UsageSum>, charge: &PeriodCharge) -> (MonthBill, MonthBill) {
    let first = billed(&month(before.to_vec(), vec![charge.clone()]));
    let mut second = month([before, &late].concat(), vec![charge.clone()]);
    second.corrects = Some("2026-11".to_owned());
    let part = second.parts.first_mut().unwrap();
    part.left = late;
    part.billed = first.lines.iter().map(BilledLine::of).collect();
    (first, billed(&second))
}

#[test]
fn late_usage_is_billed_the_difference_to_the_charge_over_all() {
    let package = charge("kind = \"package\"\nsize = \"10\"\nunit = \"15\"");
    let before = [sum("small", "output_text", 17_000)];

    let (first, second) = late(&before, vec![sum("small", "output_text", 5_000)], &package);

    // Row 14 of the worked examples: 17 are two packages, 22 are three.
    assert_eq!(amounts(&first), ["small output_text 30.00"]);
    assert_eq!(amounts(&second), ["small output_text 15.00"]);
    let applied = second.charges.first().unwrap();
    assert_eq!(applied.billed_before, Some(decimal("30.00")));
    assert_eq!((applied.amount, applied.billed), (decimal("45.00"), decimal("15.00")));
    assert_eq!(applied.corrects.as_deref(), Some("2026-11"));
}

#[test]
fn late_usage_that_reaches_a_cheaper_volume_tier_is_billed_below_zero() {
    let volume = charge(
        "kind = \"volume\"\ntiers = [ { up_to = \"10\", unit = \"1\" }, { unit = \"0.5\" } ]",
    );

    let (first, second) = late(
        &[sum("small", "output_text", 10_000)],
        vec![sum("small", "output_text", 2_000)],
        &volume,
    );

    assert_eq!(amounts(&first), ["small output_text 10.00"]);
    assert_eq!(amounts(&second), ["small output_text -4.00"]);
}

#[test]
fn a_file_without_charges_or_without_a_beginning_is_refused() {
    let refused = |text: &str| {
        let error = parse_period_charges(text, "c.toml").unwrap_err();
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    };
    let entry = "[[charge]]\nname = \"t\"\ncurrency = \"CNY\"\nkind = \"unit\"\nunit = \"1\"\n";

    assert!(refused("").contains("holds no"));
    assert!(refused(entry).contains("`from`"));
    let dated = format!("{entry}from = 2026-01-01T00:00:00Z\n");
    for (more, named) in [
        ("per = \"month\"", "`per`"),
        ("per = \"search\"\nclasses = \"input_uncached\"", "`classes`"),
        ("classes = [\"searches\"]", "`classes`"),
        ("models = []", "`models`"),
        ("models = \"[\"", "`models`"),
        ("until = 2025-01-01T00:00:00Z", "`until`"),
        ("modles = \"x\"", "`models`"),
    ] {
        assert!(refused(&format!("{dated}{more}\n")).contains(named), "{more}");
    }
    let same = |text: &str| parse_period_charges(text, "c.toml").unwrap().remove(0).version;
    assert_eq!(same(&dated), same(&format!("# another writing\n{dated}")));
    assert!(parse_charge(&dated, "c.toml").is_ok(), "the same file can be quoted");
    let tiered = charge(GRADUATED);
    let again = parse_period_charges(&tiered.content, "its own text").unwrap();
    assert_eq!(again, [tiered]);
}

proptest! {
    /// However usage comes, in time or late, in one batch or in several: the lines of all invoices
    /// add up to the charge over everything.
    #[test]
    fn invoices_over_any_split_of_a_month_add_up_to_its_charge(
        quantities in prop::collection::vec(1_u64..400_000, 1..6),
        cut in 0_usize..6,
        kind in 0_usize..4,
    ) {
        let kinds = [
            GRADUATED.to_owned(),
            GRADUATED.replace("graduated", "volume"),
            "kind = \"package\"\nsize = \"7\"\nunit = \"0.13\"".to_owned(),
            "kind = \"unit\"\nunit = \"0.0137\"\ndiscount_percent = \"3\"\nminimum = \"2\"".to_owned(),
        ];
        let charge = charge(kinds.get(kind).unwrap());
        let meters = ["input_uncached", "output_text", "cache_read"];
        let sums: Vec<UsageSum> = quantities.iter().zip(meters.iter().take(2).cycle())
            .map(|(quantity, meter)| sum("small", meter, *quantity)).collect();
        let (before, after) = sums.split_at(cut.min(sums.len()));

        let (first, second) = late(before, after.to_vec(), &charge);
        let count: u64 = quantities.iter().sum();
        let thousands = Decimal::from_i128_with_scale(count.into(), 3);
        let whole = quote(&charge.charge, thousands).unwrap().amount;

        if before.is_empty() {
            prop_assert_eq!(first.lines.len(), 0);
        }
        prop_assert_eq!(total(&first.lines) + total(&second.lines), whole);
    }
}
