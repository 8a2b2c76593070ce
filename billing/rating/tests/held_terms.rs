//! The terms that stand on an invoice: written down, and read again only if they are what held.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use chrono::{DateTime, Utc};
use chrono_tz::Tz::{Asia__Shanghai, UTC};
use permille_rating::charge::{PeriodCharge, parse_period_charges};
use permille_rating::grant::{Grant, GrantOrder};
use permille_rating::invoice::{
    HeldTerms, InvoiceTerms, Month, Part, PartPlan, PartTerms, TermsError,
};
use permille_rating::period::Period;
use permille_rating::plan::{CreditTaken, CreditTerms, Plan, Trial, parse_plans};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn plan(name: &str, terms: &str) -> Plan {
    let text =
        format!("[[plan]]\nname = \"{name}\"\nkind = \"metered\"\ncurrency = \"CNY\"\n{terms}\n");
    parse_plans(&text, "plan.toml").unwrap().remove(0)
}

/// A charge with these lines beside what every charge needs.
fn charge(lines: &str) -> PeriodCharge {
    let text =
        format!("[[charge]]\nname = \"seat\"\ncurrency = \"CNY\"\nkind = \"unit\"\n{lines}\n");
    parse_period_charges(&text, "charge.toml").unwrap().remove(0)
}

const YEAR: &str = "unit = \"1\"\nfrom = 2026-01-01T00:00:00Z";

/// November with a part from each day on: its plan, and whether it is a trial.
fn november(parts: &[(&str, Option<(&Plan, bool)>)], charges: Vec<PeriodCharge>) -> Month {
    let period = Period::month("2026-11", UTC).unwrap();
    let start = |day: &str| at(&format!("2026-11-{day}T00:00:00Z"));
    let ends = parts.iter().skip(1).map(|(day, _)| start(day)).chain([period.end]);
    let part = |((day, plan), end): (&(&str, Option<(&Plan, bool)>), _)| Part {
        period: Period { start: start(day), end },
        plan: plan.map(|(plan, is_trial)| PartPlan { plan: plan.clone(), is_trial }),
        all: Vec::new(),
        left: Vec::new(),
        billed: Vec::new(),
    };
    let parts = parts.iter().zip(ends).map(part).collect();
    let project = "default".parse().unwrap();
    Month { corrects: None, period, project, parts, charges }
}

fn told(month: &Month) -> InvoiceTerms {
    let mut terms = InvoiceTerms::default();
    terms.hold("2026-11", month);
    terms
}

fn held(terms: &InvoiceTerms) -> Result<HeldTerms, TermsError> {
    terms.held("2026-11", &"acme".parse().unwrap(), UTC)
}

fn as_held(month: &Month) -> HeldTerms {
    let parts = month.parts.iter().map(|part| (part.period, part.plan.clone())).collect();
    HeldTerms { period: month.period, parts, charges: month.charges.clone() }
}

fn grant() -> Grant {
    let now = at("2026-01-01T00:00:00Z");
    let amount = "5".parse().unwrap();
    Grant {
        id: "g".to_owned(),
        amount,
        paid: amount,
        left: amount,
        priority: 0,
        expires_at: None,
        models: Vec::new(),
        granted_at: now,
    }
}

#[test]
fn every_month_that_more_than_prices_held_for_is_told_and_read_as_it_was() {
    let (basic, free) = (plan("basic", ""), plan("free", "trial = { days = 10 }"));
    let own = charge(&format!("customer = \"acme\"\n{YEAR}"));
    let everyones = charge(YEAR);
    let plain = november(&[("01", None)], Vec::new());

    assert!(told(&plain).is_empty());
    assert_eq!(serde_json::to_string(&told(&plain)).unwrap(), "{}");
    assert_eq!(held(&told(&plain)).unwrap(), as_held(&plain));
    for month in [
        november(&[("01", Some((&basic, false)))], Vec::new()),
        november(&[("01", None)], vec![everyones.clone()]),
        november(&[("01", None), ("11", None)], Vec::new()),
        november(&[("01", Some((&free, true))), ("11", Some((&free, false)))], Vec::new()),
        november(&[("01", Some((&basic, false))), ("21", None)], vec![own, everyones]),
    ] {
        let terms = told(&month);

        assert!(!terms.is_empty());
        assert_eq!(held(&terms).unwrap(), as_held(&month));
        let json = serde_json::to_string(&terms).unwrap();
        assert_eq!(serde_json::from_str::<InvoiceTerms>(&json).unwrap(), terms);
        // By another calendar it is another month, and no plan of this one is told to hold.
        let other = terms.held("2026-11", &"acme".parse().unwrap(), Asia__Shanghai);
        assert!(matches!(other, Err(TermsError::Parts { .. })), "{other:?}");
        let later = terms.held("2026-12", &"acme".parse().unwrap(), UTC).unwrap();
        assert_eq!((later.parts.len(), later.charges.len()), (1, 0));
    }
    assert!(!InvoiceTerms { grants: vec![grant()], ..InvoiceTerms::default() }.is_empty());
}

