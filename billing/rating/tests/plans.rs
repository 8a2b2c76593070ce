//! What plans make of a month: fees, allowances, commitments, minimums, trials, credit.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use chrono::{DateTime, Utc};
use chrono_tz::Tz::{self, UTC};
use permille_rating::Meter;
use permille_rating::charge::{QuoteLine, parse_period_charges};
use permille_rating::grant::{Grant, GrantOrder, Need, draw};
use permille_rating::invoice::{
    AppliedCharge, AppliedCredit, BilledLine, InvoiceDocument, InvoiceHead, Month, MonthBill, Part,
    PartPlan, Prepaid, TaxRate, TaxTerms, UsageSum, bill_month,
};
use permille_rating::period::Period;
use permille_rating::plan::{CreditTaken, CreditTerms, Plan, parse_plans};
use permille_rating::price_book::{PriceBook, parse_price_book};
use permille_types::Currency;
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
"#;

fn book() -> PriceBook {
    PriceBook::new(parse_price_book(PRICES, "test").unwrap()).unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn plan(kind: &str, terms: &str) -> Plan {
    let head = format!("[[plan]]\nname = \"team\"\nkind = \"{kind}\"\ncurrency = \"CNY\"\n");
    parse_plans(&format!("{head}{terms}\n"), "plan.toml").unwrap().remove(0)
}

fn sum(meter: &str, quantity: u64) -> UsageSum {
    UsageSum {
        project: "web".parse().unwrap(),
        model: "small".parse().unwrap(),
        meter: Meter::named(meter),
        price_version: book().prices().iter().find(|p| p.model == "small").unwrap().version.clone(),
        band: 0,
        quantity,
    }
}

/// From when on, under which plan and whether as a trial, what was used.
type Stretch = (DateTime<Utc>, Option<(Plan, bool)>, Vec<UsageSum>);

/// November with a part from each instant on: its plan, whether it is a trial, what was used.
fn november(tz: Tz, parts: Vec<Stretch>) -> Month {
    let period = Period::month("2026-11", tz).unwrap();
    let ends: Vec<_> = parts.iter().skip(1).map(|part| part.0).chain([period.end]).collect();
    let part = |((start, plan, all), end): (Stretch, _)| Part {
        period: Period { start, end },
        plan: plan.map(|(plan, is_trial)| PartPlan { plan, is_trial }),
        left: all.clone(),
        all,
        billed: Vec::new(),
    };
    Month {
        corrects: None,
        period,
        project: "default".parse().unwrap(),
        parts: parts.into_iter().zip(ends).map(part).collect(),
        charges: Vec::new(),
    }
}

/// The whole of November under one plan.
fn under(plan: Plan, used: Vec<UsageSum>) -> Month {
    november(UTC, vec![(at("2026-11-01T00:00:00Z"), Some((plan, false)), used)])
}

fn billed(month: &Month) -> MonthBill {
    let book = book();
    bill_month(month, |version| book.by_version(version), Currency::CNY).unwrap()
}

fn amounts(bill: &MonthBill) -> Vec<String> {
    bill.lines.iter().map(|line| format!("{} {}", line.meter, line.amount)).collect()
}

#[test]
fn a_fee_is_owed_whatever_is_used() {
    let bill =
        billed(&under(plan("subscription", "fee = \"99\""), vec![sum("output_text", 1_000)]));
    let nothing = billed(&under(plan("subscription", "fee = \"99\""), Vec::new()));

    assert_eq!(amounts(&bill), ["output_text 0.03", "fee 99.00"]);
    assert_eq!(amounts(&nothing), ["fee 99.00"]);
    let applied = nothing.charges.first().unwrap();
    assert_eq!((applied.name.as_str(), applied.amount), ("team fee", decimal("99.00")));
}

#[test]
fn tokens_of_an_allowance_cost_nothing_more_the_dearest_first_unless_said_otherwise() {
    let of = |more: &str| {
        let terms = format!("fee = \"1\"\n[plan.allowance]\ntokens = 10000\n{more}");
        let used = vec![sum("input_uncached", 20_000), sum("output_text", 8_000)];
        let bill = billed(&under(plan("subscription", &terms), used));
        bill.charges.first().unwrap().exact
    };

    // 8 thousand of output and 2 thousand of input are included: 18 thousand of input are above.
    assert_eq!(of(""), decimal("0.18"));
    assert_eq!(of("first = \"cheapest\""), decimal("0.34"), "10 of input, 8 of output are above");
    assert_eq!(of("overage_per_1k = \"0.5\""), decimal("9"), "18 thousand at a price of their own");
    assert_eq!(of("classes = \"output_text\""), decimal("0"), "input is not covered");
}

#[test]
fn an_allowance_of_money_includes_usage_at_its_own_prices() {
    let terms = "fee = \"10\"\n[plan.allowance]\namount = \"10\"";
    let within = billed(&under(plan("subscription", terms), vec![sum("input_uncached", 980_000)]));
    let above = billed(&under(plan("subscription", terms), vec![sum("input_uncached", 1_017_000)]));

    assert_eq!(amounts(&within), ["input_uncached 0.00", "fee 10.00"]);
    assert_eq!(amounts(&above), ["input_uncached 0.17", "fee 10.00"]);
    assert!(within.lines.iter().all(|line| line.exact >= line.amount), "the exact cost stays");
}

#[test]
fn a_charge_of_a_plan_comes_before_its_allowance() {
    let terms = "fee = \"1\"\n[plan.allowance]\ntokens = 1000000\n[[plan.charge]]\nname = \"out\"\n\
                 classes = \"output_text\"\nkind = \"unit\"\nunit = \"0.02\"\ncurrency = \"CNY\"";
    let used = vec![sum("input_uncached", 5_000), sum("output_text", 5_000)];

    let bill = billed(&under(plan("subscription", terms), used));

    assert_eq!(amounts(&bill), ["input_uncached 0.00", "output_text 0.10", "fee 1.00"]);
}

#[test]
fn what_is_missing_to_a_commitment_and_to_a_minimum_is_owed_at_the_end() {
    let terms = "commitment = \"100\"\nminimum = \"120\"";
    let missing = |used| amounts(&billed(&under(plan("commitment", terms), used)));

    assert_eq!(missing(Vec::new()), ["commitment 100.00", "minimum 20.00"]);
    let half = missing(vec![sum("input_uncached", 5_000_000)]);
    assert_eq!(half, ["input_uncached 50.00", "commitment 50.00", "minimum 20.00"]);
    let all = missing(vec![sum("input_uncached", 11_000_000)]);
    assert_eq!(all, ["input_uncached 110.00", "minimum 10.00"]);
    assert_eq!(missing(vec![sum("input_uncached", 12_000_000)]), ["input_uncached 120.00"]);
}

#[test]
fn late_usage_takes_what_was_owed_for_its_absence_off() {
    let plan = plan("commitment", "commitment = \"100\"");
    let first = billed(&under(plan.clone(), vec![sum("input_uncached", 4_000_000)]));
    let mut second =
        under(plan, vec![sum("input_uncached", 4_000_000), sum("output_text", 100_000)]);
    second.corrects = Some("2026-11".to_owned());
    let part = second.parts.first_mut().unwrap();
    part.left = vec![sum("output_text", 100_000)];
    part.billed = first.lines.iter().map(BilledLine::of).collect();

    let second = billed(&second);

    assert_eq!(amounts(&first), ["input_uncached 40.00", "commitment 60.00"]);
    assert_eq!(amounts(&second), ["output_text 3.00", "commitment -3.00"]);
    let applied = second.charges.first().unwrap();
    assert_eq!(applied.billed_before, Some(decimal("60.00")));
}

#[test]
fn a_change_of_plan_prorates_both_to_the_second() {
    let small = plan("subscription", "fee = \"10\"\n[plan.allowance]\ntokens = 3000");
    let large = plan("subscription", "fee = \"20\"\n[plan.allowance]\ntokens = 9000");
    let month = november(
        UTC,
        vec![
            (at("2026-11-01T00:00:00Z"), Some((small, false)), vec![sum("input_uncached", 2_000)]),
            (at("2026-11-11T00:00:00Z"), Some((large, false)), vec![sum("input_uncached", 7_000)]),
        ],
    );

    let bill = billed(&month);

    // A third of 10 and 3,000, two thirds of 20 and 9,000: 1,000 tokens of each part are above.
    let expected = ["input_uncached 0.01", "input_uncached 0.01", "fee 3.33", "fee 13.33"];
    assert_eq!(amounts(&bill), expected);
    let starts: Vec<_> = bill.lines.iter().map(|line| line.part.unwrap().start).collect();
    let days = starts.iter().map(|start| start.format("%d").to_string()).collect::<Vec<_>>();
    assert_eq!(days, ["01", "11", "01", "11"]);
}

#[test]
fn a_change_on_the_day_of_a_change_of_the_clock_counts_the_hours_that_pass() {
    // New York's November 2026 has 721 hours: the 1st has 25.
    let dear = plan("subscription", "fee = \"721\"");
    let month = november(
        Tz::America__New_York,
        vec![
            (at("2026-11-01T04:00:00Z"), Some((dear, false)), Vec::new()),
            (at("2026-11-02T05:00:00Z"), None, Vec::new()),
        ],
    );

    assert_eq!(amounts(&billed(&month)), ["fee 25.00"]);
}

#[test]
fn nothing_is_owed_for_a_trial() {
    let plan = plan("subscription", "fee = \"30\"\ntrial = { days = 10 }");
    let used = vec![sum("input_uncached", 100_000)];
    let month = november(
        UTC,
        vec![
            (at("2026-11-01T00:00:00Z"), Some((plan.clone(), true)), used.clone()),
            (at("2026-11-11T00:00:00Z"), Some((plan, false)), used),
        ],
    );

    let bill = billed(&month);

    assert_eq!(amounts(&bill), ["input_uncached 0.00", "input_uncached 1.00", "fee 20.00"]);
    assert_eq!(bill.lines.first().unwrap().exact, decimal("1"));
}

fn grant(id: &str, priority: u32, expires: &str, paid: bool, amount: &str) -> Grant {
    Grant {
        id: id.to_owned(),
        amount: decimal(amount),
        paid: if paid { decimal(amount) } else { Decimal::ZERO },
        left: decimal(amount),
        priority,
        expires_at: Some(at(&format!("2026-{expires}T00:00:00Z"))),
        models: Vec::new(),
        granted_at: at("2026-01-01T00:00:00Z"),
    }
}

fn need(model: &str, amount: &str) -> Need {
    Need { model: model.parse().unwrap(), amount: decimal(amount) }
}

#[test]
fn a_grant_with_a_scope_pays_for_its_models_only_and_nothing_goes_below_zero() {
    let mut scoped = grant("scoped", 0, "09-01", true, "100");
    scoped.models = vec!["gpt-*".to_owned()];
    let grants = [grant("all", 1, "09-01", true, "10"), scoped];
    let needs = [need("gpt-4o", "30"), need("small", "25")];

    let draws = draw(&grants, &needs, GrantOrder::Priority).unwrap();

    assert_eq!(draws, [(1, decimal("30")), (0, decimal("10"))]);
    let less = [need("small", "5"), need("small", "-3")];
    let draws = draw(&grants, &less, GrantOrder::Priority).unwrap();
    assert_eq!(draws, [(0, decimal("2"))], "a correction below zero leaves less to pay");
}

fn document(taken: CreditTaken, amount: &str) -> InvoiceDocument {
    let used = vec![sum("input_uncached", 6_000_000)];
    let bill = billed(&november(UTC, vec![(at("2026-11-01T00:00:00Z"), None, used)]));
    let rates = vec![TaxRate { name: "VAT".to_owned(), percent: decimal("10") }];
    let head = InvoiceHead {
        id: None,
        customer: "acme".parse().unwrap(),
        period: Period::month("2026-11", UTC).unwrap(),
        time_zone: UTC,
        currency: Currency::CNY,
        tax_terms: TaxTerms::Standard { rates },
    };
    let terms = CreditTerms { taken, order: GrantOrder::Priority };
    let grants = [grant("a", 0, "12-01", true, amount)];
    InvoiceDocument::with_credit(head, bill, Prepaid { terms, grants: &grants }).unwrap()
}

#[test]
fn credit_pays_what_is_due_or_lowers_the_net_as_the_plan_says() {
    let after = document(CreditTaken::AfterTax, "30");
    assert_eq!((after.net, after.gross), (decimal("60.00"), decimal("66.00")));
    assert_eq!((after.prepaid, after.total), (Some(decimal("30.00")), decimal("36.00")));
    assert_eq!(after.credits, [AppliedCredit { grant: "a".to_owned(), amount: decimal("30.00") }]);

    let before = document(CreditTaken::BeforeTax, "30");
    assert_eq!((before.subtotal, before.net), (decimal("60.00"), decimal("30.00")));
    assert_eq!((before.gross, before.total), (decimal("33.00"), decimal("33.00")));

    let more = document(CreditTaken::AfterTax, "1000");
    assert_eq!((more.prepaid, more.total), (Some(decimal("66.00")), decimal("0.00")));
    let json = after.to_json().unwrap();
    assert_eq!(InvoiceDocument::from_json(&json).unwrap(), after);
}

#[test]
fn plans_that_make_no_sense_are_refused_by_key() {
    let refused = |kind: &str, terms: &str| {
        let head = format!("[[plan]]\nname = \"team\"\nkind = \"{kind}\"\ncurrency = \"CNY\"\n");
        let error = parse_plans(&format!("{head}{terms}\n"), "plan.toml").unwrap_err();
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    };

    for (kind, terms, key) in [
        ("subscription", "", "`fee`"),
        ("metered", "fee = \"1\"", "`fee`"),
        ("metered", "fee = 1", "`fee`"),
        ("commitment", "", "`commitment`"),
        ("prepaid", "commitment = \"1\"", "`commitment`"),
        ("metered", "[plan.allowance]\ntokens = 1", "`allowance`"),
        ("subscription", "fee = \"1\"\n[plan.allowance]\n", "`tokens`"),
        ("subscription", "fee = \"1\"\n[plan.allowance]\ntokens = 1\namount = \"1\"", "`amount`"),
        (
            "subscription",
            "fee = \"1\"\n[plan.allowance]\namount = \"1\"\nfirst = \"dearest\"",
            "`first`",
        ),
        ("metered", "trial = { days = 0 }", "`trial.days`"),
        ("metered", "trial = {}", "`trial.days`"),
        ("metered", "credit = \"sometimes\"", "`credit`"),
        ("metered", "grant_order = \"best\"", "`grant_order`"),
        ("flat", "", "`kind`"),
        ("metered", "threshold = \"0\"", "`threshold`: 0 is not accepted; accepted: above 0"),
        ("metered", "threshold = \"-1\"", "`threshold`: -1 is negative"),
        ("metered", "threshold = \"soon\"", "`threshold` is \"soon\", accepted is a decimal"),
        ("metered", "threshold = 200", "`threshold` is an integer"),
        ("metered", "minimun = \"1\"", "`minimum`"),
        (
            "metered",
            "[[plan.charge]]\nname = \"x\"\nkind = \"unit\"\nunit = \"1\"\ncurrency = \"USD\"",
            "`charge`",
        ),
        (
            "metered",
            "[[plan.charge]]\nname = \"x\"\nkind = \"unit\"\nunit = \"1\"\ncurrency = \"CNY\"\n\
             from = 2026-01-01T00:00:00Z",
            "`from`",
        ),
    ] {
        let message = refused(kind, terms);
        assert!(message.contains(key), "{kind} {terms}: {message}");
    }
    let whole = plan("subscription", "fee = \"1.50\"\n[plan.allowance]\ntokens = 7");
    let again = parse_plans(&whole.content, "its own text").unwrap().remove(0);
    assert_eq!(again, whole);
}

fn steps(applied: &AppliedCharge) -> Vec<String> {
    let step = |step: &QuoteLine| {
        let numbers = [step.quantity, step.unit_price, step.flat, step.amount];
        let [quantity, price, flat, amount] = numbers.map(|number| number.normalize());
        format!("{:?} {quantity} × {price} + {flat} = {amount}", step.kind)
    };
    applied.steps.iter().map(step).collect()
}

#[test]
fn how_an_allowance_came_about_is_told_step_by_step() {
    let of = |allowance: &str| {
        let terms = format!("fee = \"1\"\n[plan.allowance]\n{allowance}");
        let used = vec![sum("input_uncached", 20_000), sum("output_text", 8_000)];
        let bill = billed(&under(plan("subscription", &terms), used));
        steps(bill.charges.first().unwrap())
    };

    let dearest = ["Included 10 × 0 + 0 = 0", "Usage 18 × 0.01 + 0 = 0.18"];
    assert_eq!(of("tokens = 10000"), dearest);
    let cheapest =
        ["Included 10 × 0 + 0 = 0", "Usage 10 × 0.01 + 0 = 0.1", "Usage 8 × 0.03 + 0 = 0.24"];
    assert_eq!(of("tokens = 10000\nfirst = \"cheapest\""), cheapest);
    let over = ["Included 10 × 0 + 0 = 0", "Usage 18 × 0.5 + 0 = 9"];
    assert_eq!(of("tokens = 10000\noverage_per_1k = \"0.5\""), over);
    // Nothing is included, and nothing of that is told.
    assert_eq!(of("tokens = 0"), ["Usage 8 × 0.03 + 0 = 0.24", "Usage 20 × 0.01 + 0 = 0.2"]);
    assert_eq!(of("tokens = 28000"), ["Included 28 × 0 + 0 = 0"]);
    // 20 at 0.01 and 8 at 0.03.
    assert_eq!(
        of("amount = \"0.3\""),
        ["Usage 0 × 0 + 0.44 = 0.44", "Included 0 × 0 + -0.3 = -0.3"]
    );
    assert_eq!(of("amount = \"0\""), ["Usage 0 × 0 + 0.44 = 0.44"]);
}

#[test]
fn what_a_trial_a_fee_and_a_minimum_came_to_is_told_step_by_step() {
    let used = vec![sum("input_uncached", 4_000_000)];
    let trial = plan("metered", "trial = { days = 30 }");
    let trial =
        november(UTC, vec![(at("2026-11-01T00:00:00Z"), Some((trial, true)), used.clone())]);
    let commitment = |used| billed(&under(plan("commitment", "commitment = \"100\""), used));
    let fee = billed(&under(plan("subscription", "fee = \"99\""), Vec::new()));

    let nothing_owed = ["Usage 0 × 0 + 40 = 40", "Included 0 × 0 + -40 = -40"];
    assert_eq!(steps(&billed(&trial).charges[0]), nothing_owed);
    assert_eq!(steps(&fee.charges[0]), ["Fee 0 × 0 + 99 = 99"]);
    let missing = ["Minimum 0 × 0 + 100 = 100", "Usage 0 × 0 + -40 = -40"];
    assert_eq!(steps(&commitment(used).charges[0]), missing);
    assert_eq!(steps(&commitment(Vec::new()).charges[0]), ["Minimum 0 × 0 + 100 = 100"]);
}

#[test]
fn a_part_of_a_month_is_told_where_the_month_has_several() {
    let small = plan("subscription", "fee = \"10\"\n[plan.allowance]\ntokens = 3000");
    let used = || vec![sum("input_uncached", 2_000)];
    let whole = billed(&under(small.clone(), used()));
    let halves = billed(&november(
        UTC,
        vec![
            (at("2026-11-01T00:00:00Z"), Some((small.clone(), false)), used()),
            (at("2026-11-16T00:00:00Z"), Some((small, false)), used()),
        ],
    ));

    let starts = |bill: &MonthBill| -> Vec<_> {
        let lines = bill.lines.iter().map(|line| line.part);
        let parts = lines.chain(bill.charges.iter().map(|charge| charge.part));
        parts.map(|part| part.map(|part| part.start.format("%d").to_string())).collect()
    };
    assert_eq!(starts(&whole), [None, None, None, None]);
    let days = ["01", "16", "01", "16", "01", "16", "01", "16"];
    assert_eq!(starts(&halves), days.map(|day| Some(day.to_owned())));
}

/// A charge of a plan that costs so much a month, whatever is used of it.
fn seat(minimum: &str) -> String {
    format!(
        "[[plan.charge]]\nname = \"seat\"\nper = \"image\"\nkind = \"unit\"\nunit = \"1\"\n\
         minimum = \"{minimum}\"\ncurrency = \"CNY\"\n"
    )
}

#[test]
fn what_no_usage_bears_counts_for_the_commitment_of_its_own_part_and_is_billed_once() {
    let half = |minimum| plan("commitment", &format!("commitment = \"60\"\n{}", seat(minimum)));
    let mut month = november(
        UTC,
        vec![
            (at("2026-11-01T00:00:00Z"), Some((half("5"), false)), Vec::new()),
            (at("2026-11-16T00:00:00Z"), Some((half("7"), false)), Vec::new()),
        ],
    );
    let own = "[[charge]]\nname = \"own\"\ncustomer = \"acme\"\nkind = \"unit\"\nunit = \"1\"\n\
               per = \"image\"\nminimum = \"4\"\ncurrency = \"CNY\"\nfrom = 2026-01-01T00:00:00Z\n";
    month.charges = parse_period_charges(own, "charge.toml").unwrap();

    let bill = billed(&month);

    // Each half commits to 30. The first has 5 and the 4 of the whole month, the second 7.
    let expected =
        ["charge 5.00", "charge 7.00", "charge 4.00", "commitment 21.00", "commitment 23.00"];
    assert_eq!(amounts(&bill), expected);

    month.corrects = Some("2026-11".to_owned());
    for line in &bill.lines {
        let part = month.parts.iter_mut().find(|part| line.part.is_none_or(|p| p == part.period));
        part.unwrap().billed.push(BilledLine::of(line));
    }
    assert_eq!(billed(&month), MonthBill::default(), "everything is billed already");

    // Late usage of the second half takes of its commitment alone, and says what it corrects.
    let late = month.parts.last_mut().unwrap();
    late.all = vec![sum("input_uncached", 300_000)];
    late.left.clone_from(&late.all);
    let second = billed(&month);
    assert_eq!(amounts(&second), ["input_uncached 3.00", "commitment -3.00"]);
    assert!(second.lines.iter().all(|line| line.corrects.as_deref() == Some("2026-11")));
}

#[test]
fn a_plan_is_accepted_to_its_bounds_and_refused_beyond_them() {
    let read = |text: &str| {
        let error = parse_plans(text, "plan.toml").map(|mut plans| plans.remove(0));
        error.map_err(|error| std::error::Error::source(&error).unwrap().to_string())
    };
    let named = |name: &str| {
        read(&format!("[[plan]]\nname = \"{name}\"\nkind = \"metered\"\ncurrency = \"CNY\"\n"))
    };
    for name in ["a", "team-2_b.x", &"x".repeat(63)] {
        assert_eq!(named(name).unwrap().name.as_str(), name);
    }
    for name in ["Team", "my plan", "über", &"x".repeat(64)] {
        let message = named(name).unwrap_err();
        assert!(message.contains("1 to 63 of a-z"), "{name}: {message}");
    }

    let metered = |terms: &str| {
        let head = "[[plan]]\nname = \"team\"\nkind = \"metered\"\ncurrency = \"CNY\"\n";
        read(&format!("{head}{terms}\n"))
    };
    let trial = metered("trial = { days = 731, credit = \"0.01\" }").unwrap().trial.unwrap();
    assert_eq!((trial.days, trial.credit), (Some(731), Some(decimal("0.01"))));
    assert_eq!(metered(&[seat("1"), seat("2")].concat()).unwrap().charges.len(), 2);
    for (terms, words) in [
        ("trial = { days = 732 }", "accepted: 1 to 731"),
        ("trial = { credit = \"0\" }", "`trial.credit`: is zero"),
        ("fee = \"1\"", "`fee`: has no meaning in kind `metered`"),
        (&[seat("1"), seat("1")].concat(), "stands twice"),
    ] {
        let message = metered(terms).unwrap_err();
        assert!(message.contains(words), "`{words}` is not in: {message}");
    }
}

proptest! {
    /// Whatever is granted and owed: no grant pays more than it has, none is paid twice, and what
    /// is paid is what is owed as far as the grants go.
    #[test]
    fn grants_pay_what_is_owed_and_never_more_than_they_have(
        lefts in prop::collection::vec((0_i64..5_000, 0_u32..3), 0..6),
        owed in prop::collection::vec(0_i64..3_000, 0..5),
        by_expiry in any::<bool>(),
    ) {
        let cents = |cents: i64| Decimal::new(cents, 2);
        let grants: Vec<Grant> = lefts.iter().enumerate().map(|(place, (left, priority))| Grant {
            left: cents(*left),
            ..grant(&place.to_string(), *priority, "09-01", place % 2 == 0, "50")
        }).collect();
        let needs: Vec<Need> = owed.iter().map(|amount| Need {
            model: "m".parse().unwrap(),
            amount: cents(*amount),
        }).collect();
        let order = if by_expiry { GrantOrder::Expiry } else { GrantOrder::Priority };

        let draws = draw(&grants, &needs, order).unwrap();

        let drawn: Decimal = draws.iter().map(|(_, amount)| *amount).sum();
        let have: Decimal = grants.iter().map(|grant| grant.left).sum();
        let owe: Decimal = needs.iter().map(|need| need.amount).sum();
        prop_assert_eq!(drawn, have.min(owe));
        for (place, amount) in &draws {
            prop_assert!(*amount <= grants.get(*place).unwrap().left);
        }
    }

    /// However November is cut into plans of one fee, its parts add up to the fee within half a
    /// cent for each, and a month of one plan is the fee itself.
    #[test]
    fn parts_of_a_fee_are_never_further_off_than_their_rounding(
        fee in 1_i64..1_000_000,
        hours in prop::collection::btree_set(1_i64..719, 0..5),
    ) {
        let plan = plan("subscription", &format!("fee = \"{}\"", Decimal::new(fee, 2)));
        let start = at("2026-11-01T00:00:00Z");
        let starts = [0].into_iter().chain(hours).map(|hour| start + chrono::Duration::hours(hour));
        let parts: Vec<_> =
            starts.map(|start| (start, Some((plan.clone(), false)), Vec::new())).collect();
        let count = i64::try_from(parts.len()).unwrap();

        let sum: Decimal = billed(&november(UTC, parts)).lines.iter().map(|line| line.amount).sum();

        let off = (sum - Decimal::new(fee, 2)).abs();
        prop_assert!(off <= Decimal::new(5 * count, 3), "{} off", off);
        prop_assert!(count > 1 || off.is_zero());
    }
}
