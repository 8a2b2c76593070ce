//! An upstream that does what a test tells it, call after call, and keeps what it was sent.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use permille_proxy::config::UpstreamConfig;
use permille_types::Family;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What the upstream does with a call.
#[derive(Clone)]
pub enum Step {
    /// Answers with these bytes and closes.
    Say(Vec<u8>),
    /// Answers after a while.
    SayAfter(Duration, Vec<u8>),
    /// Says these bytes, then nothing more, and closes nothing.
    Stall(Vec<u8>),
    /// Never answers.
    Hang,
    /// Closes the connection without a word.
    Close,
}

/// A scripted upstream; the last step is repeated.
pub struct Scripted {
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub async fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        let steps: Vec<Step> = steps.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (log, steps) = (Arc::clone(&log), steps.clone());
                tokio::spawn(async move {
                    let mut socket = socket;
                    let Some(request) = read_request(&mut socket).await else { return };
                    let place = {
                        let mut log = log.lock();
                        log.push(request);
                        (log.len() - 1).min(steps.len() - 1)
                    };
                    perform(&steps[place], &mut socket).await;
                });
            }
        });
        Self { address, calls }
    }

    /// An upstream in the shape of OpenAI that serves every model.
    pub fn upstream(&self, name: &str) -> UpstreamConfig {
        let mut upstream =
            super::upstream(name, Family::OpenAi, format!("http://{}/v1", self.address));
        upstream.simulated = false;
        upstream
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.calls.lock().len()
    }

    /// The head of its `place`th call.
    pub fn head(&self, place: usize) -> String {
        self.calls.lock()[place].split_once("\r\n\r\n").unwrap().0.to_owned()
    }

    /// The body of its `place`th call.
    pub fn body(&self, place: usize) -> String {
        self.calls.lock()[place].split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

async fn perform(step: &Step, socket: &mut TcpStream) {
    match step {
        // The gateway may be gone, which some tests want.
        Step::Say(bytes) => drop(socket.write_all(bytes).await),
        Step::SayAfter(wait, bytes) => {
            let mut alarm = tokio::time::interval(*wait);
            alarm.tick().await;
            alarm.tick().await;
            drop(socket.write_all(bytes).await);
        }
        Step::Stall(bytes) => {
            drop(socket.write_all(bytes).await);
            hang(socket).await;
        }
        Step::Hang => hang(socket).await,
        Step::Close => {}
    }
}

/// Waits until the gateway hangs up.
async fn hang(socket: &mut TcpStream) {
    let mut rest = [0; 64];
    while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

/// One request, as long as its `content-length` says.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let bytes = socket.read(&mut buffer).await.ok().filter(|bytes| *bytes > 0)?;
        read.extend_from_slice(&buffer[..bytes]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, length)| length.parse().unwrap());
        if body.len() >= length {
            return Some(text);
        }
    }
}

/// An answer with this status, these header lines and this body.
pub fn answer(status: u16, headers: &str, body: &str) -> Step {
    Step::Say(raw(status, headers, body))
}

fn raw(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A whole chat reply of this id.
pub fn reply(id: &str) -> Step {
    answer(200, "", &chat_reply(id, ""))
}

/// A whole chat reply that takes a while.
pub fn slow_reply(id: &str, wait: Duration) -> Step {
    Step::SayAfter(wait, raw(200, "", &chat_reply(id, "")))
}

/// The body of a chat reply: 9 tokens in, 4 out; `more` are further top-level fields.
pub fn chat_reply(id: &str, more: &str) -> String {
    format!(
        "{{\"id\":\"{id}\"{more},\"object\":\"chat.completion\",\"choices\":[{{\"index\":0,\
         \"message\":{{\"role\":\"assistant\",\"content\":\"The Nile is long.\"}},\
         \"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":4,\
         \"total_tokens\":13}}}}"
    )
}

/// A server-sent-event stream of these `data` lines that then ends, or breaks off.
pub fn stream(lines: &[&str], whole: bool) -> Step {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\
        transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for line in lines {
        let event = format!("data: {line}\n\n");
        bytes.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    }
    if whole {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    Step::Say(bytes)
}

/// An address at which nothing listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
