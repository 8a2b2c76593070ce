//! Two gateways, one Redis: a conversation is one, whichever of them its turns come to.

#![allow(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod alike;
#[path = "../shapes/mod.rs"]
mod shapes;

use std::{collections::HashMap, sync::Arc, time::Duration};

use permille_session::{
    Bounds, Conversation, Counter, Key, NextTurn, Place, Placed, Recogniser, Replied, Search,
    Sharing, TurnKind,
};
use permille_test_redis::{Redis, eventually};
use permille_types::{Clock as _, RequestId, SessionId, SystemClock};
use serde_json::{Value, json};
use shapes::{
    SHAPES,
    corpus::{Event, judged, traffic},
};
use tokio_util::sync::CancellationToken;

use TurnKind::{Branch, Continue, New, Regenerate, ToolLoop};

const QUESTION: &str = "What did the river carry when the bridge fell in spring?";
/// Long enough for a busy machine; the bound itself is tested with a shorter one.
const WAIT: Duration = Duration::from_secs(30);

struct Gateway {
    recogniser: Arc<Recogniser>,
    stop: CancellationToken,
}

impl Gateway {
    fn new(redis: &Redis, wait: Duration, turns_max: u64) -> Self {
        Self::with(redis, wait, turns_max, Bounds::default())
    }

    fn with(redis: &Redis, wait: Duration, turns_max: u64, bounds: Bounds) -> Self {
        let sharing = Sharing { url: redis.url().into(), wait, turns_max };
        let recogniser = Arc::new(Recogniser::sharing(bounds, &sharing).unwrap());
        let (tended, stop) = (Arc::clone(&recogniser), CancellationToken::new());
        let until = stop.clone();
        tokio::spawn(async move {
            tended.connect().await;
            tended.tend(until).await;
        });
        Self { recogniser, stop }
    }

    async fn start(redis: &Redis) -> Self {
        let gateway = Self::new(redis, WAIT, 100_000);
        gateway.is_back().await;
        gateway
    }

    fn is_away(&self) -> bool {
        self.recogniser.health().unwrap().away
    }

    async fn is_back(&self) {
        eventually("the gateway has reached redis", async || !self.is_away()).await;
    }

    /// Waits until Redis has been told everything.
    async fn told(&self) {
        let told = async || self.recogniser.health().unwrap().waiting == 0;
        eventually("redis is told", told).await;
    }

    fn alone(&self) -> u64 {
        self.recogniser.health().unwrap().alone
    }

    async fn ask(&self, body: &Value) -> Asked<'_> {
        let key = Key::new([1; 32]);
        let id = RequestId::new(SystemClock.now());
        let said = Conversation::read(&key, body.to_string().as_bytes());
        let search = Search::of(&key, &["acme"], &said);
        let (placed, _) = self.recogniser.place(id, &search, id.into(), None).await;
        Asked { gateway: self, id, placed: placed.unwrap() }
    }

    /// A request of the named conversation `ticket-7`, whose last turn billing says is `base`: its
    /// number and how it came about.
    async fn named(&self, messages: &[(&str, &str)], base: u32) -> (u32, Asked<'_>) {
        let (key, id) = (Key::new([1; 32]), RequestId::new(SystemClock.now()));
        let session: SessionId = "ticket-7".parse().unwrap();
        let said = Conversation::read(&key, chat(messages).to_string().as_bytes());
        let search = Search::of(&key, &["acme", "ticket-7"], &said).named();
        let counter = ticket();
        let (placed, next) = self.recogniser.place(id, &search, session, Some(&counter)).await;
        let placed = placed.unwrap();
        let turn = match (placed.again, next) {
            (Some(turn), _) | (None, Some(NextTurn::Is(turn))) => turn,
            _ => {
                let together = self.recogniser.count(id, &counter, base, true).await;
                together.unwrap_or(base + 1)
            }
        };
        if placed.again.is_none() {
            self.recogniser.given(&placed, turn);
        }
        (turn, Asked { gateway: self, id, placed })
    }

    async fn count(&self, name: &str) -> NextTurn {
        let (key, id) = (Key::new([1; 32]), RequestId::new(SystemClock.now()));
        let (said, session) = (Conversation::default(), name.parse().unwrap());
        let counter = Counter::of(&key, &"acme".parse().unwrap(), &session);
        let search = Search::of(&key, &["acme", name], &said);
        self.recogniser.place(id, &search, session, Some(&counter)).await.1.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn ticket() -> Counter {
    Counter::of(&Key::new([1; 32]), &"acme".parse().unwrap(), &"ticket-7".parse().unwrap())
}

struct Asked<'a> {
    gateway: &'a Gateway,
    id: RequestId,
    placed: Placed,
}

