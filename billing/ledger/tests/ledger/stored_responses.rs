//! Stored responses: whose they are, in whatever order their events come, and what settles them.

use permille_types::{CustomerId, Endpoint, Flag, Source, UsageEvent};

use crate::support::{Books, add_customer, batch};

/// A request that created the response `id`.
fn creating(books: &Books, number: u32, id: &str) -> UsageEvent {
    let mut event = books.event(number);
    event.endpoint = Endpoint::Responses;
    event.attempts[0].provider_id = Some(id.to_owned());
    event
}

/// One whose work went on in the background.
fn background(books: &Books, number: u32, id: &str) -> UsageEvent {
    let mut event = creating(books, number, id);
    event.source = Source::Missing;
    event.flags = vec![Flag::Background];
    event.tokens.clear();
    event.attempts[0].tokens.clear();
    (event.input_total, event.output_total) = (None, None);
    event
}

async fn known(books: &Books, customer: &str, id: &str) -> Option<(String, bool)> {
    let customer: CustomerId = customer.parse().unwrap();
    let known = books.ledger.stored_response(&customer, id).await.unwrap();
    known.map(|known| (known.created.request_id.to_string(), known.settled))
}

#[tokio::test]
async fn a_response_is_known_to_its_own_customer_only() {
    let books = Books::open().await;
    add_customer(&books.ledger, "other", permille_types::Currency::CNY, "UTC").await;
    let event = creating(&books, 1, "resp_1");

    books.accept(std::slice::from_ref(&event)).await;

    assert_eq!(known(&books, "acme", "resp_1").await, Some((event.request_id.to_string(), false)));
    assert_eq!(known(&books, "other", "resp_1").await, None);
    assert_eq!(known(&books, "acme", "resp_2").await, None);
    let chat = books.event(2);
    let id = chat.attempts[0].provider_id.clone().unwrap_or_else(|| "chatcmpl".to_owned());
    books.accept(&[chat]).await;
    assert_eq!(known(&books, "acme", &id).await, None, "only responses are stored");
}

#[tokio::test]
async fn the_newest_request_has_an_id_that_comes_twice_in_whatever_order() {
    for numbers in [[1, 2], [2, 1]] {
        let books = Books::open().await;

        for (sequence, number) in (1..).zip(numbers) {
            let events = [creating(&books, number, "resp_1")];
            books.ledger.accept(&batch("n1", sequence, &events)).await.unwrap();
        }

        let newest = books.event(2).request_id.max(books.event(1).request_id);
        assert_eq!(known(&books, "acme", "resp_1").await, Some((newest.to_string(), false)));
    }
}

#[tokio::test]
async fn a_settlement_is_billed_once_and_tells_what_it_settles() {
    let books = Books::open().await;
    let created = background(&books, 1, "resp_1");
    let mut settlement = creating(&books, 1, "resp_1");
    settlement.request_id = created.request_id.settlement();
    settlement.endpoint = Endpoint::StoredResponse;
    settlement.flags = vec![Flag::Background];

    for (first, events) in [
        (1, vec![settlement.clone()]),
        (2, vec![created.clone(), settlement.clone()]),
        (4, vec![settlement.clone()]),
    ] {
        let accepted = books.ledger.accept(&batch("n1", first, &events)).await.unwrap();
        assert_eq!((accepted.conflicts, accepted.quarantined), (0, 0));
    }

    let expected = (created.request_id.to_string(), true);
    assert_eq!(known(&books, "acme", "resp_1").await, Some(expected));
    let filter = permille_ledger::UsageFilter::default();
    let rows = books.ledger.usage(&filter, &permille_ledger::Page::default()).await.unwrap().items;
    let settles: Vec<_> = rows.iter().map(|row| (row.request_id, row.settles)).collect();
    assert_eq!(settles.len(), 2, "{settles:?}");
    assert!(settles.contains(&(settlement.request_id, Some(created.request_id))), "{settles:?}");
    assert!(settles.contains(&(created.request_id, None)), "{settles:?}");
}
