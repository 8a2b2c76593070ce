//! Of every operation that takes a key: a call that can be made, and another one.

use permille_rating::price_book::parse_price_book;
use permille_types::UsageEvent;
use serde_json::{Value, json};

use super::rows::tamper;
use crate::{
    events::{Gateway, event, request_id},
    support::{Api, encoded},
};

/// A call of an operation, and another one that must not have the same key: a path and a body.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) token: String,
    pub(super) first: (String, Value),
    pub(super) other: (String, Value),
}

/// One installation, in which each case has what is its own.
pub(super) struct World {
    api: Api,
    /// What was numbered so far: customers, events and batches.
    count: u32,
}

/// Two calls: each a path and a body.
type Calls = ((String, Value), (String, Value));

/// Two bodies at one path.
fn one(path: String, first: Value, other: Value) -> Calls {
    ((path.clone(), first), (path, other))
}

/// Two paths without a body.
fn two(path: String, other: String) -> Calls {
    ((path, Value::Null), (other, Value::Null))
}

fn unknown(operation: &str) -> Calls {
    panic!("say how `{operation}` is called: its description offers a key")
}

fn text(document: &Value, field: &str) -> String {
    document[field].as_str().unwrap().to_owned()
}

/// A month with a fee, which differs.
fn plan(name: &str, fee: &str) -> Value {
    json!({"toml": format!(
        "[[plan]]\nname = \"{name}\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
         fee = \"{fee}\"\n"
    )})
}

/// A charge from December on.
fn charge(name: &str, unit: &str) -> Value {
    json!({"toml": format!(
        "[[charge]]\nname = \"{name}\"\ncurrency = \"CNY\"\nkind = \"package\"\n\
         from = 2026-12-01T00:00:00Z\nsize = \"1000\"\nunit = \"{unit}\"\n"
    )})
}

fn prices(input: &str) -> Value {
    let text = format!(
        "[[price]]\nmodel = \"imported\"\ncurrency = \"CNY\"\nsource = \"a list\"\n\
         from = 2026-12-01T00:00:00Z\ninput = \"{input}\"\noutput = \"0.012\"\n"
    );
    json!({"prices": parse_price_book(&text, "a test").unwrap(), "apply": true})
}

fn rates(rate: &str) -> Value {
    let day = "2026-11-19";
    let rate = json!({"base": "USD", "quote": "CNY", "day": day, "rate": rate, "source": "a test"});
    json!({"rates": [rate], "replace": true})
}

fn bill(amount: &str) -> Value {
    json!({
        "scope": {
            "provider": "openai",
            "upstreams": ["openai"],
            "tolerance": {"amount": "0", "amount_permille": "0", "quantity_permille": "0"},
        },
        "bill": {"currency": "USD", "time_zone": "UTC", "files": [], "cells": [{
            "key": {"day": "2026-11-01", "model": "gpt", "class": "input_uncached"},
            "quantity": "1000",
            "amount": amount,
        }]},
    })
}

impl World {
    pub(super) async fn new() -> Self {
        let mut world = Self { api: Api::with_acme().await, count: 0 };
        // So that a month of somebody can be closed.
        world.used().await;
        world
    }

    pub(super) fn api(&self) -> &Api {
        &self.api
    }

    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    async fn customer(&mut self) -> String {
        let id = format!("customer-{}", self.next());
        self.api.add_customer(&id, "CNY").await;
        id
    }

    async fn made(&self, path: &str, body: &Value) -> Value {
        let reply = self.api.post(&format!("/api/v1/{path}"), body).await;
        assert!(reply.status < 300, "{path}: {}", reply.text());
        reply.json()
    }

    async fn key(&mut self) -> String {
        let customer = self.customer().await;
        text(&self.api.add_key(&customer).await, "id")
    }

    async fn ship(&mut self, events: &[UsageEvent]) {
        let first = u64::from(self.next());
        Gateway::of(&self.api, "n1").await.ship(first, events).await;
    }

