//! A conversation that goes on from its summary, and bodies that are written in an odd way.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Instant;

use permille_session::{
    Bounds, Conversation, Key, Place, Placed, Replied, Search, Sessions, TurnKind,
};
use serde_json::{Value, json};

const QUESTION: &str = "What did the river carry when the bridge fell in spring?";
const ASKED: &str = "Your task is to create a detailed summary of the conversation so far.";
const SUMMARY: &str = "1. What was asked: what the river carried when the bridge fell in \
    spring, and who has found all of it down at the mouth.\n2. What is known: timber, mostly, and \
    a great many stones of every size and shape, for three days and as many nights.";

struct Client {
    key: Key,
    sessions: Sessions,
    requests: u32,
}

impl Client {
    fn new() -> Self {
        let (key, sessions) = (Key::new([1; 32]), Sessions::new(Bounds::default()));
        Self { key, sessions, requests: 0 }
    }

    fn ask(&mut self, body: &Value, reply: &str) -> Place {
        let body = body.to_string();
        self.send(body.as_bytes(), reply).place
    }

    fn send(&mut self, body: &[u8], reply: &str) -> Placed {
        self.requests += 1;
        let fresh = format!("request-{}", self.requests).parse().unwrap();
        let said = Conversation::read(&self.key, body);
        let search = Search::of(&self.key, &["acme"], &said);
        let placed = self.sessions.place(&search, fresh, None, Instant::now());
        let replied = Replied { text: reply, ..Replied::default() };
        self.sessions.replied(&placed, replied, Instant::now());
        placed
    }
}

fn turn(place: &Place) -> (&str, u32, TurnKind) {
    (place.session.as_str(), place.turn.number, place.turn.kind)
}

fn chat(messages: &[(&str, &str)]) -> Value {
    let messages: Vec<_> =
        messages.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
    json!({"messages": messages})
}

/// Two turns, of which the second one `asked` something and was replied to by [`SUMMARY`].
fn told(asked: &str) -> Client {
    let mut client = Client::new();
    let mut history = vec![("user", QUESTION)];
    client.ask(&chat(&history), "Timber.");
    history.extend([("assistant", "Timber."), ("user", asked)]);
    client.ask(&chat(&history), SUMMARY);
    client
}

#[test]
fn a_conversation_goes_on_from_its_summary_alone() {
    let continued = format!("This session is being continued. The summary is:\n{SUMMARY}\nGo on.");
    let tagged = format!("<summary>{SUMMARY}</summary>");
    for first in [
        vec![("user", continued.as_str())],
        vec![("user", tagged.as_str()), ("user", "Who bought it?")],
        vec![("user", "What did we do?"), ("assistant", SUMMARY), ("user", "Who bought it?")],
        vec![("user", QUESTION), ("user", SUMMARY)],
    ] {
        let mut client = told(ASKED);

        let next = client.ask(&chat(&first), "The miller.");
        let more = [("assistant", "The miller."), ("user", "go on")];
        let later = client.ask(&chat(&[&first[..], &more].concat()), "");

        assert_eq!(turn(&next), ("request-1", 3, TurnKind::Continue), "{first:?}");
        assert_eq!(next.resent_bytes, None, "nothing tells");
        assert_eq!(turn(&later), ("request-1", 4, TurnKind::Continue), "{first:?}");
    }
}

#[test]
fn what_nobody_asked_to_summarise_is_no_summary() {
    let mut client = told("And who found it?");

    let next = client.ask(&chat(&[("user", &format!("Review this:\n{SUMMARY}"))]), "");

    assert_eq!(turn(&next), ("request-3", 1, TurnKind::New));
}

/// An agent that summarises what it is given, in its first turn, has no conversation to go on from.
#[test]
fn the_summary_of_a_document_is_nobodys_conversation() {
    let mut client = Client::new();
    let asked = format!("Summarise this: {QUESTION}");
    client.ask(&chat(&[("user", &asked)]), SUMMARY);
    let again = client.ask(&chat(&[("user", &asked)]), SUMMARY);

    let next = client.ask(&chat(&[("user", &format!("Review this:\n{SUMMARY}"))]), "");

    assert_eq!(turn(&again), ("request-1", 1, TurnKind::Regenerate));
    assert_eq!(turn(&next), ("request-3", 1, TurnKind::New));
}

#[test]
fn what_is_no_text_where_texts_are_expected_is_read_all_the_same() {
    for odd in [json!({"parts": [1]}), json!(7), json!(true), json!([{"text": 7}, "x", null])] {
        let mut client = Client::new();
        let first = json!({"role": "user", "content": [QUESTION, odd]});
        let said = json!({"role": "assistant", "content": odd, "name": "Timber."});
        client.ask(&json!({"messages": [first]}), "Timber.");

        let next = client.ask(&json!({"messages": [first, said, {"content": "go on"}]}), "");

        assert_eq!(turn(&next), ("request-1", 2, TurnKind::Continue), "{odd}");
    }
}

#[test]
fn white_space_around_a_text_is_no_part_of_it_in_any_script() {
    let (written, again) =
        ("問題は何ですか、橋が落ちた時", "\u{3000}問題は何ですか、橋が落ちた時\u{a0}\n");
    let mut client = Client::new();
    client.ask(&chat(&[("user", written)]), "Timber.");
    let more = [("user", again), ("assistant", "Timber."), ("user", "go on")];
    assert_eq!(turn(&client.ask(&chat(&more), "")), ("request-1", 2, TurnKind::Continue));

    // Half a character, which is no text, is still something that was said.
    let half = format!("{QUESTION} \\ud83d");
    let mut client = Client::new();
    let first = format!(r#"{{"role":"user","content":"{half}"}}"#);
    client.send(format!(r#"{{"messages":[{first}]}}"#).as_bytes(), "Timber.");
    let more = r#"{"role":"assistant","content":"Timber."},{"role":"user","content":"go on"}"#;
    let next = client.send(format!(r#"{{"messages":[{first},{more}]}}"#).as_bytes(), "");
    assert_eq!(turn(&next.place), ("request-1", 2, TurnKind::Continue));
}