#[test]
fn terms_of_several_months_are_those_of_each() {
    let (basic, charge) = (plan("basic", ""), charge(YEAR));
    let mut all = told(&november(&[("01", Some((&basic, false)))], Vec::new()));
    let mut other = InvoiceTerms { grants: vec![grant()], ..InvoiceTerms::default() };
    let october = Period::month("2026-10", UTC).unwrap();
    let mut month = november(&[("01", Some((&basic, false)))], vec![charge.clone()]);
    (month.period, month.parts[0].period) = (october, october);
    other.hold("2026-10", &month);

    all.append(other);

    let months: Vec<_> = all.months.iter().map(|month| month.period.as_str()).collect();
    assert_eq!((months, all.grants.len()), (vec!["2026-11", "2026-10"], 1));
    let october = all.held("2026-10", &"acme".parse().unwrap(), UTC).unwrap();
    assert_eq!(october.charges, [charge]);
    assert!(held(&all).unwrap().charges.is_empty());
}

/// Where the parts of a month begin and end.
type Cut = Vec<(DateTime<Utc>, DateTime<Utc>)>;

#[test]
fn parts_that_are_not_the_month_are_refused() {
    let whole = told(&november(&[("01", None), ("11", None), ("21", None)], Vec::new()));
    let day = |day: &str| at(&format!("2026-11-{day}T00:00:00Z"));
    let end = at("2026-12-01T00:00:00Z");
    let cuts: [(&str, Cut, bool); 8] = [
        ("whole", vec![(day("01"), day("11")), (day("11"), end)], true),
        ("none", vec![], false),
        ("a gap", vec![(day("01"), day("11")), (day("12"), end)], false),
        ("an overlap", vec![(day("01"), day("11")), (day("10"), end)], false),
        ("a late start", vec![(day("02"), end)], false),
        ("an early end", vec![(day("01"), day("30"))], false),
        ("a part of nothing", vec![(day("01"), day("01")), (day("01"), end)], false),
        ("back in time", vec![(day("01"), end), (end, day("11")), (day("11"), end)], false),
    ];

    for (name, cut, is_month) in cuts {
        let mut terms = whole.clone();
        let part = |(start, end): (_, _)| PartTerms {
            period: Period { start, end },
            plan: None,
            trial: false,
        };
        terms.months[0].parts = cut.into_iter().map(part).collect();

        let held = held(&terms);

        assert_eq!(held.is_ok(), is_month, "{name}: {held:?}");
        assert!(matches!(held, Ok(_) | Err(TermsError::Parts { .. })), "{name}: {held:?}");
    }
    let none = whole.held("2026-13", &"acme".parse().unwrap(), UTC);
    assert!(matches!(none, Err(TermsError::Month { .. })), "{none:?}");
}

#[test]
fn a_plan_or_charge_that_is_not_there_or_that_a_hand_has_changed_is_refused() {
    let (basic, dear) = (plan("basic", ""), plan("basic", "minimum = \"9\""));
    let (seat, other) = (charge(YEAR), charge(&YEAR.replace("\"1\"", "\"2\"")));
    let whole = told(&november(&[("01", Some((&basic, false)))], vec![seat.clone()]));
    assert!(held(&whole).is_ok());

    for (plan_text, charge_text, words) in [
        (None, Some(seat.content.clone()), "plan `basic@"),
        (Some(basic.content.clone()), None, "charge `seat@"),
        (Some(dear.content.clone()), Some(seat.content.clone()), "the text makes `basic@"),
        (Some(basic.content.clone()), Some(other.content.clone()), "the text makes `seat@"),
        (
            Some([basic.content.as_str(), &dear.content].concat()),
            Some(seat.content.clone()),
            "the text makes more than one plan",
        ),
        (
            Some(basic.content.clone()),
            Some([seat.content.as_str(), &other.content].concat()),
            "the text makes more than one charge",
        ),
        (Some("?".to_owned()), Some(seat.content.clone()), "the text makes read plan file"),
        (Some(basic.content.clone()), Some("?".to_owned()), "the text makes read charge file"),
    ] {
        let mut terms = whole.clone();
        terms.plans = plan_text.into_iter().map(|text| (basic.version.clone(), text)).collect();
        terms.charges = charge_text.into_iter().map(|text| (seat.version.clone(), text)).collect();

        let message = held(&terms).unwrap_err().to_string();

        assert!(message.contains(words), "`{words}` is not in: {message}");
    }
}