    /// A customer with two requests in October.
    async fn used(&mut self) -> String {
        let customer = self.customer().await;
        let key = text(&self.api.add_key(&customer).await, "id");
        let at = "2026-10-10T10:00:00Z".parse().unwrap();
        let events = [self.next(), self.next()]
            .map(|number| UsageEvent { at, ..event(number, &customer, &key) });
        self.ship(&events).await;
        customer
    }

    async fn draft(&mut self) -> String {
        let customer = self.used().await;
        let month = json!({"customer": customer, "period": "2026-10"});
        text(&self.made("invoices/draft", &month).await, "id")
    }

    async fn approved(&mut self) -> String {
        let id = self.draft().await;
        self.made(&format!("invoices/{id}/approve"), &json!({})).await;
        id
    }

    async fn issued(&mut self) -> String {
        let id = self.approved().await;
        self.made(&format!("invoices/{id}/finalize"), &json!({})).await;
        id
    }

    /// The id of an event that the store refused, as a fault of ours would make it do, and does not
    /// refuse any more.
    async fn quarantined(&mut self) -> String {
        let customer = self.customer().await;
        let key = text(&self.api.add_key(&customer).await, "id");
        let (booked, number) = (self.next(), self.next());
        let session = "another".parse().unwrap();
        let refused = UsageEvent { session, ..event(number, &customer, &key) };
        let once = format!("on session (customer) where customer = '{customer}'");
        tamper(&self.api, format!("create unique index one {once}")).await;
        self.ship(&[event(booked, &customer, &key), refused]).await;
        tamper(&self.api, "drop index one".to_owned()).await;
        let kept = self.api.items("/api/v1/usage/quarantine").await;
        text(kept.iter().find(|kept| kept["request_id"] == request_id(number)).unwrap(), "id")
    }

    async fn webhook(&mut self) -> String {
        let url = format!("https://example.com/{}", self.next());
        text(&self.made("webhooks", &json!({"url": url})).await, "id")
    }

    /// Signs a month as both roles.
    async fn closed(&mut self, period: &str) {
        for role in ["operator", "finance"] {
            let token = self.api.token(role).await;
            let path = format!("/api/v1/close/{period}/sign");
            self.api.post_as(&token, &path, &json!({"accept": "a test"})).await.ok();
        }
    }

    /// What is called of an operation; each call of this makes its own things.
    pub(super) async fn case(&mut self, operation: &str) -> Case {
        let noun = operation.split('.').next().unwrap_or_default();
        let (first, other) = match noun {
            "customers" | "projects" | "keys" | "limits" | "tokens" => {
                self.accounts(operation).await
            }
            "plans" | "grants" | "prices" | "charges" | "fx" => self.terms(operation).await,
            "invoices" | "credit-notes" => self.invoices(operation).await,
            "close" | "disputes" | "reconciliations" => self.periods(operation).await,
            "quarantine" | "sessions" | "webhooks" => self.rest(operation).await,
            _ => unknown(operation),
        };
        let token = match operation {
            // Only engineering and finance sign.
            "close.sign" => self.api.token("operator").await,
            _ => self.api.admin.clone(),
        };
        Case { token, first, other }
    }

