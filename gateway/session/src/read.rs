//! A request's body, in whichever family's format, as a conversation.

use std::{borrow::Cow, collections::VecDeque, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    digest::Key,
    message::{Conversation, Speaker, Start},
    summary,
    walk::{Draft, Expects, Walk},
};

/// Most messages of a conversation that is recognised: 480 KiB of digests. No client sends near as
/// many; a body that does is a request of its own.
const MESSAGES_MAX: usize = 10_000;
/// Bytes of a body for which room for a message is made.
const MESSAGE_BYTES: usize = 256;

/// What `body` says of its conversation. A body that cannot be read says nothing.
///
/// Knows the messages of `OpenAI` chat and responses, Anthropic, Gemini, Qianfan, `DashScope`,
/// Hunyuan, Ollama and whoever uses the same names.
pub(crate) fn read(key: &Key, body: &[u8]) -> Conversation {
    // Hardly any client writes something else where texts are expected.
    let read = read_as(key, body, Expects::Texts);
    let read = read.or_else(|_| read_as(key, body, Expects::Anything));
    let mut conversation = read.unwrap_or_default();
    if conversation.messages.len() > MESSAGES_MAX {
        return Conversation::default();
    }
    conversation.messages.retain(|message| message.speaker != Speaker::System);
    conversation
}

fn read_as(key: &Key, body: &[u8], expects: Expects) -> serde_json::Result<Conversation> {
    let mut conversation = Conversation::default();
    // Few messages are shorter: the list hardly grows, and holds a quarter of the body at most.
    conversation.messages.reserve(body.len() / MESSAGE_BYTES);
    let top = Top { key, expects, conversation: &mut conversation };
    serde_json::Deserializer::from_slice(body).deserialize_map(top)?;
    Ok(conversation)
}