#[test]
fn a_part_is_free_only_under_a_plan_with_a_trial_for_nothing() {
    let basic = plan("basic", "");
    let free = plan("free", "trial = { days = 10 }");
    let credit = plan("credit", "trial = { days = 10, credit = \"5\" }");
    let gift = plan("gift", "trial = { credit = \"5\" }");

    for (plan, is_free) in [(&basic, false), (&free, true), (&credit, false), (&gift, false)] {
        let days = plan.trial.and_then(|trial: Trial| trial.free_days());
        assert_eq!(days, is_free.then_some(10), "{}", plan.name);
        assert!(held(&told(&november(&[("01", Some((plan, false)))], Vec::new()))).is_ok());
        let trial = held(&told(&november(&[("01", Some((plan, true)))], Vec::new())));
        assert_eq!(trial.is_ok(), is_free, "{}: {trial:?}", plan.name);
        assert!(matches!(trial, Ok(_) | Err(TermsError::NoTrial { .. })), "{trial:?}");
    }
}

#[test]
fn a_charge_holds_for_months_that_begin_from_its_first_instant_to_before_its_last() {
    let start = at("2026-11-01T00:00:00Z");
    for (from, until, holds) in [
        ("2026-11-01", "", true),
        ("2026-11-02", "", false),
        ("2026-10-01", "2026-11-01", false),
        ("2026-10-01", "2026-11-02", true),
        ("2026-11-01", "2026-11-02", true),
        ("2026-11-02", "2026-12-01", false),
    ] {
        let until =
            if until.is_empty() { String::new() } else { format!("until = {until}T00:00:00Z") };
        let charge = charge(&format!("unit = \"1\"\nfrom = {from}T00:00:00Z\n{until}"));

        assert_eq!(charge.holds_for(start), holds, "{from} {until}");
        let terms = told(&november(&[("01", None)], vec![charge]));
        let message = held(&terms).err().map(|error| error.to_string());
        assert_eq!(message.is_none(), holds, "{from} {until}");
        assert!(message.is_none_or(|text| text.contains("it is of other months")));
    }
}

#[test]
fn a_charge_is_the_customers_or_everyones_and_one_of_its_name() {
    let own = |unit: &str| charge(&format!("customer = \"acme\"\n{}", YEAR.replace("\"1\"", unit)));
    let zen = charge(&format!("customer = \"zen\"\n{YEAR}"));
    let everyones = |unit: &str| charge(&YEAR.replace("\"1\"", unit));
    let refusal = |charges: Vec<PeriodCharge>| {
        let held = held(&told(&november(&[("01", None)], charges)));
        held.err().map(|error| error.to_string()).unwrap_or_default()
    };

    assert_eq!(refusal(vec![own("\"1\""), everyones("\"1\"")]), "");
    assert!(refusal(vec![zen]).contains("it is another customer's"));
    for twice in [vec![own("\"1\""), own("\"2\"")], vec![everyones("\"1\""), everyones("\"2\"")]] {
        assert!(refusal(twice).contains("another one of its name holds"));
    }
}

#[test]
fn prepaid_credit_pays_by_the_plan_at_the_months_end() {
    let terms = "credit = \"before_tax\"\ngrant_order = \"expiry\"";
    let (basic, before) = (plan("basic", ""), plan("before", terms));
    let credit = |parts: &[(&str, Option<(&Plan, bool)>)]| {
        held(&told(&november(parts, Vec::new()))).unwrap().credit()
    };
    let (first, second) = (Some((&basic, false)), Some((&before, false)));
    let expected = CreditTerms { taken: CreditTaken::BeforeTax, order: GrantOrder::Expiry };

    assert_eq!(credit(&[("01", first), ("11", second)]), expected);
    assert_eq!(credit(&[("01", second), ("11", first)]), CreditTerms::default());
    assert_eq!(credit(&[("01", second), ("11", None)]), CreditTerms::default());
}
