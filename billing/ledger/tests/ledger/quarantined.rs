//! What is in quarantine is booked once it can be, or dismissed: by somebody, and once.

use permille_ledger::{Instruction, LedgerError, Page, QuarantineState, Quarantined, Role};
use permille_types::{TokenClass, UsageEvent};

use crate::support::{Books, raw_batch};

/// Two booked events and one that the store refused, as a fault of ours would make it do.
async fn refused_by_the_store(books: &Books) -> (UsageEvent, Quarantined) {
    books.tamper("create unique index one on session (customer)").await;
    let mut events = [books.event(1), books.event(2), books.event(3)];
    events[1].session = "another".parse().unwrap();
    assert_eq!(books.accept(&events).await.quarantined, 1);
    let [_, event, _] = events;
    (event, kept(books, Some(QuarantineState::Open)).await.remove(0))
}

async fn kept(books: &Books, state: Option<QuarantineState>) -> Vec<Quarantined> {
    books.ledger.quarantined(state, &Page::default()).await.unwrap().items
}

/// Everything but who did what.
async fn books_of(books: &Books) -> Vec<String> {
    let mut lines = books.dump().await;
    lines.retain(|line| !line.starts_with("[\"audit\""));
    lines
}

/// The same call under it is made once.
fn keyed(instruction: &Instruction, key: &str) -> Instruction {
    Instruction::new(instruction.by().clone(), Some(key)).unwrap()
}

fn refusal(result: Result<impl std::fmt::Debug, LedgerError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn what_can_be_booked_by_now_is_on_a_row_as_if_it_had_come_to_it_at_once() {
    let (books, beside) = (Books::open().await, Books::open().await);
    let (event, refused) = refused_by_the_store(&books).await;
    let operator = keyed(&books.as_role(Role::Operator).await, "once");
    let before = books.dump().await;

    let still = refusal(books.ledger.book_quarantined(&refused.id, &operator).await);
    assert!(still.contains("cannot be booked now either"), "{still}");
    assert_eq!(books.dump().await, before);
    assert_eq!(kept(&books, Some(QuarantineState::Open)).await, std::slice::from_ref(&refused));

    books.tamper("drop index one").await;
    let (booked, accepted) = books.ledger.book_quarantined(&refused.id, &operator).await.unwrap();
    let after = books.dump().await;
    let (again, nothing) = books.ledger.book_quarantined(&refused.id, &operator).await.unwrap();

    assert_eq!((accepted.booked, nothing.booked, nothing.duplicates), (1, 0, 0));
    assert_eq!(booked.state, QuarantineState::Booked);
    assert!(booked.settled_at.is_some());
    assert_eq!(again, booked);
    assert_eq!(books.dump().await, after);
    assert!(kept(&books, Some(QuarantineState::Open)).await.is_empty());
    assert_eq!(kept(&books, None).await, std::slice::from_ref(&booked));
    let trail = books.ledger.trail("quarantine", &booked.id).await.unwrap();
    let done: Vec<_> = trail.iter().map(|one| (&*one.action, one.to.as_deref())).collect();
    assert_eq!(done, [("book", Some("booked"))]);
    assert_eq!(trail[0].detail, Some(format!("request {}", event.request_id)));

    // Sent again by its gateway it is known; the books are those that took it at once.
    assert_eq!(books.accept(std::slice::from_ref(&event)).await.duplicates, 1);
    let mut at_once = [beside.event(1), beside.event(2), beside.event(3)];
    at_once[1].session.clone_from(&event.session);
    at_once[1].key = beside.key.key.id.clone();
    assert_eq!(beside.accept(&at_once).await.booked, 3);
    let without_digests = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| !is_of_a_key(line)).collect()
    };
    assert_eq!(without_digests(books_of(&books).await), without_digests(books_of(&beside).await));
    assert!(books.ledger.check_books().await.unwrap().is_empty());
}

