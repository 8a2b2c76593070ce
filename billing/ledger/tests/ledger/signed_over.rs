//! What an approval and a signature are over, and what a close must not miss.

use permille_ledger::{
    Close, CloseState, CreditScope, Instruction, Invoice, LedgerError, NewCredit, Role, SeenTotal,
};
use permille_types::{Currency, CustomerId, Flag, InvoiceId, UsageEvent};

use crate::support::{Books, add_customer, add_key, at, event};

fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

/// `acme` with usage in November, `idle` without; node `n1` has sent in December.
async fn in_december() -> Books {
    let books = Books::open().await;
    add_customer(&books.ledger, "idle", Currency::CNY, "UTC").await;
    books.accept(&[books.event(1)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let later = UsageEvent { at: at("2026-12-01T12:00:00Z"), ..books.event(2) };
    books.accept(&[later]).await;
    books
}

fn idle() -> CustomerId {
    "idle".parse().unwrap()
}

async fn sign(books: &Books, role: Role) -> Result<Close, LedgerError> {
    let who = books.as_role(role).await;
    books.ledger.sign_close("2026-11", None, &who).await
}

/// What the check of drafts has found.
async fn drafts(books: &Books) -> (bool, String) {
    let report = books.ledger.close_report("2026-11").await.unwrap();
    let check = report.checks.into_iter().find(|check| check.name == "drafts").unwrap();
    (check.ok, check.detail)
}

#[tokio::test]
async fn who_owes_the_minimum_of_a_charge_of_their_own_is_not_missed() {
    let books = in_december().await;
    books.issue("2026-11").await;
    let before = drafts(&books).await;
    let finance = books.as_role(Role::Finance).await;
    let charge = |whose: &str, least: &str| {
        format!(
            "[[charge]]\nname = \"seat\"\n{whose}models = \"nobody-uses-it\"\nkind = \"unit\"\n\
             currency = \"CNY\"\nunit = \"1\"\nfrom = 2026-10-01T00:00:00Z\nminimum = \"{least}\"\n"
        )
    };
    // Nobody owes unused what is for everyone, nor a minimum of nothing; acme is invoiced.
    for text in [charge("customer = \"idle\"\n", "0"), charge("customer = \"idle\"\n", "7")] {
        books.ledger.add_charges(&text, &finance).await.unwrap();
    }

    let owed = drafts(&books).await;
    books.ledger.prepare_close("2026-11", &finance).await.unwrap();
    let after = drafts(&books).await;

    assert!(before.0, "{before:?}");
    assert_eq!(owed, (false, "without an invoice: idle".to_owned()));
    assert!(after.0, "{after:?}");
    let invoices = books.ledger.invoices(Some(&idle()), &permille_ledger::Page::default()).await;
    assert_eq!(invoices.unwrap().items[0].total.to_string(), "7.00");
}

/// A draft over simulated usage is never issued, so it is no invoice of what is real.
#[tokio::test]
async fn real_usage_beside_a_draft_over_simulated_usage_is_not_missed() {
    let books = in_december().await;
    books.issue("2026-11").await;
    let key = add_key(&books.ledger, "idle").await.key;
    let mut simulated = event(10, "idle", key.id.as_str());
    simulated.flags = vec![Flag::Simulated];
    books.accept(&[simulated]).await;
    let finance = books.as_role(Role::Finance).await;
    let draft = books.ledger.draft_invoice(&idle(), "2026-11", &finance).await.unwrap();
    let tried = drafts(&books).await;
    books.accept(&[event(11, "idle", key.id.as_str())]).await;

    let used = drafts(&books).await;
    let signed = sign(&books, Role::Operator).await.unwrap_err();
    books.ledger.prepare_close("2026-11", &finance).await.unwrap();
    let renewed = books.ledger.invoice(&id(&draft)).await.unwrap();

    assert!(draft.simulated && tried.0, "{tried:?}");
    assert_eq!(used, (false, "without an invoice: idle".to_owned()));
    assert!(signed.to_string().contains("drafts: without an invoice: idle"), "{signed}");
    assert!(!renewed.simulated);
}

#[tokio::test]
async fn a_draft_that_says_another_total_than_was_seen_is_not_approved() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let seen = books.draft("2026-11").await;
    books.accept(&[UsageEvent { at: at("2026-11-21T00:00:00Z"), ..books.event(3) }]).await;
    let renewed = books.draft("2026-11").await;
    let approve = async |total, by: &Instruction| {
        let seen_total = SeenTotal { amount: total, currency: None };
        books.ledger.approve_invoice_over(&id(&seen), Some(seen_total), by).await
    };

    let refused = approve(seen.total, &finance).await.unwrap_err();
    let keyed = Instruction::new(finance.by().clone(), Some("k-1")).unwrap();
    let approved = approve(renewed.total, &keyed).await.unwrap();
    let again = approve(renewed.total, &keyed).await.unwrap();
    let other = approve(seen.total, &keyed).await.unwrap_err();

    assert_eq!((seen.total.to_string(), renewed.total.to_string()), ("0.02".into(), "0.03".into()));
    assert!(refused.to_string().contains("says 0.03 CNY in all, not 0.02"), "{refused}");
    assert_eq!(approved, again);
    assert!(matches!(other, LedgerError::Refused { noun: "idempotency key", .. }), "{other}");
}

#[tokio::test]
async fn a_signature_is_over_the_invoices_that_it_saw() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let first = books.issue("2026-11").await;
    sign(&books, Role::Operator).await.unwrap();
    books.ledger.void_invoice(&id(&first), "wrong address", &finance).await.unwrap();
    books.issue("2026-11").await;

    let other = sign(&books, Role::Finance).await.unwrap_err();
    let anew = sign(&books, Role::Operator).await.unwrap();
    let twice = sign(&books, Role::Operator).await.unwrap_err();
    let closed = sign(&books, Role::Finance).await.unwrap();

    // The same sum under another number is another invoice.
    let said =
        "was signed by operator over 0.02 CNY in 1 invoices; now it is 0.02 CNY in 1 invoices";
    assert!(other.to_string().contains(said), "{other}");
    assert!(other.to_string().contains("accepted: that operator signs again"), "{other}");
    assert_eq!((anew.signatures.len(), anew.state), (1, CloseState::Open));
    assert!(twice.to_string().contains("was signed by operator already"), "{twice}");
    assert_eq!((closed.signatures.len(), closed.state), (2, CloseState::Closed));
    let amounts: Vec<_> = closed.signatures.iter().map(|signed| signed.amounts.as_ref()).collect();
    assert!(amounts[0].is_some() && amounts[0] == amounts[1], "{amounts:?}");
    let sum = &amounts[0].unwrap().sums[0];
    assert_eq!((sum.invoices, sum.total.to_string()), (1, "0.02".to_owned()));
    let signed: Vec<_> = closed.history.iter().filter(|entry| entry.action == "sign").collect();
    assert_eq!(signed.len(), 3, "what was signed before stays on the history");
    assert_eq!(signed[0].detail.as_deref(), Some("over 0.02 CNY in 1 invoices"));
}

