//! A plain HTTP client that talks to the gateway as an SDK would: JSON in, JSON or events out.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use permille_types::Family;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{DemoError, script::Conversation};

/// Longest answer of the demonstration, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One side of one conversation.
pub(super) struct Talker {
    client: Client<HttpConnector, Full<Bytes>>,
    gateway: SocketAddr,
    key: SecretString,
    conversation: Conversation,
    /// Everything said so far: role and text. All of it goes with every turn.
    said: Vec<(&'static str, String)>,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Pieces of text that arrived.
    pub(super) chunks: usize,
    /// Whether the reader left before the end.
    pub(super) left: bool,
}

impl Talker {
    /// A talker that has said nothing yet.
    pub(super) fn new(gateway: SocketAddr, key: SecretString, conversation: Conversation) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, gateway, key, conversation, said: Vec::new() }
    }

    /// Whether the gateway knows this talker's key already: a new key reaches it with the next
    /// snapshot. Asks for a path that does not exist, which costs nothing and leaves no row.
    pub(super) async fn is_known(&self) -> Result<bool, DemoError> {
        let request = Request::get(format!("http://{}/v1/", self.gateway))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key.expose_secret()))
            .body(Full::default())
            .map_err(DemoError::Build)?;
        let response = self.client.request(request).await.map_err(DemoError::Send)?;
        Ok(response.status() != StatusCode::UNAUTHORIZED)
    }

    /// Asks `text` and keeps the answer.
    pub(super) async fn ask(
        &mut self,
        text: &str,
        tokens: u32,
        stream: bool,
    ) -> Result<Outcome, DemoError> {
        self.said.push(("user", text.to_owned()));
        self.send(tokens, stream, None).await
    }

    /// Forgets the last answer and asks for another one.
    pub(super) async fn regenerate(&mut self, tokens: u32) -> Result<Outcome, DemoError> {
        if self.said.last().is_some_and(|(role, _)| *role == "assistant") {
            self.said.pop();
        }
        self.send(tokens, true, None).await
    }

    /// Asks `text` and leaves after some chunks; what arrived stays in the conversation.
    pub(super) async fn abort(
        &mut self,
        text: &str,
        tokens: u32,
        after_chunks: usize,
    ) -> Result<Outcome, DemoError> {
        self.said.push(("user", text.to_owned()));
        self.send(tokens, true, Some(after_chunks)).await
    }

    async fn send(
        &mut self,
        tokens: u32,
        stream: bool,
        leave_after: Option<usize>,
    ) -> Result<Outcome, DemoError> {
        let response =
            self.client.request(self.request(tokens, stream)?).await.map_err(DemoError::Send)?;
        let status = response.status();
        if status != StatusCode::OK {
            let body = read(response.into_body()).await?;
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(DemoError::Answer { status, body });
        }
        let (text, outcome) = if stream {
            self.follow(response.into_body(), leave_after.unwrap_or(usize::MAX)).await?
        } else {
            let answer: Value =
                serde_json::from_slice(&read(response.into_body()).await?).unwrap_or_default();
            let at = match self.conversation.family {
                Family::Anthropic => "/content/0/text",
                _ => "/choices/0/message/content",
            };
            (text_at(&answer, at), Outcome { chunks: 1, left: false })
        };
        self.said.push(("assistant", text));
        Ok(outcome)
    }

    fn request(&self, tokens: u32, stream: bool) -> Result<Request<Full<Bytes>>, DemoError> {
        let secret = self.key.expose_secret();
        let (path, credential, value) = if self.conversation.family == Family::Anthropic {
            ("anthropic/v1/messages", "x-api-key", secret.to_owned())
        } else {
            ("v1/chat/completions", "authorization", format!("Bearer {secret}"))
        };
        Request::post(format!("http://{}/{path}", self.gateway))
            .header(header::CONTENT_TYPE, "application/json")
            .header(credential, value)
            .header("anthropic-version", "2023-06-01")
            .header("permille-session", self.conversation.session)
            // A length and a pace for the simulated provider; a real one ignores it.
            .header("x-simulate", format!("tokens={tokens},chunk_ms=1"))
            .body(Full::new(Bytes::from(self.body(stream).to_string())))
            .map_err(DemoError::Build)
    }

    fn body(&self, stream: bool) -> Value {
        let Conversation { model, system, family, .. } = self.conversation;
        let mut messages: Vec<Value> =
            self.said.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
        if family == Family::Anthropic {
            // The provider caches up to each mark: the instructions and the whole conversation.
            let mark = json!({"type": "ephemeral"});
            if let (Some(last), Some((role, text))) = (messages.last_mut(), self.said.last()) {
                let block = json!({"type": "text", "text": text, "cache_control": mark});
                *last = json!({"role": role, "content": [block]});
            }
            let system = json!([{"type": "text", "text": system, "cache_control": mark}]);
            return json!({"model": model, "max_tokens": 1024, "system": system,
                          "messages": messages, "stream": stream});
        }
        messages.insert(0, json!({"role": "system", "content": system}));
        json!({"model": model, "messages": messages, "stream": stream})
    }

    /// Reads events until the stream ends or enough has been seen.
    async fn follow(
        &self,
        mut body: Incoming,
        chunks_max: usize,
    ) -> Result<(String, Outcome), DemoError> {
        let at = match self.conversation.family {
            Family::Anthropic => "/delta/text",
            _ => "/choices/0/delta/content",
        };
        let (mut pending, mut text, mut chunks) = (Vec::new(), String::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame.map_err(DemoError::Stream)?.into_data() else { continue };
            pending.extend_from_slice(&bytes);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let Some(event) = line.strip_prefix(b"data: ") else { continue };
                let event: Value = serde_json::from_slice(event).unwrap_or_default();
                let piece = text_at(&event, at);
                if !piece.is_empty() {
                    text.push_str(&piece);
                    chunks += 1;
                }
                if chunks >= chunks_max {
                    return Ok((text, Outcome { chunks, left: true }));
                }
            }
        }
        Ok((text, Outcome { chunks, left: false }))
    }
}

fn text_at(event: &Value, pointer: &str) -> String {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn read(body: Incoming) -> Result<Bytes, DemoError> {
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(DemoError::Body)?;
    Ok(body.to_bytes())
}
