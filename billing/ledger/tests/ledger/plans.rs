//! Plans of customers: from when on, on invoices, in trials, and never inside an invoiced month.

use permille_ledger::{CustomerPlan, Invoice, LedgerError, NO_PLAN, Role};
use permille_types::{Currency, CustomerId, TokenClass, UsageEvent};

use crate::support::{Books, at};

const PLANS: &str = r#"
[[plan]]
name = "team"
kind = "subscription"
currency = "CNY"
fee = "30"
trial = { days = 10 }
[plan.allowance]
tokens = 300000

[[plan]]
name = "large"
kind = "subscription"
currency = "CNY"
fee = "60"

[[plan]]
name = "committed"
kind = "commitment"
currency = "CNY"
commitment = "100"
"#;

fn acme() -> CustomerId {
    "acme".parse().unwrap()
}

/// Event `number` of an instant, with so many tokens at 0.012 per thousand.
fn used(books: &Books, number: u32, instant: &str, tokens: u64) -> UsageEvent {
    let tokens = [(TokenClass::INPUT_UNCACHED, tokens)].into();
    UsageEvent { at: at(instant), tokens, ..books.event(number) }
}

async fn with_plans() -> Books {
    let books = Books::open().await;
    let finance = books.as_role(Role::Finance).await;
    books.ledger.add_plans(PLANS, &finance).await.unwrap();
    books
}

async fn assign(books: &Books, plan: &str, from: &str) -> Result<Vec<CustomerPlan>, LedgerError> {
    let finance = books.as_role(Role::Finance).await;
    books.ledger.assign_plan(&acme(), plan, Some(at(from)), &finance).await
}

async fn preview(books: &Books, period: &str) -> Invoice {
    books.ledger.preview_invoice(&acme(), period).await.unwrap()
}

/// Class, day of the part and amount of each line.
fn lines(invoice: &Invoice) -> Vec<String> {
    let of = |line: &permille_rating::invoice::InvoiceLine| {
        let day = line.part.map_or_else(String::new, |part| part.start.format("%d ").to_string());
        format!("{day}{} {}", line.meter, line.amount)
    };
    invoice.lines.iter().map(of).collect()
}

/// What was billed of a month is not billed otherwise when it is looked at again.
#[tokio::test]
async fn a_charge_over_a_month_of_two_plans_counts_for_the_minimum_of_the_first_alike() {
    let books = Books::open().await;
    let finance = books.as_role(Role::Finance).await;
    let plans = r#"[[plan]]
name = "least"
kind = "metered"
currency = "CNY"
minimum = "60"
[[plan]]
name = "free"
kind = "metered"
currency = "CNY"
"#;
    books.ledger.add_plans(plans, &finance).await.unwrap();
    assign(&books, "least", "2026-11-01T00:00:00Z").await.unwrap();
    assign(&books, "free", "2026-11-16T00:00:00Z").await.unwrap();
    let charge = r#"[[charge]]
name = "own"
customer = "acme"
models = "nobody-uses-it"
kind = "unit"
currency = "CNY"
unit = "1"
minimum = "50"
from = 2026-11-01T00:00:00Z
until = 2026-12-01T00:00:00Z
"#;
    books.ledger.add_charges(charge, &finance).await.unwrap();
    books.accept(&[used(&books, 1, "2026-11-05T10:00:00Z", 1_000_000)]).await;
    books.clock.set("2027-01-02T00:00:00Z");

    let november = books.issue("2026-11").await;
    let december = preview(&books, "2026-12").await;

    assert_eq!(lines(&november), ["01 input_uncached 12.00", "charge 50.00"]);
    assert_eq!(lines(&december), Vec::<String>::new());
}

