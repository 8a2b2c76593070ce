//! What a request cost, in the head of its answer.

use http::{HeaderMap, Request};
use permille_rating::round::to_nano;
use permille_types::{Ended, Money};
use serde_json::Value;

use crate::support::{KEY, World, chat, cost_nano, message, read_all};

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