    /// Who is billed, and what they call with.
    async fn accounts(&mut self, operation: &str) -> Calls {
        match operation {
            "customers.create" => {
                let new = |name: &str| json!({"id": "made", "name": name, "currency": "CNY"});
                one("customers".to_owned(), new("One"), new("Two"))
            }
            "customers.change" => one(
                format!("customers/{}", self.customer().await),
                json!({"notes": "a"}),
                json!({"notes": "b"}),
            ),
            "projects.create" => {
                let new = |name: &str| json!({"customer": "acme", "id": "made", "name": name});
                one("projects".to_owned(), new("One"), new("Two"))
            }
            "keys.create" => {
                let new = |name: &str| json!({"customer": "acme", "name": name});
                one("keys".to_owned(), new("one"), new("two"))
            }
            "keys.revoke" => {
                let (one, other) = (self.key().await, self.key().await);
                two(format!("keys/{one}/revoke"), format!("keys/{other}/revoke"))
            }
            "limits.set_key" => one(
                format!("keys/{}/limits", self.key().await),
                json!({"rpm": 5, "tpm": 9}),
                json!({"rpm": 6}),
            ),
            "limits.set_customer" => one(
                format!("customers/{}/limits", self.customer().await),
                json!({"rpm": 5}),
                json!({"rpm": 6}),
            ),
            "limits.set_project" => one(
                format!("projects/{}/default/limits", self.customer().await),
                json!({"rpm": 5}),
                json!({"rpm": 6}),
            ),
            "tokens.create" => {
                let new = |name: &str| json!({"role": "finance", "name": name});
                one("tokens".to_owned(), new("one"), new("two"))
            }
            "tokens.revoke" => {
                let role = json!({"role": "finance"});
                let (one, other) =
                    (self.made("tokens", &role).await, self.made("tokens", &role).await);
                let path = |token: &Value| format!("tokens/{}/revoke", text(token, "id"));
                two(path(&one), path(&other))
            }
            other => unknown(other),
        }
    }

    /// What usage costs, and what was paid for it.
    async fn terms(&mut self, operation: &str) -> Calls {
        match operation {
            "plans.create" => one("plans".to_owned(), plan("p", "1"), plan("p", "2")),
            "plans.assign" => {
                let customer = self.customer().await;
                for name in ["gold", "silver"] {
                    self.made("plans", &plan(name, "30")).await;
                }
                let named = |name: &str| json!({"plan": name, "from": "2026-11-01T00:00:00Z"});
                one(format!("customers/{customer}/plans"), named("gold"), named("silver"))
            }
            "grants.create" => {
                let new =
                    |reason: &str| json!({"customer": "acme", "amount": "5", "reason": reason});
                one("grants".to_owned(), new("a"), new("b"))
            }
            "prices.import" => one("prices/import".to_owned(), prices("0.01"), prices("0.02")),
            "charges.create" => one("charges".to_owned(), charge("c", "1"), charge("d", "2")),
            "charges.end" => {
                let made = self.made("charges", &charge("ended", "1")).await;
                let version = encoded(made["items"][0]["version"].as_str().unwrap());
                one(
                    format!("charges/{version}/end"),
                    json!({"until": "2027-01-01T00:00:00Z"}),
                    json!({"until": "2027-02-01T00:00:00Z"}),
                )
            }
            "fx.set" => one("fx-rates".to_owned(), rates("7.1"), rates("7.2")),
            other => unknown(other),
        }
    }

    /// The life of an invoice.
    async fn invoices(&mut self, operation: &str) -> Calls {
        match operation {
            "invoices.draft" => {
                let customer = self.used().await;
                let period = "2026-10";
                let saying =
                    |notes: &str| json!({"customer": customer, "period": period, "notes": notes});
                one("invoices/draft".to_owned(), saying("a"), saying("b"))
            }
            "invoices.approve" => one(
                format!("invoices/{}/approve", self.draft().await),
                json!({}),
                json!({"expected_total": "0.04"}),
            ),
            "invoices.finalize" => {
                let (one, other) = (self.approved().await, self.approved().await);
                let path = |id: String| format!("invoices/{id}/finalize");
                two(path(one), path(other))
            }
            "invoices.pay" => one(
                format!("invoices/{}/pay", self.issued().await),
                json!({"amount": "0.01"}),
                json!({"amount": "0.02"}),
            ),
            "invoices.refund" => {
                let id = self.issued().await;
                self.made(&format!("invoices/{id}/pay"), &json!({})).await;
                let credit = json!({"amount": "0.02", "reason": "a test"});
                self.made(&format!("invoices/{id}/credit"), &credit).await;
                one(
                    format!("invoices/{id}/refund"),
                    json!({"amount": "0.01"}),
                    json!({"amount": "0.01", "reference": "bank 1"}),
                )
            }
            "invoices.void" => one(
                format!("invoices/{}/void", self.issued().await),
                json!({"reason": "a"}),
                json!({"reason": "b"}),
            ),
            "credit-notes.create" => one(
                format!("invoices/{}/credit", self.issued().await),
                json!({"amount": "0.01", "reason": "a"}),
                json!({"amount": "0.01", "reason": "b"}),
            ),
            other => unknown(other),
        }
    }

