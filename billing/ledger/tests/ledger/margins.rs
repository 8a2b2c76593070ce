//! Exchange rates that are kept, and margins in one currency.

use permille_ledger::{
    FxChange, FxFilter, FxImport, FxRate, LedgerError, MarginBy, MarginFilter, MarginReport, Page,
    Role, Trial,
};
use permille_types::{Attempt, Currency, Ended, Flag, TokenClass, TokenCounts, UsageEvent};
use rust_decimal::Decimal;

use crate::support::{Books, add_customer, add_key, at, batch, event, import};

/// What the provider takes: dollars for one model, yuan for the other.
pub(crate) const COSTS: &str = r#"
[[price]]
model = "ERNIE-Bot"
side = "cost"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.006"
output = "0.006"

[[price]]
model = "gpt-test"
side = "cost"
currency = "USD"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.002"
output = "0.008"

[[price]]
model = "gpt-test"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.02"
output = "0.08"
"#;

pub(crate) fn rate(base: Currency, quote: Currency, day: &str, rate: &str) -> FxRate {
    let rate = Decimal::from_str_exact(rate).unwrap();
    FxRate { base, quote, day: day.parse().unwrap(), rate, source: "a bank".to_owned() }
}

pub(crate) fn dollar(day: &str, yuan: &str) -> FxRate {
    rate(Currency::USD, Currency::CNY, day, yuan)
}

/// 1,000 tokens in and 500 out, by default at 09:30 on 2026-11-20.
pub(crate) fn used(books: &Books, number: u32, model: &str, session: &str) -> UsageEvent {
    let mut event = books.event(number);
    event.model_requested = model.parse().unwrap();
    event.session = session.parse().unwrap();
    event
}

pub(crate) async fn set(
    books: &Books,
    rates: &[FxRate],
    how: FxChange,
) -> Result<FxImport, LedgerError> {
    let finance = books.as_role(Role::Finance).await;
    books.ledger.set_fx_rates(rates, how, &finance).await
}

pub(crate) async fn margins(books: &Books, by: MarginBy) -> MarginReport {
    let asked = MarginFilter { by, ..MarginFilter::new(Currency::CNY) };
    books.ledger.margins(&asked).await.unwrap()
}

pub(crate) fn text(amount: Decimal) -> String {
    amount.normalize().to_string()
}

#[tokio::test]
async fn a_rate_of_a_day_is_kept_once_and_replaced_only_when_told() {
    let books = Books::open().await;
    let first = [dollar("2026-11-19", "7.1"), dollar("2026-11-20", "7.12")];
    let plain = FxChange::default();

    let added = set(&books, &first, plain).await.unwrap();
    let again = set(&books, &first, plain).await.unwrap();
    let other = set(&books, &[dollar("2026-11-20", "7.2")], plain).await.unwrap_err();
    let replace = FxChange { replace: true, ..plain };
    let replaced = set(&books, &[dollar("2026-11-20", "7.2")], replace).await.unwrap();

    assert_eq!((added.added, again.unchanged, again.added), (2, 2, 0));
    assert!(other.to_string().contains("USD/CNY of 2026-11-20` is 7.12 (a bank)"), "{other}");
    assert_eq!(replaced.replaced, 1);
    let trail = books.lines("select detail from audit where noun = 'fx' order by ordinal").await;
    assert_eq!(
        trail,
        ["2 added, 0 replaced", "0 added, 1 replaced; USD/CNY of 2026-11-20 was 7.12, is 7.2"]
    );
    let page = Page::new(None, Some(1)).unwrap();
    let listed = books.ledger.fx_rates(&FxFilter::default(), &page).await.unwrap();
    let next = Page::new(listed.next_cursor, Some(1)).unwrap();
    let rest = books.ledger.fx_rates(&FxFilter::default(), &next).await.unwrap();
    assert_eq!(
        (listed.items, rest.items, rest.next_cursor),
        (vec![dollar("2026-11-19", "7.1")], vec![dollar("2026-11-20", "7.2")], None)
    );
}

