//! Redis and one gateway's memory are the same machine: whatever several clients of a few words
//! send in whatever order, both find the same.

use std::{collections::HashSet, time::Duration};

use permille_session::{
    Bounds, Conversation, Key, NextTurn, Place, Placed, Recogniser, Replied, Search, TurnKind,
};
use permille_types::{Clock as _, RequestId, SystemClock};
use proptest::prelude::*;
use serde_json::{Value, json};

use permille_test_redis::Redis;

use crate::Gateway;

/// What happens: a request of few different messages, or what became of an earlier one.
#[derive(Debug, Clone)]
enum Step {
    Asked {
        messages: Vec<(u8, u8)>,
        tools: bool,
        stored: Option<u8>,
    },
    Replied {
        which: usize,
        text: u8,
        stored: Option<u8>,
    },
    Failed {
        which: usize,
    },
    /// Of a named conversation: it goes no further.
    Refused {
        which: usize,
    },
}

const ROLES: [&str; 3] = ["user", "assistant", "tool"];
const TEXTS: [&str; 4] = [
    "hi",
    "go on",
    "What did the river carry when the bridge fell in spring?",
    "Timber, mostly, and a great many stones of every size and shape, for three days and nights.",
];

fn body(messages: &[(u8, u8)], tools: bool, stored: Option<u8>) -> Value {
    let say = |(role, text): &(u8, u8)| json!({"role": ROLES[usize::from(*role) % 3], "content": TEXTS[usize::from(*text) % 4]});
    let messages: Vec<_> = messages.iter().map(say).collect();
    let mut body = json!({"messages": messages});
    if tools {
        body["tools"] = json!([{}]);
    }
    if let Some(stored) = stored {
        body["previous_response_id"] = json!(format!("resp_{stored}"));
    }
    body
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stored = || prop::option::weighted(0.1, 0_u8..3);
    // Mostly in turn, as conversations are, now and then anything.
    let turns = prop::collection::vec((0_u8..4, 0_u8..4, prop::bool::weighted(0.2)), 1..4);
    let messages = turns.prop_map(|turns| {
        let mut messages = Vec::new();
        for (asked, replied, tool) in turns {
            messages.extend([(if tool { 2 } else { 0 }, asked), (1, replied)]);
        }
        messages.pop();
        messages
    });
    let any = prop::collection::vec((0_u8..3, 0_u8..4), 1..5);
    let messages = prop_oneof![4 => messages, 1 => any];
    let asked = (messages, prop::bool::weighted(0.2), stored())
        .prop_map(|(messages, tools, stored)| Step::Asked { messages, tools, stored });
    let replied = (0_usize..40, 0_u8..4, stored())
        .prop_map(|(which, text, stored)| Step::Replied { which, text, stored });
    let failed = (0_usize..40).prop_map(|which| Step::Failed { which });
    let refused = (0_usize..40).prop_map(|which| Step::Refused { which });
    prop::collection::vec(prop_oneof![6 => asked, 4 => replied, 1 => failed, 1 => refused], 1..60)
}

/// A place, with the number of the request that its session began with.
fn told(place: &Place, firsts: &[String]) -> (Option<usize>, u32, TurnKind, Option<u64>) {
    let first = firsts.iter().position(|first| *first == place.session.as_str());
    (first, place.turn.number, place.turn.kind, place.resent_bytes)
}

#[test]
fn redis_places_requests_as_one_gateways_memory_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(Redis::start());
    let mut config = ProptestConfig::with_cases(60);
    config.failure_persistence = None;
    proptest!(config, |(steps in steps(), is_named in any::<bool>())| {
        runtime.block_on(compare(&redis, &steps, is_named));
    });
}

/// A request at either of both.
struct Asked {
    id: RequestId,
    shared: Placed,
    alone: Placed,
    /// Its number in a named conversation.
    turn: u32,
}

