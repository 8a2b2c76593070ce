//! What webhooks are told, in which order, and how far the telling is.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use permille_ledger::{
    Actor, Attempted, Change, CreditScope, DeliveryState, DueDelivery, EventKind, Instruction,
    LedgerError, LimitChanges, Limited, NewCredit, NewPayment, NewWebhook, Page, Role,
    SignedWebhook, WEBHOOKS_MAX,
};
use permille_types::Currency;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::support::{Books, add_customer, add_key, at, event};

const LEASE: TimeDelta = TimeDelta::seconds(20);

fn to(url: &str) -> NewWebhook {
    NewWebhook { customer: None, url: url.to_owned(), events: Vec::new(), description: None }
}

async fn add(books: &Books, new: NewWebhook) -> SignedWebhook {
    let admin = books.as_role(Role::Admin).await;
    books.ledger.add_webhook(new, &admin).await.unwrap()
}

async fn lease(books: &Books) -> Vec<DueDelivery> {
    books.ledger.lease_deliveries(100, LEASE, |_, _| 100).await.unwrap()
}

async fn delivered(books: &Books, due: &DueDelivery) {
    books.ledger.settle_delivery(due, &Attempted::Delivered { status: 204 }).await.unwrap();
}

fn failed(again_at: Option<DateTime<Utc>>, pause_until: Option<DateTime<Utc>>) -> Attempted {
    Attempted::Failed { status: Some(500), error: "status 500".to_owned(), again_at, pause_until }
}

fn payload(due: &DueDelivery) -> Value {
    serde_json::from_str(&due.payload).unwrap()
}

/// The types of everything that is due, one after the other as their order allows.
async fn told(books: &Books) -> Vec<String> {
    let mut types = Vec::new();
    loop {
        let due = lease(books).await;
        if due.is_empty() {
            return types;
        }
        for due in due {
            types.push(payload(&due)["type"].as_str().unwrap().to_owned());
            delivered(books, &due).await;
        }
    }
}

#[tokio::test]
async fn each_step_of_an_invoice_is_told_in_its_order() {
    let books = Books::open().await;
    add(&books, to("https://example.com/house")).await;
    books.accept(&[books.event(1)]).await;
    books.clock.set("2026-12-02T00:00:00Z");

    let invoice = books.issue("2026-11").await;
    let (id, finance) = (invoice.id.clone().unwrap(), books.as_role(Role::Finance).await);
    let credit =
        NewCredit { scope: CreditScope::Rest, currency: None, reason: "a test".to_owned() };
    books.ledger.credit_invoice(&id, &credit, &finance).await.unwrap();
    books.ledger.pay_invoice(&id, None, &finance).await.unwrap();

    let first = lease(&books).await;
    assert_eq!(first.len(), 1, "of one subject one at a time");
    let news = payload(&first[0]);
    assert_eq!(news["type"], "invoice.drafted");
    assert_eq!(news["timestamp"], "2026-12-02T00:00:00Z");
    assert_eq!(news["data"]["invoice"], id.as_str());
    assert_eq!(news["data"]["customer"], "acme");
    assert!(news["data"].get("number").is_none(), "{news}");
    assert!(lease(&books).await.is_empty(), "the next waits for the one before");
    delivered(&books, &first[0]).await;
    assert_eq!(
        told(&books).await,
        ["invoice.approved", "invoice.finalized", "invoice.credited", "invoice.paid"]
    );
}

#[tokio::test]
async fn each_step_of_a_close_is_told_in_its_order() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    books.issue("2026-11").await;
    add(&books, to("https://example.com/house")).await;

    for role in [Role::Operator, Role::Finance] {
        let who = books.as_role(role).await;
        books.ledger.sign_close("2026-11", Some("n1 is gone"), &who).await.unwrap();
    }
    let finance = books.as_role(Role::Finance).await;
    books.ledger.reopen_period("2026-11", "a correction", &finance).await.unwrap();

    assert_eq!(
        told(&books).await,
        ["period.signed", "period.signed", "period.closed", "period.reopened"]
    );
}

