//! Sessions: turns and what each of them cost, apart for every customer.

use permille_ledger::{LedgerError, Listing, Page, Session};
use permille_types::{Currency, CustomerId, Flag, SessionId, TokenClass, TurnKind, UsageEvent};

use crate::support::{Books, add_customer, add_key, at, batch, event};

fn chat() -> SessionId {
    "chat-1".parse().unwrap()
}

fn acme() -> CustomerId {
    "acme".parse().unwrap()
}

/// A turn of `chat-1` with `input` tokens, so many minutes after nine.
fn turn(books: &Books, number: u32, turn: u32, input: u64) -> UsageEvent {
    let mut event = books.event(number);
    event.turn = turn;
    event.at = at("2026-11-20T09:00:00Z") + chrono::Duration::minutes(number.into());
    event.tokens.insert(TokenClass::INPUT_UNCACHED, input);
    event
}

#[tokio::test]
async fn every_turn_has_its_cost_and_the_last_cumulative_cost_is_the_sessions() {
    let books = Books::open().await;
    // 500 tokens out each; a turn sends the conversation again.
    let events = [turn(&books, 1, 1, 1_000), turn(&books, 2, 2, 2_500), turn(&books, 3, 3, 4_000)];

    books.accept(&events).await;

    let detail = books.ledger.session(&acme(), &chat()).await.unwrap();
    let turns: Vec<_> = detail
        .turns
        .iter()
        .map(|turn| (turn.turn, turn.cost.to_string(), turn.cumulative_cost.to_string()))
        .collect();
    let expected = [(1, "0.018", "0.018"), (2, "0.036", "0.054"), (3, "0.054", "0.108")];
    assert_eq!(turns, expected.map(|(turn, cost, sum)| (turn, cost.to_owned(), sum.to_owned())));
    assert_eq!((detail.session.turns, detail.session.requests), (3, 3));
    assert_eq!(detail.session.cost.to_string(), "0.108");
    assert_eq!(detail.session.currency, Currency::CNY);
    assert_eq!(detail.session.tokens[&TokenClass::INPUT_UNCACHED], 7_500);
    assert_eq!(detail.session.first_at, events[0].at);
    assert_eq!(detail.session.last_at, events[2].at);
    assert!(!detail.truncated);
}

#[tokio::test]
async fn a_regeneration_is_another_request_of_the_same_turn() {
    let books = Books::open().await;
    books.accept(&[turn(&books, 1, 1, 1_000), turn(&books, 2, 1, 1_000)]).await;

    let detail = books.ledger.session(&acme(), &chat()).await.unwrap();

    assert_eq!((detail.session.turns, detail.session.requests), (1, 2));
    assert_eq!(detail.turns.len(), 1);
    assert_eq!((detail.turns[0].requests, detail.turns[0].cost.to_string()), (2, "0.036".into()));
}

