//! Interim invoices: a month's usage billed before the month ends, in as many parts as there are,
//! and what the month's own invoice bills after them.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use std::{collections::BTreeMap, sync::LazyLock};

use chrono_tz::Tz::UTC;
use permille_rating::Meter;
use permille_rating::charge::{PeriodCharge, parse_period_charges};
use permille_rating::invoice::{
    BilledLine, Month, MonthBill, Part, PartPlan, UsageSum, bill_interim, bill_month,
};
use permille_rating::period::Period;
use permille_rating::plan::{Plan, parse_plans};
use permille_rating::price_book::{PriceBook, parse_price_book};
use permille_types::{Currency, PriceVersion};
use proptest::prelude::*;
use rust_decimal::Decimal;

const PRICES: &str = r#"
[[price]]
model = ["small", "large"]
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.01"
output = "0.03"
cache_read = "0.0007"
"#;

/// An allowance, a charge of the plan over tiers, and all that is owed at a month's end.
const PLAN: &str = r#"
[[plan]]
name = "team"
kind = "subscription"
currency = "CNY"
fee = "31"
minimum = "120"
threshold = "200"
[plan.allowance]
tokens = 30000
models = "small"
classes = ["input_uncached"]
[[plan.charge]]
name = "output"
classes = ["output_text"]
currency = "CNY"
kind = "graduated"
tiers = [ { up_to = "50", unit = "0.05" }, { up_to = "100", unit = "0.04", flat = "1" },
          { unit = "0.02" } ]
minimum = "7"
"#;

const OWN_CHARGE: &str = r#"
[[charge]]
name = "reads"
customer = "acme"
classes = ["cache_read"]
from = 2026-01-01T00:00:00Z
kind = "package"
currency = "CNY"
size = "100"
unit = "0.07"
minimum = "3"
"#;

const KEYS: [(&str, &str); 5] = [
    ("small", "input_uncached"),
    ("small", "output_text"),
    ("small", "cache_read"),
    ("large", "input_uncached"),
    ("large", "output_text"),
];

static BOOK: LazyLock<PriceBook> =
    LazyLock::new(|| PriceBook::new(parse_price_book(PRICES, "test").unwrap()).unwrap());

fn plan() -> Plan {
    parse_plans(PLAN, "plan.toml").unwrap().remove(0)
}

fn own_charges() -> Vec<PeriodCharge> {
    parse_period_charges(OWN_CHARGE, "charge.toml").unwrap()
}

fn sums(quantities: [u64; 5]) -> Vec<UsageSum> {
    let of = |((model, class), quantity): ((&str, &str), u64)| UsageSum {
        project: "web".parse().unwrap(),
        model: model.parse().unwrap(),
        meter: Meter::named(class),
        price_version: BOOK.prices().iter().find(|p| p.model == model).unwrap().version.clone(),
        band: 0,
        quantity,
    };
    KEYS.into_iter().zip(quantities).map(of).filter(|sum| sum.quantity > 0).collect()
}

/// November after so much was used, of which invoices have billed some.
fn november(all: [u64; 5], taken: [u64; 5], billed: &[BilledLine]) -> Month {
    let period = Period::month("2026-11", UTC).unwrap();
    let left: Vec<u64> = all.into_iter().zip(taken).map(|(all, taken)| all - taken).collect();
    let part = Part {
        period,
        plan: Some(PartPlan { plan: plan(), is_trial: false }),
        all: sums(all),
        left: sums(left.try_into().unwrap()),
        billed: billed.to_vec(),
    };
    let project = "default".parse().unwrap();
    Month { corrects: None, period, project, parts: vec![part], charges: own_charges() }
}

fn interim(month: &Month) -> MonthBill {
    bill_interim(month, |version| BOOK.by_version(version), Currency::CNY).unwrap()
}

fn whole(month: &Month) -> MonthBill {
    bill_month(month, |version| BOOK.by_version(version), Currency::CNY).unwrap()
}

fn amounts(bill: &MonthBill) -> Vec<String> {
    bill.lines.iter().map(|line| format!("{} {}", line.meter, line.amount)).collect()
}

