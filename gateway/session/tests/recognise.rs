//! What makes two requests one conversation, and what does not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use permille_session::{
    Bounds, Conversation, Key, Place, Placed, Replied, Search, Sessions, TurnKind,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const QUESTION: &str = "What did the river carry when the bridge fell in spring?";

static KEY: LazyLock<Key> = LazyLock::new(|| Key::new([1; 32]));

struct Client {
    sessions: Sessions,
    start: Instant,
    requests: u64,
}

impl Client {
    fn new() -> Self {
        let bounds = Bounds { places_max: 10_000, ..Bounds::default() };
        Self { sessions: Sessions::new(bounds), start: Instant::now(), requests: 0 }
    }

    /// Sends `body` as a request of `scope`, `after` the start.
    fn send(&mut self, scope: &str, body: &Value, after: Duration) -> Placed {
        self.requests += 1;
        let fresh = format!("request-{}", self.requests).parse().unwrap();
        let said = read(body.to_string().as_bytes());
        let search = Search::of(&KEY, &[scope], &said);
        self.sessions.place(&search, fresh, None, self.start + after)
    }

    fn ask(&mut self, body: &Value) -> Place {
        self.send("acme", body, Duration::ZERO).place
    }

    fn reply(&self, to: &Placed, text: &str) {
        self.sessions.replied(to, Replied { text, ..Replied::default() }, self.start);
    }
}

fn read(body: &[u8]) -> Conversation {
    Conversation::read(&KEY, body)
}

fn turn(place: &Place) -> (&str, u32, TurnKind) {
    (place.session.as_str(), place.turn.number, place.turn.kind)
}

fn chat(messages: &[(&str, &str)]) -> Value {
    let messages: Vec<_> =
        messages.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
    json!({"model": "m", "messages": messages})
}

#[test]
fn a_text_is_the_same_as_a_string_and_as_a_block_with_a_cache_mark() {
    let mut client = Client::new();
    client.ask(&chat(&[("user", QUESTION)]));
    let block = json!([{"type": "text", "text": format!("{QUESTION}\n"),
        "cache_control": {"type": "ephemeral"}}]);

    let next = client.ask(&json!({"messages": [
        {"role": "user", "content": block},
        {"role": "assistant", "content": [{"type": "text", "text": "Timber."}]},
        {"role": "user", "content": "And then?"}]}));

    assert_eq!(turn(&next), ("request-1", 2, TurnKind::Continue));
}

#[test]
fn what_a_message_without_content_holds_is_no_part_of_the_next_one() {
    let mut client = Client::new();
    let first = client.send("acme", &chat(&[("user", "hi")]), Duration::ZERO);
    client.reply(&first, "Hello, Ann. What can I do for you?");

    let next = client.ask(&json!({"messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "", "input": {"of": ""}}]},
        {"role": "assistant", "content": "Hello, Ann. What can I do for you?"},
        {"role": "user", "content": "And then?"}]}));

    assert_eq!(turn(&next), ("request-1", 2, TurnKind::Continue));
}