#[tokio::test]
async fn a_rate_that_makes_no_sense_or_jumps_is_refused_and_nothing_is_kept() {
    let books = Books::open().await;
    set(&books, &[dollar("2026-11-01", "7.1")], FxChange::default()).await.unwrap();
    for (bad, named) in [
        (dollar("2026-11-20", "71"), "is 71, but 7.11 on 2026-11-02"),
        (dollar("2026-11-20", "0.14"), "a slip of the unit or of the pair"),
        (dollar("2026-11-22", "7.1"), "no day after 2026-11-20"),
        (dollar("2026-11-20", "0"), "rate `0`"),
        (dollar("2026-11-20", "7.1000000000001234"), "at most 12 digits"),
        (rate(Currency::USD, Currency::USD, "2026-11-20", "1"), "another currency than base"),
        (FxRate { source: " ".to_owned(), ..dollar("2026-11-20", "7.1") }, "source"),
    ] {
        let both = [dollar("2026-11-02", "7.11"), bad];
        let refused = set(&books, &both, FxChange::default()).await.unwrap_err();

        assert!(refused.to_string().contains(named), "{refused}");
    }
    assert_eq!(books.value("select count(*) from fx_rate").await, 1);
    let jump = FxChange { accept_jumps: true, ..FxChange::default() };
    assert_eq!(set(&books, &[dollar("2026-11-20", "9.9")], jump).await.unwrap().added, 1);
    let later = set(&books, &[dollar("2026-09-01", "3.5")], FxChange::default()).await;
    assert_eq!(later.unwrap().added, 1, "a rate is compared with those before it");
}

#[tokio::test]
async fn a_providers_dollars_are_taken_off_a_customers_yuan_by_the_rate_of_the_day() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    set(&books, &[dollar("2026-11-18", "7"), dollar("2026-11-20", "7.2")], FxChange::default())
        .await
        .unwrap();
    let mut earlier = used(&books, 2, "gpt-test", "long");
    earlier.at = at("2026-11-19T23:59:59Z");
    books
        .accept(&[
            used(&books, 1, "ERNIE-Bot", "short"),
            earlier,
            used(&books, 3, "gpt-test", "long"),
        ])
        .await;

    let by_model = margins(&books, MarginBy::Model).await;
    let by_session = margins(&books, MarginBy::Session).await;

    // ERNIE-Bot: 0.018 - 0.009. gpt-test: 0.06 each; 0.006 dollars are 0.042 and 0.0432 yuan.
    let rows: Vec<_> = by_model
        .groups
        .iter()
        .map(|of| (of.model.as_ref().unwrap().as_str(), text(of.sums.billed), text(of.sums.margin)))
        .collect();
    assert_eq!(
        rows,
        [
            ("ERNIE-Bot", "0.018".to_owned(), "0.009".to_owned()),
            ("gpt-test", "0.12".to_owned(), "0.0348".to_owned()),
        ]
    );
    let sessions: Vec<_> = by_session
        .groups
        .iter()
        .map(|of| (of.session.as_ref().unwrap().as_str(), of.sums.requests, text(of.sums.margin)))
        .collect();
    assert_eq!(sessions, [("short", 1, "0.009".to_owned()), ("long", 2, "0.0348".to_owned())]);
    assert_eq!(by_model.total, by_session.total);
    let total = by_model.total;
    assert_eq!((total.requests, total.unbilled_requests, total.left_out_requests), (3, 3, 0));
    assert_eq!((text(total.margin), total.share_permille), ("0.0438".to_owned(), Some(317)));
    let used: Vec<_> =
        by_model.rates.iter().map(|of| (of.day.to_string(), text(of.rate))).collect();
    assert_eq!(
        used,
        [("2026-11-19".to_owned(), "7".to_owned()), ("2026-11-20".to_owned(), "7.2".to_owned())]
    );
    assert_eq!(by_model.rates[0].of, [dollar("2026-11-18", "7")]);
}

