//! Intake books every event once, whole batches or nothing, and never loses what it cannot book.

use std::{future::Future, task::Poll};

use crate::support::{Books, batch, raw_batch};
use permille_ledger::{LedgerError, Page, QuarantineReason, UsageFilter};
use permille_types::{Flag, TokenClass};

#[tokio::test]
async fn a_batch_of_one_and_a_batch_of_a_thousand_are_booked() {
    let books = Books::open().await;
    let events: Vec<_> = (1..=1_000).map(|number| books.event(number)).collect();

    let one = books.accept(&events[..1]).await;
    let all = books.accept(&events).await;

    assert_eq!((one.booked, one.duplicates, one.ack.sequence), (1, 0, 1));
    assert_eq!((all.booked, all.duplicates, all.ack.sequence), (999, 1, 1_000));
    assert_eq!(books.value("select count(*) from usage").await, 1_000);
}

#[tokio::test]
async fn the_same_content_again_changes_nothing() {
    let books = Books::open().await;
    let events = [books.event(1), books.event(2)];
    books.accept(&events).await;
    let before = books.dump().await;

    let again = books.accept(&events).await;

    assert_eq!((again.booked, again.duplicates, again.conflicts), (0, 2, 0));
    assert!(again.billed.costs.is_empty() && again.billed.tokens.is_empty());
    assert_eq!(books.dump().await, before);
}

#[tokio::test]
async fn another_content_under_the_same_id_is_quarantined_and_changes_nothing() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    let before = books.dump().await;
    let mut other = books.event(1);
    other.tokens.insert(TokenClass::OUTPUT_TEXT, 501);

    let first = books.accept(&[other.clone()]).await;
    let again = books.accept(&[other.clone()]).await;

    assert_eq!((first.booked, first.conflicts), (0, 1));
    assert_eq!((again.conflicts, again.duplicates), (0, 1));
    assert_eq!(books.dump().await, before);
    let kept = books.ledger.quarantined(None, &Page::default()).await.unwrap().items;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].reason, QuarantineReason::Conflict);
    assert_eq!(kept[0].payload, other.to_json().unwrap());
    assert_eq!(kept[0].request_id.as_deref(), Some(other.request_id.to_string().as_str()));
}

/// The rows of a batch are written together, so the batch is compared with itself too.
#[tokio::test]
async fn within_one_batch_an_event_is_booked_once_and_another_content_is_quarantined() {
    let books = Books::open().await;
    let mut events: Vec<_> = (1..=70).map(|number| books.event(number)).collect();
    for (number, event) in events.iter_mut().enumerate() {
        event.session = format!("chat-{}", number % 40).parse().unwrap();
    }
    let mut other = events[6].clone();
    other.tokens.insert(TokenClass::OUTPUT_TEXT, 501);
    let alone = Books::open().await;
    for event in &events {
        let mut event = event.clone();
        event.key = alone.key.key.id.clone();
        alone.accept(&[event]).await;
    }

    events.extend([events[0].clone(), other, events[69].clone()]);
    let accepted = books.accept(&events).await;

    let counts = (accepted.booked, accepted.duplicates, accepted.conflicts);
    assert_eq!(counts, (70, 2, 1));
    assert_eq!(books.value("select count(*) from usage where turn = 1").await, 70);
    assert_eq!(books.value("select count(*) from session").await, 40);
    let sums = |books: Books| async move {
        let mut lines = books.dump().await;
        lines.retain(|line| !line.contains("\"usage\"") && !line.contains("\"audit\""));
        lines
    };
    assert_eq!(sums(books).await, sums(alone).await);
}

#[tokio::test]
async fn a_payload_differs_even_when_only_its_spelling_does() {
    let books = Books::open().await;
    let payload = books.event(1).to_json().unwrap();
    let mut spaced = payload.clone();
    spaced.insert(1, b' ');
    books.ledger.accept(&raw_batch("n1", 1, &[payload])).await.unwrap();

    let accepted = books.ledger.accept(&raw_batch("n1", 2, &[spaced])).await.unwrap();

    assert_eq!(accepted.conflicts, 1);
}

