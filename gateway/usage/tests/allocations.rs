//! Reading a stream allocates nothing for an event: what is allocated is bounded for the reply,
//! however many events it has. A binary of its own, because it counts with its own allocator.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use allocation_counter::measure;
use bytes::Bytes;
use permille_types::{Endpoint, Family};
use permille_usage::{Encoding, Framing, Piece, Tap, TapConfig};

/// Events that are counted.
const EVENTS: usize = 2_000;

/// A text, and events that fill what a tap keeps for an estimate (64 KiB of each kind) with it.
const LONG_TEXT_BYTES: usize = 4 * 1024;
const WARM_UP_EVENTS: usize = 100;

/// Texts of deltas as they stand in JSON: plain, and with every kind of escape.
const TEXTS: [&str; 2] = [" the river", r#"\n\n\"Nile\" \u7f51\ud83d\ude00 \\ "#];

/// Chat chunks as `OpenAI` sends them: an answer, reasoning, a tool's arguments; with what Azure's
/// filter adds, which nobody reads.
fn chat(text: &str) -> Vec<String> {
    let chunk = |delta: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\
             \"created\":1764150000,\"model\":\"gpt-5.1\",\"service_tier\":\"default\",\
             \"system_fingerprint\":\"fp_1\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
             \"logprobs\":null,\"finish_reason\":null,\"content_filter_results\":{{\
             \"hate\":{{\"filtered\":false,\"severity\":\"safe\"}}}}}}],\"usage\":null,\
             \"obfuscation\":\"aB3\"}}\n\n"
        )
    };
    vec![
        chunk(&format!(r#"{{"content":"{text}"}}"#)),
        chunk(&format!(r#"{{"reasoning_content":"{text}"}}"#)),
        chunk(&format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{text}"}}}}]}}"#)),
    ]
}

/// Deltas as Anthropic sends them: an answer, thinking, a tool's arguments.
fn messages(text: &str) -> Vec<String> {
    let event = |delta: &str| {
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{delta}}}\n\n"
        )
    };
    vec![
        event(&format!(r#"{{"type":"text_delta","text":"{text}"}}"#)),
        event(&format!(r#"{{"type":"thinking_delta","thinking":"{text}"}}"#)),
        event(&format!(r#"{{"type":"input_json_delta","partial_json":"{text}"}}"#)),
    ]
}

/// One event after the other, `count` of them, as they come from a connection: slices of a buffer
/// that is shared already.
fn stream(kinds: &[String], count: usize) -> (Bytes, Vec<usize>) {
    let events: Vec<&str> = kinds.iter().cycle().take(count).map(String::as_str).collect();
    let ends = events.iter().scan(0, |end, event| {
        *end += event.len();
        Some(*end)
    });
    (Bytes::from_owner(events.concat().into_bytes()), ends.collect())
}

/// Allocations of reading `pushes`, once the tap has read as much text as it keeps.
fn allocations(
    (family, endpoint): (Family, Endpoint),
    warm_up: Bytes,
    whole: &Bytes,
    ends: &[usize],
) -> u64 {
    let mut tap = Tap::new(TapConfig {
        family,
        endpoint,
        framing: Framing::Sse,
        encoding: Encoding::Identity,
        cut_usage_frame: true,
    });
    let mut pieces: Vec<Piece> = Vec::with_capacity(WARM_UP_EVENTS);
    tap.push(warm_up, &mut pieces);
    pieces.clear();
    let mut read = |at: usize, end: usize| {
        tap.push(whole.slice(at..end), &mut pieces);
        pieces.clear();
        end
    };
    measure(|| {
        ends.iter().fold(0, |at, end| read(at, *end));
    })
    .count_total
}

/// Whose reply it is, and its events with a text.
type Stream = ((Family, Endpoint), fn(&str) -> Vec<String>);

/// The streams that are most of the traffic.
const FAMILIES: [Stream; 2] = [
    ((Family::OpenAi, Endpoint::ChatCompletions), chat),
    ((Family::Anthropic, Endpoint::Messages), messages),
];

#[test]
fn an_event_of_a_stream_is_read_without_allocation() {
    for (asked, events) in FAMILIES {
        let (warm_up, _) = stream(&events(&"x".repeat(LONG_TEXT_BYTES)), WARM_UP_EVENTS);
        let kinds: Vec<String> = TEXTS.iter().flat_map(|text| events(text)).collect();
        let (whole, ends) = stream(&kinds, EVENTS);
        for events_per_push in [1, 7, 400] {
            let ends: Vec<usize> =
                ends.chunks(events_per_push).filter_map(|ends| ends.last().copied()).collect();

            let count = allocations(asked, warm_up.clone(), &whole, &ends);

            assert_eq!(count, 0, "{asked:?}, {EVENTS} events, {events_per_push} in a push");
        }
    }
}

#[test]
fn an_event_that_comes_in_parts_costs_two_allocations_at_most() {
    for (asked, events) in FAMILIES {
        let (warm_up, _) = stream(&events(&"x".repeat(LONG_TEXT_BYTES)), WARM_UP_EVENTS);
        let kinds: Vec<String> = TEXTS.iter().flat_map(|text| events(text)).collect();
        let (whole, _) = stream(&kinds, EVENTS);
        for size in [50, 100, 1_000] {
            let ends: Vec<usize> = (1..=whole.len() / size).map(|part| part * size).collect();

            let count = allocations(asked, warm_up.clone(), &whole, &ends);

            assert!(count <= 2 * EVENTS as u64, "{asked:?}: {count} at {size} bytes a push");
        }
    }
}
