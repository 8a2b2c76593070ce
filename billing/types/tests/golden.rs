//! The published wire shapes, pinned by files: each reads, and is written back byte for byte.
//!
//! A golden file is never edited. A change of shape gets a new version and a new file beside it.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use bytes::Bytes;
use permille_types::{
    Batch, Ended, Endpoint, Family, Flag, IntakeReply, Intent, KeyPolicy, PackedError, Progress,
    Snapshot, Source, SpendQuery, Spent, StoredReply, StreamReply, TokenClass, TurnKind, TurnReply,
    USAGE_EVENT_VERSION, Unit, UsageEvent, UsageEventError,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

const FULL: &str = include_str!("golden/usage_event_v1_full.json");
const ROUTED: &str = include_str!("golden/usage_event_v2_routed.json");
const REGIONAL: &str = include_str!("golden/usage_event_v3_regional.json");
const ESTIMATED: &str = include_str!("golden/usage_event_v3_estimated.json");
const RESENT: &str = include_str!("golden/usage_event_v4_resent.json");
const BUDGET: &str = include_str!("golden/usage_event_v5_budget.json");
const LEAST: &str = include_str!("golden/usage_event_v1_least.json");
const INTENT: &str = include_str!("golden/intent_v1.json");
const FULL_PACKED: &str = include_str!("golden/usage_event_v1_full.packed.hex");
const ESTIMATED_PACKED: &str = include_str!("golden/usage_event_v3_estimated.packed.hex");
const RESENT_PACKED: &str = include_str!("golden/usage_event_v4_resent.packed.hex");
const INTENT_PACKED: &str = include_str!("golden/intent_v1.packed.hex");
const PROGRESS: &str = include_str!("golden/progress_v1.json");
const PROGRESS_V2: &str = include_str!("golden/progress_v2.json");
const BATCH: &[u8] = include_bytes!("golden/batch_v1.bin");
const INTAKE_REPLY: &str = include_str!("golden/intake_reply_v1.json");
const COMMITTED: &str = include_str!("golden/stream_reply_v1_committed.json");
const REFUSED: &str = include_str!("golden/stream_reply_v1_refused.json");
const TURN_REPLY: &str = include_str!("golden/turn_reply_v1.json");
const STORED_REPLY: &str = include_str!("golden/stored_reply_v1.json");
const FAMILIES: &str = include_str!("golden/families_v1.json");
const ENDPOINTS: &str = include_str!("golden/endpoints_v1.json");
const KEY_POLICY: &str = include_str!("golden/key_policy_limited_v1.json");
const PREPAID: &str = include_str!("golden/key_policy_prepaid_v1.json");
const SPENT: &str = include_str!("golden/spent_v1.json");
const SPEND_QUERY: &str = include_str!("golden/spend_query_v1.json");
const SNAPSHOT: &str = include_str!("golden/snapshot_v1.json");

/// The golden file reads as a `T` and is written back as it stands.
fn check<T: Serialize + DeserializeOwned>(golden: &str) {
    let line = golden.strip_suffix('\n').unwrap();

    let read: T = serde_json::from_str(line).unwrap();

    assert_eq!(serde_json::to_string(&read).unwrap(), line);
}

/// Whether `golden` still reads as a `T` with a field that no version has, put at `pointer`.
fn reads_with_a_stray_field<T: DeserializeOwned>(golden: &str, pointer: &str) -> bool {
    let mut value: Value = serde_json::from_str(golden).unwrap();
    let place = value.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
    place.insert("stray".to_owned(), Value::Null);
    serde_json::from_str::<T>(&value.to_string()).is_ok()
}

/// The JSON of `golden` with one field set.
fn with(golden: &str, field: &str, value: impl Into<Value>) -> Vec<u8> {
    let mut event: Value = serde_json::from_str(golden).unwrap();
    event.as_object_mut().unwrap().insert(field.to_owned(), value.into());
    serde_json::to_vec(&event).unwrap()
}

fn unknown_version(bytes: &[u8]) -> Option<u16> {
    match UsageEvent::from_json(bytes) {
        Err(UsageEventError::UnknownVersion { version }) => Some(version),
        _ => None,
    }
}

#[test]
fn every_published_shape_is_written_back_byte_for_byte() {
    check::<UsageEvent>(FULL);
    check::<UsageEvent>(LEAST);
    check::<UsageEvent>(ROUTED);
    check::<UsageEvent>(REGIONAL);
    check::<UsageEvent>(ESTIMATED);
    check::<UsageEvent>(RESENT);
    check::<UsageEvent>(BUDGET);
    check::<Intent>(INTENT);
    check::<Progress>(PROGRESS);
    check::<Progress>(PROGRESS_V2);
    check::<IntakeReply>(INTAKE_REPLY);
    check::<StreamReply>(COMMITTED);
    check::<StreamReply>(REFUSED);
    check::<TurnReply>(TURN_REPLY);
    check::<StoredReply>(STORED_REPLY);
    check::<Snapshot>(SNAPSHOT);
    check::<KeyPolicy>(KEY_POLICY);
    check::<KeyPolicy>(PREPAID);
    check::<SpendQuery>(SPEND_QUERY);
    check::<Spent>(SPENT);
}

#[test]
fn families_and_endpoints_have_the_names_that_were_published() {
    check::<Vec<Family>>(FAMILIES);
    check::<Vec<Endpoint>>(ENDPOINTS);
    let families: Vec<&str> = serde_json::from_str(FAMILIES).unwrap();
    let endpoints: Vec<&str> = serde_json::from_str(ENDPOINTS).unwrap();

    assert!(Family::ALL.iter().map(|family| family.as_str()).eq(families.iter().copied()));
    assert!(Endpoint::ALL.iter().map(|endpoint| endpoint.as_str()).eq(endpoints));
    for name in families {
        assert_eq!(name.parse::<Family>().unwrap().as_str(), name);
    }
    assert!("open-ai".parse::<Family>().unwrap_err().contains("azure-openai"));
}

#[test]
fn a_published_batch_is_read_and_its_content_written_back_byte_for_byte() {
    let batch = Batch::from_wire(Bytes::from_static(BATCH)).unwrap();

    assert_eq!(batch.node.as_str(), "n1");
    let events: Vec<_> = batch.events.iter().map(|e| (e.sequence, &*e.payload)).collect();
    assert_eq!(events, [(7, br#"{"x": 1.50}"#.as_slice()), (9, b"\xff\x00")]);
    // It was published as version 1; what differs is the version alone.
    assert_eq!((&BATCH[..2], &batch.to_wire()[..2]), ([1, 0].as_slice(), [2, 0].as_slice()));
    assert_eq!(batch.to_wire()[2..], BATCH[2..]);
}

#[test]
fn an_event_is_written_by_its_own_writer_as_the_golden_file_says() {
    for golden in [FULL, LEAST, ROUTED, REGIONAL, ESTIMATED, RESENT, BUDGET] {
        let event = UsageEvent::from_json(golden.as_bytes()).unwrap();

        assert_eq!(event.to_json().unwrap(), golden.trim_end().as_bytes());
    }
}

/// The bytes of a golden file in hexadecimal.
fn bytes(golden: &str) -> Vec<u8> {
    hex::decode(golden.split_whitespace().collect::<String>()).unwrap()
}

#[test]
fn a_packed_event_is_what_its_json_is_byte_for_byte() {
    for (json, packed) in
        [(FULL, FULL_PACKED), (ESTIMATED, ESTIMATED_PACKED), (RESENT, RESENT_PACKED)]
    {
        let (event, packed) = (UsageEvent::from_json(json.as_bytes()).unwrap(), bytes(packed));

        assert_eq!(hex::encode(event.to_payload()), hex::encode(&packed));
        assert_eq!(UsageEvent::from_payload(&packed).unwrap(), event);
        assert_eq!(UsageEvent::from_payload(json.as_bytes()).unwrap(), event);
    }
    let intent: Intent = serde_json::from_str(INTENT).unwrap();
    let packed = Intent::to_payload(&intent.event, intent.request_bytes);
    assert_eq!(hex::encode(packed), hex::encode(bytes(INTENT_PACKED)));
    assert_eq!(Intent::from_payload(&bytes(INTENT_PACKED)).unwrap(), intent);
    assert_eq!(Intent::from_payload(INTENT.as_bytes()).unwrap(), intent);
}

#[test]
fn a_packed_event_of_another_version_is_refused_by_name_whatever_follows() {
    for version in [0, USAGE_EVENT_VERSION + 1] {
        let mut packed = bytes(RESENT_PACKED);
        packed[1] = u8::try_from(version).unwrap();
        packed.extend_from_slice(b"fields that are not known yet");

        let found = match UsageEvent::from_payload(&packed) {
            Err(UsageEventError::UnknownVersion { version }) => Some(version),
            _ => None,
        };

        assert_eq!(found, Some(version));
    }
}

#[test]
fn a_packed_event_is_refused_when_it_is_cut_or_goes_on() {
    let whole = bytes(FULL_PACKED);
    for end in 0..whole.len() {
        assert!(UsageEvent::from_payload(&whole[..end]).is_err(), "{end} bytes");
    }
    let longer = UsageEvent::from_payload(&[whole, vec![0]].concat()).unwrap_err();
    assert!(matches!(longer, UsageEventError::Packed(PackedError::Longer { bytes: 1 })));
}

#[test]
fn every_name_is_the_one_that_json_has() {
    let units = [Unit::Requests, Unit::Seconds, Unit::Images, Unit::Searches, Unit::Characters];
    let flags = [
        Flag::UsageMismatch,
        Flag::Unpriced,
        Flag::TapError,
        Flag::Drained,
        Flag::Cancelled,
        Flag::DrainBound,
        Flag::HoldExceeded,
        Flag::Background,
        Flag::ContentFilter,
        Flag::Refusal,
        Flag::EmptyReply,
        Flag::LearntRatio,
        Flag::NotBilled,
        Flag::Simulated,
    ];
    let ends = [
        Ended::Complete,
        Ended::ClientGone,
        Ended::UpstreamError,
        Ended::Deadline,
        Ended::Shutdown,
        Ended::Orphaned,
    ];
    let sources = [Source::Reported, Source::Estimated, Source::Partial, Source::Missing];
    let kinds = [
        TurnKind::New,
        TurnKind::Continue,
        TurnKind::ToolLoop,
        TurnKind::Regenerate,
        TurnKind::Branch,
    ];

    assert!(units.iter().all(|unit| is_named(unit, unit.as_str())));
    assert!(flags.iter().all(|flag| is_named(flag, flag.as_str())));
    assert!(ends.iter().all(|ended| is_named(ended, ended.as_str())));
    assert!(sources.iter().all(|source| is_named(source, source.as_str())));
    assert!(kinds.iter().all(|kind| is_named(kind, kind.as_str())));
}

/// Whether `name` is what `value` is in JSON.
fn is_named(value: &impl Serialize, name: &str) -> bool {
    serde_json::to_value(value).unwrap() == name
}

#[test]
fn every_field_of_version_1_means_what_it_meant() {
    let event = UsageEvent::from_json(FULL.as_bytes()).unwrap();

    assert_eq!(event.version, 1);
    assert_eq!(event.at.timestamp_subsec_nanos(), 123_456_789);
    assert_eq!((event.ended, event.source), (Ended::ClientGone, Source::Partial));
    assert_eq!(event.tokens.get(&TokenClass::CACHE_WRITE_1H), Some(&12));
    assert_eq!(event.tokens.get(&TokenClass::named("smell_in")), Some(&7));
    assert_eq!(event.units.get(&Unit::Searches), Some(&2));
    assert_eq!(event.flags, [Flag::UsageMismatch, Flag::Drained]);
    assert_eq!(event.model().as_str(), "claude-x-20260101");
    assert_eq!(event.attempts.len(), 2);
}

#[test]
fn every_field_of_version_2_means_what_it_meant() {
    let event = UsageEvent::from_json(ROUTED.as_bytes()).unwrap();

    assert_eq!(event.version, 2);
    assert_eq!(event.model_requested.as_str(), "best");
    assert_eq!(event.attempts[0].model.as_ref().unwrap().as_str(), "gpt-4o");
    assert_eq!(event.model().as_str(), "gpt-4.1", "the last attempt's, because none is served");
    assert_eq!(
        event.flags,
        [Flag::ContentFilter, Flag::Refusal, Flag::EmptyReply, Flag::NotBilled]
    );
}

#[test]
fn every_field_of_version_3_means_what_it_meant() {
    let regional = UsageEvent::from_json(REGIONAL.as_bytes()).unwrap();
    let event = UsageEvent::from_json(ESTIMATED.as_bytes()).unwrap();
    let progress: Progress = serde_json::from_str(PROGRESS_V2).unwrap();

    assert_eq!(regional.version, 3);
    assert_eq!(regional.service_tier.as_deref(), Some("batch"));
    assert_eq!(regional.region.as_deref(), Some("cn-north-4"));
    assert_eq!(event.version, 3);
    assert_eq!(event.estimate_error_permille, Some(84));
    assert_eq!(event.flags, [Flag::Cancelled, Flag::LearntRatio]);
    assert_eq!(progress.estimate_error_permille, Some(84));
}

#[test]
fn every_field_of_version_4_means_what_it_meant() {
    let event = UsageEvent::from_json(RESENT.as_bytes()).unwrap();
    let before = UsageEvent::from_json(ESTIMATED.as_bytes()).unwrap();

    assert_eq!(event.version, 4);
    assert_eq!(event.turn_kind, Some(TurnKind::ToolLoop));
    assert_eq!(event.resent_tokens, Some(1_850));
    assert_eq!((before.turn_kind, before.resent_tokens), (None, None));
}

#[test]
fn every_field_of_version_5_means_what_it_meant() {
    let event = UsageEvent::from_json(BUDGET.as_bytes()).unwrap();

    assert_eq!(event.version, USAGE_EVENT_VERSION);
    assert_eq!(event.ended, Ended::Budget);
    assert_eq!(event.attempts[0].ended, Ended::Budget);
}

#[test]
fn an_absent_count_is_not_zero_and_an_explicit_zero_stays() {
    let full = UsageEvent::from_json(FULL.as_bytes()).unwrap();
    let least = UsageEvent::from_json(LEAST.as_bytes()).unwrap();

    assert_eq!(full.tokens.get(&TokenClass::AUDIO_IN), Some(&0));
    assert_eq!(full.tokens.get(&TokenClass::IMAGE_IN), None);
    assert_eq!((least.input_total, least.output_total), (None, None));
    assert_eq!((least.status, least.upstream, least.first_token_ms), (None, None, None));
}

#[test]
fn what_is_counted_by_refuses_a_field_that_it_does_not_know() {
    for pointer in ["", "/attempts/0"] {
        assert!(!reads_with_a_stray_field::<UsageEvent>(FULL, pointer), "{pointer}");
    }
    assert!(!reads_with_a_stray_field::<Intent>(INTENT, ""));
    assert!(!reads_with_a_stray_field::<Intent>(INTENT, "/event"));
    assert!(!reads_with_a_stray_field::<Progress>(PROGRESS, ""));
    assert!(!reads_with_a_stray_field::<Snapshot>(SNAPSHOT, "/prices/0"));
    assert!(!reads_with_a_stray_field::<Snapshot>(SNAPSHOT, "/prices/0/bands/0/when"));
}

#[test]
fn answers_of_billing_may_say_more_than_a_gateway_knows() {
    assert!(reads_with_a_stray_field::<IntakeReply>(INTAKE_REPLY, ""));
    assert!(reads_with_a_stray_field::<TurnReply>(TURN_REPLY, ""));
    assert!(reads_with_a_stray_field::<Snapshot>(SNAPSHOT, ""));
    assert!(reads_with_a_stray_field::<Snapshot>(SNAPSHOT, "/keys/0"));
}

/// A gateway that knows no prepaid credit holds it all the same: as a limit of the customer.
#[test]
fn prepaid_credit_is_a_limit_that_every_gateway_reads() {
    let mut earlier: Value = serde_json::from_str(PREPAID).unwrap();
    earlier.as_object_mut().unwrap().remove("prepaid").unwrap();

    let earlier: KeyPolicy = serde_json::from_value(earlier).unwrap();
    let policy: KeyPolicy = serde_json::from_str(PREPAID).unwrap();

    assert_eq!(earlier.limits, policy.limits);
    assert_eq!(Some(policy.limits[0].max), policy.prepaid.map(|credit| credit.max));
    assert!(reads_with_a_stray_field::<KeyPolicy>(PREPAID, "/prepaid"));
}

#[test]
fn an_event_of_another_version_is_told_apart_from_a_malformed_one() {
    let newer = with(FULL, "version", 6);
    let newer_with_more = with(&String::from_utf8(newer.clone()).unwrap(), "mood", "good");

    assert_eq!(unknown_version(&newer), Some(6));
    assert_eq!(unknown_version(&newer_with_more), Some(6));
    assert_eq!(unknown_version(&with(FULL, "version", 0)), Some(0));
    for (field, value) in [
        ("version", Value::from("1")),
        ("mood", Value::from("good")),
        ("turn", Value::from(-1)),
        ("customer", Value::from("")),
        ("customer", Value::from("a\u{7}b")),
        ("request_id", Value::from("chatcmpl-1")),
        ("ended", Value::from("happily")),
        ("at", Value::from("2026-11-20T09:30:00")),
        ("tokens", serde_json::json!({ "output_text": -1 })),
        ("tokens", serde_json::json!({ "output_text": 1.5 })),
        ("tokens", serde_json::json!({ "output_text": "1" })),
        ("units", serde_json::json!({ "smells": 1 })),
    ] {
        let error = UsageEvent::from_json(&with(FULL, field, value.clone())).unwrap_err();
        assert!(matches!(error, UsageEventError::Malformed(_)), "{field} {value}: {error}");
    }
}

#[test]
fn a_price_travels_as_text_and_a_number_is_refused() {
    let number = SNAPSHOT.replace(r#""input_uncached":"0.012""#, r#""input_uncached":0.012"#);

    assert_ne!(number, SNAPSHOT);
    assert!(serde_json::from_str::<Snapshot>(&number).is_err());
}

#[test]
fn a_snapshot_does_not_show_its_secrets_when_it_is_printed() {
    let snapshot: Snapshot = serde_json::from_str(SNAPSHOT).unwrap();

    let printed = format!("{snapshot:?}");

    assert!(printed.contains("key_0VsQ1"));
    assert!(!printed.contains("07070707") && !printed.contains("00112233"), "{printed}");
}