#[tokio::test]
async fn a_branch_is_told_apart_from_the_turn_whose_number_it_has() {
    let books = Books::open().await;
    let mut events = [(1, 1), (2, 2), (3, 2), (4, 2), (5, 3)]
        .map(|(number, of_turn)| turn(&books, number, of_turn, 1_000));
    let kinds = [
        TurnKind::New,
        TurnKind::Continue,
        TurnKind::Branch,
        TurnKind::Regenerate,
        TurnKind::Branch,
    ];
    for (event, kind) in events.iter_mut().zip(kinds) {
        event.turn_kind = Some(kind);
    }
    books.accept(&events).await;

    let turns = books.ledger.session(&acme(), &chat()).await.unwrap().turns;

    let told: Vec<_> = turns
        .iter()
        .map(|turn| (turn.kind, turn.requests, turn.branches, turn.hidden.regenerations))
        .collect();
    let wanted = [
        (Some(TurnKind::New), 1, 0, 0),
        (Some(TurnKind::Continue), 3, 1, 1),
        (Some(TurnKind::Branch), 1, 1, 0),
    ];
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn turns_that_arrive_in_any_order_and_again_give_the_same_session() {
    let (forward, backward) = (Books::open().await, Books::open().await);
    let events = |books: &Books| -> Vec<_> {
        (1..=6).map(|n| turn(books, n, n.div_ceil(2), u64::from(n) * 331)).collect()
    };
    forward.accept(&events(&forward)).await;
    for event in events(&backward).iter().rev() {
        backward.accept(std::slice::from_ref(event)).await;
        backward.accept(&events(&backward)[4..]).await;
    }

    let detail = forward.ledger.session(&acme(), &chat()).await.unwrap();

    assert_eq!(backward.ledger.session(&acme(), &chat()).await.unwrap(), detail);
    assert_eq!(detail.turns.iter().map(|turn| turn.turn).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn the_last_turn_is_the_highest_that_is_stored() {
    let books = Books::open().await;
    assert_eq!(books.ledger.last_turn(&acme(), &chat()).await.unwrap(), 0);

    books.accept(&[turn(&books, 1, 7, 10), turn(&books, 2, 3, 10)]).await;

    assert_eq!(books.ledger.last_turn(&acme(), &chat()).await.unwrap(), 7);
    assert_eq!(books.ledger.last_turn(&acme(), &"chat-2".parse().unwrap()).await.unwrap(), 0);
}

#[tokio::test]
async fn two_customers_with_the_same_session_id_never_mix() {
    let books = Books::open().await;
    add_customer(&books.ledger, "other", Currency::USD, "UTC").await;
    let key = add_key(&books.ledger, "other").await.key;
    let mut theirs = event(9, "other", key.id.as_str());
    theirs.model_requested = "gpt-test".parse().unwrap();
    theirs.turn = 5;
    let other: CustomerId = "other".parse().unwrap();

    books.accept(&[turn(&books, 1, 1, 1_000), theirs, turn(&books, 2, 2, 1_000)]).await;

    let ours = books.ledger.session(&acme(), &chat()).await.unwrap();
    let theirs = books.ledger.session(&other, &chat()).await.unwrap();
    assert_eq!((ours.session.requests, ours.session.cost.to_string()), (2, "0.036".into()));
    assert_eq!((theirs.session.requests, theirs.session.cost.to_string()), (1, "0.0075".into()));
    assert_eq!((ours.session.currency, theirs.session.currency), (Currency::CNY, Currency::USD));
    assert_eq!(books.ledger.last_turn(&acme(), &chat()).await.unwrap(), 2);
    assert_eq!(books.ledger.last_turn(&other, &chat()).await.unwrap(), 5);
    let listed = books.ledger.sessions(Some(&other), &Page::default()).await.unwrap().items;
    assert_eq!(listed, [theirs.session]);
}

#[tokio::test]
async fn a_held_request_is_counted_in_its_turn_and_costs_nothing_yet() {
    let books = Books::open().await;
    let mut held = turn(&books, 2, 2, 10);
    held.model_requested = "unheard-of".parse().unwrap();

    books.accept(&[turn(&books, 1, 1, 1_000), held]).await;

    let detail = books.ledger.session(&acme(), &chat()).await.unwrap();
    assert_eq!((detail.session.requests, detail.session.unpriced_requests), (2, 1));
    assert_eq!(detail.session.cost.to_string(), "0.018");
    assert_eq!((detail.turns[0].unpriced_requests, detail.turns[1].unpriced_requests), (0, 1));
}

#[tokio::test]
async fn a_request_without_a_conversation_is_a_session_of_its_own() {
    let books = Books::open().await;
    let mut alone = turn(&books, 1, 1, 1_000);
    alone.session_explicit = false;
    alone.session = alone.request_id.to_string().parse().unwrap();
    alone.flags = vec![Flag::Simulated];
    books.accept(std::slice::from_ref(&alone)).await;

    let detail = books.ledger.session(&acme(), &alone.session).await.unwrap();

    assert_eq!((detail.session.requests, detail.session.simulated_requests), (1, 1));
    assert_eq!(detail.session.cost.to_string(), "0.018");
    let listed = books.ledger.sessions(None, &Page::default()).await.unwrap().items;
    assert_eq!(listed, [detail.session]);
}

#[tokio::test]
async fn an_unknown_session_is_named() {
    let books = Books::open().await;

    let error = books.ledger.session(&acme(), &chat()).await.unwrap_err();

    assert!(matches!(error, LedgerError::NoSession { .. }));
    assert_eq!(error.to_string(), "session `chat-1` of customer `acme` is unknown");
}

#[tokio::test]
async fn pages_of_sessions_go_from_the_newest_to_the_oldest_without_a_gap_or_a_repeat() {
    let books = Books::open().await;
    let events: Vec<_> = (1..=11)
        .map(|number| {
            let mut event = turn(&books, number, 1, 10);
            // Two of each time, and ids that hold the separator of cursors.
            event.at = at("2026-11-20T09:00:00Z") + chrono::Duration::minutes((number / 2).into());
            event.session = format!("chat/{number:02}/x").parse().unwrap();
            event
        })
        .collect();
    books.ledger.accept(&batch("n1", 1, &events)).await.unwrap();
    let whole = books.ledger.sessions(None, &Page::default()).await.unwrap();
    assert!(whole.items.is_sorted_by(|a, b| (a.last_at, &a.id) > (b.last_at, &b.id)));
    let acme = acme();

    for customer in [None, Some(&acme)] {
        let mut seen: Vec<Session> = Vec::new();
        let mut cursor = None;
        loop {
            let page = Page::new(cursor, Some(3)).unwrap();
            let Listing { items, next_cursor } =
                books.ledger.sessions(customer, &page).await.unwrap();
            seen.extend(items);
            cursor = next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, whole.items);
    }
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused() {
    let books = Books::open().await;

    for cursor in ["x", "1/acme", "x/acme/chat-1"] {
        let page = Page::new(Some(cursor.to_owned()), None).unwrap();
        let error = books.ledger.sessions(None, &page).await.unwrap_err();
        assert!(matches!(error, LedgerError::Invalid { field: "cursor", .. }), "{cursor}");
    }
}

#[tokio::test]
async fn a_request_held_since_before_unnamed_sessions_were_kept_gets_its_price() {
    let books = Books::open().await;
    let mut held = turn(&books, 1, 1, 1_000);
    held.model_requested = "unheard-of".parse().unwrap();
    // More rows than are read at a time.
    let many = (1..=1_001).map(|number| UsageEvent {
        request_id: crate::support::request_id(number),
        ..held.clone()
    });
    books.accept(&many.collect::<Vec<_>>()).await;
    // As it was before migration 15: the row is there, and no roll-up of its session.
    books.tamper("delete from session").await;
    held.request_id = crate::support::request_id(2_000);
    books.accept(&[held]).await;

    let price = "[[price]]\nmodel = \"unheard-of\"\ncurrency = \"CNY\"\n\
                 from = 2026-01-01T00:00:00Z\nsource = \"test\"\ninput = \"1\"\noutput = \"1\"\n";
    let priced = crate::support::import(&books.ledger, price).await.rerated.priced;

    assert_eq!(priced, 1_002);
    let session = &books.ledger.sessions(None, &Page::default()).await.unwrap().items[0];
    assert_eq!((session.requests, session.unpriced_requests), (1_002, 0));
    assert_eq!(session.cost.to_string(), "1503");
    assert_eq!(books.ledger.session(&acme(), &chat()).await.unwrap().session.cost, session.cost);
}
