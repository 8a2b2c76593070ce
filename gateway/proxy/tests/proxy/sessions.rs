//! Conversations are recognised without a word from the client.

use std::time::Duration;

use http::{Method, Request};
use permille_test_redis::Redis;
use permille_types::{TurnKind, UsageEvent};
use serde_json::{Value, json};

use crate::{
    gateways,
    support::{
        self, KEY, World, message, read_all,
        scripted::{Scripted, answer, reply},
        world_of,
    },
};

/// One request as the client sees it.
pub(crate) struct Answer {
    pub(crate) session: String,
    pub(crate) turn: u32,
    pub(crate) text: String,
    pub(crate) row: UsageEvent,
}

pub(crate) fn say(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

pub(crate) async fn ask(world: &World, body: Value) -> Answer {
    let response = world.post("/v1/chat/completions", &body).await;
    let (head, body) = response.into_parts();
    let body: Value = serde_json::from_slice(&read_all(body).await.unwrap()).unwrap();
    // The row is written before the reply ends, and says the same.
    let row = world.row_of(&head.headers).await;
    let answer = Answer {
        session: head.headers["permille-session"].to_str().unwrap().to_owned(),
        turn: head.headers["permille-turn"].to_str().unwrap().parse().unwrap(),
        text: body["choices"][0]["message"]["content"].as_str().unwrap().to_owned(),
        row,
    };
    let row = &answer.row;
    assert_eq!((row.session.as_str(), row.turn), (answer.session.as_str(), answer.turn));
    answer
}

pub(crate) fn of(messages: &[Value]) -> Value {
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
async fn a_row_tells_how_its_turn_came_about_and_what_of_it_was_sent_before() {
    use TurnKind::{Branch, Continue, New, Regenerate};

    let world = World::start().await;
    for name in [None, Some("ticket-7")] {
        let body = |messages: &[Value]| {
            let mut body = of(messages);
            if let Some(name) = name {
                body["conversation_id"] = name.into();
            }
            body
        };
        let mut messages = vec![say("user", "Please summarise the contract with our supplier.")];

        let first = ask(&world, body(&messages)).await;
        messages.extend([say("assistant", &first.text), say("user", "And the price?")]);
        let second = ask(&world, body(&messages)).await;
        let again = ask(&world, body(&messages)).await;
        messages[2] = say("user", "And the term?");
        let branch = ask(&world, body(&messages)).await;
        let unknown = ask(&world, body(&[say("user", "Something else.")])).await;

        let kinds = [&first, &second, &again, &branch].map(|answer| answer.row.turn_kind.unwrap());
        assert_eq!(kinds, [New, Continue, Regenerate, Branch], "{name:?}");
        let of_first = first.row.input_total.unwrap() + first.row.output_total.unwrap();
        assert_eq!(first.row.resent_tokens, None);
        assert_eq!(second.row.resent_tokens, Some(of_first));
        assert!(second.row.input_total.unwrap() > of_first, "{:?}", second.row);
        assert_eq!(again.row.resent_tokens, again.row.input_total);
        assert_eq!(branch.row.resent_tokens, Some(of_first));
        // In a named session it is a later turn, and nothing tells how it came about.
        let expected = if name.is_some() { (4, None) } else { (1, Some(New)) };
        assert_eq!((unknown.turn, unknown.row.turn_kind), expected);
        assert_eq!(unknown.row.resent_tokens, None);
    }
    let counted = |kind: &str| world.counted("permille_turns_total", kind).to_string();
    let kinds = ["new", "continue", "regenerate", "branch", "unknown"].map(counted);
    assert_eq!(kinds, ["3", "2", "2", "2", "1"]);
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

/// Of all that a conversation is, only its silence is over: the next turn counts from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_is_resumed_after_its_silence_is_a_new_one() {
    let question = "Please summarise the contract with our supplier.";
    for (idle_max, turn) in [(Duration::ZERO, 1), (Duration::from_hours(1), 2)] {
        let world = World::with(|setup| setup.config.conversation_idle_max = idle_max).await;
        let mut messages = vec![say("user", question)];
        let first = ask(&world, of(&messages)).await;
        messages.extend([say("assistant", &first.text), say("user", "And the price?")]);

        let resumed = ask(&world, of(&messages)).await;

        assert_eq!((first.turn, resumed.turn), (1, turn), "{idle_max:?}");
        assert_eq!(resumed.session == first.session, turn == 2, "{idle_max:?}");
    }
}

/// Sends a request of the session `ticket-9`, whose path may be any; the turn that it is told.
async fn beside(world: &World, method: Method, path: &str, body: &Value) -> u32 {
    let request = Request::builder()
        .method(method)
        .uri(world.url(path))
        .header("authorization", format!("Bearer {KEY}"))
        .header("permille-session", "ticket-9");
    let response = world.send(request, body.to_string()).await;
    let (head, reply) = response.into_parts();
    drop(read_all(reply).await);
    assert_eq!(head.status, 200, "{path}");
    let row = world.row_of(&head.headers).await;
    let told = head.headers["permille-turn"].to_str().unwrap().parse().unwrap();
    assert_eq!((row.session.as_str(), row.turn, row.session_explicit), ("ticket-9", told, true));
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_turn_takes_no_number_of_a_named_session() {
    let redis = Redis::start().await;
    for world in [World::start().await, gateways::gateway(&redis).await] {
        let mut turns = Vec::new();
        for number in 1..=3 {
            let asked = message(&format!("tokens={number}"), false);
            let embedded = json!({"model": "text-embedding-3-small", "input": "The Nile."});
            let post = async |path, body| beside(&world, Method::POST, path, body).await;
            turns.push([
                post("/anthropic/v1/messages/count_tokens", &asked).await,
                post("/anthropic/v1/messages", &asked).await,
                beside(&world, Method::GET, "/v1/models", &Value::Null).await,
                post("/v1/embeddings", &embedded).await,
            ]);
        }

        assert_eq!(turns, [[1, 1, 1, 1], [1, 2, 2, 2], [2, 3, 3, 3]]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_is_asked_again_keeps_its_number_named_or_not() {
    use TurnKind::{Continue, New, Regenerate};

    let redis = Redis::start().await;
    for (name, is_shared) in [(None, false), (Some("ticket-5"), false), (Some("ticket-5"), true)] {
        let failed = || answer(500, "", "{}");
        let replies = ["r1", "r2", "r3", "r4"].map(reply);
        let steps = [failed(), failed()].into_iter().chain(replies);
        let upstream = Scripted::start(steps).await;
        let world = world_of(vec![upstream.upstream("nile")], |config| {
            config.sharing = is_shared.then(|| gateways::sharing(&redis));
        });
        let world = world.await;
        let mut told = Vec::new();
        let mut ask = async |messages: &[Value], times: usize| {
            for _ in 0..times {
                let mut body = of(messages);
                if let Some(name) = name {
                    body["session_id"] = name.into();
                }
                let asked = support::ask(&world, &body).await;
                assert_eq!(asked.headers["permille-turn"], asked.row.turn.to_string());
                told.push((asked.status, asked.row.turn, asked.row.turn_kind.unwrap()));
            }
        };

        let question = "How long is the Nile, and how much water does it carry in a whole year?";
        let mut messages = vec![say("user", question)];
        ask(&messages, 3).await;
        messages.extend([say("assistant", "The Nile is long."), say("user", "And the Congo?")]);
        ask(&messages, 2).await;
        messages.extend([say("assistant", "The Nile is long."), say("user", "And the Rhine?")]);
        ask(&messages, 1).await;

        let turns: Vec<_> = told.iter().map(|(status, turn, _)| (*status, *turn)).collect();
        let expected = [(500, 1), (500, 1), (200, 1), (200, 2), (200, 2), (200, 3)];
        assert_eq!(turns, expected, "{name:?}");
        // Redis is told off the path that a request failed, and may hear it after the next one.
        if !is_shared {
            let kinds: Vec<_> = told.iter().map(|(_, _, kind)| *kind).collect();
            assert_eq!(kinds, [New, New, New, Continue, Regenerate, Continue], "{name:?}");
        }
    }
}
