//! Time to read and place a request of 200 messages: `cargo bench -p permille-session`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic and prints")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use permille_session::{Bounds, Key, Sessions};
use serde_json::json;

const MESSAGES: usize = 200;
/// Rounds, of which the median is told, and the time of one.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(300);

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let rounds = if std::env::args().any(|arg| arg == "--bench") { ROUNDS } else { 1 };
    println!("| bytes of a message | µs to read and place 200 | lowest to highest |");
    println!("|---:|---:|---:|");
    for words in [4, 16, 64, 256] {
        let body = body(words);
        let sessions = Sessions::new(Key::new([1; 32]), Bounds::default());
        let mut times: Vec<f64> = (0..rounds).map(|_| round(&sessions, &body)).collect();
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let (low, high) = (times.first().unwrap(), times.last().unwrap());
        println!("| {} | {median:.1} | {low:.1} to {high:.1} |", body.len() / MESSAGES);
    }
}

/// Microseconds of one request.
fn round(sessions: &Sessions, body: &[u8]) -> f64 {
    let (started, mut requests) = (Instant::now(), 0_u32);
    while started.elapsed() < ROUND {
        let said = sessions.read(black_box(body));
        let fresh = "bench".parse().unwrap();
        black_box(sessions.place(&["acme"], &said, fresh, started));
        requests = requests.saturating_add(1);
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(requests)
}

fn body(words: usize) -> Vec<u8> {
    let message = |number: usize| {
        let role = if number.is_multiple_of(2) { "user" } else { "assistant" };
        json!({"role": role, "content": format!("{number} {}", "word ".repeat(words))})
    };
    let messages: Vec<_> = (0..MESSAGES).map(message).collect();
    json!({"model": "m", "messages": messages}).to_string().into_bytes()
}
