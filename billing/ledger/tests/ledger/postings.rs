//! Double entry: every posting and every currency sums to zero after anything, and what is posted
//! is the exact cost, rounded once.

use permille_ledger::{AccountBalance, NewKey};
use permille_types::{Currency, Flag, TokenClass, UsageEvent};

use crate::support::{Books, add_customer, add_key, batch, event, import, raw_batch};

async fn balances(books: &Books) -> Vec<(String, Currency, i64)> {
    let balances = books.ledger.balances().await.unwrap();
    balances
        .into_iter()
        .map(|AccountBalance { account, currency, amount_nano }| (account, currency, amount_nano))
        .collect()
}

/// Nothing is made or lost: each posting alone sums to zero, so each currency does.
async fn assert_balanced(books: &Books) {
    let unbalanced = books
        .value(
            "select count(*) from (
                 select posting from posting_entry
                 group by posting having sum(amount_nano) <> 0 or count(*) <> 2
             ) as unbalanced",
        )
        .await;
    assert_eq!(unbalanced, 0);
    let empty = "select count(*) from posting
         where id not in (select posting from posting_entry)";
    assert_eq!(books.value(empty).await, 0);
    for currency in [Currency::CNY, Currency::USD] {
        let entries = balances(books).await;
        let sum: i64 =
            entries.iter().filter(|(_, of, _)| *of == currency).map(|(_, _, nano)| nano).sum();
        assert_eq!(sum, 0, "{currency:?}");
    }
    let drawdowns = books
        .value(
            "select count(*) from drawdown where posted_nano <> (
                 select coalesce(sum(amount_nano), 0) from posting_entry
                 where posting_entry.account = drawdown.account
             )",
        )
        .await;
    assert_eq!(drawdowns, 0);
}

fn receivable(balances: &[(String, Currency, i64)], account: &str) -> i64 {
    balances.iter().find(|(name, _, _)| name == account).map_or(0, |(_, _, nano)| *nano)
}

fn one_token(books: &Books, number: u32) -> UsageEvent {
    let mut event = books.event(number);
    event.model_requested = "cheap".parse().unwrap();
    event.tokens = [(TokenClass::INPUT_UNCACHED, 1)].into();
    event
}

/// One token costs a third of a nano-unit, near enough.
const CHEAP: &str = r#"
[[price]]
model = "cheap"
currency = "CNY"
from = 2026-01-01T00:00:00Z
source = "a test"
input = "0.00000033"
output = "0.00000033"
"#;

#[tokio::test]
async fn usage_is_owed_by_its_customer_and_is_revenue_not_billed_yet() {
    let books = Books::open().await;

    books.accept(&[books.event(1)]).await;

    let expected = [
        ("receivable:unbilled:acme".to_owned(), Currency::CNY, 18_000_000),
        ("revenue:unbilled".to_owned(), Currency::CNY, -18_000_000),
    ];
    assert_eq!(balances(&books).await, expected);
    assert_balanced(&books).await;
}

