//! Disputes: evidence that is frozen, one answer each, and a month that is not signed past them.

use permille_ledger::{
    CreditScope, Dispute, DisputeState, Invoice, LedgerError, NewCredit, NewDispute, Page,
    Resolution, Role,
};
use permille_rating::proof::Hash;
use permille_types::{InvoiceId, RequestId, TokenClass};

use crate::support::{Books, add_customer, add_key, batch, event, request_id};

/// An issued invoice of November over two requests of `acme`, 12.00 and 6.00.
async fn issued() -> (Books, Invoice) {
    let books = Books::open().await;
    let mut event = books.event(1);
    event.tokens =
        [(TokenClass::INPUT_UNCACHED, 1_000_000), (TokenClass::OUTPUT_TEXT, 500_000)].into();
    books.accept(&[event]).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let invoice = books.issue("2026-11").await;
    assert_eq!(invoice.lines.len(), 2);
    (books, invoice)
}

fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

fn over(line: Option<usize>, request: Option<RequestId>) -> NewDispute {
    NewDispute { line, request, reason: "we cancelled that run".to_owned() }
}

async fn open(books: &Books, invoice: &Invoice, new: &NewDispute) -> Result<Dispute, LedgerError> {
    let finance = books.as_role(Role::Finance).await;
    books.ledger.open_dispute(&id(invoice), new, &finance).await
}

fn answer(is_accepted: bool, credit_note: Option<&str>) -> Resolution {
    let credit_note = credit_note.map(|number| number.parse().unwrap());
    Resolution { is_accepted, note: "looked at".to_owned(), credit_note }
}

#[tokio::test]
async fn a_dispute_keeps_what_was_billed_and_its_answer_names_the_credit() {
    let (books, invoice) = issued().await;
    let finance = books.as_role(Role::Finance).await;
    let before = books.ledger.invoice_document(&id(&invoice)).await.unwrap();

    let opened = open(&books, &invoice, &over(Some(2), Some(request_id(1)))).await.unwrap();
    let named = open(&books, &invoice, &over(Some(2), Some(request_id(1)))).await.unwrap_err();
    let scope = CreditScope::Line { number: 2, amount: None };
    let credit = NewCredit { scope, currency: None, reason: "goodwill".to_owned() };
    let note = books.ledger.credit_invoice(&id(&invoice), &credit, &finance).await.unwrap();
    let accepted = answer(true, Some(note.number.as_str()));
    let resolved = books.ledger.resolve_dispute(&opened.id, &accepted, &finance).await.unwrap();
    let twice = books.ledger.resolve_dispute(&opened.id, &answer(false, None), &finance).await;

    let evidence = &opened.evidence;
    assert_eq!(evidence.line.as_ref(), invoice.lines.get(1));
    assert_eq!(evidence.records, invoice.records);
    let request = evidence.request.as_ref().unwrap();
    assert_eq!((request.index, request.period.as_str()), (0, "2026-11"));
    assert!(request.record.contains(&request_id(1).to_string()), "{}", request.record);
    // One record alone is its own root: the evidence proves itself.
    assert_eq!(Hash::of_leaf(request.record.as_bytes()), invoice.records[0].root);
    assert!(named.to_string().contains(&opened.id), "{named}");
    assert_eq!(
        (resolved.state, &resolved.credit_note),
        (DisputeState::Accepted, &Some(note.number))
    );
    assert_eq!(resolved.evidence, opened.evidence);
    let twice = twice.unwrap_err().to_string();
    assert!(twice.contains("is accepted already"), "{twice}");
    assert_eq!(books.ledger.dispute(&opened.id).await.unwrap(), resolved);
    let listed = books.ledger.disputes(Some(&invoice.customer.id), &Page::default()).await.unwrap();
    assert_eq!(listed.items, [resolved]);
    assert_eq!(books.ledger.invoice_document(&id(&invoice)).await.unwrap(), before);
    let history = books.ledger.invoice_history(&id(&invoice)).await.unwrap();
    let actions: Vec<_> = history.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["draft", "approve", "finalize", "dispute", "credit", "resolve"]);
}

#[tokio::test]
async fn what_an_invoice_does_not_bill_is_not_disputed_and_an_open_one_stops_the_signature() {
    let (books, invoice) = issued().await;
    add_customer(&books.ledger, "globex", permille_types::Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "globex").await;
    let theirs = event(7, "globex", key.key.id.as_str());
    books.ledger.accept(&batch("n2", 1, &[theirs])).await.unwrap();
    let late = books.event(9);
    books.ledger.accept(&batch("n1", 2, &[late])).await.unwrap();
    let before = books.dump().await;
    let mute = NewDispute { reason: " ".to_owned(), ..over(None, None) };
    for (new, named) in [
        (over(Some(0), None), "line `0`"),
        (over(Some(3), None), "accepted: 1 to 2"),
        (over(None, Some(request_id(7))), "a request of the months"),
        // It came after the invoice.
        (over(None, Some(request_id(9))), "a request of the months"),
        (over(None, Some(request_id(99))), "a request of the months"),
        (mute, "reason ``"),
    ] {
        let refused = open(&books, &invoice, &new).await.unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
    assert_eq!(books.dump().await, before);

    let finance = books.as_role(Role::Finance).await;
    let disputed = open(&books, &invoice, &over(None, None)).await.unwrap();
    let report = books.ledger.close_report("2026-11").await.unwrap();
    let foreign = answer(true, Some("CN-2026-000009"));
    let foreign = books.ledger.resolve_dispute(&disputed.id, &foreign, &finance).await.unwrap_err();
    let rejected = answer(false, None);
    books.ledger.resolve_dispute(&disputed.id, &rejected, &finance).await.unwrap();
    let after = books.ledger.close_report("2026-11").await.unwrap();

    let check = |close: &permille_ledger::Close| {
        let found = close.checks.iter().find(|check| check.name == "disputes").unwrap();
        (found.ok, found.detail.clone())
    };
    assert_eq!(check(&report), (false, format!("open: INV-2026-000001 ({})", disputed.id)));
    assert!(check(&after).0);
    assert!(foreign.to_string().contains("a credit note of INV-2026-000001"), "{foreign}");
    let draft = books.draft("2026-12").await;
    let early = open(&books, &draft, &over(None, None)).await.unwrap_err().to_string();
    assert!(early.contains("was never issued"), "{early}");
}

#[tokio::test]
async fn no_more_disputes_are_open_over_an_invoice_than_somebody_can_answer() {
    let books = Books::open().await;
    books.accept(&(1..=21).map(|number| books.event(number)).collect::<Vec<_>>()).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let invoice = books.issue("2026-11").await;

    let mut opened = Vec::new();
    for number in 1..=20 {
        let new = over(None, Some(request_id(number)));
        opened.push(open(&books, &invoice, &new).await.unwrap());
    }
    let last = over(None, Some(request_id(21)));
    let refused = open(&books, &invoice, &last).await.unwrap_err().to_string();
    let finance = books.as_role(Role::Finance).await;
    books.ledger.resolve_dispute(&opened[0].id, &answer(false, None), &finance).await.unwrap();

    assert!(refused.contains("has 20 open disputes"), "{refused}");
    open(&books, &invoice, &last).await.unwrap();
}