#[tokio::test]
async fn an_invoice_that_a_credit_settles_is_told_last_as_paid() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let invoice = books.issue("2026-11").await;
    add(&books, to("https://example.com/house")).await;
    let (id, finance) = (invoice.id.clone().unwrap(), books.as_role(Role::Finance).await);
    let part = NewPayment { amount: Some("0.01".parse().unwrap()), ..NewPayment::default() };
    books.ledger.pay_invoice_in_part(&id, &part, &finance).await.unwrap();

    let credit =
        NewCredit { scope: CreditScope::Rest, currency: None, reason: "a test".to_owned() };
    books.ledger.credit_invoice(&id, &credit, &finance).await.unwrap();

    let credited = lease(&books).await;
    assert_eq!(payload(&credited[0])["type"], "invoice.credited");
    delivered(&books, &credited[0]).await;
    let paid = lease(&books).await;
    assert_eq!(payload(&paid[0])["type"], "invoice.paid");
    assert_eq!(payload(&paid[0])["data"]["state"], "paid");
}

#[tokio::test]
async fn a_change_that_is_refused_tells_nothing_and_a_repeated_one_nothing_more() {
    let books = Books::open().await;
    add(&books, to("https://example.com/house")).await;
    books.accept(&[books.event(1)]).await;
    let draft = books.draft("2026-11").await;
    books.draft("2026-11").await;
    let (id, finance) = (draft.id.unwrap(), books.as_role(Role::Finance).await);
    let by = finance.by().clone();
    let keyed = Instruction::new(by, Some("void-1")).unwrap();

    books.ledger.approve_invoice(&id, &finance).await.unwrap_err();
    for _ in 0..2 {
        books.ledger.void_invoice(&id, "a test", &keyed).await.unwrap();
    }

    assert_eq!(told(&books).await, ["invoice.drafted", "invoice.voided"]);
}

#[tokio::test]
async fn each_endpoint_is_told_of_what_it_asked_for_and_of_its_own_customer() {
    let books = Books::open().await;
    add_customer(&books.ledger, "globex", Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "globex").await;
    let of = |customer: Option<&str>, events: &[EventKind], url: &str| NewWebhook {
        customer: customer.map(|id| id.parse().unwrap()),
        events: events.to_vec(),
        ..to(url)
    };
    add(&books, of(None, &[], "https://example.com/all")).await;
    add(&books, of(Some("acme"), &[], "https://example.com/acme")).await;
    add(&books, of(Some("globex"), &[], "https://example.com/globex")).await;
    add(&books, of(None, &[EventKind::InvoicePaid], "https://example.com/paid")).await;
    let mut other = event(2, "globex", key.key.id.as_str());
    other.session = "of globex".parse().unwrap();
    books.accept(&[books.event(1), other]).await;
    let finance = books.as_role(Role::Finance).await;

    books.draft("2026-11").await;
    books.ledger.draft_invoice(&key.key.customer, "2026-11", &finance).await.unwrap();

    let mut told: Vec<(String, String)> = lease(&books)
        .await
        .iter()
        .map(|due| (due.url.clone(), payload(due)["data"]["customer"].to_string()))
        .collect();
    told.sort();
    let row = |url: &str, customer: &str| {
        (format!("https://example.com/{url}"), format!("\"{customer}\""))
    };
    assert_eq!(
        told,
        [row("acme", "acme"), row("all", "acme"), row("all", "globex"), row("globex", "globex")]
    );
}

