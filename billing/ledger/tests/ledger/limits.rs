//! Limits as they are set and as the gateway gets them, and what was spent for them.

use permille_ledger::{Change, Instruction, LimitChanges, Limited, NewKey, Page, Role};
use permille_types::{
    Currency, Level, Limit, Measure, NodeId, SpendAccount, SpendQuery, Spent, TokenClass,
    UsageEvent,
};
use rust_decimal::Decimal;

use crate::support::{Books, add_customer, add_key, at, batch, event};

async fn by(books: &Books) -> Instruction {
    books.as_role(Role::Admin).await
}

fn budget(text: &str) -> LimitChanges {
    LimitChanges { budget: Change::Set(text.to_owned()), ..LimitChanges::default() }
}

fn customer() -> Limited {
    Limited::Customer("acme".parse().unwrap())
}

fn project() -> Limited {
    Limited::Project("acme".parse().unwrap(), "default".parse().unwrap())
}

#[tokio::test]
async fn the_snapshot_has_the_requests_per_minute_of_a_key_and_when_they_warn() {
    let books = Books::open().await;
    let key = books.key.key.id.clone();
    let by = by(&books).await;
    let mut told = Vec::new();
    for warn_percent in [Change::Keep, Change::Set(95), Change::Clear] {
        let rpm = Change::Set(60);
        let changes = LimitChanges { rpm, warn_percent, ..LimitChanges::default() };
        books.ledger.change_limits(&Limited::Key(key.clone()), changes, &by).await.unwrap();
        let snapshot = books.ledger.snapshot(None).unwrap();
        let policy = snapshot.keys.into_iter().find(|policy| policy.key == key).unwrap();
        assert_eq!(policy.rpm, None, "twice would count twice");
        told.extend(policy.limits);
    }

    let measure = Measure::RequestsPerMinute;
    let limit = |warn_percent| Limit { level: Level::Key, measure, max: 60, warn_percent };
    assert_eq!(told, [limit(80), limit(95), limit(80)]);
}

#[tokio::test]
async fn the_snapshot_has_every_limit_of_a_key_from_the_customer_down() {
    let books = Books::open().await;
    let key = books.key.key.id.clone();
    let by = by(&books).await;
    let change = async |whose: &Limited, changes| {
        books.ledger.change_limits(whose, changes, &by).await.unwrap()
    };
    let session = |text: &str| LimitChanges {
        session_budget: Change::Set(text.to_owned()),
        ..LimitChanges::default()
    };

    change(&Limited::Key(key.clone()), budget("2.5 CNY/month")).await;
    change(&Limited::Key(key.clone()), session("3 CNY/total")).await;
    change(&project(), session("2 CNY/total")).await;
    let rates = LimitChanges {
        rpm: Change::Set(60),
        tpm: Change::Set(9_000),
        concurrency: Change::Set(4),
        warn_percent: Change::Set(90),
        ..LimitChanges::default()
    };
    change(&customer(), rates).await;

    let snapshot = books.ledger.snapshot(None).unwrap();
    let policy = snapshot.keys.iter().find(|policy| policy.key == key).unwrap();
    let limit = |level, measure, max, warn_percent| Limit { level, measure, max, warn_percent };
    assert_eq!(
        policy.limits,
        [
            limit(Level::Customer, Measure::RequestsPerMinute, 60, 90),
            limit(Level::Customer, Measure::TokensPerMinute, 9_000, 90),
            limit(Level::Customer, Measure::OpenRequests, 4, 90),
            limit(Level::Key, Measure::SpendPerMonth, 2_500_000_000, 80),
            // The lower of the project's and the key's.
            limit(Level::Session, Measure::Spend, 2_000_000_000, 80),
        ]
    );
    assert!(policy.time_zone.is_some());
}

#[tokio::test]
async fn limits_change_field_by_field_and_their_history_says_who() {
    let books = Books::open().await;
    let by = by(&books).await;
    let before = books.ledger.snapshot_version();

    let set = books.ledger.change_limits(&customer(), budget("5 CNY/day"), &by).await.unwrap();
    assert_eq!(set.budget.unwrap().to_string(), "5 CNY/day");
    assert_eq!(books.ledger.snapshot_version(), before + 1);
    let same = books.ledger.change_limits(&customer(), budget("5.0 CNY/day"), &by).await.unwrap();
    assert_eq!(books.ledger.snapshot_version(), before + 1, "nothing changed: {same:?}");
    let cleared = LimitChanges { budget: Change::Clear, ..LimitChanges::default() };
    books.ledger.change_limits(&customer(), cleared, &by).await.unwrap();

    assert!(books.ledger.limits(&customer()).await.unwrap().is_empty());
    let history = books.ledger.customer_history(&"acme".parse().unwrap()).await.unwrap();
    let details: Vec<_> =
        history.iter().map(|entry| (&*entry.action, entry.detail.as_deref())).collect();
    assert_eq!(details, [("change limits", Some("budget")); 2]);
    let wrong = books.ledger.change_limits(&customer(), budget("5 USD/day"), &by).await;
    let wrong = wrong.unwrap_err().to_string();
    assert!(wrong.contains("budget `5 USD/day`") && wrong.contains("CNY"), "{wrong}");
}