#[tokio::test]
async fn what_cannot_be_converted_or_has_no_price_is_named_and_in_no_sum() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    import(
        &books.ledger,
        "[[price]]\nmodel = \"other\"\ncurrency = \"CNY\"\nfrom = 2023-10-01T00:00:00Z\n\
         source = \"a test\"\ninput = \"0.01\"\noutput = \"0.01\"\n",
    )
    .await;
    set(&books, &[dollar("2026-11-10", "7")], FxChange::default()).await.unwrap();
    books
        .accept(&[
            used(&books, 1, "ERNIE-Bot", "a"),
            used(&books, 2, "gpt-test", "a"),
            used(&books, 3, "other", "a"),
            used(&books, 4, "unknown", "a"),
        ])
        .await;

    let found = margins(&books, MarginBy::Customer).await;

    assert_eq!((found.total.requests, found.total.left_out_requests), (1, 3));
    assert_eq!(text(found.total.margin), "0.009");
    let left: Vec<_> = found
        .left_out
        .iter()
        .map(|of| (of.reason, of.what.as_str(), of.requests, of.billed.len()))
        .collect();
    assert_eq!(
        left,
        [
            ("no_provider_price", "other at main", 1, 1),
            ("no_provider_price", "unknown at main", 1, 0),
            ("no_rate", "USD/CNY", 1, 1),
        ]
    );
    assert_eq!(text(found.left_out[2].provider_cost[0].amount), "0.006");
    assert_eq!(found.left_out[2].provider_cost[0].currency, Currency::USD);
    let older = MarginFilter { fx_days_max: 10, ..MarginFilter::new(Currency::CNY) };
    let older = books.ledger.margins(&older).await.unwrap();
    assert_eq!(older.total.left_out_requests, 2, "a rate of ten days before is accepted");
    for (days, groups, field) in [(32, 1, "fx_days"), (9, 0, "limit"), (9, 1_001, "limit")] {
        let (fx_days_max, groups_max) = (days, groups);
        let asked = MarginFilter { fx_days_max, groups_max, ..MarginFilter::new(Currency::CNY) };
        let refused = books.ledger.margins(&asked).await.unwrap_err();
        assert!(
            matches!(refused, LedgerError::Invalid { field: f, .. } if f == field),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_call_that_failed_is_priced_where_it_was_made_and_told_apart() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    set(&books, &[dollar("2026-11-20", "7")], FxChange::default()).await.unwrap();
    let mut retried = used(&books, 1, "ERNIE-Bot", "a");
    let failed = Attempt {
        upstream: "other".parse().unwrap(),
        model: None,
        status: Some(503),
        provider_id: None,
        provider_request_id: None,
        ended: Ended::UpstreamError,
        tokens: TokenCounts::from([(TokenClass::INPUT_UNCACHED, 1_000)]),
    };
    retried.attempts.insert(0, failed);
    books.accept(&[retried]).await;

    let total = margins(&books, MarginBy::Customer).await.total;

    // 1,500 tokens answered, 1,000 failed, at 0.006 a thousand.
    assert_eq!(
        (text(total.provider_cost), text(total.failed_attempt_cost)),
        ("0.015".to_owned(), "0.006".to_owned())
    );
    assert_eq!(text(total.margin), "0.003");
}

#[tokio::test]
async fn customers_of_several_currencies_add_up_in_one_and_the_lowest_margins_come_first() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    add_customer(&books.ledger, "dollars", Currency::USD, "UTC").await;
    let key = add_key(&books.ledger, "dollars").await.key;
    set(&books, &[rate(Currency::CNY, Currency::USD, "2026-11-20", "0.14")], FxChange::default())
        .await
        .unwrap();
    let mut theirs = event(9, "dollars", key.id.as_str());
    theirs.model_requested = "gpt-test".parse().unwrap();
    books.accept(&[used(&books, 1, "ERNIE-Bot", "a")]).await;
    books.ledger.accept(&batch("n2", 1, &[theirs])).await.unwrap();

    let found = margins(&books, MarginBy::Customer).await;

    // 0.0075 dollars less 0.006; 1 ÷ 0.14 = 7.14285714.
    let rows: Vec<_> = found
        .groups
        .iter()
        .map(|of| (of.customer.as_ref().unwrap().as_str(), text(of.sums.margin)))
        .collect();
    assert_eq!(rows, [("acme", "0.009".to_owned()), ("dollars", "0.01071428571".to_owned())]);
    let one = MarginFilter { groups_max: 1, ..MarginFilter::new(Currency::CNY) };
    let one = books.ledger.margins(&one).await.unwrap();
    assert_eq!((one.groups.len(), one.groups_unlisted, one.total), (1, 1, found.total));
}

#[tokio::test]
async fn what_invoices_billed_counts_where_they_are_out() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    let mut event = used(&books, 1, "ERNIE-Bot", "a");
    event.at = at("2026-10-20T10:00:00Z");
    books.accept(&[event]).await;
    let before = margins(&books, MarginBy::Customer).await.total;
    books.issue("2026-10").await;

    let after = margins(&books, MarginBy::Customer).await.total;

    assert_eq!((text(before.billed), before.unbilled_requests), ("0.018".to_owned(), 1));
    // The two lines, 0.012 and 0.006, are rounded to a cent each.
    assert_eq!((text(after.billed), after.unbilled_requests), ("0.02".to_owned(), 0));
    assert_eq!(text(after.margin), "0.011");
}

#[tokio::test]
async fn a_plan_is_simulated_against_providers_who_take_another_currency() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    set(&books, &[dollar("2026-11-20", "7")], FxChange::default()).await.unwrap();
    books.accept(&[used(&books, 1, "gpt-test", "a")]).await;
    let plan = "[[plan]]\nname = \"flat\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                fee = \"1\"\n";

    let simulated = books.ledger.simulate_plan(&Trial::new(plan, "2026-11")).await.unwrap();

    let acme = &simulated.customers[0];
    assert_eq!((text(acme.provider_cost), acme.unknown_requests), ("0.042".to_owned(), 0));
    assert_eq!(acme.margin, Some(acme.under_plan - acme.provider_cost));
}