#[tokio::test]
async fn a_fee_stands_on_the_invoice_of_every_month_also_without_usage() {
    let books = with_plans().await;
    assign(&books, "large", "2026-09-01T00:00:00Z").await.unwrap();
    books.accept(&[used(&books, 1, "2026-10-05T10:00:00Z", 1_000_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");

    let october = books.issue("2026-10").await;
    let november = books.issue("2026-11").await;

    assert_eq!(lines(&october), ["input_uncached 12.00", "fee 60.00"]);
    assert_eq!(lines(&november), ["fee 60.00"]);
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    let billed = "select sum(amount_nano) from posting_entry where account = 'revenue:billed'";
    assert_eq!(books.value(billed).await, -132_000_000_000);
    let unbilled = "select coalesce(sum(amount_nano), 0) from posting_entry
         where account = 'revenue:unbilled'";
    assert_eq!(books.value(unbilled).await, 0, "a fee has never accrued");
}

#[tokio::test]
async fn a_change_of_plan_cuts_the_month_and_late_usage_falls_into_its_part() {
    let books = with_plans().await;
    assign(&books, "team", "2026-08-01T00:00:00Z").await.unwrap();
    assign(&books, "large", "2026-10-11T00:00:00Z").await.unwrap();
    books.accept(&[used(&books, 1, "2026-10-10T23:59:59Z", 100_000)]).await;
    books.accept(&[used(&books, 2, "2026-10-11T00:00:00Z", 100_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let october = books.issue("2026-10").await;
    books.accept(&[used(&books, 3, "2026-10-02T10:00:00Z", 100_000)]).await;
    books.accept(&[used(&books, 4, "2026-10-20T10:00:00Z", 1_000)]).await;

    let november = books.issue("2026-11").await;

    // 10 of 31 days of 30 and of 300,000 tokens, rounded up to 96,775; 21 of 31 days of 60.
    let expected =
        ["01 input_uncached 0.04", "11 input_uncached 1.20", "01 fee 9.68", "11 fee 40.65"];
    assert_eq!(lines(&october), expected);
    let late: Vec<_> = november.lines.iter().filter(|line| line.corrects.is_some()).collect();
    let late: Vec<String> = late
        .iter()
        .map(|line| format!("{} {}", line.part.unwrap().start.format("%d"), line.amount))
        .collect();
    assert_eq!(
        late,
        ["01 1.20", "11 0.01"],
        "200,000 less the allowance are 1.24, 0.04 are billed"
    );
    assert_eq!(preview(&books, "2026-12").await.lines.len(), 1, "the fee, and nothing late");
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
}

/// As rows from before parts were told apart: they are of the first part to everyone who asks.
#[tokio::test]
async fn what_was_billed_without_its_part_is_of_the_first_when_late_usage_is_issued() {
    let books = with_plans().await;
    assign(&books, "committed", "2026-09-01T00:00:00Z").await.unwrap();
    assign(&books, "large", "2026-10-11T00:00:00Z").await.unwrap();
    books.accept(&[used(&books, 1, "2026-10-05T10:00:00Z", 1_000_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    books.issue("2026-10").await;
    books.tamper("drop trigger invoiced_usage_no_update").await;
    books
        .tamper(
            "update invoiced_usage set part_at = null
             where part_at = (select min(part_at) from invoiced_usage)",
        )
        .await;
    books.accept(&[used(&books, 2, "2026-10-06T10:00:00Z", 100_000)]).await;

    let november = books.issue("2026-11").await;

    let late = lines(&november).into_iter().filter(|line| line.starts_with("01"));
    assert_eq!(late.collect::<Vec<_>>(), ["01 input_uncached 1.20", "01 commitment -1.20"]);
}

#[tokio::test]
async fn a_trial_is_free_for_its_days_and_had_once() {
    let books = with_plans().await;
    let plans = assign(&books, "team", "2026-11-01T00:00:00Z").await.unwrap();
    books.accept(&[used(&books, 1, "2026-11-05T10:00:00Z", 1_000_000)]).await;

    let trial = preview(&books, "2026-11").await;
    assign(&books, "large", "2026-11-21T00:00:00Z").await.unwrap();
    let again = assign(&books, "team", "2026-11-26T00:00:00Z").await.unwrap();

    assert_eq!(plans[0].trial_until, Some(at("2026-11-11T00:00:00Z")));
    assert_eq!(lines(&trial), ["01 input_uncached 0.00", "11 fee 20.00"]);
    assert_eq!(trial.charges[0].name, "team trial");
    let trials: Vec<_> = again.iter().map(|plan| plan.trial_until.is_some()).collect();
    assert_eq!(trials, [true, false, false]);
    let fees = ["01 input_uncached 0.00", "11 fee 10.00", "21 fee 10.00", "26 fee 5.00"];
    assert_eq!(lines(&preview(&books, "2026-11").await), fees);
}

#[tokio::test]
async fn what_is_missing_to_a_commitment_is_owed_and_late_usage_takes_it_off() {
    let books = with_plans().await;
    assign(&books, "committed", "2026-10-01T00:00:00Z").await.unwrap();
    assign(&books, NO_PLAN, "2026-11-01T00:00:00Z").await.unwrap();
    books.accept(&[used(&books, 1, "2026-10-05T10:00:00Z", 5_000_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let october = books.issue("2026-10").await;
    books.accept(&[used(&books, 2, "2026-10-06T10:00:00Z", 1_000_000)]).await;

    let november = books.issue("2026-11").await;

    assert_eq!(lines(&october), ["input_uncached 60.00", "commitment 40.00"]);
    assert_eq!(lines(&november), ["input_uncached 12.00", "commitment -12.00"]);
    assert_eq!(november.total.to_string(), "0.00");
}

#[tokio::test]
async fn a_plan_changes_on_the_hour_never_in_an_invoiced_month_and_in_the_customers_currency() {
    let books = with_plans().await;
    books.accept(&[used(&books, 1, "2026-10-05T10:00:00Z", 1_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let dollars = PLANS.replace("CNY", "USD").replace("\"team\"", "\"dollars\"");
    let finance = books.as_role(Role::Finance).await;
    books.ledger.add_plans(&dollars, &finance).await.unwrap();
    books.issue("2026-10").await;

    for (plan, from, named) in [
        ("nothing", "2026-12-01T00:00:00Z", "nothing"),
        ("dollars", "2026-12-01T00:00:00Z", "CNY"),
        ("team", "2026-12-01T00:30:00Z", "start of an hour"),
        ("team", "2026-10-31T23:00:00Z", "2026-10 of `acme` is invoiced"),
        ("team", "2026-01-01T00:00:00Z", "2026-11-01T00:00:00Z on"),
    ] {
        let refused = assign(&books, plan, from).await.unwrap_err();
        assert!(refused.to_string().contains(named), "{plan} {from}: {refused}");
    }
    assert!(assign(&books, "team", "2026-11-01T00:00:00Z").await.is_ok());
    let history = books.ledger.customer_history(&acme()).await.unwrap();
    assert_eq!(history.last().unwrap().action, "plan");
}

#[tokio::test]
async fn who_has_a_plan_keeps_its_version_when_the_name_gets_another_content() {
    let books = with_plans().await;
    assign(&books, "large", "2026-11-01T00:00:00Z").await.unwrap();
    let finance = books.as_role(Role::Finance).await;
    let dearer = PLANS.replace("fee = \"60\"", "fee = \"90\"");
    books.ledger.add_plans(&dearer, &finance).await.unwrap();
    books.ledger.add_plans(&dearer, &finance).await.unwrap();

    assert_eq!(lines(&preview(&books, "2026-11").await), ["fee 60.00"]);
    assert_eq!(books.ledger.plans().await.unwrap().len(), 4, "what is there is not added again");
    assign(&books, "large", "2026-12-01T00:00:00Z").await.unwrap();
    assert_eq!(lines(&preview(&books, "2026-12").await), ["fee 90.00"]);
    let reserved = PLANS.replace("\"team\"", "\"none\"");
    assert!(books.ledger.add_plans(&reserved, &finance).await.is_err());
    let bare = "[[plan]]\nname = \"credit\"\nkind = \"prepaid\"\n";
    let refused = books.ledger.add_plans(bare, &finance).await.unwrap_err().to_string();
    assert!(refused.starts_with("plan 1 (`credit`): key `currency` is missing"), "{refused}");
}

#[tokio::test]
async fn months_of_a_plan_follow_the_customers_clock_over_its_changes() {
    let books = Books::with("acme", Currency::CNY, "America/New_York").await;
    let finance = books.as_role(Role::Finance).await;
    books.ledger.add_plans(&PLANS.replace("\"60\"", "\"721\""), &finance).await.unwrap();
    // 2 November, midnight in New York: the day before has had 25 hours.
    assign(&books, NO_PLAN, "2026-11-02T05:00:00Z").await.unwrap();
    assign(&books, "large", "2026-10-01T04:00:00Z").await.unwrap();

    assert_eq!(lines(&preview(&books, "2026-11").await), ["01 fee 25.00"]);
    let trial = assign(&books, "team", "2026-10-25T04:00:00Z").await.unwrap();
    assert_eq!(trial[1].trial_until, Some(at("2026-11-04T05:00:00Z")), "10 days, one of 25 hours");
}

#[tokio::test]
async fn a_close_waits_for_who_owes_a_fee_without_usage() {
    let books = with_plans().await;
    assign(&books, "large", "2026-11-01T00:00:00Z").await.unwrap();
    books.clock.set("2026-12-02T00:00:00Z");

    let before = books.ledger.close_report("2026-11").await.unwrap();
    let finance = books.as_role(Role::Finance).await;
    books.ledger.prepare_close("2026-11", &finance).await.unwrap();

    let drafts = before.checks.iter().find(|check| check.name == "drafts").unwrap();
    assert!(!drafts.ok && drafts.detail.contains("acme"), "{drafts:?}");
    assert_eq!(books.lines("select total from invoice").await, ["60.00"]);
}

#[tokio::test]
async fn a_draft_from_before_a_change_of_terms_is_drafted_again_also_when_it_was_approved() {
    let books = with_plans().await;
    books.accept(&[used(&books, 1, "2026-11-20T10:00:00Z", 1_000_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let finance = books.as_role(Role::Finance).await;
    let id = books.draft("2026-11").await.id.unwrap();
    books.ledger.approve_invoice(&id, &finance).await.unwrap();

    assign(&books, "large", "2026-11-16T00:00:00Z").await.unwrap();

    let state = books.ledger.invoice(&id).await.unwrap().state;
    assert_eq!(state, permille_ledger::InvoiceState::Draft);
    let refused = books.ledger.approve_invoice(&id, &finance).await.unwrap_err();
    assert!(refused.to_string().contains("draft it again"), "{refused}");
    let issued = books.issue("2026-11").await;
    assert_eq!(lines(&issued), ["16 input_uncached 12.00", "16 fee 30.00"]);
    books.accept(&[used(&books, 2, "2026-11-02T10:00:00Z", 1_000_000)]).await;
    assert_eq!(preview(&books, "2026-12").await.lines.len(), 2, "what is late, and the fee");
}
