//! Thresholds of plans: who has so much unbilled gets an interim draft, once.

use permille_ledger::{
    InvoiceState, InvoiceTexts, Ledger, NO_PLAN, NewWebhook, Role, ThresholdSweep, ThresholdsSeen,
};
use permille_types::{Currency, UsageEvent};

use crate::{
    interims::{acme, id, lines, under, used},
    support::{Books, add_customer, add_key, at, import},
};

/// What a look by a process that has just begun finds.
async fn sweep(ledger: &Ledger) -> ThresholdSweep {
    ledger.draft_over_thresholds(&mut ThresholdsSeen::default()).await.unwrap()
}

async fn drafted(books: &Books) -> Vec<String> {
    let sweep = sweep(&books.ledger).await;
    assert!(sweep.failed.is_empty(), "{:?}", sweep.failed);
    sweep.drafted.iter().map(|draft| format!("{} {}", draft.customer.id, draft.total)).collect()
}

#[tokio::test]
async fn a_draft_is_made_at_the_threshold_and_not_below_it() {
    for (tokens, expected) in
        [(19_999, None), (20_000, Some("acme 200.00")), (20_001, Some("acme 200.01"))]
    {
        let (books, _) = under("progressive").await;
        books.accept(&[used(&books, 1, "2026-11-05", tokens)]).await;

        assert_eq!(drafted(&books).await, Vec::from_iter(expected), "{tokens}");
        assert_eq!(drafted(&books).await, Vec::<String>::new(), "{tokens}: a second look");
    }
}

