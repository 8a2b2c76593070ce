//! A running simulator, a client, and a second opinion on every count.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use permille_simulator::{BookEntry, Simulator, SimulatorConfig, Stats, read_books};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

/// No test waits longer than this for anything.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const MESSAGES: &str = "/anthropic/v1/messages";

/// A simulator that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    books: PathBuf,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _folder: TempDir,
}

/// A reply that was read to its end.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("a text body")
    }
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::start_with(SimulatorConfig::default())
    }

    pub(crate) fn start_with(config: SimulatorConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let books = folder.path().join("books.jsonl");
        let simulator =
            Simulator::bind(SimulatorConfig { books: Some(books.clone()), ..config }).unwrap();
        let address = simulator.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async { stopped.await.unwrap_or_default() };
            simulator.run(shutdown).await.unwrap();
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { address, books, client, stop: Some(stop), task, _folder: folder }
    }

    /// Asks the simulator to shut down and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(DEADLINE, &mut self.task).await.unwrap().unwrap();
    }

    pub(crate) fn request(&self, path: &str, body: &Value, control: &str) -> Request<Full<Bytes>> {
        Request::post(format!("http://{}{path}", self.address))
            .header("authorization", "Bearer sk-test")
            .header("x-simulate", control)
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap()
    }

    /// Sends a request; the body of the response is still to be read.
    pub(crate) async fn open(&self, path: &str, body: &Value, control: &str) -> Response<Incoming> {
        let sent = self.client.request(self.request(path, body, control));
        tokio::time::timeout(DEADLINE, sent).await.unwrap().unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        let exchange = async {
            let (head, body) = self.client.request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Reply { status: head.status, headers: head.headers, body }
        };
        tokio::time::timeout(DEADLINE, exchange).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value, control: &str) -> Reply {
        self.send(self.request(path, body, control)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        let request = Request::get(format!("http://{}{path}", self.address))
            .header("x-api-key", "sk-test")
            .body(Full::default());
        self.send(request.unwrap()).await
    }

    pub(crate) async fn stats(&self) -> Stats {
        serde_json::from_slice(&self.get("/simulator/stats").await.body).unwrap()
    }

    /// All bytes of the response as they were on the wire, and how the connection ended.
    pub(crate) async fn wire(&self, path: &str, body: &Value, control: &str) -> Wire {
        let mut socket = self.dial(path, body, control).await;
        let mut wire = Wire { bytes: Vec::new(), reads: Vec::new(), reset: false };
        let reading = async {
            let mut buffer = vec![0; 1 << 16];
            loop {
                match socket.read(&mut buffer).await {
                    Ok(0) => break,
                    Ok(count) => {
                        wire.reads.push(count);
                        wire.bytes.extend_from_slice(&buffer[..count]);
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                        wire.reset = true;
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(DEADLINE, reading).await.unwrap();
        wire
    }

    /// A socket on which the request was sent, to be closed after the reply.
    pub(crate) async fn dial(&self, path: &str, body: &Value, control: &str) -> TcpStream {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: simulator\r\nauthorization: Bearer sk-test\r\n\
             x-simulate: {control}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        socket
    }

    /// The books once they hold `count` lines.
    pub(crate) async fn booked(&self, count: usize) -> Vec<BookEntry> {
        let mut entries = Vec::new();
        until("the books hold enough lines", || {
            entries = read_books(&self.books).unwrap();
            entries.len() >= count
        })
        .await;
        entries
    }

    pub(crate) fn books_now(&self) -> Vec<BookEntry> {
        read_books(&self.books).unwrap()
    }
}

/// What a plain socket saw.
pub(crate) struct Wire {
    pub(crate) bytes: Vec<u8>,
    /// The size of each read.
    pub(crate) reads: Vec<usize>,
    pub(crate) reset: bool,
}

impl Wire {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The chunked body came to its proper end.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes.ends_with(b"\r\n0\r\n\r\n")
    }
}

/// Waits for a condition; looks often, gives up at the deadline.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    let waiting = async {
        while !condition() {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "never came true: {what}");
}

/// Tokens of `text`, counted apart from the simulator's code.
pub(crate) fn tokens(text: &str) -> u64 {
    tiktoken_rs::o200k_base_singleton().encode_with_special_tokens(text).len() as u64
}

pub(crate) fn chat(question: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": question}]})
}

pub(crate) fn chat_stream(question: &str) -> Value {
    with(chat(question), json!({"stream": true, "stream_options": {"include_usage": true}}))
}

pub(crate) fn message(question: &str) -> Value {
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": question}],
    })
}

pub(crate) fn message_stream(question: &str) -> Value {
    with(message(question), json!({"stream": true}))
}

/// `body` with the fields of `more`.
pub(crate) fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("fields are an object") };
    body.as_object_mut().unwrap().extend(more);
    body
}

/// The data of each event, the way a strict reader takes them: LF line ends, no comments.
pub(crate) fn events(body: &str) -> Vec<Value> {
    body.split("\n\n")
        .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect("an event is JSON"))
        .collect()
}

/// The text of one choice of a chat stream.
pub(crate) fn chat_text(events: &[Value], choice: u64) -> String {
    let deltas = events.iter().flat_map(|event| event["choices"].as_array().unwrap());
    deltas
        .filter(|delta| delta["index"] == choice)
        .filter_map(|delta| delta["delta"]["content"].as_str())
        .collect()
}

/// The text of a messages stream.
pub(crate) fn message_text(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect()
}
