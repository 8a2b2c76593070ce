//! What holds of every event and every batch, whatever is in it.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use std::{fmt::Debug, str::FromStr};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use permille_types::{
    Attempt, Batch, Ended, Endpoint, Family, Flag, RequestId, Sequenced, Source, TokenClass,
    TokenCounts, TurnKind, Unit, UnitCounts, UsageEvent, UsageEventError,
};
use proptest::{collection, option, prelude::*, sample::select};

/// A text that an identifier may be: any script, no control character, not too long.
fn id<T: FromStr<Err: Debug> + Debug>() -> impl Strategy<Value = T> {
    "\\PC{1,40}".prop_map(|text| text.parse().unwrap())
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    // From year 1 to year 9999, to the nanosecond.
    (-62_135_596_800_i64..253_402_300_800, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}

fn request_id() -> impl Strategy<Value = RequestId> {
    any::<u128>().prop_map(|bits| format!("{bits:032x}").parse().unwrap())
}

fn tokens() -> impl Strategy<Value = TokenCounts> {
    let class = prop_oneof![
        3 => select(TokenClass::KNOWN),
        1 => ".{0,12}".prop_map(|name| TokenClass::named(&name)),
    ];
    collection::btree_map(class, any::<u64>(), 0..6)
}

fn units() -> impl Strategy<Value = UnitCounts> {
    let unit =
        select(vec![Unit::Requests, Unit::Seconds, Unit::Images, Unit::Searches, Unit::Characters]);
    collection::btree_map(unit, any::<u64>(), 0..3)
}

fn ended() -> impl Strategy<Value = Ended> {
    select(vec![
        Ended::Complete,
        Ended::ClientGone,
        Ended::UpstreamError,
        Ended::Deadline,
        Ended::Shutdown,
        Ended::Orphaned,
        Ended::Budget,
    ])
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let ids = (option::of(".*"), option::of(".*"));
    (id(), option::of(id()), option::of(any::<u16>()), ids, ended(), tokens()).prop_map(
        |(upstream, model, status, (provider_id, provider_request_id), ended, tokens)| Attempt {
            upstream,
            model,
            status,
            provider_id,
            provider_request_id,
            ended,
            tokens,
        },
    )
}

fn flags() -> impl Strategy<Value = Vec<Flag>> {
    let all = vec![
        Flag::UsageMismatch,
        Flag::Unpriced,
        Flag::TapError,
        Flag::Drained,
        Flag::Cancelled,
        Flag::DrainBound,
        Flag::HoldExceeded,
        Flag::Background,
        Flag::Simulated,
        Flag::ContentFilter,
        Flag::Refusal,
        Flag::EmptyReply,
        Flag::NotBilled,
        Flag::LearntRatio,
    ];
    let count = all.len();
    proptest::sample::subsequence(all, 0..=count)
}

fn turn_kind() -> impl Strategy<Value = TurnKind> {
    select(vec![
        TurnKind::New,
        TurnKind::Continue,
        TurnKind::ToolLoop,
        TurnKind::Regenerate,
        TurnKind::Branch,
    ])
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    select(Endpoint::ALL)
}

fn family() -> impl Strategy<Value = Family> {
    select(Family::ALL)
}

/// Any event at all: every optional part there or not, every number to its limit.
fn event() -> impl Strategy<Value = UsageEvent> {
    let who = (request_id(), instant(), id(), id(), id(), id(), any::<bool>(), any::<u32>());
    let what = (endpoint(), id(), option::of(id()), option::of(".*"), option::of(id()), family());
    let region = option::of(".*");
    let source =
        select(vec![Source::Reported, Source::Estimated, Source::Partial, Source::Missing]);
    let error = option::of(any::<u32>());
    let place = (option::of(turn_kind()), option::of(any::<u64>()));
    let how = (option::of(any::<u16>()), any::<bool>(), ended(), source, flags(), error);
    let counts = (tokens(), option::of(any::<u64>()), option::of(any::<u64>()), units());
    let rest = (collection::vec(attempt(), 0..3), any::<u64>(), option::of(any::<u64>()));
    let parts = (who, what, how, counts, rest, region, place);
    parts.prop_map(|(who, what, how, counts, rest, region, place)| UsageEvent {
        version: 1,
        request_id: who.0,
        at: who.1,
        customer: who.2,
        project: who.3,
        key: who.4,
        session: who.5,
        session_explicit: who.6,
        turn: who.7,
        turn_kind: place.0,
        resent_tokens: place.1,
        family: what.5,
        endpoint: what.0,
        model_requested: what.1,
        model_served: what.2,
        service_tier: what.3,
        region,
        upstream: what.4,
        status: how.0,
        streamed: how.1,
        ended: how.2,
        source: how.3,
        tokens: counts.0,
        input_total: counts.1,
        output_total: counts.2,
        estimate_error_permille: how.5,
        units: counts.3,
        attempts: rest.0,
        latency_ms: rest.1,
        first_token_ms: rest.2,
        flags: how.4,
    })
}

proptest! {
    #[test]
    fn any_event_reads_back_as_it_was_written(event in event()) {
        let json = event.to_json().unwrap();

        let read = UsageEvent::from_json(&json).unwrap();

        prop_assert_eq!(&read, &event);
        prop_assert_eq!(read.to_json().unwrap(), json);
    }

    #[test]
    fn any_event_is_the_same_packed(event in event()) {
        let payload = event.to_payload().unwrap();

        prop_assert_eq!(&UsageEvent::from_payload(&payload).unwrap(), &event);
        prop_assert!(payload.len() <= event.to_json().unwrap().len());
    }

    #[test]
    fn packed_bytes_that_are_no_event_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(UsageEvent::from_payload(&[&[1], bytes.as_slice()].concat()).is_err());
    }

    #[test]
    fn an_event_is_one_line(event in event()) {
        prop_assert!(!event.to_json().unwrap().contains(&b'\n'));
    }

    #[test]
    fn a_torn_event_is_malformed_wherever_it_is_torn(
        event in event(),
        place in any::<prop::sample::Index>(),
    ) {
        let json = event.to_json().unwrap();

        let torn = UsageEvent::from_json(&json[..place.index(json.len())]);

        prop_assert!(matches!(torn, Err(UsageEventError::Malformed(_))));
    }

    #[test]
    fn bytes_that_are_no_event_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(UsageEvent::from_json(&bytes).is_err());
    }

    #[test]
    fn bytes_that_are_no_batch_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        let body = [[2, 0].as_slice(), &bytes].concat();

        if let Ok(batch) = Batch::from_wire(body.clone().into()) {
            prop_assert_eq!(batch.to_wire(), body);
        }
    }

    #[test]
    fn a_batch_arrives_byte_for_byte_whatever_it_carries(
        node in id(),
        events in collection::vec((any::<u64>(), payload()), 1..6),
    ) {
        let events = events.into_iter().map(|(sequence, payload)| Sequenced { sequence, payload });
        let batch = Batch { node, events: events.collect() };

        let read = Batch::from_wire(batch.to_wire()).unwrap();

        prop_assert_eq!(read, batch);
    }
}

/// An event, arbitrary text or arbitrary bytes.
fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        event().prop_map(|event| Bytes::from(event.to_json().unwrap())),
        "[ \\[\\]{}\",:0-9a-z\\\\\n]{0,20}".prop_map(Bytes::from),
        collection::vec(any::<u8>(), 0..30).prop_map(Bytes::from),
    ]
}