#[tokio::test]
async fn a_key_is_made_and_listed_with_its_limits() {
    let books = Books::open().await;
    let new = NewKey {
        customer: "acme".parse().unwrap(),
        project: "default".parse().unwrap(),
        name: None,
        rpm: Some(7),
    };

    let made = books.ledger.create_key_with(new, budget("9 CNY/total")).await.unwrap().key;

    assert_eq!((made.rpm, made.limits.rpm), (Some(7), None));
    let listed = books.ledger.keys(None, &Page::default()).await.unwrap().items;
    assert!(listed.contains(&made));
    let all = books.ledger.limits(&Limited::Key(made.id.clone())).await.unwrap();
    assert_eq!((all.rpm, all.budget), (Some(7), made.limits.budget.clone()));
    assert_eq!(books.ledger.key(&made.id).await.unwrap(), made);
}

fn account(level: Level, id: &str) -> SpendAccount {
    SpendAccount { level, id: id.to_owned(), from: None, until: None }
}

async fn spent(books: &Books, accounts: Vec<SpendAccount>) -> Spent {
    let query = SpendQuery { customer: "acme".parse().unwrap(), accounts };
    books.ledger.spent(&query).await.unwrap()
}

#[tokio::test]
async fn spending_is_the_rows_cost_by_local_day_and_says_how_far_each_journal_is_in_it() {
    let books = Books::with("acme", Currency::CNY, "Asia/Shanghai").await;
    let key = books.key.key.id.to_string();
    // Local midnight is 16:00 UTC.
    let times = ["2026-11-25T15:59:59Z", "2026-11-25T16:00:00Z", "2026-11-26T15:59:59Z"];
    let events: Vec<UsageEvent> = (1..)
        .zip(times)
        .map(|(number, time)| UsageEvent { at: at(time), ..books.event(number) })
        .collect();
    books.ledger.accept(&batch("gw-1", 40, &events[..2])).await.unwrap();
    books.ledger.accept(&batch("gw-2", 7, &events[2..])).await.unwrap();
    // Again: nothing is added.
    books.ledger.accept(&batch("gw-1", 40, &events[..2])).await.unwrap();

    let day = SpendAccount {
        from: Some(at("2026-11-25T16:00:00Z")),
        until: Some(at("2026-11-26T16:00:00Z")),
        ..account(Level::Key, &key)
    };
    let accounts = vec![
        account(Level::Customer, "acme"),
        account(Level::Project, "default"),
        account(Level::Key, &key),
        day,
        account(Level::Session, "chat-1"),
        account(Level::Key, "key_none"),
    ];
    let spent = spent(&books, accounts).await;

    let exact: Decimal = books.lines("select exact from drawdown").await[0].parse().unwrap();
    let all = i64::try_from(exact * Decimal::from(1_000_000_000)).unwrap();
    assert!(all > 0 && all % 3 == 0, "{all}");
    assert_eq!(spent.nano, [all, all, all, all / 3 * 2, all, 0]);
    let node = |name: &str| name.parse::<NodeId>().unwrap();
    assert_eq!(spent.sequence_of(&node("gw-1")), 41);
    assert_eq!(spent.sequence_of(&node("gw-2")), 7);
    assert_eq!(spent.sequence_of(&node("gw-3")), 0);
}

#[tokio::test]
async fn the_dearest_customers_come_first_by_currency_in_turn() {
    let books = Books::open().await;
    let mut events = vec![books.event(1)];
    for (number, (customer, currency, tokens)) in (2..).zip([
        ("dollars", Currency::USD, 900),
        ("less", Currency::CNY, 10),
        ("least", Currency::CNY, 1),
        ("before", Currency::CNY, 90_000),
    ]) {
        add_customer(&books.ledger, customer, currency, "UTC").await;
        let key = add_key(&books.ledger, customer).await.key;
        let mut event = event(number, customer, key.id.as_str());
        event.tokens = [(TokenClass::INPUT_UNCACHED, tokens)].into();
        if currency == Currency::USD {
            event.model_requested = "gpt-test".parse().unwrap();
        }
        if customer == "before" {
            event.at = at("2026-10-01T00:00:00Z");
        }
        events.push(event);
    }
    books.accept(&events).await;

    let dearest = async |most| {
        let found = books.ledger.dearest_customers(30, most).await.unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };

    assert_eq!(dearest(9).await, ["acme", "dollars", "less", "least"]);
    assert_eq!(dearest(2).await, ["acme", "dollars"]);
}
