//! Conversations are recognised without a word from the client.

use crate::support::{World, read_all};
use serde_json::{Value, json};

/// One request as the client sees it.
struct Answer {
    session: String,
    turn: u32,
    text: String,
}

fn say(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

async fn ask(world: &World, body: Value) -> Answer {
    let response = world.post("/v1/chat/completions", &body).await;
    let (head, body) = response.into_parts();
    let body: Value = serde_json::from_slice(&read_all(body).await.unwrap()).unwrap();
    // The row is written before the reply ends, and says the same.
    let row = world.row_of(&head.headers).await;
    let answer = Answer {
        session: head.headers["permille-session"].to_str().unwrap().to_owned(),
        turn: head.headers["permille-turn"].to_str().unwrap().parse().unwrap(),
        text: body["choices"][0]["message"]["content"].as_str().unwrap().to_owned(),
    };
    assert_eq!((row.session.as_str(), row.turn), (answer.session.as_str(), answer.turn));
    answer
}

fn of(messages: &[Value]) -> Value {
    json!({"model": "gpt-4o-mini", "messages": messages})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_turns_of_a_conversation_are_one_session() {
    let world = World::start().await;
    let mut messages = vec![say("system", "Be short.")];
    let mut sessions = Vec::new();

    for turn in 1..=4 {
        // The system prompt changes every time, as coding agents do it.
        messages[0] = say("system", &format!("Be short. Turn {turn}."));
        messages.push(say("user", "hi"));
        let answer = ask(&world, of(&messages)).await;
        assert_eq!(answer.turn, turn);
        messages.push(say("assistant", &answer.text));
        sessions.push(answer.session);
    }
    let again = ask(&world, of(&messages[..messages.len() - 1])).await;

    sessions.dedup();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert_eq!((again.session, again.turn), (sessions[0].clone(), 4), "a regenerated turn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_say_the_same_have_sessions_of_their_own() {
    let world = World::start().await;

    let one = ask(&world, of(&[say("user", "hi")])).await;
    let other = ask(&world, of(&[say("user", "hi")])).await;
    let named = |user: &str| {
        json!({"model": "gpt-4o-mini", "user": user, "messages": [
        say("user", "Please write a summary of the contract between Acme and its supplier.")]})
    };
    let (ann, bob) = (ask(&world, named("ann")).await, ask(&world, named("bob")).await);

    assert_ne!(one.session, other.session);
    assert_ne!(ann.session, bob.session);
    assert_eq!((other.turn, bob.turn), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_the_body_names_keeps_its_name() {
    let world = World::start().await;

    for turn in 1..=3 {
        let body = json!({"model": "gpt-4o-mini", "metadata": {"session_id": "ticket-7"},
            "messages": [say("user", &format!("question {turn}"))]});
        let answer = ask(&world, body).await;

        assert_eq!((answer.session.as_str(), answer.turn), ("ticket-7", turn));
    }
}