/// Digests of payloads differ, because keys have names of their own in each of two books.
fn is_of_a_key(line: &str) -> bool {
    let parts: Vec<serde_json::Value> = serde_json::from_str(line).unwrap();
    parts[0] == "usage" && parts.len() == 4
}

#[tokio::test]
async fn what_was_booked_meanwhile_adds_nothing_and_is_settled() {
    let books = Books::open().await;
    let (event, refused) = refused_by_the_store(&books).await;
    books.tamper("drop index one").await;
    assert_eq!(books.accept(&[event]).await.booked, 1);
    let before = books_of(&books).await;
    let operator = books.as_role(Role::Operator).await;

    let (booked, accepted) = books.ledger.book_quarantined(&refused.id, &operator).await.unwrap();

    assert_eq!((accepted.booked, accepted.duplicates), (0, 1));
    assert_eq!(booked.state, QuarantineState::Booked);
    assert_eq!(books_of(&books).await, before);
}

#[tokio::test]
async fn what_is_dismissed_is_not_billed_when_it_comes_again_and_could_be() {
    let books = Books::open().await;
    let (event, refused) = refused_by_the_store(&books).await;
    let operator = books.as_role(Role::Operator).await;
    books.ledger.dismiss_quarantined(&refused.id, "billed by hand", &operator).await.unwrap();
    books.tamper("drop index one").await;
    let before = books.dump().await;

    assert_eq!(books.accept(&[event, books.event(9)]).await.duplicates, 1);

    let others = books.dump().await;
    assert_ne!(others, before, "the other event of the batch is booked");
    assert_eq!(books.value("select count(*) from usage_key").await, 3);
}

#[tokio::test]
async fn what_will_never_be_usage_is_refused_by_its_reason_and_dismissed_with_a_note() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    let mut other = books.event(1);
    other.tokens.insert(TokenClass::OUTPUT_TEXT, 501);
    let payloads = [other.to_json().unwrap(), b"no event".to_vec()];
    let accepted = books.ledger.accept(&raw_batch("n1", 5, &payloads)).await.unwrap();
    assert_eq!((accepted.conflicts, accepted.quarantined), (1, 1));
    let before = books_of(&books).await;
    let admin = books.as_role(Role::Admin).await;

    for one in kept(&books, None).await {
        let id = &*one.id;
        let said = refusal(books.ledger.book_quarantined(id, &admin).await);
        for words in [id, one.reason.as_str(), &one.detail] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let silent = books.ledger.dismiss_quarantined(id, " ", &admin).await.unwrap_err();
        assert!(silent.to_string().contains("note"), "{silent}");

        let once = keyed(&admin, id);
        let gone = books.ledger.dismiss_quarantined(id, "a test", &once).await.unwrap();
        assert_eq!(books.ledger.dismiss_quarantined(id, "a test", &once).await.unwrap(), gone);

        assert_eq!(gone.state, QuarantineState::Dismissed);
        assert_eq!((gone.note.as_deref(), &gone.payload), (Some("a test"), &one.payload));
        for twice in [
            refusal(books.ledger.dismiss_quarantined(id, "a test", &admin).await),
            refusal(books.ledger.book_quarantined(id, &admin).await),
        ] {
            assert!(twice.contains("is dismissed already"), "{twice}");
        }
    }
    assert_eq!(books_of(&books).await, before);
    assert_eq!(kept(&books, Some(QuarantineState::Dismissed)).await.len(), 2);
    // What is dismissed stays dismissed when it comes again.
    let again = books.ledger.accept(&raw_batch("n1", 7, &payloads)).await.unwrap();
    assert_eq!(again.duplicates, 2);
    assert!(kept(&books, Some(QuarantineState::Open)).await.is_empty());
    let unknown = books.ledger.book_quarantined("qtn_none", &admin).await.unwrap_err();
    assert!(matches!(unknown, LedgerError::NotFound { .. }), "{unknown:?}");
}
