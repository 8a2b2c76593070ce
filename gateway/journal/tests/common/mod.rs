//! A journal on a file system that forgets, and events to write into it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part of this module"
)]

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use permille_journal::{FullReason, Journal, JournalConfig, JournalError, Opened, testing::MemFs};
use permille_types::{
    Clock, Ended, Endpoint, Family, Intent, Progress, RequestId, Source, TokenClass, TokenCounts,
    USAGE_EVENT_VERSION, UnitCounts, UsageEvent,
};

/// How long a condition may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A clock that stands still: recovery writes it into orphans.
pub struct Noon;

impl Clock for Noon {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_521_600, 0).unwrap()
    }
}

pub fn config() -> JournalConfig {
    let mut config = JournalConfig::new("/journal", "node-1".parse().unwrap());
    // Small, so that a script of some hundred records crosses many segments.
    config.segment_bytes = 16 * 1024;
    config.bytes_max = 64 * 16 * 1024;
    config.reserve_bytes = 2 * 1024;
    config
}

pub fn open(fs: &MemFs) -> Result<Opened, JournalError> {
    Journal::open(Arc::new(fs.clone()), &config(), Arc::new(Noon))
}

/// Waits for the segment that is made ahead: every write and sync after it is one that the test
/// has caused, until that segment is used.
pub async fn prepared(journal: &Journal) {
    let mut looks = tokio::time::interval(Duration::from_millis(1));
    let made = async {
        while journal.stats().segments < 2 {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, made).await.expect("a segment is made ahead");
}

/// The `number`th request, as it reads when it is settled with `output` tokens.
pub fn event(number: u32, output: u64) -> UsageEvent {
    let at = Noon.now() + TimeDelta::milliseconds(i64::from(number));
    UsageEvent {
        version: USAGE_EVENT_VERSION,
        request_id: RequestId::new(at),
        at,
        customer: "acme".parse().unwrap(),
        project: "default".parse().unwrap(),
        key: "key_1".parse().unwrap(),
        session: format!("s-{number}").parse().unwrap(),
        session_explicit: true,
        turn: 1,
        turn_kind: None,
        resent_tokens: None,
        family: Family::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        model_requested: "gpt-4o-mini".parse().unwrap(),
        model_served: None,
        service_tier: None,
        region: None,
        upstream: None,
        status: Some(200),
        streamed: true,
        ended: Ended::Complete,
        source: Source::Reported,
        tokens: TokenCounts::from([(TokenClass::OUTPUT_TEXT, output)]),
        input_total: None,
        output_total: Some(output),
        estimate_error_permille: None,
        units: UnitCounts::new(),
        attempts: Vec::new(),
        latency_ms: 7,
        first_token_ms: None,
        flags: Vec::new(),
    }
}

pub fn intent(event: &UsageEvent) -> Intent {
    let mut event = event.clone();
    event.ended = Ended::Orphaned;
    event.source = Source::Missing;
    event.tokens.clear();
    event.output_total = None;
    Intent { event, request_bytes: 100 }
}

/// Admits a request; while the next segment is being prepared, again, a bounded number of times.
pub fn admit(journal: &Journal, event: &UsageEvent) -> Result<(), JournalError> {
    for _ in 0..40 {
        // Each of these waits a while for the segment.
        match journal.admit(&intent(event)) {
            Err(JournalError::Full { reason: FullReason::Preparing }) => std::thread::yield_now(),
            admitted => return admitted,
        }
    }
    journal.admit(&intent(event))
}

pub fn progress(event: &UsageEvent, output: u64) -> Progress {
    Progress {
        request_id: event.request_id,
        tokens: TokenCounts::from([(TokenClass::OUTPUT_TEXT, output)]),
        source: Source::Estimated,
        input_total: None,
        output_total: Some(output),
        estimate_error_permille: Some(50),
        model_served: None,
    }
}

/// Everything that a journal would ship, in order.
pub async fn shippable(journal: &Journal) -> Vec<UsageEvent> {
    if journal.stats().lag_records == 0 {
        return Vec::new();
    }
    let batch = journal.next_batch(100_000, 1 << 30).await.unwrap();
    batch.events.iter().map(|event| UsageEvent::from_payload(&event.payload).unwrap()).collect()
}
