//! Prepaid balances: what a customer on a prepaid plan may still spend, as gateways are told.

use permille_ledger::{
    Change, CreditScope, CustomerChanges, Grant, Instruction, Ledger, LimitChanges, Limited,
    NO_PLAN, NewCredit, NewGrant, NewWebhook, Role, TaxRate, TaxTerms,
};
use permille_types::{
    Currency, Flag, Level, Limit, Measure, PrepaidCredit, SpendAccount, SpendQuery, UsageEvent,
};
use rust_decimal::Decimal;

use crate::{
    interims::{acme, id, used},
    support::{Books, add_customer, at, import},
};

const CNY: u64 = 1_000_000_000;

/// A token costs a cent.
const CENTS: &str = r#"
[[price]]
model = "cents"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "10"
"#;

const PLANS: &str = r#"
[[plan]]
name = "credit"
kind = "prepaid"
currency = "CNY"

[[plan]]
name = "before"
kind = "prepaid"
currency = "CNY"
credit = "before_tax"

[[plan]]
name = "tried"
kind = "prepaid"
currency = "CNY"
trial = { days = 2 }

[[plan]]
name = "usage"
kind = "metered"
currency = "CNY"
"#;

/// `acme` in UTC under a plan since November began; it is 20 November.
pub(crate) async fn under(plan: &str) -> (Books, Instruction) {
    in_zone("UTC", plan, "2026-11-01T00:00:00Z").await
}

pub(crate) async fn in_zone(time_zone: &str, plan: &str, from: &str) -> (Books, Instruction) {
    let books = Books::with("acme", Currency::CNY, time_zone).await;
    import(&books.ledger, CENTS).await;
    let finance = books.as_role(Role::Admin).await;
    books.ledger.add_plans(PLANS, &finance).await.unwrap();
    books.ledger.assign_plan(&acme(), plan, Some(at(from)), &finance).await.unwrap();
    (books, finance)
}

pub(crate) fn credit(amount: &str) -> NewGrant {
    NewGrant {
        amount: amount.parse().unwrap(),
        currency: None,
        paid: Decimal::ZERO,
        priority: 0,
        from: None,
        expires_at: None,
        models: Vec::new(),
        reason: "top-up".to_owned(),
    }
}

pub(crate) fn until(amount: &str, expires: &str) -> NewGrant {
    NewGrant { expires_at: Some(at(expires)), ..credit(amount) }
}

pub(crate) async fn grant(books: &Books, new: &NewGrant) -> Grant {
    let finance = books.as_role(Role::Finance).await;
    books.ledger.add_grant(&acme(), new, &finance).await.unwrap()
}

/// The credit and the limits that gateways get with the customer's key.
fn told(ledger: &Ledger) -> (Option<PrepaidCredit>, Vec<Limit>) {
    let policy = ledger.snapshot(None).unwrap().keys.remove(0);
    (policy.prepaid, policy.limits)
}

/// How far a gateway lets the customer spend in all, in hundredths; absent where it does not care.
pub(crate) fn reach(books: &Books) -> Option<u64> {
    let (credit, limits) = told(&books.ledger);
    let of_all = limits
        .iter()
        .find(|limit| (limit.level, limit.measure) == (Level::Customer, Measure::Spend));
    assert_eq!(credit.map(|credit| credit.max), of_all.map(|limit| limit.max));
    credit.map(|credit| credit.max / (CNY / 100))
}

/// What is left of that, in hundredths.
pub(crate) async fn left(books: &Books) -> i64 {
    let account =
        SpendAccount { level: Level::Customer, id: "acme".to_owned(), from: None, until: None };
    let query = SpendQuery { customer: acme(), accounts: vec![account] };
    let spent = books.ledger.spent(&query).await.unwrap().nano[0];
    let reach = i64::try_from(told(&books.ledger).0.unwrap().max).unwrap();
    (reach - spent) / 10_000_000
}

/// Whoever looks after balances has looked.
pub(crate) async fn look(books: &Books) {
    let sweep = books.ledger.follow_balances().await.unwrap();
    assert!(sweep.failed.is_empty(), "{:?}", sweep.failed);
}

/// It becomes `time`, and whoever looks after balances has looked.
pub(crate) async fn becomes(books: &Books, time: &str) {
    books.clock.set(time);
    look(books).await;
}