#[test]
fn what_is_owed_at_the_months_end_is_on_no_interim_invoice() {
    let nothing = [0; 5];
    let some = [0, 2_000, 1_000, 10_000, 0];

    assert_eq!(amounts(&interim(&november(nothing, nothing, &[]))), Vec::<String>::new());
    let early = interim(&november(some, nothing, &[]));
    let month = whole(&november(some, nothing, &[]));

    // 2 thousand at 0.05 and one package at 0.07, without what is missing to their minimums.
    assert_eq!(amounts(&early), ["input_uncached 0.10", "cache_read 0.07", "output_text 0.10"]);
    let terms = ["fee 31.00", "minimum 78.90"];
    let usage = ["input_uncached 0.10", "cache_read 3.00", "output_text 7.00"];
    assert_eq!(amounts(&month), [usage.as_slice(), &terms].concat());
}

#[test]
fn after_an_interim_invoice_the_month_owes_what_is_missing_to_every_minimum() {
    let some = [0, 2_000, 1_000, 10_000, 0];
    let early = interim(&november(some, [0; 5], &[]));
    let billed: Vec<BilledLine> = early.lines.iter().map(BilledLine::of).collect();

    let rest = whole(&november(some, some, &billed));

    let charges = ["charge 6.90", "charge 2.93"];
    assert_eq!(amounts(&rest), [charges.as_slice(), &["fee 31.00", "minimum 78.90"]].concat());
    let again = interim(&november(some, some, &billed));
    assert_eq!(amounts(&again), Vec::<String>::new(), "nothing is billed twice");
}

/// What invoices of a month add up to.
#[derive(Debug, Default)]
struct Added {
    quantities: BTreeMap<(String, String), u64>,
    /// By rule; terms that are owed at the month's end are no part of it.
    charges: BTreeMap<PriceVersion, Decimal>,
    /// Lines whose amount is quantity × price.
    priced: Decimal,
    total: Decimal,
}

impl Added {
    fn add(&mut self, bill: &MonthBill) {
        for line in &bill.lines {
            self.total += line.amount;
            if line.meter.is_usage() {
                let key = (line.model.to_string(), line.meter.to_string());
                *self.quantities.entry(key).or_default() += line.quantity;
                if line.charge.is_none() {
                    self.priced += line.amount;
                }
            }
        }
        for applied in &bill.charges {
            if !applied.charge.as_str().ends_with("/minimum") {
                *self.charges.entry(applied.charge.clone()).or_default() += applied.billed;
            }
        }
    }
}

fn is_within(left: Decimal, right: Decimal, cents: i64) -> bool {
    (left - right).abs() <= Decimal::new(cents, 2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However a month is cut into invoices, they bill all of it, once: quantities to the token,
    /// charges, allowance and fee to the cent, and lines at a price but for the rounding of each.
    #[test]
    fn interim_invoices_and_the_months_own_add_up_to_the_one_that_it_would_have_had(
        steps in prop::collection::vec(prop::array::uniform5(0_u64..90_000), 1..6),
    ) {
        let (mut all, mut taken) = ([0_u64; 5], [0_u64; 5]);
        let mut billed = Vec::new();
        let mut added = Added::default();
        let (last, before) = steps.split_last().unwrap();
        for used in before {
            for (sum, used) in all.iter_mut().zip(used) {
                *sum += used;
            }
            let bill = interim(&november(all, taken, &billed));
            billed.extend(bill.lines.iter().map(BilledLine::of));
            added.add(&bill);
            taken = all;
        }
        for (sum, used) in all.iter_mut().zip(last) {
            *sum += used;
        }
        added.add(&whole(&november(all, taken, &billed)));
        let mut once = Added::default();
        once.add(&whole(&november(all, [0; 5], &[])));

        prop_assert_eq!(&added.quantities, &once.quantities);
        prop_assert_eq!(&added.charges, &once.charges);
        // Large input alone has a price of its own: half a cent for each line, and for the one.
        let cents = i64::try_from(steps.len()).unwrap();
        prop_assert!(is_within(added.priced, once.priced, cents), "{added:?} {once:?}");
        prop_assert!(is_within(added.total, once.total, cents), "{added:?} {once:?}");
    }
}