#[tokio::test]
async fn a_lease_that_runs_out_lets_another_send_again() {
    let books = Books::open().await;
    let made = add(&books, to("https://example.com/house")).await;
    let test = books
        .ledger
        .test_webhook(&made.webhook.id, &books.as_role(Role::Admin).await)
        .await
        .unwrap();

    let first = lease(&books).await;
    let meanwhile = lease(&books).await;
    books.clock.set("2026-11-20T10:00:21Z");
    let again = books.reopened().await.lease_deliveries(100, LEASE, |_, _| 100).await.unwrap();

    assert_eq!((first.len(), meanwhile.len(), again.len()), (1, 0, 1));
    assert_eq!((&first[0].event, &again[0].event), (&test.event, &test.event));
    assert_eq!(first[0].payload, again[0].payload);
}

#[tokio::test]
async fn a_failed_delivery_is_due_again_given_up_at_last_and_sent_again_when_asked() {
    let books = Books::open().await;
    let id = add(&books, to("https://example.com/house")).await.webhook.id;
    let event =
        books.ledger.test_webhook(&id, &books.as_role(Role::Admin).await).await.unwrap().event;
    let later = at("2026-11-20T10:05:00Z");

    let due = lease(&books).await;
    books.ledger.settle_delivery(&due[0], &failed(Some(later), Some(later))).await.unwrap();
    assert!(lease(&books).await.is_empty(), "not due yet");
    let webhook = books.ledger.webhook(&id).await.unwrap();
    assert_eq!((webhook.failures, webhook.paused_until), (1, Some(later)));
    books.clock.set("2026-11-20T10:05:00Z");
    let due = lease(&books).await;
    assert_eq!((due[0].attempts, due[0].failures), (1, 1));
    books.ledger.settle_delivery(&due[0], &failed(None, None)).await.unwrap();
    let backlog = books.ledger.webhook_backlog().await.unwrap();
    assert_eq!((backlog.pending, backlog.dead, backlog.oldest), (0, 1, None));
    let log = books.ledger.deliveries(&id, Some(DeliveryState::Dead), &Page::default()).await;
    let log = log.unwrap().items;
    assert_eq!((log[0].attempts, log[0].last_status), (2, Some(500)));
    assert_eq!(log[0].last_error.as_deref(), Some("status 500"));

    let again =
        books.ledger.resend_delivery(&id, &event, &books.as_role(Role::Admin).await).await.unwrap();

    assert_eq!((again.state, again.attempts), (DeliveryState::Pending, 0));
    let due = lease(&books).await;
    delivered(&books, &due[0]).await;
    let webhook = books.ledger.webhook(&id).await.unwrap();
    assert_eq!((webhook.failures, webhook.paused_until), (0, None));
    let log = books.ledger.deliveries(&id, None, &Page::default()).await.unwrap().items;
    assert_eq!((log.len(), log[0].state), (1, DeliveryState::Delivered));
    let unknown = books
        .ledger
        .resend_delivery(&id, "evt_unknown", &books.as_role(Role::Admin).await)
        .await
        .unwrap_err();
    assert!(matches!(unknown, LedgerError::NotFound { .. }), "{unknown}");
}

#[tokio::test]
async fn a_paused_endpoint_is_sent_nothing_and_others_are() {
    let books = Books::open().await;
    let paused = add(&books, to("https://example.com/paused")).await.webhook.id;
    let other = add(&books, to("https://example.com/other")).await.webhook.id;
    books.ledger.test_webhook(&paused, &books.as_role(Role::Admin).await).await.unwrap();
    let due = lease(&books).await;
    let (soon, late) = (at("2026-11-20T10:00:00Z"), at("2026-11-20T11:00:00Z"));
    books.ledger.settle_delivery(&due[0], &failed(Some(soon), Some(late))).await.unwrap();
    books.ledger.test_webhook(&other, &books.as_role(Role::Admin).await).await.unwrap();

    let due = lease(&books).await;

    assert_eq!(due.iter().map(|due| &due.endpoint).collect::<Vec<_>>(), [&other]);
}