    /// What stands against invoices and bills, and the close.
    async fn periods(&mut self, operation: &str) -> Calls {
        match operation {
            "close.sign" => {
                one("close/2026-08/sign".to_owned(), json!({"accept": "a"}), json!({"accept": "b"}))
            }
            "close.reopen" => {
                self.closed("2026-07").await;
                one(
                    "close/2026-07/reopen".to_owned(),
                    json!({"reason": "a"}),
                    json!({"reason": "b"}),
                )
            }
            "disputes.open" => {
                let id = self.issued().await;
                let saying = |reason: &str| json!({"invoice": id, "reason": reason});
                one("disputes".to_owned(), saying("a"), saying("b"))
            }
            "disputes.resolve" => {
                let id = self.issued().await;
                let new = json!({"invoice": id, "reason": "a test"});
                let opened = text(&self.made("disputes", &new).await, "id");
                one(
                    format!("disputes/{opened}/resolve"),
                    json!({"accepted": false, "note": "a"}),
                    json!({"accepted": false, "note": "b"}),
                )
            }
            "reconciliations.create" => one("reconciliations".to_owned(), bill("1"), bill("2")),
            "reconciliations.sign" => {
                let made = self.made("reconciliations", &bill("3")).await;
                let made = text(&made["summary"], "id");
                one(
                    format!("reconciliations/{made}/sign"),
                    json!({"note": "a"}),
                    json!({"note": "b"}),
                )
            }
            other => unknown(other),
        }
    }

    /// What was used, and who is told.
    async fn rest(&mut self, operation: &str) -> Calls {
        match operation {
            "quarantine.book" => {
                let (one, other) = (self.quarantined().await, self.quarantined().await);
                let path = |id: String| format!("usage/quarantine/{id}/book");
                two(path(one), path(other))
            }
            "quarantine.dismiss" => one(
                format!("usage/quarantine/{}/dismiss", self.quarantined().await),
                json!({"note": "a"}),
                json!({"note": "b"}),
            ),
            "sessions.tell" => {
                let customer = self.used().await;
                let told = |outcome: &str| json!({"outcome": outcome, "customer": customer});
                one("sessions/chat-1/outcome".to_owned(), told("accepted"), told("rejected"))
            }
            "webhooks.add" => {
                let to = |path: &str| json!({"url": format!("https://example.com/{path}")});
                one("webhooks".to_owned(), to("a"), to("b"))
            }
            "webhooks.rotate" => one(
                format!("webhooks/{}/rotate", self.webhook().await),
                json!({"overlap_hours": 1}),
                json!({"overlap_hours": 2}),
            ),
            "webhooks.remove" | "webhooks.test" => {
                let (one, other) = (self.webhook().await, self.webhook().await);
                let step = operation.trim_start_matches("webhooks.");
                two(format!("webhooks/{one}/{step}"), format!("webhooks/{other}/{step}"))
            }
            "webhooks.resend" => {
                let id = self.webhook().await;
                let test = format!("webhooks/{id}/test");
                let mut told = Vec::new();
                for _ in 0..2 {
                    told.push(text(&self.made(&test, &json!({})).await, "event"));
                }
                let path = |event: &str| format!("webhooks/{id}/deliveries/{event}/resend");
                two(path(&told[0]), path(&told[1]))
            }
            other => unknown(other),
        }
    }
}
