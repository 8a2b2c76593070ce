//! Hand-over: at least once, in order, acknowledged after billing's commit, deleted after that.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{Noon, config, event, open, shippable};
use futures_util::future::BoxFuture;
use permille_journal::{
    Journal, ShipError, ship,
    testing::{Loss, MemFs},
};
use permille_types::{Ack, Batch, ControlError, Intake, UsageEvent};

/// Billing that is away a few times first.
struct Billing {
    away: AtomicU32,
    /// The request that it refuses.
    refuses: Mutex<Option<String>>,
    rows: Mutex<Vec<UsageEvent>>,
    /// Whether it commits and then loses its answer on the way back.
    forgets_to_answer: AtomicU32,
}

impl Billing {
    fn new(away: u32, forgets_to_answer: u32) -> Arc<Self> {
        Arc::new(Self {
            away: AtomicU32::new(away),
            refuses: Mutex::default(),
            rows: Mutex::default(),
            forgets_to_answer: AtomicU32::new(forgets_to_answer),
        })
    }

    fn ids(&self) -> Vec<String> {
        self.rows.lock().unwrap().iter().map(|row| row.request_id.to_string()).collect()
    }
}

fn once(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Intake for Billing {
    fn accept(&self, batch: Batch) -> BoxFuture<'_, Result<Ack, ControlError>> {
        let away = || ControlError::Unavailable { operation: "test", cause: "away".into() };
        Box::pin(async move {
            if once(&self.away) {
                return Err(away());
            }
            let sequence = batch.events.last().unwrap().sequence;
            let read = |event: &permille_types::Sequenced| {
                UsageEvent::from_payload(&event.payload).unwrap()
            };
            let events: Vec<UsageEvent> = batch.events.iter().map(read).collect();
            let refused = self.refuses.lock().unwrap().clone();
            if events.iter().any(|event| Some(event.request_id.to_string()) == refused) {
                let reason = "not this one".to_owned();
                return Err(ControlError::Refused { operation: "test", reason });
            }
            self.rows.lock().unwrap().extend(events);
            let quarantined = u64::try_from(batch.events.len()).unwrap();
            if once(&self.forgets_to_answer) {
                return Err(away());
            }
            Ok(Ack { sequence, quarantined })
        })
    }
}

async fn settle(journal: &Journal, numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut ids = Vec::new();
    for number in numbers {
        let event = event(number, 1);
        journal.settle(&event).unwrap().await.unwrap();
        ids.push(event.request_id.to_string());
    }
    ids
}

/// Records are read back some hundreds of kilobytes at a time, and one may be larger than that.
#[tokio::test]
async fn records_of_any_size_are_handed_over_whole_and_in_order() {
    let mut config = config();
    (config.segment_bytes, config.bytes_max) = (4 << 20, 16 << 20);
    let opened = Journal::open(Arc::new(MemFs::new()), &config, Arc::new(Noon)).unwrap();
    let mut written = Vec::new();
    for number in 0..2_000 {
        let mut event = event(number, 1);
        let bytes = match number {
            3 | 1_500 => 700_000,
            _ => usize::try_from(number % 7).unwrap() * 50,
        };
        event.service_tier = Some("t".repeat(bytes));
        drop(opened.journal.settle(&event).unwrap());
        written.push(event);
    }
    opened.journal.sync().await.unwrap();

    assert_eq!(shippable(&opened.journal).await, written);
    let some = opened.journal.next_batch(512, 1 << 20).await.unwrap();
    assert_eq!(some.events.len(), 512);
}