#[tokio::test]
async fn grants_are_a_limit_where_the_plan_is_prepaid_and_nowhere_else() {
    let (books, finance) = under("usage").await;
    grant(&books, &credit("10")).await;
    assert_eq!((reach(&books), told(&books.ledger).1), (None, vec![]));
    let before = books.ledger.snapshot_version();

    books.ledger.assign_plan(&acme(), "credit", None, &finance).await.unwrap();

    assert!(books.ledger.snapshot_version() > before);
    let (credit_of, limits) = told(&books.ledger);
    let prepaid = PrepaidCredit { max: 10 * CNY, warn_from: Some(8 * CNY) };
    assert_eq!(credit_of, Some(prepaid));
    let limit = |warn_percent| Limit {
        level: Level::Customer,
        measure: Measure::Spend,
        max: 10 * CNY,
        warn_percent,
    };
    assert_eq!(limits, [limit(80)]);
    grant(&books, &credit("5")).await;
    assert_eq!(reach(&books), Some(15_00));
    books.ledger.assign_plan(&acme(), NO_PLAN, None, &finance).await.unwrap();
    assert_eq!(reach(&books), None);
}

#[tokio::test]
async fn without_credit_nothing_is_left_and_usage_moves_no_limit() {
    let (books, _) = under("credit").await;
    assert_eq!(reach(&books), Some(0));
    grant(&books, &credit("10")).await;
    let version = books.ledger.snapshot_version();

    books.accept(&[used(&books, 1, "2026-11-20", 300)]).await;
    becomes(&books, "2026-11-20T12:00:00Z").await;

    assert_eq!((reach(&books), left(&books).await), (Some(10_00), 7_00));
    assert_eq!(books.ledger.snapshot_version(), version, "gateways have nothing to read");
    // What was used while nothing held it is owed first.
    books.accept(&[used(&books, 2, "2026-11-20", 900)]).await;
    grant(&books, &credit("4")).await;
    assert_eq!(left(&books).await, 2_00);
}

/// VAT of 10 percent: credit of 26.40 pays for usage of 24.
async fn taxed(books: &Books) {
    let rates = vec![TaxRate { name: "VAT".to_owned(), percent: Decimal::TEN }];
    let tax = Some(TaxTerms::Standard { rates });
    let changes = CustomerChanges { tax, ..CustomerChanges::default() };
    let finance = books.as_role(Role::Finance).await;
    books.ledger.change_customer(&acme(), changes, &finance).await.unwrap();
}

#[tokio::test]
async fn an_invoice_in_between_changes_nothing_nor_does_its_end() {
    for (plan, amount) in [("credit", "26.40"), ("before", "24")] {
        let (books, finance) = under(plan).await;
        grant(&books, &credit(amount)).await;
        taxed(&books).await;
        books.accept(&[used(&books, 1, "2026-11-05", 1_200)]).await;
        assert_eq!((reach(&books), left(&books).await), (Some(24_00), 12_00), "{plan}");
        becomes(&books, "2026-12-02T00:00:00Z").await;
        let version = books.ledger.snapshot_version();

        let issued = books.issue("2026-11").await;
        look(&books).await;

        assert_eq!(issued.total, Decimal::ZERO, "{plan}: all of it is paid");
        assert_eq!((reach(&books), left(&books).await), (Some(24_00), 12_00), "{plan}");
        assert_eq!(books.ledger.snapshot_version(), version, "{plan}: nothing is to be told");
        books.accept(&[used(&books, 2, "2026-12-01", 1_100)]).await;
        assert_eq!(left(&books).await, 1_00, "{plan}");
        books.ledger.void_invoice(&id(&issued), "a test", &finance).await.unwrap();
        look(&books).await;
        assert_eq!((reach(&books), left(&books).await), (Some(24_00), 1_00), "{plan}");
    }
}

#[tokio::test]
async fn what_an_invoice_takes_beside_usage_lowers_it_and_a_credit_note_raises_it() {
    let (books, finance) = under("credit").await;
    grant(&books, &credit("24")).await;
    books.accept(&[used(&books, 1, "2026-11-05", 1_200)]).await;
    // The tax comes when the usage is there.
    taxed(&books).await;
    assert_eq!(reach(&books), Some(21_81));
    becomes(&books, "2026-12-02T00:00:00Z").await;
    let issued = books.issue("2026-11").await;
    look(&books).await;
    assert_eq!(reach(&books), Some(21_81));
    let before = books.ledger.snapshot_version();

    let scope = CreditScope::Amount(Decimal::from(3));
    let new = NewCredit { scope, currency: None, reason: "goodwill".to_owned() };
    books.ledger.credit_invoice(&id(&issued), &new, &finance).await.unwrap();
    // A step of an invoice waits for no catalogue to be read; the next look tells of many.
    assert_eq!((reach(&books), books.ledger.snapshot_version()), (Some(21_81), before));
    look(&books).await;

    assert_eq!((reach(&books), left(&books).await), (Some(24_81), 12_81));
}

