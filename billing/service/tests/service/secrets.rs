//! Secrets are in the answer to their creation and nowhere else: no answer, refusal, log or dump.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use http::Method;
use permille_ledger::{NewKey, Role};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    events::{Gateway, event},
    support::{Api, encoded},
};

/// Everything that this process logs, from the first test that asks on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let started = || {
            let log = Self::default();
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_writer(log.clone())
                .init();
            log
        };
        LOG.get_or_init(started).clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The part of a secret that nothing shows: without its prefix and the 4 characters at each end.
fn hidden(secret: &str) -> &str {
    let body = secret.trim_start_matches("sk-pm_").trim_start_matches("pmt_");
    &body[4..body.len() - 4]
}

/// The API with `acme`, a key and a token, and the two secrets.
async fn world() -> (Api, Vec<String>) {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await;
    let token = api.token("operator").await;
    let used = event(1, "acme", key["id"].as_str().unwrap());
    Gateway::of(&api, "n1").await.ship(1, &[used]).await;
    let secrets = vec![key["secret"].as_str().unwrap().to_owned(), token, api.admin.clone()];
    (api, secrets)
}

#[tokio::test]
async fn no_answer_after_creation_holds_a_secret() {
    let (api, secrets) = world().await;
    let mut answers = Vec::new();
    for path in [
        "customers",
        "projects",
        "keys",
        "tokens",
        "usage",
        "sessions",
        "prices",
        "invoices",
        "usage/quarantine",
        "sessions/chat-1?customer=acme",
    ] {
        answers.push(api.get(&format!("/api/v1/{path}")).await);
    }
    for (noun, rows) in
        [("keys", api.items("/api/v1/keys").await), ("tokens", api.items("/api/v1/tokens").await)]
    {
        // The first token is that of this client.
        for row in rows.iter().filter(|row| row["role"] != "admin") {
            let path = format!("/api/v1/{noun}/{}/revoke", row["id"].as_str().unwrap());
            answers.push(api.post(&path, &Value::Null).await);
        }
    }
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        for secret in &secrets {
            assert!(!answer.text().contains(hidden(secret)), "{}", answer.text());
            assert!(!format!("{:?}", answer.headers).contains(hidden(secret)));
        }
        assert!(!answer.text().contains("\"secret\""), "{}", answer.text());
        assert!(!answer.text().contains("digest"), "{}", answer.text());
    }
}

/// A secret pasted where a name belongs must not come back, to be kept in someone's log.
#[tokio::test]
async fn no_refusal_repeats_a_secret() {
    let (api, secrets) = world().await;
    for secret in &secrets {
        let mut refusals = Vec::new();
        for path in [
            "customers/{}",
            "customers?customer={}",
            "usage?cursor={}",
            "usage?request={}",
            "usage?limit={}",
            "usage?{}=1",
            "prices/{}",
            "prices?currency={}",
            "sessions/{}",
            "sessions/s1?customer={}",
            "invoices/{}",
            "{}",
        ] {
            refusals.push(api.get(&format!("/api/v1/{}", path.replace("{}", secret))).await);
        }
        for noun in ["keys", "tokens"] {
            let path = format!("/api/v1/{noun}/{}/revoke", encoded(secret));
            refusals.push(api.post(&path, &Value::Null).await);
        }
        for (noun, body) in [
            ("customers", json!({"name": "N", "currency": secret})),
            ("customers", json!({"id": secret, "name": "N", "currency": "CNY"})),
            ("customers", json!({"name": "N", "currency": "CNY", "time_zone": secret})),
            ("projects", json!({"customer": secret, "name": "N"})),
            ("keys", json!({"customer": "acme", "project": secret})),
            ("keys", json!({"customer": "acme", "rpm": secret})),
            ("keys", json!({"customer": "acme", secret: 1})),
            ("keys", json!(secret)),
            ("tokens", json!({"role": secret})),
            ("invoices/draft", json!({"customer": "acme", "period": secret})),
        ] {
            refusals.push(api.post(&format!("/api/v1/{noun}"), &body).await);
        }
        let wrong = format!("Bearer {secret}0");
        for authorization in [secret.as_str(), wrong.as_str(), &format!("Basic {secret}")] {
            let headers = [("authorization", authorization), ("content-type", secret)];
            refusals.push(api.send(Method::POST, "/api/v1/keys", &headers, "").await);
        }
        let admin = format!("Bearer {}", api.admin);
        let headers = [("authorization", admin.as_str()), ("content-type", secret)];
        refusals.push(api.send(Method::POST, "/api/v1/keys", &headers, "{}").await);

        for refusal in refusals {
            assert!((400..500).contains(&refusal.status), "{}", refusal.text());
            assert!(!refusal.text().contains(hidden(secret)), "{}", refusal.text());
        }
    }
}

#[tokio::test]
async fn a_refusal_still_names_what_only_looks_like_a_secret() {
    let api = Api::start().await;

    let detail = api.get("/api/v1/customers/pmt_reports").await.problem(404, "not_found");
    let hidden = api.get(&format!("/api/v1/customers/{}", api.admin)).await;

    assert_eq!(detail, "customer `pmt_reports` is unknown");
    assert_eq!(hidden.problem(404, "not_found"), "customer `pmt_…` is unknown");
}

#[tokio::test]
async fn no_log_line_holds_a_secret_not_even_at_trace() {
    let log = Log::start();
    let (api, mut secrets) = world().await;
    let conflict = event(1, "acme", "key_none");
    Gateway::of(&api, "n1").await.ship(2, &[conflict]).await;
    for secret in &secrets {
        api.get(&format!("/api/v1/customers?customer={secret}")).await;
        api.get_as(secret, "/api/v1/tokens").await;
        api.get_as(&format!("{secret}x"), "/api/v1/tokens").await;
    }
    let added = api.add_key("acme").await;
    secrets.push(added["secret"].as_str().unwrap().to_owned());
    api.billing.ledger().close().await;
    api.get("/api/v1/customers").await.problem(503, "store_failed");

    let text = log.text();
    for expected in ["usage events are in quarantine", "the store failed", "TRACE"] {
        assert!(text.contains(expected), "the log says nothing of `{expected}`");
    }
    for secret in &secrets {
        let line = text.lines().find(|line| line.contains(hidden(secret)));
        assert!(line.is_none(), "{line:?}");
    }
}

#[tokio::test]
async fn no_dump_of_a_value_holds_a_secret() {
    let (api, _) = world().await;
    let ledger = api.billing.ledger();
    let new = NewKey {
        customer: "acme".parse().unwrap(),
        project: "default".parse().unwrap(),
        name: None,
        rpm: None,
    };
    let key = ledger.create_key(new).await.unwrap();
    let token = ledger.create_token(Role::Gateway, None).await.unwrap();
    let snapshot = ledger.snapshot(None).unwrap();

    let dumps = format!("{key:?} {token:?} {snapshot:?}");

    assert!(dumps.contains("REDACTED"), "{dumps}");
    for secret in [&key.secret, &token.secret] {
        assert!(!dumps.contains(hidden(secret.expose_secret())), "{dumps}");
    }
    let pepper = snapshot.pepper.expose_secret();
    assert!(!dumps.contains(pepper) && !dumps.contains(&pepper[..16]), "{dumps}");
}
