//! Usage at size: how large a row is, and what becomes of rows that are not of today.

use permille_types::{SessionId, TokenClass, TurnKind, UsageEvent};

use crate::support::Books;

/// A turn in the midst of a conversation, with ids as long as providers make them.
fn typical(books: &Books, number: u32) -> UsageEvent {
    let mut event = books.event(number);
    event.session = SessionId::from(event.request_id);
    event.turn = 4;
    event.turn_kind = Some(TurnKind::Continue);
    event.tokens.insert(TokenClass::CACHE_READ, 3_210);
    event.input_total = Some(4_210);
    event.resent_tokens = Some(3_456);
    event.model_served = Some(event.model_requested.clone());
    event.service_tier = Some("default".to_owned());
    event.attempts[0].tokens = event.tokens.clone();
    event
}

#[tokio::test]
async fn a_typical_row_takes_at_most_400_bytes() {
    let books = Books::open().await;
    let events: Vec<_> = (1..=200).map(|number| typical(&books, number)).collect();
    books.accept(&events).await;

    let bytes = books.value("select cast(avg(pg_column_size(usage.*)) as bigint) from usage").await;

    assert!((200..=400).contains(&bytes), "{bytes} bytes");
    let kinds = books.value("select count(*) from usage_kind").await;
    assert_eq!(kinds, 1, "what rows have in common is there once");
}