impl Asked<'_> {
    fn place(&self) -> &Place {
        &self.placed.place
    }

    fn turn(&self) -> (&str, u32, TurnKind) {
        let Place { session, turn, .. } = self.place();
        (session.as_str(), turn.number, turn.kind)
    }

    fn session(&self) -> &str {
        self.place().session.as_str()
    }

    /// Tells its reply, and waits until Redis knows.
    async fn reply(&self, redis: &Redis, text: &str) {
        let replied = Replied { text, stored_as: None, tokens: Some(100) };
        self.gateway.recogniser.replied(self.id, &self.placed, replied);
        self.known(redis, "r").await;
    }

    /// Its key in Redis, as a command writes it.
    fn key(&self) -> String {
        let bytes = self.id.as_uuid().into_bytes();
        let id = bytes.map(|byte| format!("\\x{byte:02x}")).concat();
        format!("\"permille:{{sessions}}:node:{id}\"")
    }

    async fn known(&self, redis: &Redis, field: &str) {
        let asked = format!("HEXISTS {} {field}", self.key());
        eventually("redis knows", async || redis.command(&asked).as_deref() == Some(":1")).await;
    }
}

fn chat(messages: &[(&str, &str)]) -> Value {
    let messages: Vec<_> =
        messages.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
    json!({"model": "m", "messages": messages})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_turns_of_a_conversation_may_come_to_any_gateway() {
    turns_come_to_any_gateway(Redis::start().await).await;
}

/// A node of a cluster refuses what names keys of several slots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_of_conversations_lie_in_one_slot_of_a_cluster() {
    turns_come_to_any_gateway(Redis::start_cluster_node().await).await;
}

