//! Several gateways that share their conversations in Redis.

use std::{sync::atomic::Ordering, time::Duration};

use permille_proxy::config::Sharing;
use permille_test_redis::{Redis, eventually};
use permille_types::TurnKind;
use serde_json::{Value, json};

use crate::{
    sessions::{ask, of, say},
    support::World,
};

const QUESTION: &str =
    "Which goods did the river carry when the bridge fell, and where did they go?";

pub(crate) async fn gateway(redis: &Redis) -> World {
    World::with(|setup| setup.config.sharing = Some(sharing(redis))).await
}

pub(crate) fn sharing(redis: &Redis) -> Sharing {
    // Long enough for a busy machine.
    let wait = Duration::from_secs(30);
    Sharing { url: redis.url().into(), wait, turns_max: 10_000 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_at_two_gateways_are_one_session_with_exact_numbers() {
    let redis = Redis::start().await;
    let worlds = [gateway(&redis).await, gateway(&redis).await];
    let mut messages = vec![say("user", QUESTION)];

    let mut sessions = Vec::new();
    for turn in 1..=6_u32 {
        let answer = ask(&worlds[turn as usize % 2], of(&messages)).await;
        let kind = if turn == 1 { TurnKind::New } else { TurnKind::Continue };
        assert_eq!((answer.turn, answer.row.turn_kind), (turn, Some(kind)));
        assert_eq!(answer.row.resent_tokens.is_some(), turn > 1);
        sessions.push(answer.session);
        messages.extend([say("assistant", &answer.text), say("user", "Go on, please.")]);
    }
    messages.truncate(11);
    let again = ask(&worlds[1], of(&messages)).await;

    sessions.dedup();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    let regenerated = Some(TurnKind::Regenerate);
    assert_eq!(
        (again.session, again.turn, again.row.turn_kind),
        (sessions.remove(0), 6, regenerated)
    );
    for world in &worlds {
        assert_eq!(world.counted_plain("permille_sessions_alone_total"), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_goes_on_when_its_gateway_is_killed_and_when_redis_is() {
    let mut redis = Redis::start().await;
    let worlds = [gateway(&redis).await, gateway(&redis).await];
    let mut messages = vec![say("user", QUESTION)];

    let first = ask(&worlds[0], of(&messages)).await;
    worlds[0].kill();
    messages.extend([say("assistant", &first.text), say("user", "Go on, please.")]);
    let second = ask(&worlds[1], of(&messages)).await;
    redis.kill();
    messages.extend([say("assistant", &second.text), say("user", "And then?")]);
    let third = ask(&worlds[1], of(&messages)).await;
    redis.start_again().await;
    messages.extend([say("assistant", &third.text), say("user", "And at last?")]);
    let fourth = ask(&worlds[1], of(&messages)).await;

    let turns = [&first, &second, &third, &fourth].map(|answer| (&answer.session, answer.turn));
    let session = &first.session;
    assert_eq!(turns, [(session, 1), (session, 2), (session, 3), (session, 4)]);
    let alone = async || worlds[1].counted_plain("permille_sessions_alone_total") >= 1.0;
    eventually("what was placed without redis is counted", alone).await;
}

fn named(messages: &[Value]) -> Value {
    let mut body = of(messages);
    body["metadata"] = json!({"session_id": "ticket-7"});
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_conversation_is_counted_by_all_gateways_together() {
    let redis = Redis::start().await;
    let worlds = [gateway(&redis).await, gateway(&redis).await];
    let messages = [say("user", "Anything new?")];

    let mut turns = Vec::new();
    for _ in 0..5 {
        let (one, other) =
            tokio::join!(ask(&worlds[0], named(&messages)), ask(&worlds[1], named(&messages)),);
        assert_eq!([&*one.session, &*other.session], ["ticket-7"; 2]);
        turns.extend([one.turn, other.turn]);
    }
    // Whoever comes later asks nobody but Redis.
    let late = gateway(&redis).await;
    late.billing.silent.store(true, Ordering::Relaxed);
    turns.push(ask(&late, named(&messages)).await.turn);

    turns.sort_unstable();
    assert_eq!(turns, (1..=11).collect::<Vec<_>>(), "each number once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_billing_is_silent_turns_are_counted_from_the_replies_that_are_sent_again() {
    let world = World::start().await;
    world.billing.silent.store(true, Ordering::Relaxed);
    let mut messages = Vec::new();
    for number in 1..=3 {
        messages.push(say("user", &format!("Question {number}")));
        messages.push(say("assistant", &format!("Answer {number}")));
    }
    messages.push(say("user", "Question 4"));

    let fourth = ask(&world, named(&messages)).await;
    messages.extend([say("assistant", &fourth.text), say("user", "Question 5")]);
    let fifth = ask(&world, named(&messages)).await;

    assert_eq!([fourth.turn, fifth.turn], [4, 5]);
}
