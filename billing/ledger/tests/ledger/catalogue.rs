//! The snapshot: a version that grows with every change, and word of it to whoever waits.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use permille_ledger::{NewProject, Role, SnapshotChanges};
use permille_types::Currency;
use secrecy::ExposeSecret;

use crate::support::{Books, PRICES, add_customer, add_key, batch, import};

/// Whether `watched` tells of a change at once.
async fn has_changed(watched: &mut SnapshotChanges) -> bool {
    let mut telling = pin!(watched.changed());
    std::future::poll_fn(|context| Poll::Ready(telling.as_mut().poll(context).is_ready())).await
}

const LATER_PRICE: &str = r#"
[[price]]
model = "later-model"
currency = "CNY"
from = 2026-11-01T00:00:00Z
source = "a test"
input = "1"
output = "2"
"#;

#[tokio::test]
async fn the_version_grows_by_one_with_every_change_of_what_a_gateway_must_know() {
    let books = Books::open().await;
    let ledger = &books.ledger;
    let mut changes = ledger.snapshot_changes();
    let mut version = ledger.snapshot_version();
    let mut expect_one_more = async |what: &str| {
        assert_eq!(ledger.snapshot_version(), version + 1, "{what}");
        assert!(has_changed(&mut changes).await, "{what}");
        assert!(!has_changed(&mut changes).await, "{what}");
        version += 1;
    };

    add_customer(ledger, "other", Currency::USD, "UTC").await;
    expect_one_more("a customer").await;
    let new = NewProject { customer: "other".parse().unwrap(), id: None, name: "Web".to_owned() };
    ledger.create_project(new).await.unwrap();
    expect_one_more("a project").await;
    let key = add_key(ledger, "other").await.key;
    expect_one_more("a key").await;
    books.revoke(&key.id).await;
    expect_one_more("a revocation").await;
    import(ledger, LATER_PRICE).await;
    expect_one_more("a price").await;
}

#[tokio::test]
async fn what_a_gateway_need_not_know_leaves_the_version_as_it_is() {
    let books = Books::open().await;
    let ledger = &books.ledger;
    let key = books.key.key.id.clone();
    books.revoke(&key).await;
    let version = ledger.snapshot_version();
    let mut changes = ledger.snapshot_changes();

    books.revoke(&key).await;
    import(ledger, PRICES).await;
    books.accept(&[books.event(1)]).await;
    ledger.create_token(Role::Admin, None).await.unwrap();
    books.draft("2026-11").await;

    assert_eq!(ledger.snapshot_version(), version);
    assert!(!has_changed(&mut changes).await);
}

#[tokio::test]
async fn a_refused_change_leaves_the_version_as_it_is() {
    let books = Books::open().await;
    let version = books.ledger.snapshot_version();
    let new = NewProject { customer: "nobody".parse().unwrap(), id: None, name: "Web".to_owned() };

    assert!(books.ledger.create_project(new).await.is_err());

    assert_eq!(books.ledger.snapshot_version(), version);
    assert_eq!(books.reopened().await.snapshot_version(), version);
}

#[tokio::test]
async fn a_snapshot_carries_keys_limits_and_prices_and_only_news() {
    let books = Books::open().await;
    let before = books.ledger.snapshot(None).unwrap();

    assert!(books.ledger.snapshot(Some(before.version)).is_none());
    books.revoke(&books.key.key.id).await;
    let after = books.ledger.snapshot(Some(before.version)).unwrap();

    assert_eq!(after.version, before.version + 1);
    assert_eq!((before.keys[0].revoked, after.keys[0].revoked), (false, true));
    let policy = &after.keys[0];
    assert_eq!((policy.customer.as_str(), policy.currency), ("acme", Currency::CNY));
    assert_eq!(policy.hash, books.key.key.digest);
    assert_eq!(after.prices, books.ledger.price_book().prices());
    assert_eq!(after.pepper.expose_secret(), "07".repeat(32));
}

#[tokio::test]
async fn a_gateway_that_knows_more_than_a_restored_store_is_told_the_truth() {
    let books = Books::open().await;
    let version = books.ledger.snapshot_version();

    let snapshot = books.ledger.snapshot(Some(version + 100)).unwrap();

    assert_eq!(snapshot.version, version);
}

#[tokio::test]
async fn a_waiter_is_woken_by_a_change() {
    let books = Books::open().await;
    let mut changes = books.ledger.snapshot_changes();
    let waiter = tokio::spawn(async move { changes.changed().await });
    tokio::task::yield_now().await;

    add_customer(&books.ledger, "other", Currency::USD, "UTC").await;

    tokio::time::timeout(Duration::from_mins(1), waiter).await.unwrap().unwrap();
}

#[tokio::test]
async fn intake_brings_word_of_what_another_ledger_changed() {
    let books = Books::open().await;
    let second = books.reopened().await;
    let mut changes = second.snapshot_changes();
    add_customer(&books.ledger, "other", Currency::USD, "UTC").await;

    second.accept(&batch("n1", 1, &[books.event(1)])).await.unwrap();

    assert!(has_changed(&mut changes).await);
    assert_eq!(second.snapshot_version(), books.ledger.snapshot_version());
}

/// A slow reader of an older state must never put it over a newer one: a revoked key would be in
/// force again. The reader is stopped after some of its steps while a newer state arrives.
#[tokio::test]
async fn a_slow_reader_never_puts_an_older_snapshot_over_a_newer_one() {
    let books = Books::open().await;
    let second = books.reopened().await;
    let acme = books.key.key.customer.clone();
    let mut overtaken = 0;

    for round in 0_u32..40 {
        let polls = round % 4;
        add_customer(&books.ledger, &format!("a-{round}"), Currency::CNY, "UTC").await;
        let mut reading = Box::pin(second.preview_invoice(&acme, "2026-11"));
        let mut left = polls;
        let finished = std::future::poll_fn(|context| match reading.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        })
        .await;
        if finished.is_some() {
            continue;
        }
        add_customer(&second, &format!("b-{round}"), Currency::CNY, "UTC").await;
        reading.await.unwrap();

        let stored = books.value("select version from snapshot_state").await;
        assert_eq!(i64::try_from(second.snapshot_version()), Ok(stored), "after {polls} polls");
        overtaken += 1;
    }

    assert!(overtaken >= 5, "only {overtaken} readers were overtaken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_newest_snapshot_stays_when_many_change_it_at_once() {
    let books = Books::open().await;

    for round in 0..10_u32 {
        let mut running = tokio::task::JoinSet::new();
        for place in 0..8 {
            let ledger = books.ledger.clone();
            let id = format!("c-{round}-{place}");
            running.spawn(async move { add_customer(&ledger, &id, Currency::CNY, "UTC").await });
        }
        running.join_all().await;

        let stored = books.value("select version from snapshot_state").await;
        assert_eq!(i64::try_from(books.ledger.snapshot_version()), Ok(stored), "round {round}");
    }
}