/// The body, or the object in it that holds the messages.
struct Top<'a> {
    key: &'a Key,
    expects: Expects,
    conversation: &'a mut Conversation,
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { key, expects, conversation } = self;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match &*name {
                "messages" | "Messages" | "contents" | "input" => {
                    let conversation = &mut *conversation;
                    map.next_value_seed(Messages { key, expects, conversation })?;
                }
                "conversation" | "conversation_id" | "session_id" | "thread_id"
                | "litellm_session_id" => {
                    let Name(found) = map.next_value()?;
                    conversation.named = found.or(conversation.named.take());
                }
                "previous_response_id" => {
                    let Name(found) = map.next_value()?;
                    conversation.previous_response = found;
                }
                "user" | "safety_identifier" => {
                    let Name(found) = map.next_value()?;
                    conversation.end_user = found.or(conversation.end_user.take());
                }
                "tools" | "Tools" | "functions" => {
                    let Offered(any) = map.next_value()?;
                    conversation.offers_tools |= any;
                }
                "metadata" => {
                    let Metadata { named, end_user } = map.next_value()?;
                    conversation.named = conversation.named.take().or(named);
                    conversation.end_user = conversation.end_user.take().or(end_user);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The messages, under whichever key: a list, one message, one text, or an object around them.
struct Messages<'a> {
    key: &'a Key,
    expects: Expects,
    conversation: &'a mut Conversation,
}

/// Replies whose beginning is compared, the last of a request: somebody who goes back further is
/// known by the messages alone.
const REPLIES_COMPARED: usize = 16;

/// The beginnings of the last replies. Messages that the model says without a break are one reply:
/// some clients send its text and each call as an item of its own.
#[derive(Default)]
struct Replies {
    /// Each with the place of its first message.
    last: VecDeque<(usize, Start)>,
    /// Whether the last one may go on.
    open: bool,
    /// How what was asked last begins.
    asked: Vec<u8>,
}

impl Replies {
    /// The beginning of the reply to which the message at `place` belongs.
    fn at(&mut self, place: usize) -> Option<&mut Start> {
        if !self.open {
            self.open = true;
            let mut start = Start::default();
            if self.last.len() >= REPLIES_COMPARED
                && let Some((_, oldest)) = self.last.pop_front()
            {
                start = oldest;
                start.clear();
            }
            self.last.push_back((place, start));
        }
        self.last.back_mut().map(|(_, start)| start)
    }
}

impl Messages<'_> {
    fn push(&mut self, draft: &mut Draft, replies: &mut Replies) {
        let place = self.conversation.messages.len();
        let message = draft.finish(|| replies.at(place));
        let Some(message) = message else { return draft.head.clear() };
        if !draft.after_reply && message.speaker != Speaker::System {
            let lines = summary::lines(self.key, &draft.head);
            self.conversation.lines.splice(..0, lines);
            self.conversation.lines.truncate(summary::LINES_MAX);
        }
        draft.after_reply |= message.speaker == Speaker::Model;
        if message.speaker == Speaker::User {
            std::mem::swap(&mut replies.asked, &mut draft.head);
        }
        draft.head.clear();
        replies.open &= message.speaker == Speaker::Model;
        if place <= MESSAGES_MAX {
            self.conversation.messages.push(message);
        }
    }

    /// All messages are there: the first one of each reply tells how it opens.
    fn end(self, replies: &Replies) {
        self.conversation.asks_for_summary = summary::is_asked_for(&replies.asked);
        for (place, start) in &replies.last {
            if let Some(first) = self.conversation.messages.get_mut(*place) {
                first.opening = start.opening(self.key);
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("messages")
    }

    fn visit_str<E: de::Error>(mut self, text: &str) -> Result<(), E> {
        let mut draft = Draft::new(self.key, self.expects);
        Walk::message(&mut draft).visit_str::<E>(text)?;
        let mut replies = Replies::default();
        self.push(&mut draft, &mut replies);
        self.end(&replies);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let (mut draft, mut replies) = (Draft::new(self.key, self.expects), Replies::default());
        while seq.next_element_seed(Walk::message(&mut draft))?.is_some() {
            self.push(&mut draft, &mut replies);
        }
        self.end(&replies);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Self { key, expects, conversation } = self;
        Top { key, expects, conversation }.visit_map(map)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A name: a text, or an object's `id`. Anything else names nothing.
#[derive(Default)]
struct Name(Option<String>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = value.as_str().or_else(|| value.get("id")?.as_str());
        Ok(Self(text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)))
    }
}

/// Whether a list has anything in it.
struct Offered(bool);

impl<'de> Deserialize<'de> for Offered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Counts what it passes over.
        struct Count;

        impl<'de> Visitor<'de> for Count {
            type Value = Offered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tools")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Offered, A::Error> {
                let mut any = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Offered(any))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Offered, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Offered(false))
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Offered, E> {
                Ok(Offered(false))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Offered, E> {
                Ok(Offered(false))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Offered, E> {
                Ok(Offered(false))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Offered, E> {
                Ok(Offered(false))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Offered, E> {
                Ok(Offered(false))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Offered, E> {
                Ok(Offered(false))
            }
        }
        deserializer.deserialize_any(Count)
    }
}

/// What clients put into `metadata`.
#[derive(Default)]
struct Metadata {
    named: Option<String>,
    end_user: Option<String>,
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str);
        let named = ["session_id", "conversation_id", "thread_id"].into_iter().find_map(text);
        let user = text("user_id");
        Ok(Self {
            named: named.map(str::to_owned).or_else(|| user.and_then(session_of_user)),
            end_user: user.map(str::to_owned),
        })
    }
}

/// The session that Claude Code writes into Anthropic's `metadata.user_id`: a JSON text with
/// `session_id`, and `user_…_session_…` before version 2.1.78.
fn session_of_user(user: &str) -> Option<String> {
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(user)
        && let Some(session) = value.get("session_id").and_then(serde_json::Value::as_str)
    {
        return Some(session.to_owned());
    }
    let (before, session) = user.rsplit_once("_session_")?;
    (before.starts_with("user_") && !session.is_empty()).then(|| session.to_owned())
}