#[tokio::test]
async fn a_signature_has_one_sum_for_all_invoices_of_a_currency() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let key = add_key(&books.ledger, "idle").await.key;
    books.accept(&[event(10, "idle", key.id.as_str())]).await;
    books.ledger.prepare_close("2026-11", &finance).await.unwrap();
    let invoices = books.ledger.invoices(None, &permille_ledger::Page::default()).await.unwrap();
    for draft in &invoices.items {
        books.ledger.approve_invoice(&draft.id, &finance).await.unwrap();
        books.ledger.finalize_invoice(&draft.id, &finance).await.unwrap();
    }

    let signed = sign(&books, Role::Operator).await.unwrap();

    let sums = &signed.signatures[0].amounts.as_ref().unwrap().sums;
    let counted: Vec<_> = sums.iter().map(|sum| (sum.currency, sum.invoices)).collect();
    assert_eq!(counted, [(Currency::CNY, 2)]);
}

async fn credit(books: &Books, invoice: &Invoice, scope: CreditScope) {
    let new = NewCredit { scope, currency: None, reason: "a test".to_owned() };
    let finance = books.as_role(Role::Finance).await;
    books.ledger.credit_invoice(&id(invoice), &new, &finance).await.unwrap();
}

#[tokio::test]
async fn a_signature_is_over_what_is_credited_too_and_a_note_after_it_asks_for_another() {
    let books = in_december().await;
    books.accept(&[UsageEvent { at: at("2026-10-20T00:00:00Z"), ..books.event(3) }]).await;
    let (october, november) = (books.issue("2026-10").await, books.issue("2026-11").await);
    let cent = || CreditScope::Amount("0.01".parse().unwrap());
    credit(&books, &november, cent()).await;
    let first = sign(&books, Role::Operator).await.unwrap();
    // Another month's is not this month's.
    credit(&books, &october, cent()).await;
    let twice = sign(&books, Role::Operator).await.unwrap_err();
    credit(&books, &november, CreditScope::Rest).await;

    let other = sign(&books, Role::Finance).await.unwrap_err();
    let anew = sign(&books, Role::Operator).await.unwrap();
    let closed = sign(&books, Role::Finance).await.unwrap();

    assert!(twice.to_string().contains("was signed by operator already"), "{twice}");
    let said = "was signed by operator over 0.02 CNY in 1 invoices less 0.01 CNY credited; now it \
                is 0.02 CNY in 1 invoices less 0.02 CNY credited (other invoices, credit notes or \
                amounts); accepted: that operator signs again";
    assert!(other.to_string().contains(said), "{other}");
    assert_eq!((anew.signatures.len(), closed.state), (1, CloseState::Closed));
    let credited = |close: &Close| {
        let sums = &close.signatures[0].amounts.as_ref().unwrap().sums;
        (sums.len(), sums[0].total.to_string(), sums[0].credited.unwrap().to_string())
    };
    assert_eq!(credited(&first), (1, "0.02".into(), "0.01".into()));
    assert_eq!(credited(&closed), (1, "0.02".into(), "0.02".into()));
    let detail = closed.history.iter().rev().find(|entry| entry.action == "sign").unwrap();
    let told = "over 0.02 CNY in 1 invoices less 0.02 CNY credited";
    assert_eq!(detail.detail.as_deref(), Some(told));
    let shown = serde_json::to_value(&closed.signatures[1].amounts).unwrap();
    assert_eq!(shown["sums"][0]["credited"], "0.02");
}