/// A gateway that was upgraded sends once more what it wrote before, and another one of a fleet may
/// have settled the same request in the other form.
#[tokio::test]
async fn the_same_event_is_the_same_content_in_either_form() {
    let books = Books::open().await;
    let (first, second) = (books.event(1), books.event(2));
    let json = |event: &permille_types::UsageEvent| event.to_json().unwrap();
    let packed = |event: &permille_types::UsageEvent| event.to_payload();
    let sent = [json(&first), packed(&second)];
    assert_eq!(books.ledger.accept(&raw_batch("n1", 1, &sent)).await.unwrap().booked, 2);
    let before = books.dump().await;

    let again = raw_batch("n2", 1, &[packed(&first), json(&second)]);
    let again = books.ledger.accept(&again).await.unwrap();

    assert_eq!((again.booked, again.duplicates, again.conflicts), (0, 2, 0));
    assert_eq!(books.dump().await, before);
}

#[tokio::test]
async fn what_cannot_be_booked_is_kept_byte_for_byte_and_stops_nothing() {
    let books = Books::open().await;
    let broken = |change: fn(&mut permille_types::UsageEvent), number| {
        let mut event = books.event(number);
        change(&mut event);
        event.to_json().unwrap()
    };
    let payloads = vec![
        b"\xff not json".to_vec(),
        broken(|event| event.version = 0, 2),
        broken(|event| event.customer = "nobody".parse().unwrap(), 3),
        broken(|event| event.project = "nothing".parse().unwrap(), 4),
        broken(|event| event.key = "key_none".parse().unwrap(), 5),
        broken(|event| event.latency_ms = u64::MAX, 6),
        books.event(7).to_json().unwrap(),
    ];

    let accepted = books.ledger.accept(&raw_batch("n1", 10, &payloads)).await.unwrap();

    assert_eq!((accepted.booked, accepted.quarantined, accepted.ack.sequence), (1, 6, 16));
    assert_eq!(accepted.ack.quarantined, 6);
    let kept = books.ledger.quarantined(None, &Page::default()).await.unwrap().items;
    let mut reasons: Vec<_> = kept.iter().map(|row| (row.sequence, row.reason)).collect();
    reasons.sort_by_key(|(sequence, _)| *sequence);
    assert_eq!(
        reasons,
        [
            (10, QuarantineReason::Unreadable),
            (11, QuarantineReason::Unreadable),
            (12, QuarantineReason::UnknownCustomer),
            (13, QuarantineReason::UnknownProject),
            (14, QuarantineReason::UnknownKey),
            (15, QuarantineReason::OutOfRange),
        ]
    );
    for row in kept {
        let sent = &payloads[usize::try_from(row.sequence - 10).unwrap()];
        assert_eq!(row.payload, *sent);
    }
}

/// Otherwise its journal would send the batch for ever, and take no usage any more when it is full.
#[tokio::test]
async fn what_the_store_refuses_again_and_again_is_kept_and_the_rest_is_booked() {
    let books = Books::open().await;
    // As a fault of ours would: the second conversation of a customer cannot be written.
    books.tamper("create unique index one on session (customer)").await;
    let mut events = [books.event(1), books.event(2), books.event(3)];
    events[1].session = "another".parse().unwrap();

    let accepted = books.accept(&events).await;

    assert_eq!((accepted.booked, accepted.quarantined, accepted.ack.quarantined), (2, 1, 1));
    let kept = books.ledger.quarantined(None, &Page::default()).await.unwrap().items;
    assert_eq!(kept[0].reason, QuarantineReason::Refused);
    assert_eq!(kept[0].payload, events[1].to_json().unwrap());
    assert_eq!(kept[0].request_id.as_deref(), Some(&*events[1].request_id.to_string()));
}