async fn compare(redis: &Redis, steps: &[Step], is_named: bool) {
    assert_eq!(redis.command("FLUSHALL").as_deref(), Some("+OK"));
    // The place of each request is asked of another gateway, which remembers nothing itself.
    let nothing = Bounds { places_max: 0, ..Bounds::default() };
    let gateway = Gateway::with(redis, crate::WAIT, 100_000, nothing);
    gateway.is_back().await;
    let key = Key::new([1; 32]);
    let idle_max = Duration::from_hours(9);
    let one = Recogniser::alone(Bounds { idle_max, ..Bounds::default() });
    let counter = crate::ticket();
    // The last turn of the named conversation, as the one gateway counts it.
    let mut last = 0;
    let mut asked: Vec<Asked> = Vec::new();
    let mut firsts = Vec::new();
    // A request ends once: of two ends that are told at once, either may come first.
    let mut ended = HashSet::new();
    for step in steps {
        match step {
            Step::Asked { messages, tools, stored } => {
                let body = body(messages, *tools, *stored).to_string();
                let said = Conversation::read(&key, body.as_bytes());
                let search = Search::of(&key, &["acme"], &said);
                let search = if is_named { search.named() } else { search };
                let id = RequestId::new(SystemClock.now());
                firsts.push(id.to_string());
                let fresh = || if is_named { "ticket-7".parse().unwrap() } else { id.into() };
                let named = is_named.then_some(&counter);
                let (shared, next) = gateway.recogniser.place(id, &search, fresh(), named).await;
                let (alone, _) = one.place(id, &search, fresh(), named).await;
                let (shared, alone) = (shared.unwrap(), alone.unwrap());
                assert_eq!(shared.again, alone.again, "{body} after {steps:?}");
                let turn = match (shared.again, next) {
                    (Some(turn), _) | (None, Some(NextTurn::Is(turn))) => turn,
                    (None, Some(NextTurn::Unknown)) => {
                        gateway.recogniser.count(id, &counter, 0, true).await.unwrap()
                    }
                    (None, None) => 0,
                };
                if is_named && shared.again.is_none() {
                    last += 1;
                    assert_eq!(turn, last, "{body} after {steps:?}");
                    gateway.recogniser.given(&shared, turn);
                    one.given(&alone, turn);
                }
                assert_eq!(
                    told(&shared.place, &firsts),
                    told(&alone.place, &firsts),
                    "{body} after {steps:?}"
                );
                assert_eq!(shared.resent_tokens(1_000), alone.resent_tokens(1_000), "{steps:?}");
                asked.push(Asked { id, shared, alone, turn });
            }
            Step::Replied { which, text, stored } => {
                let Some(Asked { id, shared, alone, .. }) = asked.get(*which) else { continue };
                if !ended.insert(*which) {
                    continue;
                }
                let stored = stored.map(|stored| format!("resp_{stored}"));
                let text = TEXTS[usize::from(*text) % 4];
                let replied =
                    Replied { text, stored_as: stored.as_deref(), tokens: Some(*which as u64) };
                gateway.recogniser.replied(*id, shared, replied);
                one.replied(*id, alone, replied);
            }
            Step::Failed { which } => {
                let Some(Asked { id, shared, alone, .. }) = asked.get(*which) else { continue };
                if !ended.insert(*which) {
                    continue;
                }
                gateway.recogniser.failed(*id, shared);
                one.failed(*id, alone);
            }
            Step::Refused { which } => {
                let Some(Asked { id, shared, alone, turn }) = asked.get(*which) else { continue };
                if !is_named || shared.again.is_some() || !ended.insert(*which) {
                    continue;
                }
                gateway.recogniser.back(*id, Some(shared), counter, *turn);
                if one.back(*id, Some(alone), counter, *turn) && last == *turn {
                    last -= 1;
                }
                gateway.told().await;
                gateway.recogniser.failed(*id, shared);
                one.failed(*id, alone);
            }
        }
        gateway.told().await;
    }
    assert_eq!(gateway.alone(), 0, "redis answered every time");
}
