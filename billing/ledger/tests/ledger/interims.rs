//! Interim invoices: a running month's usage billed before its end, and the month's own after them.

use permille_ledger::{
    CreditScope, Instruction, InterimInvoice, Invoice, InvoiceState, InvoiceTexts, LedgerError,
    NO_PLAN, NewCredit, Page, Role, UsageFilter,
};
use permille_types::{CustomerId, Flag, InvoiceId, TokenClass, UsageEvent};

use crate::{
    evidence::files,
    support::{Books, at, import},
};

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
name = "progressive"
kind = "subscription"
currency = "CNY"
fee = "31"
threshold = "200"

[[plan]]
name = "usage"
kind = "metered"
currency = "CNY"
threshold = "200"
"#;

pub(crate) fn acme() -> CustomerId {
    "acme".parse().unwrap()
}

pub(crate) fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

/// Event `number` at noon of a day, with so many tokens of a cent each.
pub(crate) fn used(books: &Books, number: u32, day: &str, tokens: u64) -> UsageEvent {
    UsageEvent {
        at: at(&format!("{day}T12:00:00Z")),
        model_requested: "cents".parse().unwrap(),
        tokens: [(TokenClass::INPUT_UNCACHED, tokens)].into(),
        ..books.event(number)
    }
}

/// `acme` under a plan since October.
pub(crate) async fn under(plan: &str) -> (Books, Instruction) {
    let books = Books::open().await;
    import(&books.ledger, CENTS).await;
    let finance = books.as_role(Role::Finance).await;
    books.ledger.add_plans(PLANS, &finance).await.unwrap();
    let from = Some(at("2026-10-01T00:00:00Z"));
    books.ledger.assign_plan(&acme(), plan, from, &finance).await.unwrap();
    (books, finance)
}

async fn draft(books: &Books, finance: &Instruction) -> Result<Invoice, LedgerError> {
    books.ledger.draft_interim(&acme(), "2026-11", InvoiceTexts::default(), finance).await
}

async fn issue(books: &Books, draft: &Invoice, finance: &Instruction) -> Invoice {
    books.ledger.approve_invoice(&id(draft), finance).await.unwrap();
    books.ledger.finalize_invoice(&id(draft), finance).await.unwrap()
}

pub(crate) fn lines(invoice: &Invoice) -> Vec<String> {
    invoice.lines.iter().map(|line| format!("{} {}", line.meter, line.amount)).collect()
}

fn refusal(result: Result<Invoice, LedgerError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
    error.to_string()
}

/// A worked example of progressive billing: a fee of 31, a threshold of 200, usage of 400.
#[tokio::test]
async fn the_months_own_invoice_bills_what_interim_ones_have_not() {
    let (books, finance) = under("progressive").await;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;

    let preview = books.ledger.preview_interim(&acme(), "2026-11").await.unwrap();
    let drafted = draft(&books, &finance).await.unwrap();
    let interim = issue(&books, &drafted, &finance).await;
    books.accept(&[used(&books, 2, "2026-11-25", 20_000)]).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let month = books.issue("2026-11").await;

    assert_eq!((preview.state, preview.interim), (InvoiceState::Preview, true));
    assert_eq!((lines(&preview), &preview.lines), (lines(&interim), &interim.lines));
    assert_eq!(lines(&interim), ["input_uncached 200.00"]);
    assert_eq!((interim.interim, interim.period.label.as_str()), (true, "2026-11"));
    assert_eq!(interim.number.as_ref().unwrap().as_str(), "INV-2026-000001");
    assert_eq!(interim.billed_before, []);
    assert_eq!(lines(&month), ["input_uncached 200.00", "fee 31.00"]);
    assert_eq!((month.interim, month.total.to_string()), (false, "231.00".to_owned()));
    let number = interim.number.clone().unwrap();
    let before = InterimInvoice { number, subtotal: "200.00".parse().unwrap() };
    assert_eq!(month.billed_before, [before]);
    assert_eq!((interim.total + month.total).to_string(), "431.00");
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    let unbilled = "select coalesce(sum(amount_nano), 0) from posting_entry
         where account = 'revenue:unbilled'";
    assert_eq!(books.value(unbilled).await, 0);
    let late = books.ledger.preview_invoice(&acme(), "2026-12").await.unwrap();
    assert_eq!(lines(&late), ["fee 31.00"], "nothing of November is left");
}