#[tokio::test]
async fn two_secrets_are_valid_while_one_takes_the_place_of_the_other() {
    let books = Books::open().await;
    let made = add(&books, to("https://example.com/house")).await;
    let admin = books.as_role(Role::Admin).await;

    let rotated = books.ledger.rotate_webhook(&made.webhook.id, TimeDelta::hours(1), &admin).await;
    let rotated = rotated.unwrap();
    books.ledger.test_webhook(&made.webhook.id, &books.as_role(Role::Admin).await).await.unwrap();

    let secrets = |due: &DueDelivery| -> Vec<String> {
        due.secrets.iter().map(|secret| secret.expose_secret().to_owned()).collect()
    };
    let (old, new) = (made.secret.expose_secret(), rotated.secret.expose_secret());
    assert!(old.starts_with("whsec_") && new.starts_with("whsec_") && old != new);
    let due = lease(&books).await;
    assert_eq!(secrets(&due[0]), [new, old]);
    books.clock.set("2026-11-20T11:00:00Z");
    let due = lease(&books).await;
    assert_eq!(secrets(&due[0]), [new], "an hour later only the new one");
    let stored = books.lines("select seed || previous_seed from webhook_endpoint").await.concat();
    for secret in [old, new] {
        let bytes = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
        assert!(!stored.contains(&hex::encode(bytes)), "no secret is stored");
    }
}

#[tokio::test]
async fn a_removed_endpoint_is_told_nothing_more() {
    let books = Books::open().await;
    let id = add(&books, to("https://example.com/house")).await.webhook.id;
    books.ledger.test_webhook(&id, &books.as_role(Role::Admin).await).await.unwrap();
    let admin = books.as_role(Role::Admin).await;

    let removed = books.ledger.remove_webhook(&id, &admin).await.unwrap();
    let again = books.ledger.remove_webhook(&id, &admin).await.unwrap();

    assert_eq!(again, removed);
    assert!(lease(&books).await.is_empty());
    books.accept(&[books.event(1)]).await;
    books.draft("2026-11").await;
    assert!(lease(&books).await.is_empty());
    assert!(books.ledger.webhooks(None, &Page::default()).await.unwrap().items.is_empty());
    let log = books.ledger.deliveries(&id, None, &Page::default()).await.unwrap().items;
    assert_eq!(log[0].last_error.as_deref(), Some("the endpoint was removed"));
    let refused = books
        .ledger
        .test_webhook(&id, &books.as_role(Role::Admin).await)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("was removed"), "{refused}");
}

#[tokio::test]
async fn an_endpoint_is_added_once_under_one_key_and_there_is_a_bound() {
    let books = Books::open().await;
    let token = books.ledger.create_token(Role::Admin, None).await.unwrap().token;
    let keyed = Instruction::new(Actor::of(&token), Some("add-1")).unwrap();

    let one = books.ledger.add_webhook(to("https://example.com/1"), &keyed).await.unwrap();
    let same = books.ledger.add_webhook(to("https://example.com/1"), &keyed).await.unwrap();
    let other = books.ledger.add_webhook(to("https://example.com/2"), &keyed).await.unwrap_err();

    assert_eq!(one.webhook, same.webhook);
    assert_eq!(one.secret.expose_secret(), same.secret.expose_secret());
    assert!(matches!(other, LedgerError::Refused { noun: "idempotency key", .. }), "{other}");
    for number in 1..WEBHOOKS_MAX {
        add(&books, to(&format!("https://example.com/more/{number}"))).await;
    }
    let admin = books.as_role(Role::Admin).await;
    let beyond = books.ledger.add_webhook(to("https://example.com/3"), &admin).await.unwrap_err();
    assert!(beyond.to_string().contains("16 webhooks"), "{beyond}");
}

