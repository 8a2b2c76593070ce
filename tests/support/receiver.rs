//! A receiver of webhooks on a free port: it keeps what it is sent and answers as it is told.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// What one attempt has sent.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: String,
}

/// How an attempt is answered.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// With this status.
    Status(u16),
    /// With this status, and the connection is closed behind it.
    Closing(u16),
    /// With a redirect to the receiver itself.
    Redirect,
    /// Never.
    Silence,
}

#[derive(Debug, Default)]
struct Shared {
    received: Vec<Received>,
    answers: VecDeque<Answer>,
}

/// The receiver. Dropping it ends it.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// One that answers with `answers`, then with 204.
    pub async fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, answers)
    }

    /// The same on a listener that is there already.
    pub fn on(listener: TcpListener, answers: &[Answer]) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Shared { received: Vec::new(), answers: answers.iter().copied().collect() };
        let shared = Arc::new(Mutex::new(shared));
        let routes = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, shared, task }
    }

    /// Where it is told.
    pub fn url(&self) -> String {
        format!("http://{}/hooks?a=1", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it was sent, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().unwrap().received.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Received {
    /// The event's id.
    pub fn id(&self) -> &str {
        self.headers["webhook-id"].to_str().unwrap()
    }

    /// The body as JSON.
    pub fn payload(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The event's type.
    pub fn kind(&self) -> String {
        self.payload()["type"].as_str().unwrap().to_owned()
    }
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let answer = {
        let mut shared = shared.lock().unwrap();
        shared.received.push(Received { headers, body });
        shared.answers.pop_front().unwrap_or(Answer::Status(204))
    };
    match answer {
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Closing(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(header::CONNECTION, "close")]).into_response()
        }
        Answer::Redirect => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        Answer::Silence => std::future::pending().await,
    }
}
