//! What a request cost, in the head of its answer, and what may be spent behind it.

use http::{HeaderMap, Request};
use permille_rating::round::to_nano;
use permille_test_redis::Redis;
use permille_types::{Ended, Level, Limit, Measure, Money};
use serde_json::Value;

use crate::support::{KEY, Setup, World, chat, cost_nano, message, read_all};

const CHAT: &str = "/v1/chat/completions";

/// What a client that wants `wants` is told of the cost, and its whole answer.
async fn told(world: &World, path: &str, wants: &str, body: &Value) -> (HeaderMap, Vec<u8>) {
    let request = Request::post(world.url(path))
        .header("authorization", format!("Bearer {KEY}"))
        .header("permille-want", wants);
    let (head, body) = world.send(request, body.to_string()).await.into_parts();
    (head.headers, read_all(body).await.unwrap().into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_is_told_what_its_request_cost() {
    let world = World::start().await;

    for (path, wants, body) in [
        (CHAT, "cost", chat("tokens=9", false)),
        (CHAT, "else, Cost", chat("tokens=900", false)),
        ("/anthropic/v1/messages", "cost", message("tokens=30", false)),
    ] {
        let (head, answer) = told(&world, path, wants, &body).await;
        let row = world.row_of(&head).await;

        let cost: Money = head["permille-cost"].to_str().unwrap().parse().unwrap();
        assert_eq!(cost.currency().code(), "USD");
        assert!(to_nano(cost.amount()).unwrap() > 0, "{row:?}");
        assert_eq!(to_nano(cost.amount()).unwrap(), cost_nano(&row), "{row:?}");
        assert_eq!(head["content-length"].to_str().unwrap(), answer.len().to_string());
        assert_eq!(row.ended, Ended::Complete);
        assert!(!head.contains_key("permille-balance"), "nothing limits what it spends");
        serde_json::from_slice::<Value>(&answer).unwrap();
    }

    // Nobody waits for it who did not ask, or whose reply is no small document.
    for (wants, body) in [
        ("balance", chat("tokens=9", false)),
        ("cost", chat("tokens=9", true)),
        ("cost", chat("tokens=20000", false)),
        ("cost", chat("status=500", false)),
    ] {
        let (head, answer) = told(&world, CHAT, wants, &body).await;

        assert!(!head.contains_key("permille-cost"), "{wants}: {body}");
        assert!(!answer.is_empty());
    }
    let rows = world.rows(7).await;
    let longest = rows.iter().max_by_key(|row| row.output_total).unwrap();
    assert!(longest.output_total > Some(16_000), "{longest:?}");
    assert_eq!(longest.ended, Ended::Complete, "the large reply came whole");
}

fn budget(level: Level, measure: Measure, max: u64) -> Limit {
    Limit { level, measure, max, warn_percent: 80 }
}

/// The least of what budgets have left is told, as it is when the request has settled.
async fn what_is_left_is_told(change: impl FnOnce(&mut Setup)) {
    const LEFT: i64 = 3_000_000;
    let max = u64::try_from(LEFT).unwrap();
    let world = World::with(|setup: &mut Setup| {
        setup.limits = vec![
            budget(Level::Customer, Measure::Spend, max),
            budget(Level::Key, Measure::SpendPerMonth, 2 * max),
            budget(Level::Key, Measure::TokensPerMinute, 1_000_000),
        ];
        change(setup);
    })
    .await;

    let mut left = LEFT;
    for _ in 0..3 {
        let (head, _) = told(&world, CHAT, "cost", &chat("tokens=9", false)).await;

        left -= cost_nano(&world.row_of(&head).await);
        let balance: Money = head["permille-balance"].to_str().unwrap().parse().unwrap();
        assert_eq!(balance.currency().code(), "USD");
        assert_eq!(to_nano(balance.amount()).unwrap(), left);
    }
    // Nobody is told who did not ask.
    let (head, _) = told(&world, CHAT, "nothing", &chat("tokens=9", false)).await;
    assert!(!head.contains_key("permille-balance"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_is_told_what_its_budgets_have_left() {
    what_is_left_is_told(|_| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_what_budgets_in_redis_have_left() {
    let redis = Redis::start().await;
    what_is_left_is_told(|setup| setup.config.limits.redis_url = Some(redis.url().into())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_that_went_beyond_its_budget_is_below_nothing() {
    // It says nothing of a limit, so that it costs more than is reserved for it.
    let max = 1_024 * 600 + 60_000;
    let world = World::with(|setup: &mut Setup| {
        setup.limits = vec![budget(Level::Customer, Measure::Spend, max)];
    })
    .await;

    let (head, _) = told(&world, CHAT, "cost", &chat("tokens=3000", false)).await;

    let balance: Money = head["permille-balance"].to_str().unwrap().parse().unwrap();
    let left = i64::try_from(max).unwrap() - cost_nano(&world.row_of(&head).await);
    assert!(left < 0, "{left}");
    assert_eq!(to_nano(balance.amount()).unwrap(), left);
}
