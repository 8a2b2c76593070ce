//! Throughput of the tap alone, in processor time: `cargo bench -p permille-usage`. Time of the
//! processor and not of the clock, so that other work on the machine changes it little.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic and prints")]

use std::{fmt::Write as _, hint::black_box, time::Duration};

use bytes::Bytes;
use permille_types::{Endpoint, Family};
use permille_usage::{Encoding, Framing, Tap, TapConfig};
use rustix::time::{ClockId, clock_gettime};

/// Events of one reply.
const EVENTS: usize = 2_000;

/// Bytes that come at once: what a connection's buffer has for a fast provider.
const PUSH_BYTES: usize = 8 * 1024;

/// Rounds of each subject, of which the median is told, and the time of one.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(500);

/// The text of four events in a row, as JSON: plain but for one with escapes.
const TEXTS: [&str; 4] = [" the river", " that is longest", "\\n\\n- \\\"Nile\\\"", " flows"];

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let rounds = if std::env::args().any(|arg| arg == "--bench") { ROUNDS } else { 1 };
    println!("| subject | bytes of an event | MB/s | ns an event | lowest to highest MB/s |");
    println!("|---|---:|---:|---:|---:|");
    for (name, family, endpoint, framing, body) in [
        ("OpenAI chat stream", Family::OpenAi, Endpoint::ChatCompletions, Framing::Sse, chat()),
        ("Anthropic stream", Family::Anthropic, Endpoint::Messages, Framing::Sse, messages()),
        ("OpenAI document", Family::OpenAi, Endpoint::ChatCompletions, Framing::Json, document()),
    ] {
        let config = TapConfig {
            family,
            endpoint,
            framing,
            encoding: Encoding::Identity,
            cut_usage_frame: true,
        };
        let body = Bytes::from_owner(body.into_bytes());
        let mut nanoseconds: Vec<u128> = (0..rounds).map(|_| per_reply(config, &body)).collect();
        nanoseconds.sort_unstable();
        let rate = |nanoseconds: &u128| body.len() as u128 * 1_000 / *nanoseconds;
        let median = nanoseconds.get(rounds / 2).unwrap();
        println!(
            "| {name} | {} | {} | {} | {} to {} |",
            body.len() / EVENTS,
            rate(median),
            median / EVENTS as u128,
            rate(nanoseconds.last().unwrap()),
            rate(nanoseconds.first().unwrap()),
        );
    }
}

/// Nanoseconds of the processor that one reply takes.
fn per_reply(config: TapConfig, body: &Bytes) -> u128 {
    let (start, mut replies) = (processor_time(), 0);
    loop {
        black_box(read(config, body));
        replies += 1;
        let spent = processor_time().checked_sub(start).unwrap();
        if spent >= ROUND {
            return spent.as_nanos() / replies;
        }
    }
}

fn read(config: TapConfig, body: &Bytes) -> bool {
    let mut tap = Tap::new(config);
    let mut pieces = Vec::with_capacity(64);
    for start in (0..body.len()).step_by(PUSH_BYTES) {
        tap.push(body.slice(start..body.len().min(start + PUSH_BYTES)), &mut pieces);
        pieces.clear();
    }
    tap.finish(&mut pieces);
    tap.reading().terminal
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn chat() -> String {
    let mut stream = String::new();
    for text in TEXTS.iter().cycle().take(EVENTS) {
        write!(
            stream,
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\
             \"created\":1764150000,\"model\":\"gpt-5.1\",\"service_tier\":\"default\",\
             \"system_fingerprint\":\"fp_1\",\"choices\":[{{\"index\":0,\
             \"delta\":{{\"content\":\"{text}\"}},\"logprobs\":null,\"finish_reason\":null}}],\
             \"usage\":null,\"obfuscation\":\"aB3\"}}\n\n"
        )
        .unwrap();
    }
    stream + "data: [DONE]\n\n"
}

fn messages() -> String {
    let mut stream = String::new();
    for text in TEXTS.iter().cycle().take(EVENTS) {
        write!(
            stream,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
        )
        .unwrap();
    }
    stream + "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
}

/// As much text as in a stream, in one document.
fn document() -> String {
    let text = TEXTS.concat().repeat(EVENTS / TEXTS.len());
    format!(
        "{{\"id\":\"chatcmpl-1\",\"model\":\"gpt-5.1\",\"choices\":[{{\"index\":0,\
         \"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\
         \"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":9,\
         \"completion_tokens\":7,\"total_tokens\":16}}}}"
    )
}