#[tokio::test]
async fn an_interim_invoice_and_the_months_own_follow_from_their_files() {
    let (books, finance) = under("progressive").await;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let first = draft(&books, &finance).await.unwrap();
    let first = issue(&books, &first, &finance).await;
    books.accept(&[used(&books, 2, "2026-11-10", 7_000)]).await;
    let second = draft(&books, &finance).await.unwrap();
    let second = issue(&books, &second, &finance).await;
    books.accept(&[used(&books, 3, "2026-11-25", 100)]).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let month = books.issue("2026-11").await;

    for (invoice, earlier) in
        [(&first, vec![]), (&second, vec![&first]), (&month, vec![&first, &second])]
    {
        let files = files(&books, invoice, &earlier).await;
        let found = files.verify().unwrap();
        assert_eq!(found.differences, Vec::<String>::new());
        assert_eq!(serde_json::to_string(&found.recomputed).unwrap(), files.document);
        let told = found.remarks.iter().any(|told| told.contains("INV-2026-000001 200.00"));
        assert_eq!(told, !earlier.is_empty(), "{:?}", found.remarks);
    }
    assert_eq!(lines(&month), ["input_uncached 1.00", "fee 31.00"]);
    let alone = files(&books, &month, &[&first]).await.faults();
    assert!(alone[0].contains("invoice INV-2026-000002 had billed some of 2026-11"), "{alone:?}");
    let mut changed = files(&books, &month, &[&first, &second]).await;
    changed.document = changed.document.replace("\"subtotal\":\"70.00\"", "\"subtotal\":\"71.00\"");
    let faults = changed.faults();
    assert!(faults[0].starts_with("billed_before 2 subtotal: 71.00 printed"), "{faults:?}");
    let mut whole = files(&books, &second, &[&first]).await;
    whole.document = whole.document.replace("\"interim\":true,", "");
    let faults = whole.faults();
    assert!(
        faults.iter().any(|fault| fault.contains("fee")),
        "an interim bills no fee: {faults:?}"
    );
}

#[tokio::test]
async fn the_months_own_invoice_waits_for_an_interim_one() {
    let (books, finance) = under("usage").await;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let interim = draft(&books, &finance).await.unwrap();
    let (ledger, open) = (&books.ledger, id(&interim));
    assert!(
        refusal(ledger.approve_invoice(&id(&books.draft("2026-11").await), &finance).await)
            .contains("before its month 2026-11 has ended")
    );
    books.clock.set("2026-12-01T00:00:00Z");

    let month = books.draft("2026-11").await;
    let waits = refusal(ledger.approve_invoice(&id(&month), &finance).await);
    let close = ledger.close_report("2026-11").await.unwrap();
    let issued = close.checks.iter().find(|check| check.name == "issued").unwrap();
    ledger.approve_invoice(&open, &finance).await.unwrap();
    let still = refusal(ledger.approve_invoice(&id(&month), &finance).await);
    ledger.finalize_invoice(&open, &finance).await.unwrap();
    let untold = refusal(ledger.approve_invoice(&id(&month), &finance).await);
    let month = books.draft("2026-11").await;

    assert!(waits.contains(&format!("interim invoice `{open}` over 2026-11, which is draft")));
    assert!(still.contains("which is approved"), "{still}");
    assert!(!issued.ok && issued.detail.contains("acme (interim, draft)"), "{}", issued.detail);
    assert!(untold.contains("draft it again"), "{untold}");
    assert_eq!(lines(&month), Vec::<String>::new(), "all of it is billed");
}