/// Nor do several at the head of a journal hold up what stands behind them.
#[tokio::test]
async fn what_is_refused_before_anything_is_booked_does_not_hold_up_what_comes_behind() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    books.tamper("create unique index one on session (customer)").await;
    let mut events = [books.event(2), books.event(3), books.event(4)];
    events[0].session = "another".parse().unwrap();
    events[1].session = "a third".parse().unwrap();
    let before = books.dump().await;

    // Alone they are kept by their journal: the store may be wrong.
    assert!(books.ledger.accept(&batch("n1", 2, &events[..2])).await.is_err());
    assert_eq!(books.dump().await, before);
    let accepted = books.ledger.accept(&batch("n1", 2, &events)).await.unwrap();

    assert_eq!((accepted.booked, accepted.quarantined, accepted.ack.quarantined), (1, 2, 2));
}

/// Acknowledged, it would be gone from its journal and never booked.
#[tokio::test]
async fn an_event_of_a_newer_gateway_is_refused_with_its_batch_and_stays_in_its_journal() {
    let books = Books::open().await;
    let mut newer = books.event(2);
    newer.version = permille_types::USAGE_EVENT_VERSION + 1;
    let payloads = [books.event(1).to_json().unwrap(), newer.to_json().unwrap()];

    let refused = books.ledger.accept(&raw_batch("n1", 1, &payloads)).await.unwrap_err();

    assert!(matches!(refused, LedgerError::Invalid { .. }), "{refused:?}");
    assert!(refused.to_string().contains("upgrade billing before gateways"), "{refused}");
    assert!(books.ledger.quarantined(None, &Page::default()).await.unwrap().items.is_empty());
    let first = raw_batch("n1", 1, &payloads[..1]);
    assert_eq!(books.ledger.accept(&first).await.unwrap().booked, 1);
}

#[tokio::test]
async fn a_key_of_another_customer_does_not_bill_that_customer() {
    let books = Books::open().await;
    crate::support::add_customer(&books.ledger, "other", permille_types::Currency::CNY, "UTC")
        .await;
    let mut event = books.event(1);
    event.customer = "other".parse().unwrap();

    let accepted = books.accept(&[event]).await;

    assert_eq!((accepted.booked, accepted.quarantined), (0, 1));
}

#[tokio::test]
async fn usage_of_a_revoked_key_is_still_booked() {
    let books = Books::open().await;
    books.revoke(&books.key.key.id).await;

    let accepted = books.accept(&[books.event(1)]).await;

    assert_eq!(accepted.booked, 1);
}

#[tokio::test]
async fn the_checkpoint_moves_with_the_rows_and_never_back() {
    let books = Books::open().await;
    let (one, two) = (books.event(1), books.event(2));

    books.ledger.accept(&batch("n1", 20, &[one])).await.unwrap();
    books.ledger.accept(&batch("n1", 5, &[two])).await.unwrap();

    let checkpoints = books.ledger.checkpoints().await.unwrap();
    assert_eq!(checkpoints.len(), 1);
    assert_eq!((checkpoints[0].node.as_str(), checkpoints[0].sequence), ("n1", 20));
}

#[tokio::test]
async fn an_empty_batch_is_refused() {
    let books = Books::open().await;

    let error = books.ledger.accept(&batch("n1", 1, &[])).await.unwrap_err();

    assert!(matches!(error, LedgerError::Invalid { field: "batch", .. }));
}