#[tokio::test]
async fn simulated_requests_beside_real_ones_are_in_no_sum_and_alone_they_are_told() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    let mut played = used(&books, 1, "ERNIE-Bot", "played");
    played.flags = vec![Flag::Simulated];
    books.accept(&[played]).await;
    let alone = margins(&books, MarginBy::Model).await;

    books.accept(&[used(&books, 2, "ERNIE-Bot", "short")]).await;
    let both = margins(&books, MarginBy::Model).await;

    assert_eq!((alone.total.requests, alone.total.simulated_requests), (1, 1));
    assert_eq!((both.total.requests, both.total.simulated_requests), (1, 0));
    assert_eq!((alone.simulated_left_out, both.simulated_left_out), (0, 1));
    assert_eq!(both.total.provider_cost, alone.total.provider_cost);
    assert_eq!(both.groups.len(), 1);
}

/// 0.02 a month for any usage; a request of this file costs its provider 0.009.
const FLAT: &str = r#"
[[plan]]
name = "flat"
kind = "subscription"
currency = "CNY"
fee = "0.02"

[plan.allowance]
amount = "1000"
"#;

#[tokio::test]
async fn a_plan_whose_fee_is_less_than_its_providers_take_is_told_first() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    let finance = books.as_role(Role::Finance).await;
    books.ledger.add_plans(FLAT, &finance).await.unwrap();
    let acme = books.key.key.customer.clone();
    let october = Some(at("2026-10-01T00:00:00Z"));
    books.ledger.assign_plan(&acme, "flat", october, &finance).await.unwrap();
    let on = |number, day: &str| {
        let instant = at(&format!("{day}T12:00:00Z"));
        UsageEvent { at: instant, ..used(&books, number, "ERNIE-Bot", "a") }
    };
    let days = ["2026-09-30", "2026-10-01", "2026-10-10", "2026-10-31"];
    let events: Vec<_> = (1..).zip(days).map(|(number, day)| on(number, day)).collect();
    books.accept(&events).await;
    let by_plan = async |since: &str, until: &str| {
        let (since, until) = (Some(at(since)), Some(at(until)));
        let by = MarginBy::Plan;
        let asked = MarginFilter { by, since, until, ..MarginFilter::new(Currency::CNY) };
        let found = books.ledger.margins(&asked).await.unwrap();
        let rows = found.groups.iter().map(|of| {
            let sums = [of.sums.billed, of.sums.fees, of.sums.provider_cost, of.sums.margin];
            (of.plan.as_ref().unwrap().to_string(), sums.map(text).join(" "))
        });
        rows.collect::<Vec<_>>()
    };
    let row = |plan: &str, sums: &str| (plan.to_owned(), sums.to_owned());

    let before = by_plan("2026-09-01T00:00:00Z", "2026-11-01T00:00:00Z").await;
    let half = by_plan("2026-10-01T00:00:00Z", "2026-10-16T12:00:00Z").await;
    books.issue("2026-10").await;
    let after = by_plan("2026-09-01T00:00:00Z", "2026-11-01T00:00:00Z").await;

    let whole = [row("flat", "0 0.02 0.027 -0.007"), row("none", "0.018 0 0.009 0.009")];
    assert_eq!(before, whole, "what is not billed yet counts by its fee");
    assert_eq!(half, [row("flat", "0 0.01 0.018 -0.008")]);
    assert_eq!(after, whole, "the allowance takes all of it");
    // The running month has the part of its fee that has passed: 19.4 days of 30.
    let running = by_plan("2026-11-01T00:00:00Z", "2027-01-01T00:00:00Z").await;
    assert_eq!(running, [row("flat", "0 0.01 0 0.01")]);
}

#[tokio::test]
async fn what_providers_take_is_added_up_by_day_where_it_is_known() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    let again = [used(&books, 1, "ERNIE-Bot", "a"), used(&books, 2, "ERNIE-Bot", "a")];
    books.accept(&again).await;
    books.accept(&again).await;

    // Dollars for a customer who pays yuan are not known in its currency.
    books.accept(&[used(&books, 3, "gpt-test", "a")]).await;

    let days = books
        .lines(
            "select level || ' ' || id || ' ' || nano from spending_day
             where level like 'provider%' order by level",
        )
        .await;
    assert_eq!(days, ["provider_cost CNY 18000000", "provider_priced CNY 36000000"]);
}