#[tokio::test]
async fn costs_below_a_nano_unit_add_up_and_are_rounded_on_the_sum_alone() {
    let books = Books::open().await;
    import(&books.ledger, CHEAP).await;

    let mut posted = Vec::new();
    for number in 1..=10 {
        books.accept(&[one_token(&books, number)]).await;
        assert_balanced(&books).await;
        posted.push(receivable(&balances(&books).await, "receivable:unbilled:acme"));
    }

    // 0.33, 0.66, 0.99, … of a nano-unit: rounded alone, each would be nothing for ever.
    assert_eq!(posted, [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
}

#[tokio::test]
async fn ten_batches_and_one_batch_post_the_same() {
    let (apart, together) = (Books::open().await, Books::open().await);
    for books in [&apart, &together] {
        import(&books.ledger, CHEAP).await;
    }
    let events =
        |books: &Books| (1..=10).map(|number| one_token(books, number)).collect::<Vec<_>>();

    for event in events(&apart) {
        apart.accept(&[event]).await;
    }
    together.accept(&events(&together)).await;

    assert_eq!(balances(&apart).await, balances(&together).await);
    assert_eq!(together.value("select count(*) from posting").await, 1);
}

#[tokio::test]
async fn currencies_and_customers_are_kept_apart() {
    let books = Books::open().await;
    add_customer(&books.ledger, "other", Currency::USD, "UTC").await;
    add_customer(&books.ledger, "third", Currency::CNY, "UTC").await;
    let mut events = vec![books.event(1)];
    for (number, customer, model) in [(2, "other", "gpt-test"), (3, "third", "ERNIE-Bot")] {
        let key = add_key(&books.ledger, customer).await.key;
        let mut theirs = event(number, customer, key.id.as_str());
        theirs.model_requested = model.parse().unwrap();
        events.push(theirs);
    }

    books.accept(&events).await;

    let (cny, usd) = (Currency::CNY, Currency::USD);
    let found = balances(&books).await;
    let found: Vec<_> = found.iter().map(|(name, of, nano)| (name.as_str(), *of, *nano)).collect();
    let expected = [
        ("receivable:unbilled:acme", cny, 18_000_000),
        ("receivable:unbilled:other", usd, 7_500_000),
        ("receivable:unbilled:third", cny, 18_000_000),
        ("revenue:unbilled", cny, -36_000_000),
        ("revenue:unbilled", usd, -7_500_000),
    ];
    assert_eq!(found, expected);
    assert_balanced(&books).await;
}

#[tokio::test]
async fn simulated_usage_never_becomes_money_that_is_owed() {
    let books = Books::open().await;
    let mut simulated = books.event(1);
    simulated.flags = vec![Flag::Simulated];

    books.accept(&[simulated, books.event(2)]).await;

    let found = balances(&books).await;
    assert_eq!(receivable(&found, "receivable:unbilled:acme"), 18_000_000);
    assert_eq!(receivable(&found, "receivable:simulated:acme"), 18_000_000);
    assert_eq!(receivable(&found, "revenue:unbilled"), -18_000_000);
    assert_balanced(&books).await;
}

#[tokio::test]
async fn a_replay_a_conflict_a_refusal_and_free_usage_post_nothing() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    let before = books.lines("select id from posting").await;
    let mut conflict = books.event(1);
    conflict.latency_ms += 1;
    let mut held = books.event(2);
    held.model_requested = "unheard-of".parse().unwrap();
    let mut nothing = books.event(3);
    nothing.tokens.clear();

    books.accept(&[books.event(1), conflict, held, nothing]).await;
    books.ledger.accept(&raw_batch("n2", 1, &[b"no event".to_vec()])).await.unwrap();

    assert_eq!(books.lines("select id from posting").await, before);
    assert_balanced(&books).await;
}

#[tokio::test]
async fn held_usage_is_posted_when_it_is_priced() {
    let books = Books::open().await;
    let held: Vec<_> = (1..=10).map(|number| one_token(&books, number)).collect();
    books.accept(&held).await;
    assert_eq!(balances(&books).await, []);

    import(&books.ledger, CHEAP).await;

    assert_eq!(receivable(&balances(&books).await, "receivable:unbilled:acme"), 3);
    let subjects = books.lines("select subject from posting").await;
    assert_eq!(subjects, ["held usage priced"]);
    assert_balanced(&books).await;
}

#[tokio::test]
async fn books_balance_after_every_kind_of_batch_at_once() {
    let books = Books::open().await;
    import(&books.ledger, CHEAP).await;
    let key = NewKey {
        customer: "acme".parse().unwrap(),
        project: "default".parse().unwrap(),
        name: None,
        rpm: None,
    };
    let second = books.ledger.create_key(key).await.unwrap().key;

    for round in 0..20_u32 {
        let events: Vec<_> = (0..9)
            .map(|place| {
                let number = (round * 5 + place) % 60 + 1;
                let mut event = if number % 4 == 0 {
                    one_token(&books, number)
                } else {
                    event(number, "acme", second.id.as_str())
                };
                if number % 7 == 0 {
                    event.flags = vec![Flag::Simulated];
                }
                if number % 11 == 0 {
                    event.model_requested = "unheard-of".parse().unwrap();
                }
                event
            })
            .collect();
        books.ledger.accept(&batch("n1", u64::from(round) * 10 + 1, &events)).await.unwrap();
        assert_balanced(&books).await;
    }

    assert_eq!(books.value("select count(*) from usage").await, 60);
    assert_eq!(books.value("select count(*) from quarantine").await, 0);
}