#[test]
fn every_familys_messages_are_found() {
    let first = |key: &str| json!({key: [{"role": "user", "content": QUESTION}]});
    let messages = json!([{"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "Timber."}, {"role": "user", "content": "And then?"}]);
    for (one, two) in [
        (first("messages"), json!({"messages": messages})),
        (first("input"), json!({"input": messages})),
        (json!({"input": QUESTION}), json!({"input": messages})),
        (json!({"input": first("messages")}), json!({"input": {"messages": messages}})),
        (
            json!({"Messages": [{"Role": "user", "Content": QUESTION}]}),
            json!({"Messages": [{"Role": "user", "Content": QUESTION},
                {"Role": "assistant", "Content": "Timber."}, {"Role": "user", "Content": "And?"}]}),
        ),
        (
            json!({"contents": [{"parts": [{"text": QUESTION}]}]}),
            json!({"contents": [{"role": "user", "parts": [{"text": QUESTION}]},
                {"role": "model", "parts": [{"text": "Timber."}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f"}}]}]}),
        ),
    ] {
        let mut client = Client::new();
        client.ask(&one);

        let next = client.ask(&two);

        assert_eq!((next.session.as_str(), next.turn.number), ("request-1", 2), "{two}");
        assert!(next.resent_bytes > Some(0) && next.resent_bytes < Some(next.bytes), "{next:?}");
    }
}

#[test]
fn what_is_said_by_another_speaker_is_something_else() {
    let mut client = Client::new();
    client.ask(&chat(&[("user", QUESTION), ("assistant", QUESTION)]));

    let other = client.ask(&chat(&[("assistant", QUESTION), ("user", QUESTION)]));

    assert_eq!(other.session.as_str(), "request-2");
}

#[test]
fn customers_never_share_a_conversation() {
    let mut client = Client::new();
    client.send("acme", &chat(&[("user", QUESTION)]), Duration::ZERO);

    let messages = [("user", QUESTION), ("assistant", "Timber."), ("user", "And then?")];
    let other = client.send("globex", &chat(&messages), Duration::ZERO);

    assert_eq!(turn(&other.place), ("request-2", 1, TurnKind::New));
}

#[test]
fn of_strangers_who_began_alike_each_finds_the_reply_that_was_given() {
    let mut client = Client::new();
    let hi = chat(&[("user", "hi")]);
    let (ann, bob) =
        (client.send("acme", &hi, Duration::ZERO), client.send("acme", &hi, Duration::ZERO));
    client.reply(&ann, "Hello, Ann. What can I do for you?");
    client.reply(&bob, "Good morning.");

    let of_ann =
        [("user", "hi"), ("assistant", "Hello, Ann. What can I do for you?"), ("user", "x")];
    let of_bob = [("user", "hi"), ("assistant", "Good morning."), ("user", "y")];
    let nobodys = [("user", "hi"), ("assistant", "Never said."), ("user", "z")];

    assert_eq!(turn(&client.ask(&chat(&of_ann))), ("request-1", 2, TurnKind::Continue));
    assert_eq!(turn(&client.ask(&chat(&of_bob))), ("request-2", 2, TurnKind::Continue));
    assert_eq!(turn(&client.ask(&chat(&nobodys))), ("request-5", 1, TurnKind::New));
}

#[test]
fn the_same_again_is_regenerated_and_going_back_is_a_branch() {
    let mut client = Client::new();
    let two = [("user", QUESTION), ("assistant", "Timber."), ("user", "And then?")];
    let edited = [("user", QUESTION), ("assistant", "Timber."), ("user", "Why timber?")];
    client.ask(&chat(&two[..1]));
    client.ask(&chat(&two));

    assert_eq!(turn(&client.ask(&chat(&two))), ("request-1", 2, TurnKind::Regenerate));
    assert_eq!(turn(&client.ask(&chat(&edited))), ("request-1", 2, TurnKind::Branch));
}

#[test]
fn a_long_silence_ends_a_conversation() {
    let mut client = Client::new();
    let two = [("user", QUESTION), ("assistant", "Timber."), ("user", "And then?")];
    client.send("acme", &chat(&two[..1]), Duration::ZERO);

    let late = client.send("acme", &chat(&two), Duration::from_hours(25));

    assert_eq!(turn(&late.place), ("request-2", 1, TurnKind::New));
}

/// What was said before is known by nobody any more; what comes from then on is.
#[test]
fn a_conversation_that_is_resumed_after_its_silence_counts_on_from_there() {
    let idle_max = Duration::from_mins(1);
    let mut client = Client::new();
    client.sessions = Sessions::new(Bounds { idle_max, ..Bounds::default() });
    let all = [
        ("user", QUESTION),
        ("assistant", "Timber."),
        ("user", "And then?"),
        ("assistant", "It was sold."),
        ("user", "To whom?"),
        ("assistant", "To the miller."),
        ("user", "What for?"),
    ];
    client.send("acme", &chat(&all[..1]), Duration::ZERO);
    let second = client.send("acme", &chat(&all[..3]), idle_max);

    let resumed = client.send("acme", &chat(&all[..5]), idle_max * 3);
    let next = client.send("acme", &chat(&all), idle_max * 4);

    assert_eq!(turn(&second.place), ("request-1", 2, TurnKind::Continue), "just in time");
    assert_eq!(turn(&resumed.place), ("request-3", 1, TurnKind::New));
    assert_eq!(turn(&next.place), ("request-3", 2, TurnKind::Continue));
}

#[test]
fn a_stored_response_is_gone_on_from_by_its_id_and_only_by_its_customer() {
    let mut client = Client::new();
    let first = client.send("acme", &json!({"input": "hi"}), Duration::ZERO);
    let replied = Replied { text: "Hello.", stored_as: Some("resp_1"), tokens: Some(30) };
    client.sessions.replied(&first, replied, client.start);
    let next = json!({"input": "And then?", "previous_response_id": "resp_1"});

    assert_eq!(turn(&client.ask(&next)), ("request-1", 2, TurnKind::Continue));
    let stranger = client.send("globex", &next, Duration::ZERO);
    assert_eq!(turn(&stranger.place), ("request-3", 1, TurnKind::New));
}

/// A client whose first question and reply cost `tokens`, with what it then sends again.
fn told(tokens: Option<u64>) -> (Client, Vec<(&'static str, &'static str)>) {
    let mut client = Client::new();
    let messages = vec![("user", QUESTION), ("assistant", "Timber."), ("user", "And then?")];
    let first = client.send("acme", &chat(&messages[..1]), Duration::ZERO);
    assert_eq!(first.resent_tokens(60), None, "nothing was sent before");
    let replied = Replied { text: "Timber.", stored_as: Some("resp_1"), tokens };
    client.sessions.replied(&first, replied, client.start);
    (client, messages)
}

#[test]
fn what_is_sent_again_is_what_the_provider_counted_of_the_turn_before() {
    let (mut client, messages) = told(Some(70));

    let next = client.send("acme", &chat(&messages), Duration::ZERO);
    let again = client.send("acme", &chat(&messages), Duration::ZERO);
    let stored = json!({"input": "And then?", "previous_response_id": "resp_1"});
    let stored = client.send("acme", &stored, Duration::ZERO);

    assert_eq!(next.resent_tokens(80), Some(70));
    assert_eq!(next.resent_tokens(69), Some(69), "never more than there is");
    assert_eq!(again.resent_tokens(80), Some(80), "all of a regenerated turn");
    assert_eq!(stored.resent_tokens(80), Some(70), "what lies with the provider");
}

#[test]
fn where_the_provider_counted_nothing_the_share_of_the_bytes_tells() {
    let (mut client, messages) = told(None);
    let known = u64::try_from(QUESTION.len() + "Timber.".len()).unwrap();
    let all = known + u64::try_from("And then?".len()).unwrap();

    let next = client.send("acme", &chat(&messages), Duration::ZERO);
    let stored = json!({"input": "And then?", "previous_response_id": "resp_1"});
    let stored = client.send("acme", &stored, Duration::ZERO);

    assert_eq!((next.place.resent_bytes, next.place.bytes), (Some(known), all));
    assert_eq!(next.resent_tokens(1_000), Some(1_000 * known / all));
    assert_eq!(stored.resent_tokens(1_000), None, "nothing tells");
}

#[test]
fn names_in_a_body_are_found() {
    let named = |body: Value| read(body.to_string().as_bytes()).named;
    let claude = r#"{"device_id":"d","account_uuid":"","session_id":"s-1"}"#;

    for (body, expected) in [
        (json!({"conversation": "conv_1"}), Some("conv_1")),
        (json!({"conversation": {"id": "conv_1"}}), Some("conv_1")),
        (json!({"conversation_id": "c"}), Some("c")),
        (json!({"session_id": "s"}), Some("s")),
        (json!({"thread_id": "t"}), Some("t")),
        (json!({"litellm_session_id": "l"}), Some("l")),
        (json!({"metadata": {"session_id": "s"}}), Some("s")),
        (json!({"metadata": {"conversation_id": "c"}}), Some("c")),
        (json!({"metadata": {"thread_id": "t"}}), Some("t")),
        // What names a cache, a person or a trace names no conversation.
        (json!({"prompt_cache_key": "k", "user": "ann", "safety_identifier": "ann"}), None),
        (json!({"litellm_trace_id": "t", "metadata": {"trace_id": "t"}}), None),
        (json!({"metadata": {"user_id": claude}}), Some("s-1")),
        (json!({"metadata": {"user_id": "user_ab_account__session_s-2"}}), Some("s-2")),
        (json!({"metadata": {"user_id": "ann"}, "conversation": null}), None),
        (json!({"metadata": "text", "conversation": 7}), None),
    ] {
        assert_eq!(named(body.clone()).as_deref(), expected, "{body}");
    }
}

#[test]
fn a_body_of_too_many_messages_says_nothing() {
    let messages = vec![json!({"role": "user", "content": "x"}); 10_002];
    let body = json!({"messages": messages}).to_string();

    assert_eq!(read(body.as_bytes()).messages.len(), 0);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("messages".to_owned()),
        Just("content".to_owned()),
        Just("role".to_owned()),
        Just("metadata".to_owned()),
        Just("type".to_owned()),
        ".{0,6}",
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_is_too_odd_to_be_placed(body in json_value()) {
        let mut client = Client::new();
        let first = client.ask(&body);
        prop_assert_eq!(turn(&first), ("request-1", 1, TurnKind::New));
        prop_assert_eq!(first.resent_bytes, None);
    }

    #[test]
    fn a_conversation_that_only_grows_is_one_session(
        texts in prop::collection::vec(("[a-z]{32,60}", "[a-z ]{0,40}[a-z]"), 1..12),
    ) {
        let mut client = Client::new();
        let mut messages: Vec<Value> = Vec::new();
        for (number, (asked, replied)) in (1..).zip(&texts) {
            messages.push(json!({"role": "user", "content": asked}));
            let placed = client.ask(&json!({"messages": messages}));
            let kind = if number == 1 { TurnKind::New } else { TurnKind::Continue };
            prop_assert_eq!(turn(&placed), ("request-1", number, kind));
            messages.push(json!({"role": "assistant", "content": replied}));
        }
    }
}

#[test]
fn examples_that_every_request_brings_make_nobody_the_same() {
    let mut client = Client::new();
    let mut shown = vec![
        ("user", "Translate into French: the river carried the bridge away in the night."),
        (
            "assistant",
            "La rivière a emporté le pont pendant la nuit, sans que personne ne le voie.",
        ),
    ];
    shown.extend([("user", "Translate: timber."), ("assistant", "Bois de construction.")]);
    let with = |more: &[(&str, &str)]| chat(&[&shown, more].concat());

    let ann = client.send("acme", &with(&[("user", QUESTION)]), Duration::ZERO);
    client.reply(&ann, "Qu'est-ce que la rivière portait ?");
    let bob = client.ask(&with(&[("user", "Translate: invoice.")]));
    let next = with(&[
        ("user", QUESTION),
        ("assistant", "Qu'est-ce que la rivière portait ?"),
        ("user", "And more politely?"),
    ]);

    assert_eq!(turn(&bob), ("request-2", 1, TurnKind::New));
    assert_eq!(turn(&client.ask(&next)), ("request-1", 2, TurnKind::Continue));
}

#[test]
fn a_greeting_by_the_application_makes_nobody_the_same() {
    for greeting in
        ["Hello!", "Good morning! I am the assistant of Acme and know all about timber and rivers."]
    {
        let mut client = Client::new();
        let hi = chat(&[("assistant", greeting), ("user", "hi")]);
        let first = client.send("acme", &hi, Duration::ZERO);
        client.reply(&first, "What can I do for you?");

        assert_eq!(turn(&client.ask(&hi)), ("request-2", 1, TurnKind::New), "{greeting}");
    }
}

/// Clients send a failed request again by themselves: nobody has wanted another reply.
#[test]
fn a_request_that_failed_and_is_sent_again_is_the_same_turn_tried_again() {
    let mut client = Client::new();
    let question = format!("{QUESTION} {QUESTION}");
    let first = chat(&[("user", &question)]);
    let failed = client.send("acme", &first, Duration::ZERO);
    client.sessions.failed(&failed);
    let again = client.send("acme", &first, Duration::ZERO);
    client.reply(&again, "Timber.");
    let second = chat(&[("user", &question), ("assistant", "Timber."), ("user", "And then?")]);
    let broken = client.send("acme", &second, Duration::ZERO);
    client.sessions.failed(&broken);
    let tried = client.send("acme", &second, Duration::ZERO);
    client.reply(&tried, "Ice.");
    let anew = client.ask(&second);

    assert_eq!(turn(&again.place), ("request-1", 1, TurnKind::New));
    assert_eq!(again.resent_tokens(100), None);
    assert_eq!(turn(&tried.place), ("request-1", 2, TurnKind::Continue));
    assert_eq!(tried.place.resent_bytes, broken.place.resent_bytes);
    assert_eq!(tried.resent_tokens(100), broken.resent_tokens(100));
    assert_eq!(turn(&anew), ("request-1", 2, TurnKind::Regenerate));
}

/// A question that two people ask at once, and what each model calls: only the call tells whose
/// result it is.
#[test]
fn a_call_of_a_tool_is_known_however_the_client_writes_it_again() {
    let call = json!({"command": "ls -l\n  \"a b\"", "lines": [1, true, null]});
    let text = r#"{"command": "ls -l\n  \"a b\"", "lines": [1, true, null]}"#;
    let results = |results: Value| [json!({"role": "user", "content": "hi"}), results];
    let openai = json!([{"type": "function", "id": "call_1",
        "function": {"arguments": text, "name": "bash"}}]);
    let anthropic = json!([{"type": "thinking", "thinking": "Hm.", "signature": "c2"},
        {"type": "tool_use", "id": "toolu_1", "input": call, "name": "bash"}]);
    let gemini = json!([{"functionCall": {"name": "bash", "args": call}}]);
    let items = json!({"type": "function_call", "call_id": "c", "name": "bash", "arguments": text});
    for (assistant, key) in [
        (json!({"role": "assistant", "content": null, "tool_calls": openai}), "messages"),
        (json!({"role": "assistant", "content": anthropic}), "messages"),
        (json!({"role": "model", "parts": gemini}), "contents"),
        (items, "input"),
    ] {
        let mut client = Client::new();
        let hi = chat(&[("user", "hi")]);
        let (ann, bob) =
            (client.send("acme", &hi, Duration::ZERO), client.send("acme", &hi, Duration::ZERO));
        client.reply(&ann, &format!("bash{text}"));
        client.reply(&bob, "bash{\"command\": \"pwd\"}");
        let [question, assistant] = results(assistant);
        let result = json!({"role": "tool", "tool_call_id": "call_1", "content": "a b"});

        let next = client.ask(&json!({key: [question, assistant, result]}));

        assert_eq!(turn(&next), ("request-1", 2, TurnKind::ToolLoop), "{key}");
    }
}

#[test]
fn a_text_and_a_call_that_are_sent_again_as_two_items_are_one_reply() {
    let mut client = Client::new();
    let hi = json!({"input": "hi"});
    let (ann, bob) =
        (client.send("acme", &hi, Duration::ZERO), client.send("acme", &hi, Duration::ZERO));
    client.reply(&ann, "I look it up.search{\"q\":\"timber\"}");
    client.reply(&bob, "I look it up.search{\"q\":\"ice\"}");

    let next = client.ask(&json!({"input": [
        {"role": "user", "content": "hi"},
        {"type": "message", "role": "assistant", "content": "I look it up."},
        {"type": "function_call", "call_id": "c", "name": "search", "arguments": "{\"q\":\"ice\"}"},
        {"type": "function_call_output", "call_id": "c", "output": "cold"}]}));

    assert_eq!(turn(&next), ("request-2", 2, TurnKind::ToolLoop));
}

#[test]
fn the_same_first_words_after_a_reply_was_gone_on_from_are_another_conversation() {
    let mut client = Client::new();
    let question = format!("{QUESTION} {QUESTION}");
    let first = chat(&[("user", &question)]);
    let ann = client.send("acme", &first, Duration::ZERO);
    client.reply(&ann, "Timber.");
    client.ask(&chat(&[("user", &question), ("assistant", "Timber."), ("user", "And then?")]));

    let other = client.ask(&first);
    let wanted_again = client.ask(&first);

    assert_eq!(turn(&other), ("request-3", 1, TurnKind::New));
    assert_eq!(turn(&wanted_again), ("request-3", 1, TurnKind::Regenerate));
}

#[test]
fn agents_with_the_same_task_are_never_one() {
    let mut client = Client::new();
    let task = json!({"role": "user", "content": format!("{QUESTION} {QUESTION}")});
    let body = json!({"messages": [task], "tools": [{"type": "function", "function": {}}]});
    client.ask(&body);

    assert_eq!(turn(&client.ask(&body)), ("request-2", 1, TurnKind::New));
}

/// A question and its reply, of turns one to five; the last two are short.
const TOLD: [(&str, &str); 5] = [
    (QUESTION, "Timber, mostly, and a great many stones of every size and shape, for three days."),
    ("And who found all of it in the end, down at the mouth of the river?", "Two fishermen did."),
    ("go on", "They sold the timber to the miller, who built a barn of it that stands today."),
    ("why?", "It was cheap."),
    ("and?", "It burnt down."),
];

/// Sends the first turns of [`TOLD`] and one more, each with what `kept` keeps of the history.
fn kept_by(
    turns: usize,
    kept: impl Fn(&[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)>,
) {
    let (mut client, mut history) = (Client::new(), Vec::new());
    for (number, (asked, replied)) in (1..).zip(TOLD[..turns].iter().chain([&("so?", "")])) {
        history.push(("user", *asked));
        let placed = client.send("acme", &chat(&kept(&history)), Duration::ZERO);
        client.reply(&placed, replied);
        history.push(("assistant", *replied));

        let kind = if number == 1 { TurnKind::New } else { TurnKind::Continue };
        assert_eq!(turn(&placed.place), ("request-1", number, kind), "{history:?}");
    }
}

#[test]
fn a_window_counts_on_where_its_last_exchange_is_too_short_to_tell_who_speaks() {
    // The reply before it tells, or an exchange before that.
    kept_by(4, |history| history[history.len().saturating_sub(5)..].to_vec());
    kept_by(5, |history| history[history.len().saturating_sub(7)..].to_vec());
}

#[test]
fn a_client_that_keeps_how_it_began_and_drops_the_middle_counts_on() {
    kept_by(4, |history| {
        let last = history.len().saturating_sub(4).max(1);
        [&history[..1], &history[last..]].concat()
    });
}

/// Two histories that end alike: what their clients send then is the same, byte by byte, and only
/// one number can be right.
#[test]
fn a_window_of_nothing_but_what_anybody_says_is_a_new_conversation() {
    let mut client = Client::new();
    let short = [("go on", "Yes."), ("why?", "It is so."), ("and?", "That is all.")];
    for begins in [&TOLD[..1], &TOLD[1..3]] {
        let mut history = Vec::new();
        for (asked, replied) in begins.iter().chain(&short) {
            history.push(("user", *asked));
            let placed = client.send("acme", &chat(&history), Duration::ZERO);
            client.reply(&placed, replied);
            history.push(("assistant", *replied));
        }
    }

    let seen =
        [short[1], short[2]].map(|(asked, replied)| [("user", asked), ("assistant", replied)]);
    let place = client.ask(&chat(&[&seen.concat()[..], &[("user", "so?")]].concat()));

    assert_eq!((place.turn.number, place.turn.kind), (1, TurnKind::New));
}

#[test]
fn items_of_one_reply_make_nobody_the_same() {
    let mut client = Client::new();
    let first = client.send("acme", &chat(&[("user", QUESTION)]), Duration::ZERO);
    client.reply(&first, "Timber.");
    let said = "It was sold to the miller, who built a barn of it that stands today.";
    let items = [("user", QUESTION), ("assistant", "Timber."), ("assistant", said)];
    let second = client.ask(&chat(&[&items[..], &[("user", "go on")]].concat()));
    assert_eq!(turn(&second), ("request-1", 2, TurnKind::Continue));

    // A stranger, whose last reply is two items too.
    let other = "Whoever wants to cross the river takes the ferry from the old mill at noon.";
    let items = [("user", "hm"), ("assistant", "I see."), ("assistant", other), ("user", "go on")];
    let stranger = client.ask(&chat(&items));

    assert_eq!(turn(&stranger), ("request-3", 1, TurnKind::New));
}
