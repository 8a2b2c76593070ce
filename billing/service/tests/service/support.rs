//! The API on a free port, over a ledger in a folder of its own, and a client to ask it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use permille_documents::Issuer;
use permille_ledger::{Ledger, LedgerConfig, Pepper, PriceOrigin, Role};
use permille_rating::price_book::parse_price_book;
use permille_service::{Billing, router};
use permille_types::{BATCH_MEDIA_TYPE, Clock, INTAKE_PATH};
use prometheus::Registry;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PRICES: &str = r#"
[[price]]
model = "ERNIE-Bot"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "official list of 2024-01-19"
input = "0.012"
output = "0.012"

[[price]]
model = "lab/gpt-test"
currency = "USD"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.0025"
output = "0.01"
"#;

/// What the stopped clock of every test says at first.
pub(crate) const NOW: &str = "2026-11-20T10:00:00Z";

struct Stopped(Mutex<DateTime<Utc>>);

impl Clock for Stopped {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// The running API. Asks as its admin unless told otherwise.
pub(crate) struct Api {
    pub(crate) billing: Billing,
    pub(crate) registry: Registry,
    pub(crate) admin: String,
    address: SocketAddr,
    web: Client<HttpConnector, Full<Bytes>>,
    clock: Arc<Stopped>,
    /// Removed when the test ends.
    folder: TempDir,
}

async fn open(folder: &TempDir, clock: &Arc<Stopped>) -> Ledger {
    let config = LedgerConfig {
        store: folder.path().join("permille.db").into(),
        pepper: Pepper::new([7; 32]),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
    };
    Ledger::open(config).await.unwrap()
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Api {
    /// With [`PRICES`], an admin token and nothing else.
    pub(crate) async fn start() -> Self {
        Self::with(|billing| billing).await
    }

    /// The same, whose documents are issued by somebody of that name.
    pub(crate) async fn issuing(name: &str) -> Self {
        let issuer = Issuer { name: Some(name.to_owned()), ..Issuer::default() };
        Self::with(|billing| billing.issuing(issuer, Vec::new())).await
    }

    async fn with(change: impl FnOnce(Billing) -> Billing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Stopped(Mutex::new(NOW.parse().unwrap())));
        let ledger = open(&folder, &clock).await;
        let prices = parse_price_book(PRICES, "a test").unwrap();
        ledger.import_prices(&prices, PriceOrigin::Operator).await.unwrap();
        let admin = ledger.create_token(Role::Admin, None).await.unwrap();

        let registry = Registry::new();
        let billing = change(Billing::new(ledger, &registry).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = router(billing.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            billing,
            registry,
            admin: admin.secret.expose_secret().to_owned(),
            address,
            web: Client::builder(TokioExecutor::new()).build_http(),
            clock,
            folder,
        }
    }

    /// The file of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("permille.db")
    }

    /// Another billing process over the same store.
    pub(crate) async fn second_billing(&self) -> Billing {
        Billing::new(open(&self.folder, &self.clock).await, &Registry::new()).unwrap()
    }

    /// From now on it is that time.
    pub(crate) fn set_clock(&self, now: &str) {
        *self.clock.0.lock().unwrap() = now.parse().unwrap();
    }

    /// With customer `acme`, billed in CNY by the calendar of UTC.
    pub(crate) async fn with_acme() -> Self {
        let api = Self::start().await;
        api.add_customer("acme", "CNY").await;
        api
    }

    pub(crate) async fn add_customer(&self, id: &str, currency: &str) {
        let customer = json!({"id": id, "name": id.to_uppercase(), "currency": currency});
        self.post("/api/v1/customers", &customer).await.created();
    }

    /// A key in project `default`, as its creation answers it.
    pub(crate) async fn add_key(&self, customer: &str) -> Value {
        self.post("/api/v1/keys", &json!({"customer": customer})).await.created()
    }

    /// The secret of a new token; of role customer it is bound to `acme`.
    pub(crate) async fn token(&self, role: &str) -> String {
        let mut token = json!({"role": role});
        if role == "customer" {
            token["customer"] = "acme".into();
        }
        let made = self.post("/api/v1/tokens", &token).await.created();
        made["secret"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.get_as(&self.admin, path).await
    }

    pub(crate) async fn get_as(&self, token: &str, path: &str) -> Reply {
        self.ask(Method::GET, token, path, Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_as(&self.admin, path, body).await
    }

    pub(crate) async fn post_as(&self, token: &str, path: &str, body: &Value) -> Reply {
        self.ask(Method::POST, token, path, Bytes::from(body.to_string())).await
    }

    /// Sends a body of JSON, or what should be one.
    pub(crate) async fn ask(
        &self,
        method: Method,
        token: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Reply {
        let bearer = format!("Bearer {token}");
        let kind = if path == INTAKE_PATH { BATCH_MEDIA_TYPE } else { "application/json" };
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        self.send(method, path, &headers, body).await
    }

    /// Sends anything.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.web.request(request.body(Full::new(body.into())).unwrap()).await;
        let (parts, body) = response.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Reads a list to its end in pages of `limit` rows.
    pub(crate) async fn pages(&self, path: &str, limit: usize) -> Vec<Value> {
        let join = if path.contains('?') { '&' } else { '?' };
        let first = format!("{path}{join}limit={limit}");
        let (mut page, mut rows) = (self.get(&first).await.ok(), Vec::new());
        loop {
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit, "{} rows in a page of {limit}", items.len());
            rows.extend(items.iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return rows };
            assert_eq!(items.len(), limit, "only the last page may be short");
            page = self.get(&format!("{first}&cursor={}", encoded(cursor))).await.ok();
        }
    }

    /// The rows of a list's first page.
    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).await.items()
    }
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header(header::CONTENT_TYPE), "application/json", "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The document of an answer with status 200.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The document of an answer with status 201.
    pub(crate) fn created(&self) -> Value {
        assert_eq!(self.status, 201, "{}", self.text());
        self.json()
    }

    pub(crate) fn items(&self) -> Vec<Value> {
        self.ok()["items"].as_array().unwrap().clone()
    }

    /// The detail of a refusal of this status and code, which is a whole problem document.
    pub(crate) fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header(header::CONTENT_TYPE), "application/problem+json");
        let document: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(document["type"], "about:blank");
        assert_eq!(document["status"], status);
        assert_eq!(document["code"], code, "{document}");
        assert!(!document["title"].as_str().unwrap().is_empty());
        assert_eq!(document.as_object().unwrap().len(), 5, "{document}");
        document["detail"].as_str().unwrap().to_owned()
    }
}

/// A query value or path segment, every byte that could mean something escaped.
pub(crate) fn encoded(text: &str) -> String {
    let escape = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escape).collect()
}

/// The field of each row.
pub(crate) fn column(rows: &[Value], field: &str) -> Vec<String> {
    let text = |row: &Value| match &row[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    rows.iter().map(text).collect()
}