#[tokio::test]
async fn credit_counts_from_its_beginning_and_at_its_end_only_what_was_used_of_it() {
    let (books, _) = under("credit").await;
    grant(&books, &until("10", "2026-11-20T18:30:00Z")).await;
    grant(&books, &credit("5")).await;
    let from = Some(at("2026-11-21T09:00:00Z"));
    grant(&books, &NewGrant { from, ..credit("2") }).await;
    books.accept(&[used(&books, 1, "2026-11-20", 600)]).await;
    assert_eq!((reach(&books), left(&books).await), (Some(15_00), 9_00));

    becomes(&books, "2026-11-20T18:29:59Z").await;
    let before = reach(&books);
    becomes(&books, "2026-11-20T18:30:00Z").await;

    assert_eq!((before, reach(&books), left(&books).await), (Some(15_00), Some(11_00), 5_00));
    // Usage after the end is none of it, also on the same day and after another look.
    books
        .accept(&[UsageEvent {
            at: at("2026-11-20T19:00:00Z"),
            ..used(&books, 2, "2026-11-20", 100)
        }])
        .await;
    becomes(&books, "2026-11-20T20:30:00Z").await;
    assert_eq!((reach(&books), left(&books).await), (Some(11_00), 4_00));
    becomes(&books, "2026-11-21T09:00:00Z").await;
    assert_eq!((reach(&books), left(&books).await), (Some(13_00), 6_00));
    // The invoice may draw on it for all of its month, so what was used after its end comes back.
    becomes(&books, "2026-12-02T00:00:00Z").await;
    books.issue("2026-11").await;
    look(&books).await;
    assert_eq!((reach(&books), left(&books).await), (Some(14_00), 7_00));
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_booked_late_of_days_before_an_end_is_paid_by_the_grant_that_has_ended() {
    for (end, late) in [
        ("2026-11-20T18:30:00Z", "2026-11-19"),
        ("2026-11-20T00:00:00Z", "2026-11-19"),
        ("2026-11-20T18:30:00Z", "2026-10-31"),
    ] {
        let (books, _) = under("credit").await;
        let from = Some(at("2026-10-31T00:00:00Z"));
        grant(&books, &NewGrant { from, ..until("10", end) }).await;
        grant(&books, &credit("5")).await;
        books.accept(&[used(&books, 1, "2026-11-19", 600)]).await;
        becomes(&books, "2026-11-20T18:30:00Z").await;
        assert_eq!((reach(&books), left(&books).await), (Some(11_00), 5_00), "{end}");

        books.accept(&[used(&books, 2, late, 200)]).await;
        becomes(&books, "2026-11-20T20:30:00Z").await;

        assert_eq!((reach(&books), left(&books).await), (Some(13_00), 5_00), "{end} {late}");
    }
}

#[tokio::test]
async fn what_an_earlier_build_noted_of_an_end_counts_the_whole_of_its_day_and_no_more() {
    let (books, _) = under("credit").await;
    grant(&books, &until("10", "2026-11-20T18:30:00Z")).await;
    grant(&books, &credit("5")).await;
    books.accept(&[used(&books, 1, "2026-11-19", 600)]).await;
    // It noted all that was spent by then.
    books.tamper("update credit_grant set spent_at_end_nano = 6000000000").await;
    books.accept(&[used(&books, 2, "2026-11-20", 100)]).await;

    becomes(&books, "2026-11-20T20:30:00Z").await;

    assert_eq!((reach(&books), left(&books).await), (Some(12_00), 5_00));
}

#[tokio::test]
async fn an_end_that_nobody_saw_takes_what_was_spent_until_its_day() {
    let (books, _) = under("credit").await;
    grant(&books, &until("10", "2026-11-21T00:00:00Z")).await;
    grant(&books, &credit("5")).await;
    books.accept(&[used(&books, 1, "2026-11-20", 600)]).await;
    // Billing was away; what gateways served by the old balance comes with it.
    books.accept(&[used(&books, 2, "2026-11-21", 200)]).await;

    becomes(&books, "2026-11-22T08:00:00Z").await;

    assert_eq!((reach(&books), left(&books).await), (Some(11_00), 3_00));
}

#[tokio::test]
async fn what_pays_first_says_whose_end_costs_what() {
    let (books, _) = under("credit").await;
    // The one that ends pays last: nothing was used of it.
    let last = NewGrant { priority: 9, ..until("10", "2026-11-21T00:00:00Z") };
    grant(&books, &last).await;
    grant(&books, &credit("8")).await;
    books.accept(&[used(&books, 1, "2026-11-20", 600)]).await;

    becomes(&books, "2026-11-21T00:00:00Z").await;

    assert_eq!((reach(&books), left(&books).await), (Some(8_00), 2_00));
}

#[tokio::test]
async fn credit_for_some_models_is_not_counted_and_counts_when_an_invoice_drew_it() {
    let (books, _) = under("credit").await;
    let of = |model: &str| NewGrant { models: vec![model.to_owned()], ..credit("10") };
    grant(&books, &of("cents")).await;
    assert_eq!(reach(&books), Some(0));
    // The one for some pays first.
    grant(&books, &NewGrant { priority: 1, ..of("*") }).await;
    assert_eq!(reach(&books), Some(10_00));
    books.accept(&[used(&books, 1, "2026-11-05", 400)]).await;
    assert_eq!(left(&books).await, 6_00);

    becomes(&books, "2026-12-02T00:00:00Z").await;
    books.issue("2026-11").await;
    look(&books).await;

    assert_eq!(left(&books).await, 10_00);
}

#[tokio::test]
async fn a_budget_in_all_holds_beside_it() {
    let (books, admin) = under("credit").await;
    grant(&books, &credit("10")).await;
    let whose = Limited::Customer(acme());
    let lower = |text: &str| LimitChanges {
        budget: Change::Set(text.to_owned()),
        ..LimitChanges::default()
    };
    let of_all = async |text: &str| {
        books.ledger.change_limits(&whose, lower(text), &admin).await.unwrap();
        let (credit, limits) = told(&books.ledger);
        assert_eq!(credit.unwrap().max, 10 * CNY);
        assert_eq!(limits.len(), 1, "of two that count the same the lower: {limits:?}");
        limits[0].max
    };

    assert_eq!(of_all("7 CNY/total").await, 7 * CNY);
    assert_eq!(of_all("70 CNY/total").await, 10 * CNY);
    let warned = LimitChanges { warn_percent: Change::Set(100), ..LimitChanges::default() };
    books.ledger.change_limits(&whose, warned, &admin).await.unwrap();
    assert_eq!(told(&books.ledger).0.unwrap().warn_from, None);
}

#[tokio::test]
async fn a_plan_begins_and_ends_by_the_customers_own_clock() {
    // Local midnight is 16:00 UTC.
    let (books, admin) = in_zone("Asia/Shanghai", "credit", "2026-11-20T16:00:00Z").await;
    books
        .ledger
        .assign_plan(&acme(), "usage", Some(at("2026-11-22T16:00:00Z")), &admin)
        .await
        .unwrap();
    grant(&books, &credit("10")).await;
    assert_eq!(reach(&books), None);
    becomes(&books, "2026-11-20T15:59:59Z").await;
    assert_eq!(reach(&books), None);

    becomes(&books, "2026-11-20T16:00:00Z").await;
    assert_eq!(reach(&books), Some(10_00));
    becomes(&books, "2026-11-22T16:00:00Z").await;

    assert_eq!(reach(&books), None);
}

#[tokio::test]
async fn a_trial_by_days_is_not_held_to_credit() {
    let (books, _) = in_zone("UTC", "tried", "2026-11-20T10:00:00Z").await;
    assert_eq!(reach(&books), None);

    becomes(&books, "2026-11-22T10:00:00Z").await;

    assert_eq!(reach(&books), Some(0));
}

#[tokio::test]
async fn what_the_built_in_provider_served_takes_nothing_for_good() {
    let (books, _) = under("credit").await;
    grant(&books, &credit("10")).await;
    let mut played = used(&books, 1, "2026-11-20", 400);
    played.flags = vec![Flag::Simulated];
    books.accept(&[played]).await;
    assert_eq!(left(&books).await, 6_00);

    becomes(&books, "2026-11-20T11:00:00Z").await;

    assert_eq!(left(&books).await, 10_00);
}

#[tokio::test]
async fn a_store_that_an_earlier_build_wrote_has_its_balances_after_a_look() {
    let (books, _) = under("credit").await;
    grant(&books, &credit("20")).await;
    books.accept(&[used(&books, 1, "2026-11-05", 1_200)]).await;
    becomes(&books, "2026-12-02T00:00:00Z").await;
    books.issue("2026-11").await;
    books.tamper("delete from prepaid_balance").await;
    books.tamper("update invoice set usage_nano = null").await;
    books.tamper("update snapshot_state set version = version + 1").await;
    books.ledger.ping().await.unwrap();
    assert_eq!(reach(&books), None);

    books.ledger.find_balances().await.unwrap();
    let looked = books.ledger.follow_balances().await.unwrap();
    let again = books.ledger.follow_balances().await.unwrap();

    assert_eq!((looked.looked_at, again.looked_at), (1, 0));
    assert_eq!((reach(&books), left(&books).await), (Some(20_00), 8_00));
    // Another process is told too.
    let other = books.reopened().await;
    assert_eq!(told(&other), told(&books.ledger));
}

#[tokio::test]
async fn balances_of_one_look_are_due_again_at_times_of_their_own_and_each_is_looked_at_once() {
    let (books, finance) = under("credit").await;
    for name in ["beta", "gamma", "delta"] {
        add_customer(&books.ledger, name, Currency::CNY, "UTC").await;
        books.ledger.assign_plan(&name.parse().unwrap(), "credit", None, &finance).await.unwrap();
    }
    let other = books.reopened().await;
    books.clock.set("2026-11-20T12:00:00Z");

    let (one, two) = tokio::join!(books.ledger.follow_balances(), other.follow_balances());

    assert_eq!(one.unwrap().looked_at + two.unwrap().looked_at, 4);
    let times = "select count(distinct due_at) from prepaid_balance";
    assert_eq!(books.value(times).await, 4);
    let (first, last) = (at("2026-11-20T12:30:00Z"), at("2026-11-20T13:00:00Z"));
    let soonest = books.value("select min(due_at) from prepaid_balance").await;
    let latest = books.value("select max(due_at) from prepaid_balance").await;
    assert!(first.timestamp_micros() <= soonest && latest <= last.timestamp_micros());
}

#[tokio::test]
async fn a_balance_that_has_no_result_stays_and_hinders_no_other() {
    let (books, _) = under("credit").await;
    grant(&books, &credit("20")).await;
    becomes(&books, "2026-12-02T00:00:00Z").await;
    books.accept(&[used(&books, 1, "2026-11-05", 1_200)]).await;
    books.issue("2026-11").await;
    books.tamper("update invoice set usage_nano = null, document = '{}'").await;
    books.clock.set("2026-12-02T02:00:00Z");

    let sweep = books.ledger.follow_balances().await.unwrap();
    let again = books.ledger.follow_balances().await.unwrap();

    assert_eq!((sweep.failed.len(), again.looked_at), (1, 0));
    assert_eq!(sweep.failed[0].0, acme());
    assert_eq!(reach(&books), Some(20_00));
}

#[tokio::test]
async fn webhooks_are_told_that_credit_is_nearly_spent_and_that_it_is() {
    let (books, admin) = under("credit").await;
    add_webhook(&books, &admin).await;
    grant(&books, &credit("10")).await;
    let count =
        async || books.value("select count(*) from webhook_event where kind like 'limit.%'").await;

    let mut told = Vec::new();
    for (number, tokens) in [(1, 799), (2, 1), (3, 199), (4, 1), (5, 100)] {
        books.accept(&[used(&books, number, "2026-11-20", tokens)]).await;
        told.push(count().await);
    }
    // More of it is near its end again.
    grant(&books, &credit("10")).await;
    books.accept(&[used(&books, 6, "2026-11-20", 600)]).await;
    told.push(count().await);

    assert_eq!(told, [0, 1, 1, 2, 2, 3]);
}

async fn add_webhook(books: &Books, admin: &Instruction) {
    let url = "https://example.com/house".to_owned();
    let webhook = NewWebhook { url, events: Vec::new(), customer: None, description: None };
    books.ledger.add_webhook(webhook, admin).await.unwrap();
}

#[tokio::test]
async fn webhooks_are_told_that_less_credit_is_nearly_spent_or_is() {
    let (books, admin) = under("credit").await;
    add_webhook(&books, &admin).await;
    let told = "select 10 * sum(case kind when 'limit.warning' then 1 else 0 end)
        + sum(case kind when 'limit.exhausted' then 1 else 0 end) from webhook_event";
    let last = NewGrant { priority: 9, ..until("10", "2026-11-21T00:00:00Z") };
    grant(&books, &last).await;
    grant(&books, &credit("8")).await;
    books.accept(&[used(&books, 1, "2026-11-20", 750)]).await;
    let before = books.value("select count(*) from webhook_event where kind like 'limit.%'").await;

    // 8.00 are left in all, 6.40 warn.
    becomes(&books, "2026-11-21T00:00:00Z").await;
    let at_its_end = books.value(told).await;
    // With 10 percent of tax 8.00 pay 7.27.
    taxed(&books).await;
    becomes(&books, "2026-11-21T02:00:00Z").await;

    assert_eq!((before, at_its_end, books.value(told).await), (0, 10, 11));
}