#[tokio::test]
async fn a_void_interim_invoice_gives_its_usage_back_until_the_months_own_counts_on_it() {
    let (books, finance) = under("progressive").await;
    let ledger = &books.ledger;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let first = draft(&books, &finance).await.unwrap();
    let first = issue(&books, &first, &finance).await;
    ledger.void_invoice(&id(&first), "a test", &finance).await.unwrap();
    let again = draft(&books, &finance).await.unwrap();
    assert_ne!(id(&again), id(&first));
    assert_eq!(lines(&again), lines(&first));
    let again = issue(&books, &again, &finance).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let drafted = books.draft("2026-11").await;
    ledger.approve_invoice(&id(&drafted), &finance).await.unwrap();

    // Made void between the approval and the issue of the month's own, it would be told untruly.
    ledger.void_invoice(&id(&again), "a test", &finance).await.unwrap();
    let untold = refusal(ledger.finalize_invoice(&id(&drafted), &finance).await);
    let month = books.issue("2026-11").await;

    assert!(untold.contains("issued or made void; draft it again"), "{untold}");
    assert_eq!(lines(&month), ["input_uncached 200.00", "fee 31.00"]);
    assert_eq!(month.billed_before, []);
    assert_eq!(ledger.check_books().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_interim_invoice_that_the_months_own_counts_on_is_credited_and_not_voided() {
    let (books, finance) = under("progressive").await;
    let ledger = &books.ledger;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let interim = draft(&books, &finance).await.unwrap();
    let interim = issue(&books, &interim, &finance).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let month = books.issue("2026-11").await;

    let counted = refusal(ledger.void_invoice(&id(&interim), "a test", &finance).await);
    let scope = CreditScope::Amount("50".parse().unwrap());
    let credit = NewCredit { scope, currency: None, reason: "a test".to_owned() };
    let note = ledger.credit_invoice(&id(&interim), &credit, &finance).await.unwrap();
    let paid = ledger.pay_invoice(&id(&interim), None, &finance).await.unwrap();
    ledger.void_invoice(&id(&month), "a test", &finance).await.unwrap();
    let again = books.issue("2026-11").await;

    assert!(
        counted.contains("`INV-2026-000002`, which has billed the rest of 2026-11"),
        "{counted}"
    );
    assert_eq!(note.gross.to_string(), "50.00");
    assert_eq!(
        (paid.state, paid.standing.unwrap().due.to_string()),
        (InvoiceState::Paid, "0.00".to_owned())
    );
    assert_eq!(lines(&again), ["fee 31.00"], "a credit takes back money, not usage");
    assert_eq!(ledger.check_books().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn only_a_running_month_with_something_to_bill_has_an_interim_draft() {
    let (books, finance) = under("usage").await;
    let of = async |period: &str| {
        let texts = InvoiceTexts::default();
        books.ledger.draft_interim(&acme(), period, texts, &finance).await
    };

    let nothing = refusal(of("2026-11").await);
    let ended = refusal(of("2026-10").await);
    let future = of("2026-12").await.unwrap_err().to_string();
    let mut simulated = used(&books, 1, "2026-11-05", 20_000);
    simulated.flags.push(Flag::Simulated);
    books.accept(&[simulated]).await;
    let never = refusal(of("2026-11").await);
    let preview = books.ledger.preview_interim(&acme(), "2026-11").await.unwrap();

    assert!(nothing.contains("`2026-11` has 0.00 that is not billed"), "{nothing}");
    assert!(ended.contains("has ended at 2026-11-01T00:00:00Z; accepted: its own"), "{ended}");
    assert!(future.contains("a month that has begun"), "{future}");
    assert!(never.contains("simulated provider alone; that is never billed"), "{never}");
    assert_eq!((preview.simulated, preview.total.to_string()), (true, "200.00".to_owned()));
    assert_eq!(books.value("select count(*) from invoice").await, 0);
}

#[tokio::test]
async fn drafting_again_renews_an_interim_draft_and_keeps_its_texts() {
    let (books, finance) = under("usage").await;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let texts = InvoiceTexts { purchase_order: Some("PO-9".to_owned()), notes: None };
    let first = books.ledger.draft_interim(&acme(), "2026-11", texts, &finance).await.unwrap();
    books.ledger.approve_invoice(&id(&first), &finance).await.unwrap();
    books.accept(&[used(&books, 2, "2026-11-06", 500)]).await;

    let second = draft(&books, &finance).await.unwrap();
    let history = books.ledger.invoice_history(&id(&first)).await.unwrap();

    assert_eq!((id(&second), second.state), (id(&first), InvoiceState::Draft));
    assert_eq!(lines(&second), ["input_uncached 205.00"]);
    assert_eq!(second.purchase_order.as_deref(), Some("PO-9"));
    let actions: Vec<_> = history.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["draft", "approve", "draft"]);
}

/// What was approved is issued; what came since is for the next one.
#[tokio::test]
async fn usage_that_comes_after_the_approval_is_on_the_next_interim_invoice() {
    let (books, finance) = under("usage").await;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let first = draft(&books, &finance).await.unwrap();
    books.ledger.approve_invoice(&id(&first), &finance).await.unwrap();
    books.accept(&[used(&books, 2, "2026-11-06", 500)]).await;

    let first = books.ledger.finalize_invoice(&id(&first), &finance).await.unwrap();
    let second = draft(&books, &finance).await.unwrap();

    assert_eq!(
        (lines(&first), lines(&second)),
        (vec!["input_uncached 200.00".to_owned()], vec!["input_uncached 5.00".to_owned()])
    );
    assert_eq!(second.billed_before.len(), 1);
}

#[tokio::test]
async fn a_change_of_plan_has_an_interim_draft_drafted_again_and_none_reaches_an_issued_one() {
    let (books, finance) = under("usage").await;
    let ledger = &books.ledger;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let drafted = draft(&books, &finance).await.unwrap();
    ledger.approve_invoice(&id(&drafted), &finance).await.unwrap();

    let from = Some(at("2026-11-25T00:00:00Z"));
    ledger.assign_plan(&acme(), "progressive", from, &finance).await.unwrap();
    let taken_back = ledger.invoice(&id(&drafted)).await.unwrap();
    let stale = refusal(ledger.approve_invoice(&id(&drafted), &finance).await);
    let again = draft(&books, &finance).await.unwrap();
    issue(&books, &again, &finance).await;
    let from = Some(at("2026-11-26T00:00:00Z"));
    let refused = ledger.assign_plan(&acme(), NO_PLAN, from, &finance).await.unwrap_err();
    let from = Some(at("2026-12-01T00:00:00Z"));
    ledger.assign_plan(&acme(), NO_PLAN, from, &finance).await.unwrap();

    assert_eq!(taken_back.state, InvoiceState::Draft);
    assert!(stale.contains("before terms of its month 2026-11 changed"), "{stale}");
    assert!(refused.to_string().contains("2026-11 of `acme` is invoiced"), "{refused}");
}

/// A month with an interim invoice is late for nobody before its own is issued.
#[tokio::test]
async fn the_next_month_bills_nothing_late_of_a_month_without_its_own_invoice() {
    let (books, finance) = under("progressive").await;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let interim = draft(&books, &finance).await.unwrap();
    issue(&books, &interim, &finance).await;
    books.accept(&[used(&books, 2, "2026-11-25", 300)]).await;
    books.clock.set("2027-01-02T00:00:00Z");

    let early = books.ledger.preview_invoice(&acme(), "2026-12").await.unwrap();
    let month = books.issue("2026-11").await;
    books.accept(&[used(&books, 3, "2026-11-26", 400)]).await;
    let december = books.issue("2026-12").await;

    assert_eq!(lines(&early), ["fee 31.00"]);
    assert_eq!(lines(&month), ["input_uncached 3.00", "fee 31.00"]);
    assert_eq!(lines(&december), ["fee 31.00", "input_uncached 4.00"]);
    assert_eq!(december.lines[1].corrects.as_deref(), Some("2026-11"));
    let files = files(&books, &december, &[&interim_of(&books, &interim).await, &month]).await;
    assert_eq!(files.faults(), Vec::<String>::new());
}

async fn interim_of(books: &Books, interim: &Invoice) -> Invoice {
    books.ledger.invoice(&id(interim)).await.unwrap()
}

#[tokio::test]
async fn a_close_asks_for_the_months_own_invoice_where_interim_ones_leave_something() {
    for (plan, left) in [("usage", false), ("progressive", true)] {
        let (books, finance) = under(plan).await;
        books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
        let interim = draft(&books, &finance).await.unwrap();
        issue(&books, &interim, &finance).await;
        books.clock.set("2026-12-02T00:00:00Z");
        books.accept(&[used(&books, 2, "2026-12-01", 1)]).await;

        let before = books.ledger.close_report("2026-11").await.unwrap();
        books.ledger.prepare_close("2026-11", &finance).await.unwrap();
        let drafts = "select count(*) from invoice where state = 'draft' and interim = 0";

        let check = before.checks.iter().find(|check| check.name == "drafts").unwrap();
        assert_eq!(check.ok, !left, "{plan}: {}", check.detail);
        assert_eq!(books.value(drafts).await, i64::from(left), "{plan}");
    }
}

#[tokio::test]
async fn a_close_makes_an_interim_draft_void_and_leaves_one_that_is_approved() {
    for approved in [false, true] {
        let (books, finance) = under("usage").await;
        let ledger = &books.ledger;
        books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
        let interim = draft(&books, &finance).await.unwrap();
        if approved {
            ledger.approve_invoice(&id(&interim), &finance).await.unwrap();
        }
        books.clock.set("2026-12-01T00:00:00Z");
        let keyed = Instruction::new(finance.by().clone(), Some("close-11")).unwrap();

        ledger.prepare_close("2026-11", &keyed).await.unwrap();
        let close = ledger.prepare_close("2026-11", &keyed).await.unwrap();

        let interim = ledger.invoice(&id(&interim)).await.unwrap();
        let history = ledger.invoice_history(&id(&interim)).await.unwrap();
        let issued = close.checks.iter().find(|check| check.name == "issued").unwrap();
        if approved {
            assert_eq!(interim.state, InvoiceState::Approved);
            assert!(issued.detail.contains("acme (interim, approved)"), "{}", issued.detail);
            continue;
        }
        assert_eq!(interim.state, InvoiceState::Void);
        let last = history.last().unwrap();
        assert_eq!((&*last.action, &*last.role), ("void", "finance"));
        assert!(last.detail.as_ref().unwrap().starts_with("its month has ended"), "{last:?}");
        assert!(!issued.detail.contains("interim"), "{}", issued.detail);
        assert_eq!(history.len(), 2, "made void once");
        assert_eq!(lines(&books.issue("2026-11").await), ["input_uncached 200.00"]);
    }
}

/// A charge for everyone is owed where something was used, its minimum at the month's end.
#[tokio::test]
async fn a_close_asks_for_what_is_missing_to_the_minimum_of_a_charge() {
    let (books, finance) = under("usage").await;
    let charge = r#"
[[charge]]
name = "least"
currency = "CNY"
kind = "unit"
unit = "10"
from = 2026-11-01T00:00:00Z
minimum = "250"
"#;
    books.ledger.add_charges(charge, &finance).await.unwrap();
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let interim = draft(&books, &finance).await.unwrap();
    let interim = issue(&books, &interim, &finance).await;
    books.clock.set("2026-12-02T00:00:00Z");

    let close = books.ledger.close_report("2026-11").await.unwrap();
    let month = books.issue("2026-11").await;
    let after = books.ledger.close_report("2026-11").await.unwrap();

    let drafts = |close: &permille_ledger::Close| {
        close.checks.iter().find(|check| check.name == "drafts").unwrap().ok
    };
    assert_eq!(lines(&interim), ["input_uncached 200.00"]);
    assert_eq!(lines(&month), ["charge 50.00"]);
    assert_eq!((drafts(&close), drafts(&after)), (false, true));
}

/// While its month goes on a request has no share: what it is summed with is not all billed.
#[tokio::test]
async fn what_requests_were_billed_is_told_with_the_months_own_invoice() {
    let (books, finance) = under("usage").await;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let interim = draft(&books, &finance).await.unwrap();
    issue(&books, &interim, &finance).await;
    let rows = async || {
        let page = Page::default();
        books.ledger.usage(&UsageFilter::default(), &page).await.unwrap().items
    };
    let before = rows().await;
    books.accept(&[used(&books, 2, "2026-11-06", 10_000)]).await;
    books.clock.set("2026-12-01T00:00:00Z");
    books.issue("2026-11").await;
    let after = rows().await;

    assert_eq!(before[0].billed_cost, None);
    let mut billed: Vec<_> = after.iter().map(|row| row.billed_cost.clone().unwrap()).collect();
    billed.sort();
    assert_eq!(billed, ["100", "200"]);
}