#[tokio::test]
async fn a_budget_warns_once_and_is_exhausted_once_in_each_period() {
    let books = Books::open().await;
    add(&books, to("https://example.com/house")).await;
    let admin = books.as_role(Role::Admin).await;
    // One request costs 0.018 CNY: the third passes 80 percent, the fourth reaches the budget.
    let changes =
        LimitChanges { budget: Change::Set("0.065 CNY/day".to_owned()), ..LimitChanges::default() };
    let whose = Limited::Key(books.key.key.id.clone());
    books.ledger.change_limits(&whose, changes, &admin).await.unwrap();

    for number in 1..=5 {
        books.accept(&[books.event(number)]).await;
        let told = told(&books).await;
        match number {
            3 => assert_eq!(told, ["limit.warning"]),
            4 => assert_eq!(told, ["limit.exhausted"]),
            _ => assert!(told.is_empty(), "{number}: {told:?}"),
        }
    }
    let mut tomorrow = books.event(6);
    tomorrow.at = at("2026-11-21T10:00:00Z");
    books.accept(&[tomorrow]).await;
    assert!(told(&books).await.is_empty(), "a new day begins at nothing");
}

#[tokio::test]
async fn a_budget_is_told_with_whose_it_is_and_how_much_was_spent() {
    let books = Books::open().await;
    add(&books, to("https://example.com/house")).await;
    let admin = books.as_role(Role::Admin).await;
    let changes = LimitChanges {
        budget: Change::Set("0.03 CNY/month".to_owned()),
        warn_percent: Change::Set(50),
        ..LimitChanges::default()
    };
    let whose = Limited::Customer(books.key.key.customer.clone());
    books.ledger.change_limits(&whose, changes, &admin).await.unwrap();

    books.accept(&[books.event(1)]).await;

    let due = lease(&books).await;
    let news = payload(&due[0]);
    assert_eq!(news["type"], "limit.warning");
    let data = &news["data"];
    assert_eq!((&data["level"], &data["id"]), (&"customer".into(), &"acme".into()));
    assert_eq!((&data["budget"], &data["spent"]), (&"0.03 CNY/month".into(), &"0.018".into()));
    assert_eq!(data["period"]["start"], "2026-11-01T00:00:00Z");
}

#[tokio::test]
async fn a_session_budget_warns_once_and_is_exhausted_once_for_each_session() {
    let books = Books::open().await;
    add(&books, to("https://example.com/house")).await;
    let admin = books.as_role(Role::Admin).await;
    // One request costs 0.018 CNY: the third passes 80 percent of the key's, which is the lower.
    let key = books.key.key.clone();
    for (whose, budget) in [
        (Limited::Customer(key.customer.clone()), "0.08 CNY/total"),
        (Limited::Key(key.id.clone()), "0.065 CNY/total"),
    ] {
        let session_budget = Change::Set(budget.to_owned());
        let changes = LimitChanges { session_budget, ..LimitChanges::default() };
        books.ledger.change_limits(&whose, changes, &admin).await.unwrap();
    }

    for number in 1..=5 {
        let mut other = books.event(number + 10);
        other.session = format!("another-{number}").parse().unwrap();
        books.accept(&[books.event(number), other]).await;
        let due = lease(&books).await;
        for one in &due {
            let data = &payload(one)["data"];
            assert_eq!((&data["level"], &data["id"]), (&"session".into(), &"chat-1".into()));
            assert_eq!(data["budget"], "0.065 CNY/total");
            delivered(&books, one).await;
        }
        let told: Vec<_> = due.iter().map(|one| payload(one)["type"].clone()).collect();
        match number {
            3 => assert_eq!(told, ["limit.warning"]),
            4 => assert_eq!(told, ["limit.exhausted"]),
            _ => assert!(told.is_empty(), "{number}: {told:?}"),
        }
    }
    let another = add_key(&books.ledger, "acme").await.key;
    let mut by_another_key = event(6, "acme", another.id.as_str());
    by_another_key.session = "chat-1".parse().unwrap();
    books.accept(&[by_another_key]).await;
    assert_eq!(told(&books).await, ["limit.warning", "limit.exhausted"], "of the customer's");
}