/// Ships until everything is acknowledged. The clock of the tests stands, so that the pauses
/// between tries take no time.
async fn ship_until_empty(journal: &Journal, billing: &Arc<Billing>) {
    let done = {
        let journal = journal.clone();
        async move {
            let mut look = tokio::time::interval(Duration::from_millis(1));
            while journal.stats().lag_records > 0 {
                look.tick().await;
            }
        }
    };
    ship(journal.clone(), Arc::clone(billing) as _, done).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn billing_that_was_away_gets_everything_once_and_in_order() {
    let journal = open(&MemFs::new()).unwrap().journal;
    let sent = settle(&journal, 0..150).await;
    let billing = Billing::new(5, 0);

    ship_until_empty(&journal, &billing).await;

    assert_eq!(billing.ids(), sent);
    assert_eq!(journal.stats().lag_records, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_means_the_same_events_again() {
    let journal = open(&MemFs::new()).unwrap().journal;
    let sent = settle(&journal, 0..20).await;
    let billing = Billing::new(0, 1);

    ship_until_empty(&journal, &billing).await;

    assert_eq!(billing.ids(), [sent.clone(), sent].concat());
}

#[tokio::test]
async fn a_segment_goes_only_after_billing_has_all_of_it() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    settle(&journal, 0..400).await;
    let batch = journal.next_batch(1_000, 1 << 30).await.unwrap();
    let segments = journal.stats().segments;
    assert!(segments > 4, "the script crosses segments: {segments}");

    // Not acknowledged: a crash gives all of it again.
    let again = open(&fs.crash(Loss::Everything)).unwrap();
    assert_eq!(common::shippable(&again.journal).await.len(), 400);

    journal.acknowledge(batch.events[199].sequence).unwrap();
    while journal.stats().segments >= segments {
        tokio::task::yield_now().await;
    }
    let again = open(&fs.crash(Loss::Nothing)).unwrap();
    let left = common::shippable(&again.journal).await;
    assert!(left.len() >= 200, "{} of the 200 that billing does not have", left.len());
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_was_left_behind_is_handed_over_to_its_last_event() {
    let fs = MemFs::new();
    let left_open = event(900, 1);
    {
        let journal = open(&fs).unwrap().journal;
        settle(&journal, 0..700).await;
        common::admit(&journal, &left_open).unwrap();
    }
    let opened = open(&fs.crash(Loss::Nothing)).unwrap();
    let billing = Billing::new(5, 1);
    let mut told = Vec::new();

    let intake = Arc::clone(&billing) as _;
    let quarantined =
        permille_journal::ship_all(opened.journal.clone(), intake, |left| told.push(left))
            .await
            .unwrap();

    let rows = billing.rows.lock().unwrap();
    let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| row.request_id).collect();
    assert_eq!((ids.len(), opened.recovered.orphans), (701, 1));
    assert_eq!(quarantined, 701, "this billing says so of everything");
    let orphan = rows.iter().find(|row| row.request_id == left_open.request_id).unwrap();
    assert_eq!(orphan.ended, permille_types::Ended::Orphaned);
    assert_eq!(told.last(), Some(&0));
    assert!(told.is_sorted_by(|a, b| a >= b) && told.len() > 2, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_event_that_billing_refuses_ends_the_hand_over_and_stays() {
    let journal = open(&MemFs::new()).unwrap().journal;
    let sent = settle(&journal, 0..100).await;
    let billing = Billing::new(0, 0);
    *billing.refuses.lock().unwrap() = Some(sent[60].clone());

    let ended =
        permille_journal::ship_all(journal.clone(), Arc::clone(&billing) as _, |_| {}).await;

    let Err(ShipError::Left { left, cause: Some(ControlError::Refused { .. }) }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(left, 40);
    assert_eq!(billing.ids(), sent[..60]);
}

#[tokio::test(start_paused = true)]
async fn billing_that_never_answers_ends_the_hand_over_after_a_minute() {
    let journal = open(&MemFs::new()).unwrap().journal;
    settle(&journal, 0..3).await;
    let began = tokio::time::Instant::now();

    let billing = Billing::new(u32::MAX, 0);
    let ended = permille_journal::ship_all(journal.clone(), billing as _, |_| {}).await;

    let cause = match ended {
        Err(ShipError::Left { left: 3, cause: Some(cause) }) => cause,
        other => panic!("{other:?}"),
    };
    assert!(matches!(cause, ControlError::Unavailable { .. }), "{cause}");
    assert!((60..75).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}
