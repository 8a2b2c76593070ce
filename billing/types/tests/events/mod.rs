//! Any event at all, for the properties that hold of every one.

use std::{fmt::Debug, str::FromStr};

use chrono::{DateTime, Utc};
use permille_types::{
    Attempt, Ended, Endpoint, Family, Flag, RequestId, Source, TokenClass, TokenCounts, TurnKind,
    Unit, UnitCounts, UsageEvent,
};
use proptest::{collection, option, prelude::*, sample::select};

/// A text that an identifier may be: any script, no control character, not too long.
pub(crate) fn id<T: FromStr<Err: Debug> + Debug>() -> impl Strategy<Value = T> {
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
    collection::vec((class, any::<u64>()), 0..6).prop_map(|counts| counts.into_iter().collect())
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
pub(crate) fn event() -> impl Strategy<Value = UsageEvent> {
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