#[tokio::test]
async fn the_fee_is_no_part_of_what_a_threshold_counts_and_october_none_of_november() {
    let (books, _) = under("progressive").await;
    books.accept(&[used(&books, 1, "2026-10-05", 15_000)]).await;
    books.accept(&[used(&books, 2, "2026-11-05", 19_000)]).await;

    assert_eq!(drafted(&books).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_next_draft_is_made_over_the_next_two_hundred() {
    let (books, finance) = under("progressive").await;
    let mut seen = ThresholdsSeen::default();
    let mut look = async || books.ledger.draft_over_thresholds(&mut seen).await.unwrap().drafted;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let first = look().await.remove(0);
    // While it waits, nothing is drafted beside it, and it stays as it is.
    books.accept(&[used(&books, 2, "2026-11-06", 30_000)]).await;
    assert!(look().await.is_empty());
    let waiting = books.ledger.invoice(&id(&first)).await.unwrap();
    assert_eq!((waiting.state, lines(&waiting)), (InvoiceState::Draft, lines(&first)));
    books.ledger.approve_invoice(&id(&first), &finance).await.unwrap();
    assert!(look().await.is_empty());
    books.ledger.finalize_invoice(&id(&first), &finance).await.unwrap();

    let second = look().await.remove(0);
    books.ledger.approve_invoice(&id(&second), &finance).await.unwrap();
    let second = books.ledger.finalize_invoice(&id(&second), &finance).await.unwrap();
    books.accept(&[used(&books, 3, "2026-11-07", 19_999)]).await;
    let below = look().await;
    books.accept(&[used(&books, 4, "2026-11-08", 1)]).await;
    let third = look().await;

    assert_eq!(
        (lines(&first), lines(&second)),
        (vec!["input_uncached 200.00".into()], vec!["input_uncached 300.00".into()])
    );
    assert!(below.is_empty());
    assert_eq!(third[0].billed_before.len(), 2);
    assert_eq!(lines(&third[0]), ["input_uncached 200.00"]);
}

/// Who makes a draft void says that it is not time yet: the look asks again at the next threshold.
#[tokio::test]
async fn a_draft_that_was_made_void_is_made_again_over_as_much_again() {
    let (books, finance) = under("progressive").await;
    let ledger = &books.ledger;
    let mut seen = ThresholdsSeen::default();
    let mut look = async || ledger.draft_over_thresholds(&mut seen).await.unwrap().drafted;
    let minute = |minute: u32| books.clock.set(&format!("2026-11-24T12:{minute:02}:00Z"));
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let first = look().await.remove(0);
    minute(1);
    ledger.void_invoice(&id(&first), "too early", &finance).await.unwrap();

    let after = look().await.len() + drafted(&books).await.len();
    books.accept(&[used(&books, 2, "2026-11-06", 19_999)]).await;
    let below = look().await.len() + drafted(&books).await.len();
    books.accept(&[used(&books, 3, "2026-11-07", 1)]).await;
    let second = look().await.remove(0);
    minute(2);
    ledger.approve_invoice(&id(&second), &finance).await.unwrap();
    ledger.void_invoice(&id(&second), "not now either", &finance).await.unwrap();
    books.accept(&[used(&books, 4, "2026-11-08", 19_999)]).await;
    let still = look().await.len();

    assert_eq!((after, below, still), (0, 0, 0));
    assert_eq!(lines(&second), ["input_uncached 400.00"]);
    // By hand it is made at once, and what is issued has the count begin anew.
    minute(3);
    let texts = InvoiceTexts::default();
    let by_hand = ledger.draft_interim(&acme(), "2026-11", texts, &finance).await.unwrap();
    ledger.approve_invoice(&id(&by_hand), &finance).await.unwrap();
    ledger.finalize_invoice(&id(&by_hand), &finance).await.unwrap();
    books.accept(&[used(&books, 5, "2026-11-09", 20_000)]).await;
    assert_eq!(lines(&by_hand), ["input_uncached 599.99"]);
    assert_eq!(lines(&look().await[0]), ["input_uncached 200.00"]);
}

/// A process that has looked before computes again what has changed, and nothing else.
#[tokio::test]
async fn what_gives_usage_back_or_a_price_reaches_the_threshold_too() {
    let (books, finance) = under("progressive").await;
    let mut seen = ThresholdsSeen::default();
    let mut look = async || books.ledger.draft_over_thresholds(&mut seen).await.unwrap().drafted;
    books.accept(&[used(&books, 1, "2026-11-05", 15_000)]).await;
    let mut held = used(&books, 2, "2026-11-06", 5_000);
    held.model_requested = "unheard-of".parse().unwrap();
    books.accept(&[held]).await;
    assert!(look().await.is_empty());

    import(
        &books.ledger,
        "[[price]]\nmodel = \"unheard-of\"\ncurrency = \"CNY\"\nfrom = 2026-10-01T00:00:00Z\n\
         source = \"a test\"\ninput = \"10\"\n",
    )
    .await;
    let priced = look().await.remove(0);
    books.ledger.approve_invoice(&id(&priced), &finance).await.unwrap();
    books.ledger.finalize_invoice(&id(&priced), &finance).await.unwrap();
    assert!(look().await.is_empty());
    books.ledger.void_invoice(&id(&priced), "a test", &finance).await.unwrap();
    let again = look().await.remove(0);

    assert_eq!(
        (priced.total.to_string(), again.total.to_string()),
        ("200.00".into(), "200.00".into())
    );
    assert_ne!(id(&priced), id(&again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_looks_at_once_one_drafts() {
    let (books, _) = under("progressive").await;
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;
    let ledgers = [books.ledger.clone(), books.reopened().await];
    let looks: Vec<_> = ledgers
        .into_iter()
        .cycle()
        .take(8)
        .map(|ledger| tokio::spawn(async move { sweep(&ledger).await.drafted.len() }))
        .collect();

    let mut made = 0;
    for look in looks {
        made += look.await.unwrap();
    }

    assert_eq!(made, 1);
    assert_eq!(books.value("select count(*) from invoice").await, 1);
    let restarted = books.reopened().await;
    assert!(sweep(&restarted).await.drafted.is_empty(), "who begins anew finds the draft");
}

#[tokio::test]
async fn the_plan_of_now_says_whose_usage_is_looked_at() {
    let (books, finance) = under("progressive").await;
    let ledger = &books.ledger;
    add_customer(ledger, "globex", Currency::CNY, "UTC").await;
    add_customer(ledger, "later", Currency::CNY, "UTC").await;
    let mut number = 0;
    for customer in ["acme", "globex", "later"] {
        let key = add_key(ledger, customer).await.key;
        number += 1;
        let event = UsageEvent {
            customer: customer.parse().unwrap(),
            key: key.id.as_str().parse().unwrap(),
            ..used(&books, number, "2026-11-05", 40_000)
        };
        books.accept(&[event]).await;
    }
    let from = Some(at("2026-11-25T00:00:00Z"));
    ledger.assign_plan(&"later".parse().unwrap(), "usage", from, &finance).await.unwrap();
    ledger.assign_plan(&acme(), NO_PLAN, from, &finance).await.unwrap();

    let now = drafted(&books).await;
    books.clock.set("2026-11-25T01:00:00Z");
    let then = drafted(&books).await;

    assert_eq!(now, ["acme 400.00"], "globex has no plan");
    assert_eq!(then, ["later 400.00"]);
}

#[tokio::test]
async fn simulated_usage_reaches_no_threshold() {
    let (books, _) = under("progressive").await;
    let mut simulated = used(&books, 1, "2026-11-05", 40_000);
    simulated.flags.push(permille_types::Flag::Simulated);
    books.accept(&[simulated]).await;

    assert_eq!(drafted(&books).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_draft_over_a_threshold_is_told_and_says_why_it_was_made() {
    let (books, _) = under("progressive").await;
    let admin = books.as_role(Role::Admin).await;
    let url = "https://example.com/house".to_owned();
    let new = NewWebhook { customer: None, url, events: Vec::new(), description: None };
    books.ledger.add_webhook(new, &admin).await.unwrap();
    books.accept(&[used(&books, 1, "2026-11-05", 20_000)]).await;

    let draft = sweep(&books.ledger).await.drafted.remove(0);

    let lease = chrono::TimeDelta::seconds(20);
    let due = books.ledger.lease_deliveries(100, lease, |_, _| 100).await.unwrap();
    let news: serde_json::Value = serde_json::from_str(&due[0].payload).unwrap();
    assert_eq!(news["type"], "invoice.drafted");
    assert_eq!(news["data"]["interim"], true);
    assert_eq!(news["data"]["invoice"], id(&draft).as_str());
    let history = books.ledger.invoice_history(&id(&draft)).await.unwrap();
    let by: Vec<_> =
        history.iter().map(|entry| (&*entry.action, &*entry.token, &*entry.role)).collect();
    assert_eq!(by, [("draft", "threshold", "billing")]);
}

/// Who cannot be billed keeps nobody else from it.
#[tokio::test]
async fn a_month_that_has_no_amount_is_told_and_the_others_are_drafted() {
    let (books, finance) = under("progressive").await;
    let ledger = &books.ledger;
    add_customer(ledger, "aaa", Currency::CNY, "UTC").await;
    let key = add_key(ledger, "aaa").await.key;
    let from = Some(at("2026-11-01T00:00:00Z"));
    ledger.assign_plan(&"aaa".parse().unwrap(), "usage", from, &finance).await.unwrap();
    let broken = UsageEvent {
        customer: "aaa".parse().unwrap(),
        key: key.id.as_str().parse().unwrap(),
        ..used(&books, 1, "2026-11-05", 40_000)
    };
    books.accept(&[broken]).await;
    books.tamper("update usage_hour set price_version = 'gone' where customer = 'aaa'").await;
    books.accept(&[used(&books, 2, "2026-11-05", 20_000)]).await;

    let mut seen = ThresholdsSeen::default();
    let sweep = ledger.draft_over_thresholds(&mut seen).await.unwrap();
    let again = ledger.draft_over_thresholds(&mut seen).await.unwrap();

    assert!(again.failed.is_empty(), "told once while nothing changes: {:?}", again.failed);
    assert_eq!(sweep.failed.len(), 1);
    assert_eq!(sweep.failed[0].0.as_str(), "aaa");
    assert_eq!(sweep.drafted.len(), 1);
}

/// While the month of some has ended and that of others has not.
#[tokio::test]
async fn the_running_month_is_that_of_each_customers_own_calendar() {
    let (books, finance) = under("progressive").await;
    let ledger = &books.ledger;
    books.clock.set("2026-11-30T11:00:00Z");
    let mut number = 0;
    for (customer, zone) in [("east", "Pacific/Kiritimati"), ("west", "Pacific/Midway")] {
        add_customer(ledger, customer, Currency::CNY, zone).await;
        let from = Some(at("2026-11-01T12:00:00Z"));
        let id = customer.parse().unwrap();
        ledger.assign_plan(&id, "usage", from, &finance).await.unwrap();
        let key = add_key(ledger, customer).await.key;
        for instant in ["2026-11-30T09:00:00Z", "2026-11-30T10:30:00Z"] {
            number += 1;
            let event = UsageEvent {
                customer: id.clone(),
                key: key.id.as_str().parse().unwrap(),
                at: at(instant),
                ..used(&books, number, "2026-11-30", 10_000 * u64::from(number))
            };
            ledger.accept(&crate::support::batch("n1", number.into(), &[event])).await.unwrap();
        }
    }

    // In Kiritimati December has begun at 10:00 UTC.
    let found = sweep(ledger).await;

    let drafts = found.drafted.iter();
    let drafts: Vec<_> = drafts.map(|one| (&*one.period.label, one.total.to_string())).collect();
    assert_eq!(drafts, [("2026-12", "200.00".to_owned()), ("2026-11", "700.00".to_owned())]);
}