#[tokio::test]
async fn held_usage_is_told_once_a_day() {
    let books = Books::open().await;
    add(&books, to("https://example.com/house")).await;
    let unpriced = |number| {
        let mut event = books.event(number);
        event.model_requested = "unheard-of".parse().unwrap();
        event
    };

    books.accept(&[unpriced(1), unpriced(2)]).await;
    books.accept(&[unpriced(3)]).await;
    assert_eq!(told(&books).await, ["usage.held"]);
    books.clock.set("2026-11-21T10:00:00Z");
    books.accept(&[unpriced(4)]).await;

    assert_eq!(told(&books).await, ["usage.held"]);
}

#[tokio::test]
async fn what_was_settled_long_ago_is_forgotten_and_what_is_pending_is_not() {
    let books = Books::open().await;
    let id = add(&books, to("https://example.com/house")).await.webhook.id;
    books.ledger.test_webhook(&id, &books.as_role(Role::Admin).await).await.unwrap();
    let due = lease(&books).await;
    delivered(&books, &due[0]).await;
    books.ledger.test_webhook(&id, &books.as_role(Role::Admin).await).await.unwrap();

    let before = books.ledger.forget_deliveries(at("2026-11-20T10:00:00Z")).await.unwrap();
    let after = books.ledger.forget_deliveries(at("2027-11-20T10:00:00Z")).await.unwrap();

    assert_eq!((before, after), (0, 1));
    let log = books.ledger.deliveries(&id, None, &Page::default()).await.unwrap().items;
    assert_eq!(log.iter().map(|one| one.state).collect::<Vec<_>>(), [DeliveryState::Pending]);
    assert_eq!(books.value("select count(*) from webhook_event").await, 1);
}

#[tokio::test]
async fn what_waits_too_long_at_an_endpoint_that_fails_is_given_up_and_can_be_sent_again() {
    let books = Books::open().await;
    let id = add(&books, to("https://example.com/dead")).await.webhook.id;
    let other = add(&books, to("https://example.com/other")).await.webhook.id;
    books.ledger.test_webhook(&id, &books.as_role(Role::Admin).await).await.unwrap();
    books.ledger.test_webhook(&other, &books.as_role(Role::Admin).await).await.unwrap();
    books.clock.set("2026-11-21T10:00:00Z");
    books.ledger.test_webhook(&id, &books.as_role(Role::Admin).await).await.unwrap();
    let leased = lease(&books).await;
    assert_eq!(leased.iter().filter(|due| due.endpoint == other).count(), 1);

    let early = books.ledger.give_up_deliveries(at("2026-11-20T09:30:00Z")).await.unwrap();
    let under_way = books.ledger.give_up_deliveries(at("2026-11-20T12:00:00Z")).await.unwrap();
    books.clock.set("2026-11-27T11:00:00Z");
    let late = books.ledger.give_up_deliveries(at("2026-11-20T11:00:00Z")).await.unwrap();

    assert_eq!((early, under_way, late), (0, 0, 2), "what is being sent may still arrive");
    let backlog = books.ledger.webhook_backlog().await.unwrap();
    assert_eq!((backlog.pending, backlog.dead), (1, 2));
    assert_eq!(backlog.oldest, Some(at("2026-11-21T10:00:00Z")));
    let log = books.ledger.deliveries(&id, None, &Page::default()).await.unwrap().items;
    assert_eq!(log[1].last_error.as_deref(), Some("waited for 7 days behind others"));
    books
        .ledger
        .resend_delivery(&id, &log[1].event, &books.as_role(Role::Admin).await)
        .await
        .unwrap();
    assert_eq!(books.ledger.give_up_deliveries(at("2026-11-20T11:00:00Z")).await.unwrap(), 0);
}