async fn turns_come_to_any_gateway(redis: Redis) {
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let mut messages = vec![("user", "hi")];

    let first = gateways[0].ask(&chat(&messages)).await;
    first.reply(&redis, "Timber, mostly.").await;
    let mut sessions = vec![first.session().to_owned()];
    for turn in 2..=6_u32 {
        messages.extend([("assistant", "Timber, mostly."), ("user", "And then?")]);
        let next = gateways[turn as usize % 2].ask(&chat(&messages)).await;
        next.reply(&redis, "Timber, mostly.").await;
        assert_eq!((next.place().turn.number, next.place().turn.kind), (turn, Continue));
        assert_eq!(next.placed.resent_tokens(1_000), Some(100), "as the other was told it");
        sessions.push(next.session().to_owned());
    }
    let again = gateways[1].ask(&chat(&messages)).await;
    messages.last_mut().unwrap().1 = "And before?";
    let branch = gateways[0].ask(&chat(&messages)).await;
    let stranger = gateways[1].ask(&chat(&[("user", "hi")])).await;

    sessions.dedup();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert_eq!(again.turn(), (&*sessions[0], 6, Regenerate));
    assert_eq!(branch.turn(), (&*sessions[0], 6, Branch));
    assert_eq!((stranger.place().turn.kind, stranger.session() != sessions[0]), (New, true));
    assert_eq!(gateways.each_ref().map(Gateway::alone), [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_gateways_with_the_next_turn_at_once_one_goes_on_and_one_branches() {
    let redis = Redis::start().await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    for round in 0..50 {
        let question = format!("{QUESTION} {round}");
        let first = gateways[round % 2].ask(&chat(&[("user", &question)])).await;
        first.reply(&redis, "Timber, mostly.").await;
        let next = |asked: &str| {
            chat(&[("user", &question), ("assistant", "Timber, mostly."), ("user", asked)])
        };
        let (up, down) = (next("Upstream?"), next("Downstream?"));

        let both = tokio::join!(gateways[0].ask(&up), gateways[1].ask(&down));
        let same = tokio::join!(gateways[0].ask(&up), gateways[1].ask(&up));

        let mut kinds = [both.0.place().turn.kind, both.1.place().turn.kind];
        kinds.sort_unstable();
        assert_eq!(kinds, [Continue, Branch], "round {round}");
        for asked in [&both.0, &both.1, &same.0, &same.1] {
            assert_eq!((asked.session(), asked.place().turn.number), (first.session(), 2));
        }
        for asked in [&same.0, &same.1] {
            assert_eq!(asked.place().turn.kind, Regenerate, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_at_work_is_followed_and_a_request_without_a_reply_is_tried_again() {
    let redis = Redis::start().await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let task = json!({"role": "user", "content": "Look at it."});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "function": {"name": "look", "arguments": "{}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "call_1", "content": "It is there."});
    let body = |messages: &[&Value]| json!({"model": "m", "tools": [{}], "messages": messages});

    let first = gateways[0].ask(&body(&[&task])).await;
    first.known(&redis, "s").await;
    let second = gateways[1].ask(&body(&[&task, &call, &result])).await;
    gateways[1].recogniser.failed(second.id, &second.placed);
    second.known(&redis, "f").await;
    let again = gateways[0].ask(&body(&[&task, &call, &result])).await;

    assert_eq!(second.turn(), (first.session(), 2, ToolLoop));
    assert_eq!(again.turn(), (first.session(), 2, ToolLoop), "no other reply was wanted");
    assert_eq!(again.place().resent_bytes, second.place().resent_bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_of_a_named_conversation_are_counted_together() {
    let redis = Redis::start().await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let counter = ticket();
    let id = || RequestId::new(SystemClock.now());

    let unknown = gateways[0].count("ticket-7").await;
    // Both have asked billing.
    let first = gateways[0].recogniser.count(id(), &counter, 4, true).await;
    let second = gateways[1].recogniser.count(id(), &counter, 4, true).await;
    let mut turns = Vec::new();
    for round in 0..20 {
        let both = tokio::join!(gateways[0].count("ticket-7"), gateways[1].count("ticket-7"));
        turns.extend([both.0, both.1]);
        if round == 9 {
            gateways[0].recogniser.back(id(), None, counter, 26);
            gateways[1].recogniser.back(id(), None, counter, 3);
            gateways[0].told().await;
            gateways[1].told().await;
            let again = gateways[1].count("ticket-7").await;
            assert_eq!(again, NextTurn::Is(26), "the turn that was not made is given again");
        }
    }

    assert_eq!((unknown, first, second), (NextTurn::Unknown, Some(5), Some(6)));
    let mut numbers: Vec<_> = turns.iter().map(|turn| format!("{turn:?}")).collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 40, "no number twice: {numbers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_turn_of_a_named_conversation_has_its_number_at_any_gateway() {
    let mut redis = Redis::start().await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let mut messages = vec![("user", "hi")];

    // Two that fail, each sent again to the other one.
    let mut turns = Vec::new();
    for gateway in &gateways {
        let (turn, asked) = gateway.named(&messages, 4).await;
        gateway.recogniser.failed(asked.id, &asked.placed);
        asked.known(&redis, "f").await;
        turns.push((turn, asked.place().turn.kind));
    }
    let (turn, first) = gateways[0].named(&messages, 0).await;
    first.reply(&redis, "Timber, mostly.").await;
    turns.push((turn, first.place().turn.kind));
    messages.extend([("assistant", "Timber, mostly."), ("user", "And then?")]);
    for gateway in [&gateways[1], &gateways[0]] {
        let (turn, asked) = gateway.named(&messages, 0).await;
        asked.reply(&redis, "Stones.").await;
        turns.push((turn, asked.place().turn.kind));
    }
    messages.extend([("assistant", "Stones."), ("user", "And at last?")]);
    let (turn, last) = gateways[1].named(&messages, 0).await;
    last.reply(&redis, "Sand.").await;
    turns.push((turn, last.place().turn.kind));
    redis.kill();
    let (again, _) = gateways[1].named(&messages, 0).await;

    let expected = [(5, New), (5, New), (5, New), (6, Continue), (6, Regenerate), (7, Continue)];
    assert_eq!(turns, expected);
    assert_eq!(again, 7, "by its own memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_a_request_that_was_not_made_is_the_next_ones_unless_it_is_repeated() {
    let redis = Redis::start().await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let turned_away = async |gateway: &Gateway, turn: u32, asked: &Asked<'_>| {
        gateway.recogniser.back(asked.id, Some(&asked.placed), ticket(), turn);
        gateway.recogniser.failed(asked.id, &asked.placed);
        gateway.told().await;
    };

    let (first, refused) = gateways[0].named(&[("user", QUESTION)], 0).await;
    turned_away(&gateways[0], first, &refused).await;
    let (other, _) = gateways[1].named(&[("user", "Something else.")], 0).await;
    let (again, asked) = gateways[0].named(&[("user", QUESTION)], 0).await;
    // While that is under way it is sent again, which is made.
    let same = [("user", QUESTION), ("assistant", "Timber, mostly."), ("user", "And then?")];
    asked.reply(&redis, "Timber, mostly.").await;
    let (third, open) = gateways[0].named(&same, 0).await;
    let (repeated, _) = gateways[1].named(&same, 0).await;
    turned_away(&gateways[0], third, &open).await;
    let (next, _) = gateways[1].named(&[("user", "At last.")], 0).await;

    assert_eq!((first, other, again), (1, 1, 2));
    assert_eq!((third, repeated, next), (3, 3, 4));
}

/// A gateway of before writes no numbers of named conversations beside the places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_without_a_number_is_counted_as_before() {
    let redis = Redis::start().await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let messages = [("user", QUESTION), ("assistant", "Timber, mostly."), ("user", "And then?")];
    let (first, before) = gateways[0].named(&messages[..1], 0).await;
    before.reply(&redis, "Timber, mostly.").await;
    let (second, asked) = gateways[0].named(&messages, 0).await;
    asked.reply(&redis, "Stones.").await;
    let removed = redis.command(&format!("HDEL {} g", asked.key()));

    let (again, same) = gateways[1].named(&messages, 0).await;

    assert_eq!(removed.as_deref(), Some(":1"));
    assert_eq!((first, second, again), (1, 2, 3));
    assert_eq!(same.place().turn.kind, Regenerate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_each_gateway_goes_on_with_what_it_knows() {
    let mut redis = Redis::start().await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let first = gateways[0].ask(&chat(&[("user", QUESTION)])).await;
    first.reply(&redis, "Timber, mostly.").await;
    let mut messages =
        vec![("user", QUESTION), ("assistant", "Timber, mostly."), ("user", "And then?")];

    redis.kill();
    let known = gateways[0].ask(&chat(&messages)).await;
    let unknown = gateways[1].ask(&chat(&messages)).await;
    let replied = Replied { text: "Stones.", ..Replied::default() };
    known.gateway.recogniser.replied(known.id, &known.placed, replied);

    assert_eq!(known.turn(), (first.session(), 2, Continue));
    // What is lost: to a gateway that had no turn of it, the conversation is a new one.
    assert_eq!(unknown.place().turn.kind, New);
    assert_eq!(gateways.each_ref().map(Gateway::alone), [1, 1]);

    redis.start_again().await;
    for gateway in &gateways {
        gateway.is_back().await;
    }
    known.known(&redis, "r").await;
    messages.extend([("assistant", "Stones."), ("user", "And at last?")]);
    let next = gateways[1].ask(&chat(&messages)).await;

    assert_eq!(next.turn(), (first.session(), 3, Continue), "what was told meanwhile is known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_outlives_the_data_of_redis_where_its_last_turn_was() {
    let mut redis = Redis::start().await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let first = gateways[0].ask(&chat(&[("user", QUESTION)])).await;
    first.reply(&redis, "Timber, mostly.").await;
    let mut messages =
        vec![("user", QUESTION), ("assistant", "Timber, mostly."), ("user", "And then?")];

    redis.kill();
    redis.start_again().await;
    // Whoever asks first finds the connection broken; then everybody is back.
    for gateway in &gateways {
        gateway.ask(&chat(&[("user", "-"), ("assistant", "-"), ("user", "-")])).await;
        gateway.is_back().await;
    }
    let second = gateways[0].ask(&chat(&messages)).await;
    second.reply(&redis, "Stones.").await;
    messages.extend([("assistant", "Stones."), ("user", "And at last?")]);
    let third = gateways[1].ask(&chat(&messages)).await;

    assert_eq!(second.turn(), (first.session(), 2, Continue));
    assert_eq!(third.turn(), (first.session(), 3, Continue), "redis was told what the client was");
}

#[tokio::test]
async fn a_connection_does_not_end_with_the_thread_that_asked_for_it() {
    let redis = Redis::start().await;
    let sharing = Sharing { url: redis.url().into(), wait: WAIT, turns_max: 100 };
    let recogniser = Arc::new(Recogniser::sharing(Bounds::default(), &sharing).unwrap());
    let elsewhere = Arc::clone(&recogniser);
    let connected = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(elsewhere.connect());
    });
    tokio::task::spawn_blocking(|| connected.join().unwrap()).await.unwrap();
    let gateway = Gateway { recogniser, stop: CancellationToken::new() };

    gateway.ask(&chat(&[("user", QUESTION), ("assistant", "Timber."), ("user", "-")])).await;

    assert_eq!((gateway.alone(), gateway.is_away()), (0, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_does_not_answer_holds_nobody_up() {
    let redis = Redis::start().await;
    let gateway = Gateway::new(&redis, Duration::from_millis(10), 100_000);
    gateway.is_back().await;
    let first = gateway.ask(&chat(&[("user", QUESTION)])).await;
    let messages = [("user", QUESTION), ("assistant", "Timber."), ("user", "And then?")];

    redis.freeze();
    let asked = gateway.ask(&chat(&messages)).await;
    let (alone, away) = (gateway.alone(), gateway.is_away());
    redis.thaw();
    gateway.is_back().await;

    assert_eq!(asked.turn(), (first.session(), 2, Continue), "by its own memory");
    assert!(alone >= 1 && away, "{alone} alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_remembers_has_a_bound_and_holds_no_text() {
    let redis = Redis::start().await;
    let gateway = Gateway::new(&redis, WAIT, 100);
    gateway.is_back().await;
    let mut last = None;
    for number in 0..300 {
        let question = format!("{QUESTION} {number}");
        let asked = gateway.ask(&chat(&[("user", &question)])).await;
        asked.reply(&redis, "Timber, mostly, and a great many stones of every size.").await;
        last = Some((question, asked));
    }
    let (question, asked) = last.unwrap();

    // A node, and at most three heads, for each turn; the index and the epoch.
    let keys: u64 = redis.command("DBSIZE").unwrap()[1..].parse().unwrap();
    assert!((100..=402).contains(&keys), "{keys} keys");
    assert_eq!(redis.command("ZCARD permille:{sessions}:index").as_deref(), Some(":100"));
    let next = [("user", &*question), ("assistant", "Timber, mostly, and"), ("user", "And then?")];
    let other = Gateway::start(&redis).await;
    let next = other.ask(&chat(&next)).await;
    assert_eq!(next.turn(), (asked.session(), 2, Continue), "the latest are remembered");
    let saved = redis.command("SAVE");
    assert_eq!(saved.as_deref(), Some("+OK"));
    let dump = String::from_utf8_lossy(&redis.dump()).into_owned();
    assert!(dump.contains("sessions") && !dump.contains("river") && !dump.contains("Timber"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_conversation_is_over_by_the_servers_time() {
    let redis = Redis::start().await;
    let bounds = Bounds { idle_max: Duration::from_secs(2), ..Bounds::default() };
    let gateways = [(); 2].map(|()| Gateway::with(&redis, WAIT, 1_000, bounds));
    for gateway in &gateways {
        gateway.is_back().await;
    }
    let first = gateways[0].ask(&chat(&[("user", QUESTION)])).await;
    first.known(&redis, "s").await;

    let empty = async || redis.command("DBSIZE").as_deref() == Some(":1");
    eventually("only the epoch is left", empty).await;
    let messages = [("user", QUESTION), ("assistant", "Timber."), ("user", "And then?")];
    let next = gateways[1].ask(&chat(&messages)).await;

    assert_eq!(next.place().turn.kind, New);
    assert_ne!(next.session(), first.session());
}

/// A conversation of twenty in the corpus of one gateway.
const CONVERSATIONS: usize = 500;
const CUSTOMERS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_recognise_what_one_does() {
    let redis = Redis::start().await;
    // None remembers anything itself.
    let nothing = Bounds { places_max: 0, ..Bounds::default() };
    let gateways = [(); 3].map(|()| Gateway::with(&redis, WAIT, 100_000, nothing));
    for gateway in &gateways {
        gateway.is_back().await;
    }
    let key = Key::new([7; 32]);
    let (sent, events) = traffic(SHAPES, (CONVERSATIONS, CUSTOMERS), 0);
    let mut random = fastrand::Rng::with_seed(1);
    let (mut outcomes, mut open) = (Vec::new(), HashMap::new());
    for (_, number, event) in events {
        let of = &sent[number];
        if event == Event::Answered {
            let (gateway, id, placed): (&Gateway, _, _) = open.remove(&number).unwrap();
            let replied = Replied { text: &of.step.reply, ..Replied::default() };
            gateway.recogniser.replied(id, &placed, replied);
            gateway.told().await;
            continue;
        }
        let gateway = &gateways[random.usize(..3)];
        let said = Conversation::read(&key, &serde_json::to_vec(&of.step.body).unwrap());
        let id = RequestId::new(SystemClock.now());
        let customer = of.customer();
        let scope = [&*customer];
        let search = Search::of(&key, &scope, &said);
        let (placed, _) = gateway.recogniser.place(id, &search, id.into(), None).await;
        let placed = placed.unwrap();
        gateway.told().await;
        outcomes.push(of.outcome(&placed.place));
        open.insert(number, (gateway, id, placed));
    }

    assert_eq!(gateways.each_ref().map(Gateway::alone), [0; 3], "redis answered every time");
    for (name, counts) in judged(SHAPES, &outcomes) {
        println!("{name}: {:?}", counts.shares());
        counts.assert_recognised(name, 0.998);
    }
}
