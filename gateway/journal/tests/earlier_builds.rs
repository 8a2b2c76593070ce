//! A journal that an earlier build left behind, whose records are JSON, is taken over as it is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod common;

use common::{admit, config, event, open};
use permille_journal::{
    JournalFs as _,
    format::RECORD_HEADER_BYTES,
    testing::{Loss, MemFs},
};
use permille_types::{Ended, Intent, Source, TokenClass, UsageEvent};

/// A segment of record version 1, made from the format's description, not by this code: an intent,
/// its progress and another request's settled event.
const SEGMENT: &str = include_str!("golden/segment-of-json-records.hex");
const INTENT: &str = include_str!("../../../billing/types/tests/golden/intent_v1.json");
const SETTLED: &str =
    include_str!("../../../billing/types/tests/golden/usage_event_v4_resent.json");

fn left_behind() -> MemFs {
    let fs = MemFs::new();
    let config = config();
    let path = config.directory.join("00001795521600000000.segment");
    fs.create_directory(&config.directory).unwrap();
    let file = fs.create(&path, config.segment_bytes).unwrap();
    let bytes = hex::decode(SEGMENT.split_whitespace().collect::<String>()).unwrap();
    file.write_at(0, &bytes).unwrap();
    file.sync_data().unwrap();
    fs.sync_directory(&config.directory).unwrap();
    fs
}

#[tokio::test]
async fn a_journal_of_json_records_is_settled_shipped_and_written_on() {
    let opened = open(&left_behind()).unwrap();
    assert_eq!((opened.recovered.records, opened.recovered.orphans), (3, 1));
    assert!(opened.recovered.damage.is_empty(), "{:?}", opened.recovered);
    let journal = opened.journal;

    let new = event(7, 70);
    admit(&journal, &new).unwrap();
    journal.settle(&new).unwrap().await.unwrap();

    let batch = journal.next_batch(100, 1 << 20).await.unwrap();
    assert_eq!(batch.events[0].payload, SETTLED.trim_end().as_bytes(), "shipped as it stands");
    let read: Vec<_> = batch
        .events
        .iter()
        .map(|event| UsageEvent::from_payload(&event.payload).unwrap())
        .collect();
    let orphan = &read[1];
    let was_open: Intent = serde_json::from_str(INTENT).unwrap();
    assert_eq!(orphan.request_id, was_open.event.request_id);
    assert_eq!((orphan.version, orphan.ended), (1, Ended::Orphaned));
    assert_eq!((orphan.source, orphan.output_total), (Source::Estimated, Some(100)));
    assert_eq!(orphan.tokens.get(&TokenClass::INPUT_UNCACHED), Some(&900));
    assert_eq!(read[2..], [new]);
}

#[tokio::test]
async fn packed_records_are_read_back_after_a_crash_and_take_less_room() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let (whole, left_open) = (event(1, 10), event(2, 20));
    admit(&journal, &whole).unwrap();
    admit(&journal, &left_open).unwrap();
    journal.settle(&whole).unwrap().await.unwrap();
    let written = journal.stats().bytes_total;

    let opened = open(&fs.crash(Loss::Nothing)).unwrap();

    let read = common::shippable(&opened.journal).await;
    assert_eq!(read[0], whole);
    assert_eq!((read[1].request_id, read[1].ended), (left_open.request_id, Ended::Orphaned));
    let json = u64::try_from(whole.to_json().unwrap().len()).unwrap() + RECORD_HEADER_BYTES;
    assert!(written < 2 * json, "three records of {json} bytes each took {written}");
}
