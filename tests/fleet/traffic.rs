//! Clients: both wire formats, whole and streamed replies, some who leave early.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fastrand::Rng;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet, time::interval};

use super::topology::{Fleet, Open};
use crate::support::{Web, eventually};

/// One client in so many requests leaves in the middle of the reply.
const LEAVES_EVERY: usize = 11;
/// What a client waits after a request that no gateway answered.
const PAUSE: Duration = Duration::from_millis(20);

/// What clients saw. Requests are our own ids.
#[derive(Debug, Default)]
pub struct Seen {
    /// Replies received to their end.
    pub whole: Vec<String>,
    /// Replies that the client itself left.
    pub left: Vec<String>,
    /// Replies that began and broke off.
    pub broken: Vec<String>,
    /// Refusals and errors, by status.
    pub refused: BTreeMap<u16, usize>,
    /// Connections that gave no answer at all.
    pub unanswered: usize,
}

impl Seen {
    /// Adds what others saw.
    pub fn add(&mut self, other: Self) {
        self.whole.extend(other.whole);
        self.left.extend(other.left);
        self.broken.extend(other.broken);
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.unanswered += other.unanswered;
    }
}

/// Clients that ask again and again until they are told to stop.
pub struct Traffic {
    seen: Arc<Mutex<Seen>>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Traffic {
    /// Starts so many clients with `key`. What they ask follows from `seed`.
    pub fn start(fleet: &Fleet, key: &str, clients: usize, seed: u64) -> Self {
        Self::of(fleet, &vec![key; clients], seed)
    }

    /// As [`Traffic::start`], with a client for each of `keys`.
    pub fn of(fleet: &Fleet, keys: &[&str], seed: u64) -> Self {
        let replies = Arc::new(Mutex::new(Seen::default()));
        let stop = watch::Sender::new(false);
        let mut running = JoinSet::new();
        for (number, key) in keys.iter().enumerate() {
            let client = Client {
                number,
                bearer: format!("Bearer {key}"),
                web: Web::new(),
                open: fleet.open(),
                random: Rng::with_seed(seed.wrapping_mul(1_000).wrapping_add(number as u64)),
                seen: Arc::clone(&replies),
            };
            running.spawn(client.run(stop.subscribe()));
        }
        Self { seen: replies, stop, clients: running }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Replies that clients have received in full so far.
    pub fn served(&self) -> usize {
        self.seen().whole.len()
    }

    /// Waits until clients have received so many more replies in full.
    pub async fn more(&self, replies: usize) {
        let enough = self.served() + replies;
        eventually("replies come", async || (self.served() >= enough).then_some(())).await;
    }

    /// As [`Traffic::more`], and no longer than `most`.
    pub async fn more_within(&self, replies: usize, most: Duration) {
        tokio::time::timeout(most, self.more(replies)).await.ok();
    }

    /// Ends the clients after the reply that each of them reads; what they saw.
    pub async fn end(mut self) -> Seen {
        self.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.seen())
    }
}

struct Client {
    number: usize,
    bearer: String,
    web: Web,
    open: Open,
    random: Rng,
    seen: Arc<Mutex<Seen>>,
}

impl Client {
    async fn run(mut self, stop: watch::Receiver<bool>) {
        let mut pause = interval(PAUSE);
        for request in 0.. {
            if *stop.borrow() {
                return;
            }
            let open = self.open.borrow().clone();
            let answered = match open.get((self.number + request) % open.len().max(1)) {
                Some(gateway) => self.ask(*gateway, request).await,
                None => false,
            };
            if !answered {
                pause.reset();
                pause.tick().await;
            }
        }
    }

    /// One request; whether it was answered with a reply.
    async fn ask(&mut self, gateway: SocketAddr, request: usize) -> bool {
        let openai = self.random.bool();
        let streamed = self.random.u8(..3) > 0;
        let leaves = streamed && (self.number + request).is_multiple_of(LEAVES_EVERY);
        let tokens = self.random.u32(1..40);
        let pace = if streamed && self.random.u8(..4) == 0 { ",chunk_ms=4" } else { "" };
        let text = format!("simulate:tokens={tokens}{pace} client {} asks {request}", self.number);
        let (path, model) = if openai {
            ("/v1/chat/completions", "gpt-4o-mini")
        } else {
            ("/anthropic/v1/messages", "claude-sonnet-4-5")
        };
        let session = format!("client-{}-{}", self.number, request / 8);
        let headers = [("authorization", self.bearer.as_str()), ("permille-session", &session)];
        let body = json!({"model": model, "max_tokens": 64, "stream": streamed,
                          "messages": [{"role": "user", "content": text}]});
        let body = body.to_string().into();
        let sent = self.web.send(http::Method::POST, gateway, path, &headers, body).await;
        let Ok(mut reply) = sent else {
            self.seen.lock().unwrap().unanswered += 1;
            return false;
        };
        if reply.status != 200 {
            *self.seen.lock().unwrap().refused.entry(reply.status).or_default() += 1;
            return false;
        }
        let id = reply.headers["permille-request-id"].to_str().unwrap().to_owned();
        if leaves {
            reply.piece().await;
            drop(reply);
            self.seen.lock().unwrap().left.push(id);
            return true;
        }
        let (bytes, ended) = reply.rest().await;
        let text = String::from_utf8_lossy(&bytes);
        let last = match (openai, streamed) {
            (_, false) => "}",
            (true, true) => "data: [DONE]",
            (false, true) => "\"message_stop\"}",
        };
        let mut seen = self.seen.lock().unwrap();
        if ended && text.trim_end().ends_with(last) {
            seen.whole.push(id);
        } else {
            seen.broken.push(id);
        }
        true
    }
}
