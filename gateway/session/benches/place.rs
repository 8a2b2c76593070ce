//! Time to read and place a request of 200 messages: `cargo bench -p permille-session`. Time of the
//! processor and not of the clock, so that other work on the machine changes it little.
//!
//! With `--calls NUMBER WORDS` it reads and places so many times and looks at no clock, so that
//! callgrind counts instructions: those of 200 calls less those of 100 are those of 100.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic and prints")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use permille_session::{Bounds, Conversation, Key, Replied, Search, Sessions};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

const MESSAGES: usize = 200;
/// Rounds, of which the median is told, and the time of one.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(300);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, mode, calls, words, ..] = &args[..]
        && mode == "--calls"
    {
        return Talk::new(words.parse().unwrap()).calls(calls.parse().unwrap());
    }
    // `cargo test --benches` only wants to know that it runs.
    let rounds = if std::env::args().any(|arg| arg == "--bench") { ROUNDS } else { 1 };
    println!("| bytes of a message | µs to read | to place | both | lowest to highest |");
    println!("|---:|---:|---:|---:|---:|");
    for words in [8, 16, 77, 256] {
        let talk = Talk::new(words);
        let mut times: Vec<_> = (0..rounds).map(|_| talk.round()).collect();
        times.sort_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1)));
        let both = |time: Option<&(f64, f64)>| time.map_or(0.0, |(read, place)| read + place);
        let (read, place) = times.get(times.len() / 2).copied().unwrap_or_default();
        println!(
            "| {} | {read:.1} | {place:.1} | {:.1} | {:.1} to {:.1} |",
            talk.body.len() / MESSAGES,
            read + place,
            both(times.first()),
            both(times.last()),
        );
    }
}

/// A conversation whose turn before has been answered.
struct Talk {
    before: Vec<u8>,
    replied: String,
    body: Vec<u8>,
}

impl Talk {
    fn new(words: usize) -> Self {
        let text = |number: usize| format!("{number} {}", "word ".repeat(words));
        let message = |number: usize| {
            // The last one is the question.
            let role = if number.is_multiple_of(2) { "assistant" } else { "user" };
            json!({"role": role, "content": text(number)})
        };
        let messages: Vec<_> = (0..MESSAGES).map(message).collect();
        let body = |messages: &[Value]| {
            json!({"model": "m", "stream": true, "messages": messages}).to_string().into_bytes()
        };
        Self {
            before: body(messages.get(..MESSAGES - 2).unwrap()),
            replied: text(MESSAGES - 2),
            body: body(&messages),
        }
    }

    /// Microseconds of the processor that it takes to read the request, and to place it.
    fn round(&self) -> (f64, f64) {
        let known = Known::of(self);
        let read = per_call(|| drop(black_box(known.read(black_box(&self.body)))));
        let said = known.read(&self.body);
        (read, per_call(|| known.place(black_box(&said))))
    }

    /// Reads and places the request so many times.
    fn calls(&self, number: u32) {
        let known = Known::of(self);
        for _ in 0..number {
            known.place(&known.read(black_box(&self.body)));
        }
    }
}

/// A gateway that knows the turn before.
struct Known {
    key: Key,
    sessions: Sessions,
    now: Instant,
}

impl Known {
    fn of(talk: &Talk) -> Self {
        let (key, sessions) = (Key::new([1; 32]), Sessions::new(Bounds::default()));
        let known = Self { key, sessions, now: Instant::now() };
        let said = known.read(&talk.before);
        let search = Search::of(&known.key, &["acme"], &said);
        let before = known.sessions.place(&search, "bench".parse().unwrap(), None, known.now);
        let replied = Replied { text: &talk.replied, ..Replied::default() };
        known.sessions.replied(&before, replied, known.now);
        known
    }

    fn read(&self, body: &[u8]) -> Conversation {
        Conversation::read(&self.key, body)
    }

    fn place(&self, said: &Conversation) {
        let search = Search::of(&self.key, &["acme"], said);
        let placed = self.sessions.place(&search, "bench".parse().unwrap(), None, self.now);
        assert_eq!(placed.place.turn.number, 2);
    }
}

/// Microseconds of the processor that one call takes.
fn per_call(mut call: impl FnMut()) -> f64 {
    let (start, mut calls) = (processor_time(), 0_u32);
    loop {
        call();
        calls += 1;
        let spent = processor_time().checked_sub(start).unwrap();
        if spent >= ROUND {
            return spent.as_secs_f64() * 1e6 / f64::from(calls);
        }
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