/// As it was stored before credits were kept.
#[tokio::test]
async fn a_signature_without_a_credited_sum_holds_while_nothing_is_credited() {
    let books = in_december().await;
    let invoice = books.issue("2026-11").await;
    sign(&books, Role::Operator).await.unwrap();
    // SHA-256 of "INV-2026-000001 issued 0.02 CNY" and a line feed.
    let before = concat!(
        r#"{"sums":[{"currency":"CNY","invoices":1,"total":"0.02"}],"#,
        r#""digest":"ee2d3b195a57739fd5117d96847faabb8fcff3fb77f8bd99a65494f4c3b2cc31"}"#,
    );
    let stored = books.lines("select amounts from period_signature").await;
    assert_eq!(stored, [before], "nothing is written that was not before");

    let closed = sign(&books, Role::Finance).await.unwrap();
    credit(&books, &invoice, CreditScope::Rest).await;
    let later = books.ledger.close_report("2026-11").await.unwrap();

    assert_eq!(closed.state, CloseState::Closed);
    assert_eq!(later.signatures, closed.signatures, "a note after the close changes none of them");
}

/// A client that had no answer asks again; by then the month may be closed anew.
#[tokio::test]
async fn a_reopening_or_a_signature_that_comes_twice_under_its_key_is_made_once() {
    let books = in_december().await;
    books.issue("2026-11").await;
    let operator = books.as_role(Role::Operator).await;
    let keyed = |by: &Instruction, key| Instruction::new(by.by().clone(), Some(key)).unwrap();
    let signing = keyed(&operator, "sign-1");
    books.ledger.sign_close("2026-11", None, &signing).await.unwrap();
    sign(&books, Role::Finance).await.unwrap();
    let finance = books.as_role(Role::Finance).await;
    let reopening = keyed(&finance, "reopen-1");
    let reopen =
        async |reason, by: &Instruction| books.ledger.reopen_period("2026-11", reason, by).await;
    let opened = reopen("wrong VAT", &reopening).await.unwrap();

    let late_signature = books.ledger.sign_close("2026-11", None, &signing).await.unwrap();
    sign(&books, Role::Operator).await.unwrap();
    sign(&books, Role::Finance).await.unwrap();
    let again = reopen("wrong VAT", &reopening).await.unwrap();
    let other = reopen("another reason", &reopening).await.unwrap_err();

    assert_eq!(opened.state, CloseState::Open);
    assert_eq!(late_signature.signatures, []);
    assert_eq!(again.state, CloseState::Closed, "it is not opened again");
    assert!(matches!(other, LedgerError::Refused { noun: "idempotency key", .. }), "{other}");
    let reopened = again.history.iter().filter(|entry| entry.action == "reopen").count();
    assert_eq!(reopened, 1);
}