/// Drops the call after some of its steps, more and fewer: whatever the step, the batch is there
/// whole, with its checkpoint, or not at all.
#[tokio::test]
async fn a_batch_dropped_midway_leaves_nothing_or_everything() {
    let books = Books::open().await;
    let events: Vec<_> = (1..=3).map(|number| books.event(number)).collect();
    let mut dropped = 0;

    for round in 0_u32..60 {
        let polls = round % 6;
        let fresh: Vec<_> = events
            .iter()
            .enumerate()
            .map(|(place, event)| {
                let mut event = event.clone();
                let number = round * 10 + u32::try_from(place).unwrap();
                event.request_id = crate::support::request_id(number);
                event
            })
            .collect();
        let sequence = u64::from(round) * 10 + 1;
        let before = books.value("select count(*) from usage").await;
        let sent = batch("n1", sequence, &fresh);
        let mut call = Box::pin(books.ledger.accept(&sent));
        let mut left = polls;
        let finished = std::future::poll_fn(|context| match call.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        })
        .await;
        drop(call);

        // The next write waits for the dropped one to be undone.
        books.ledger.create_token(permille_ledger::Role::Admin, None).await.unwrap();
        let booked = books.value("select count(*) from usage").await - before;
        let requests = books.value("select coalesce(sum(requests), 0) from request_hour").await;
        let checkpoint =
            books.value("select coalesce(max(sequence), 0) from intake_checkpoint").await;
        let here = checkpoint >= i64::try_from(sequence).unwrap();
        assert_eq!(requests, before + booked, "after {polls} polls");
        assert_eq!((booked, here), if here { (3, true) } else { (0, false) }, "{polls} polls");
        match finished {
            Some(done) => {
                done.unwrap();
                assert!(here);
            }
            // Dropped after its commit, it is whole all the same.
            None => dropped += u32::from(!here),
        }
    }

    assert!(dropped >= 5, "only {dropped} calls were dropped midway");
}

#[tokio::test]
async fn what_a_row_says_is_what_the_event_said() {
    let books = Books::open().await;
    let mut event = books.event(1);
    event.flags = vec![Flag::UsageMismatch, Flag::Drained];
    event.units.insert(permille_types::Unit::Requests, 1);
    event.model_served = Some("ERNIE-Bot".parse().unwrap());
    event.service_tier = Some("flex".to_owned());

    let accepted = books.accept(&[event.clone()]).await;

    assert_eq!(accepted.mismatched, 1);
    let rows = books.ledger.usage(&UsageFilter::default(), &Page::default()).await.unwrap().items;
    let mut row = serde_json::to_value(&rows[0]).unwrap();
    let mut sent = serde_json::to_value(&event).unwrap();
    sent.as_object_mut().unwrap().remove("version");
    let row = row.as_object_mut().unwrap();
    assert_eq!(row.remove("cost").unwrap(), "0.018");
    assert_eq!(row.remove("currency").unwrap(), "CNY");
    assert_eq!(row.remove("band").unwrap(), 0);
    assert!(row.remove("price_version").unwrap().as_str().unwrap().starts_with("ERNIE-Bot@2023"));
    assert_eq!(serde_json::Value::Object(row.clone()), sent);
}

#[tokio::test]
async fn what_a_policy_spares_is_booked_at_zero_and_is_not_held() {
    let books = Books::open().await;
    let mut spared = books.event(1);
    spared.flags.push(Flag::NotBilled);
    let mut without_price = books.event(2);
    without_price.model_requested = "unheard-of".parse().unwrap();
    without_price.flags.push(Flag::NotBilled);

    let accepted = books.accept(&[spared, without_price]).await;

    assert_eq!((accepted.booked, accepted.unpriced), (2, 0));
    let rows = books.ledger.usage(&UsageFilter::default(), &Page::default()).await.unwrap().items;
    for row in &rows {
        assert_eq!(row.cost.as_deref(), Some("0"));
        assert!(row.flags.contains(&Flag::NotBilled) && !row.flags.contains(&Flag::Unpriced));
        assert!(!row.tokens.is_empty(), "the tokens stay");
    }
    assert_eq!(books.value("select count(*) from usage_hour").await, 0, "no line will bill them");
    assert_eq!(books.value("select requests from request_hour").await, 2);
    assert_eq!(books.ledger.rerate_held().await.unwrap().priced, 0);
}
