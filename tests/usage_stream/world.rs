//! Two gateways and two processes of billing on one stream, each on a line of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use permille_ledger::{Ledger, Page, UsageFilter, UsageRow};
use permille_proxy::UsageStreamIntake;
use permille_service::{Billing, UsageStreamReader, UsageStreamSettings};
use permille_test_redis::Redis;
use permille_types::{
    Batch, Clock as _, Intake as _, RequestId, Sequenced, USAGE_STREAM, UsageEvent,
};
use prometheus::Registry;
use tempfile::TempDir;
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    noon::{self, Noon, request},
    relay::{Fate, Line},
};

/// Two gateways, and two processes of billing.
pub(crate) const PROCESSES: usize = 4;
/// Requests that each gateway has settled.
const EVENTS: u64 = 20;
/// Those of a batch.
const BATCH: usize = 3;
/// How long a condition may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a gateway has on its disk.
struct Journal {
    node: &'static str,
    events: Vec<UsageEvent>,
    /// Billing has everything up to this one, as far as the gateway was told.
    acknowledged: Mutex<u64>,
}

impl Journal {
    fn acknowledged(&self) -> u64 {
        *self.acknowledged.lock().unwrap()
    }

    fn is_empty(&self) -> bool {
        self.acknowledged() == EVENTS
    }

    fn next(&self) -> Batch {
        let events = (1..).zip(&self.events).skip(self.acknowledged().try_into().unwrap());
        let events = events
            .take(BATCH)
            .map(|(sequence, event)| Sequenced { sequence, payload: event.to_payload().into() });
        Batch { node: self.node.parse().unwrap(), events: events.collect() }
    }
}

struct Gateway {
    journal: Arc<Journal>,
    line: Line,
    task: JoinHandle<()>,
}

struct Reader {
    name: &'static str,
    billing: Billing,
    line: Line,
    task: JoinHandle<()>,
}

/// Hands everything over, one batch after the other.
fn ship(journal: &Arc<Journal>, line: &Line, changed: &Arc<Notify>) -> JoinHandle<()> {
    let intake = UsageStreamIntake::alone(&line.url().into(), 100).unwrap();
    let (journal, changed) = (Arc::clone(journal), Arc::clone(changed));
    tokio::spawn(async move {
        while !journal.is_empty() {
            if let Ok(ack) = intake.accept(journal.next()).await {
                let mut acknowledged = journal.acknowledged.lock().unwrap();
                *acknowledged = ack.sequence.max(*acknowledged);
            }
        }
        changed.notify_one();
    })
}

fn read(name: &str, billing: &Billing, line: &Line, reclaim: Duration) -> JoinHandle<()> {
    let (url, consumer) = (line.url().into(), name.parse().unwrap());
    let settings = UsageStreamSettings { url, consumer, reclaim };
    let reader = UsageStreamReader::open(billing, settings).unwrap();
    tokio::spawn(reader.run(std::future::pending()))
}

pub(crate) struct World {
    pub(crate) redis: Redis,
    ledger: Ledger,
    gateways: Vec<Gateway>,
    readers: Vec<Reader>,
    changed: Arc<Notify>,
    reclaim: Duration,
    _folder: TempDir,
}

impl World {
    /// Where an entry that a process has had for `reclaim` is taken by another one.
    pub(crate) async fn over(redis: Redis, reclaim: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, key) = noon::books(&folder).await;
        let changed = Arc::new(Notify::new());
        let line = async || Line::to(redis.socket(), Arc::clone(&changed)).await;
        let mut gateways = Vec::new();
        for (node, from) in [("gw-1", 1_000), ("gw-2", 2_000)] {
            let events = (from..from + EVENTS)
                .map(|number| request(&key, Noon.now(), (number, 1)))
                .collect();
            let journal = Arc::new(Journal { node, events, acknowledged: Mutex::new(0) });
            let line = line().await;
            let task = ship(&journal, &line, &changed);
            gateways.push(Gateway { journal, line, task });
        }
        let mut readers = Vec::new();
        for name in ["billing-1", "billing-2"] {
            let billing = Billing::new(noon::open(&folder).await, &Registry::new()).unwrap();
            let line = line().await;
            let task = read(name, &billing, &line, reclaim);
            readers.push(Reader { name, billing, line, task });
        }
        Self { redis, ledger, gateways, readers, changed, reclaim, _folder: folder }
    }

    /// The line of one of the four.
    fn line(&self, whose: usize) -> &Line {
        match whose {
            0 | 1 => &self.gateways[whose].line,
            _ => &self.readers[whose - 2].line,
        }
    }

    /// Whether one of the four has nothing to do any more, or waits for Redis.
    fn waits(&self, whose: usize) -> bool {
        self.gateways.get(whose).is_some_and(|gateway| gateway.journal.is_empty())
            || self.line(whose).is_waiting()
    }

    /// Waits until each of them waits for Redis: what happens next is for the test to say.
    pub(crate) async fn all_wait(&self) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if (0..PROCESSES).all(|whose| self.waits(whose)) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("somebody does nothing");
    }

    /// Decides what becomes of the next command of one of the four.
    pub(crate) async fn decide(&self, whose: usize, fate: Fate) {
        self.line(whose).decide(fate).await;
    }

    /// One of the four dies where it is and begins again: a gateway with what its journal holds, a
    /// process of billing under its name.
    pub(crate) fn restart(&mut self, whose: usize) {
        if whose < self.gateways.len() {
            let Gateway { journal, line, task } = &mut self.gateways[whose];
            task.abort();
            *task = ship(journal, line, &self.changed);
        } else {
            let Reader { name, billing, line, task } = &mut self.readers[whose - 2];
            task.abort();
            *task = read(name, billing, line, self.reclaim);
        }
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.gateways.iter().all(|gateway| gateway.journal.is_empty())
    }

    /// How many entries the stream holds, as Redis says it.
    pub(crate) fn entries(&self) -> String {
        self.redis.command(&format!("XLEN {USAGE_STREAM}")).unwrap()
    }

    /// What may never be otherwise, whatever happens next.
    pub(crate) async fn check(&self) {
        let told: Vec<u64> = self.gateways.iter().map(|it| it.journal.acknowledged()).collect();
        let page = Page::new(None, Some(500)).unwrap();
        let listing = self.ledger.usage(&UsageFilter::default(), &page).await.unwrap();
        let count = listing.items.len();
        let rows: BTreeMap<RequestId, UsageRow> =
            listing.items.into_iter().map(|row| (row.request_id, row)).collect();
        assert_eq!(rows.len(), count, "a request is booked twice");
        let mut booked = 0;
        for (gateway, told) in self.gateways.iter().zip(told) {
            let journal = &gateway.journal;
            let beginning = journal.events.iter().take_while(|event| {
                rows.get(&event.request_id).is_some_and(|row| row.tokens == event.tokens)
            });
            let beginning = beginning.count();
            assert!(
                u64::try_from(beginning).unwrap() >= told,
                "{}: {told} are acknowledged and {beginning} booked",
                journal.node
            );
            booked += beginning;
        }
        assert_eq!(booked, count, "what is booked of a journal is not its beginning");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let gateways = self.gateways.iter().map(|gateway| &gateway.task);
        gateways.chain(self.readers.iter().map(|reader| &reader.task)).for_each(JoinHandle::abort);
    }
}
