//! A request's body, in whichever family's format, as a conversation.

use permille_json::{Invalid, Json, Kind};
use serde_json::Value;

use crate::{
    digest::Key,
    message::{Conversation, Speaker, Start},
    outline::Outlines,
    summary,
    walk::{Draft, Reads},
};

/// Most messages of a conversation that is recognised: 480 KiB of digests. No client sends near as
/// many; a body that does is a request of its own.
const MESSAGES_MAX: usize = 10_000;
/// Most bytes of a name, or of all metadata. No provider takes as many; a body that has more says
/// nothing, for who its end user is would not be known.
const NAMES_BYTES_MAX: usize = 65_536;
/// Bytes of a body for which room for a message is made.
const MESSAGE_BYTES: usize = 256;

/// What `body` says of its conversation. A body that cannot be read says nothing.
///
/// Knows the messages of `OpenAI` chat and responses, Anthropic, Gemini, Qianfan, `DashScope`,
/// Hunyuan, Ollama and whoever uses the same names.
pub(crate) fn read(key: &Key, body: &[u8]) -> Conversation {
    let mut conversation = Conversation::default();
    // Few messages are shorter: the list hardly grows, and holds a quarter of the body at most.
    conversation.messages.reserve(body.len() / MESSAGE_BYTES);
    let mut reading = Reading { key, json: Json::new(body), conversation };
    let read = reading.top();
    let Reading { conversation, .. } = reading;
    if read.is_err() {
        return Conversation::default();
    }
    conversation
}

/// A body that is being read.
struct Reading<'k, 'b> {
    key: &'k Key,
    json: Json<'b>,
    conversation: Conversation,
}

/// What is read of the body, or of the object in it that holds the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Messages,
    Named,
    PreviousResponse,
    EndUser,
    Tools,
    Metadata,
    Other,
}

impl Field {
    fn of(key: &[u8]) -> Self {
        match key {
            b"messages" | b"Messages" | b"contents" | b"input" => Self::Messages,
            b"conversation"
            | b"conversation_id"
            | b"session_id"
            | b"thread_id"
            | b"litellm_session_id" => Self::Named,
            b"previous_response_id" => Self::PreviousResponse,
            b"user" | b"safety_identifier" => Self::EndUser,
            b"tools" | b"Tools" | b"functions" => Self::Tools,
            b"metadata" => Self::Metadata,
            _ => Self::Other,
        }
    }
}

impl<'b> Reading<'_, 'b> {
    /// Reads the body, or the object around its messages.
    fn top(&mut self) -> Result<(), Invalid> {
        if self.json.kind()? != Kind::Object {
            return Err(Invalid);
        }
        let mut first = self.json.enter()?;
        while let Some(key) = self.json.key(&mut first)? {
            let field = Field::of(key);
            if field == Field::Messages {
                self.messages()?;
                continue;
            }
            let value = self.json.skip()?;
            let Conversation { named, previous_response, end_user, offers_tools, .. } =
                &mut self.conversation;
            match field {
                Field::Named => *named = name(value)?.or(named.take()),
                Field::PreviousResponse => *previous_response = name(value)?,
                Field::EndUser => *end_user = name(value)?.or(end_user.take()),
                Field::Tools => *offers_tools |= holds_any(value),
                Field::Metadata => {
                    let metadata = Metadata::of(value)?;
                    *named = named.take().or(metadata.named);
                    *end_user = end_user.take().or(metadata.end_user);
                }
                Field::Messages | Field::Other => {}
            }
        }
        Ok(())
    }

    /// Reads the messages, under whichever key: a list, one message, one text, or an object around
    /// them.
    fn messages(&mut self) -> Result<(), Invalid> {
        match self.json.kind()? {
            Kind::Object => return self.top(),
            Kind::Scalar => {
                self.json.skip()?;
                return Ok(());
            }
            Kind::Text | Kind::List => {}
        }
        let mut draft = Draft::new(self.key, Reads::Whole);
        let mut read = Read::default();
        if self.json.kind()? == Kind::Text {
            self.message(&mut draft, &mut read)?;
        } else {
            let mut first = self.json.enter()?;
            while self.json.element(&mut first)? {
                self.message(&mut draft, &mut read)?;
            }
        }
        self.end(&read)
    }

    fn message(&mut self, draft: &mut Draft, read: &mut Read<'b>) -> Result<(), Invalid> {
        let place = self.conversation.messages.len();
        let from = self.json.rest();
        if !read.outlines.read(&mut self.json, draft) {
            read.outlines.learn(draft.walk(&mut self.json)?);
        }
        let length = from.len().saturating_sub(self.json.rest().len());
        let raw = from.get(..length).unwrap_or_default();
        let Some(message) = draft.finish() else {
            draft.head.clear();
            return Ok(());
        };
        if !read.after_reply && message.speaker != Speaker::System {
            let lines = summary::lines(self.key, &draft.head);
            self.conversation.lines.splice(..0, lines);
            self.conversation.lines.truncate(summary::LINES_MAX);
        }
        draft.head.clear();
        if place >= MESSAGES_MAX && message.speaker != Speaker::System {
            return Err(Invalid);
        }
        match message.speaker {
            Speaker::Model => {
                draft.read_digests();
                read.after_reply = true;
                read.said.push(Said { place, opens: !read.open, raw });
            }
            Speaker::User => read.asked = raw,
            Speaker::System | Speaker::Tool => {}
        }
        read.open = message.speaker == Speaker::Model;
        if message.speaker != Speaker::System {
            self.conversation.messages.push(message);
        }
        Ok(())
    }

    /// All messages are there: the last replies and what is asked are read again for how they
    /// begin. Where nothing has been replied yet there is nothing to compare or to summarise.
    fn end(&mut self, read: &Read<'b>) -> Result<(), Invalid> {
        if !read.after_reply {
            return Ok(());
        }
        let mut draft = Draft::new(self.key, Reads::Beginning);
        if !read.asked.is_empty() {
            draft.read_again(read.asked)?;
        }
        self.conversation.asks_for_summary = summary::is_asked_for(&draft.head);
        for reply in read.replies().take(REPLIES_COMPARED) {
            let mut start = Start::default();
            for said in reply {
                draft.read_again(said.raw)?;
                start.append(&draft.start);
            }
            let first =
                reply.first().and_then(|said| self.conversation.messages.get_mut(said.place));
            if let Some(first) = first {
                first.opening = start.opening(self.key);
            }
        }
        Ok(())
    }
}

/// Replies whose beginning is compared, the last of a request: somebody who goes back further is
/// known by the messages alone.
const REPLIES_COMPARED: usize = 16;

/// What has been read of the messages.
#[derive(Default)]
struct Read<'b> {
    outlines: Outlines<'b>,
    /// What the model said.
    said: Vec<Said<'b>>,
    /// Whether what it says next belongs to the same reply.
    open: bool,
    after_reply: bool,
    /// The message that was asked last.
    asked: &'b [u8],
}

/// A message of the model. Those that it says without a break are one reply: some clients send its
/// text and each call as an item of its own.
struct Said<'b> {
    /// Its place among the messages.
    place: usize,
    /// Whether it is the first one of its reply.
    opens: bool,
    /// As it stands in the body.
    raw: &'b [u8],
}

impl<'b> Read<'b> {
    /// What each reply consists of, the last reply first.
    fn replies(&self) -> impl Iterator<Item = &[Said<'b>]> {
        let mut rest = &self.said[..];
        std::iter::from_fn(move || {
            let at = rest.iter().rposition(|said| said.opens)?;
            let (before, reply) = rest.split_at_checked(at)?;
            rest = before;
            Some(reply)
        })
    }
}

/// What holds names, as a value, which takes a multiple of its bytes.
fn small(value: &[u8]) -> Result<Value, Invalid> {
    if value.len() > NAMES_BYTES_MAX {
        return Err(Invalid);
    }
    serde_json::from_slice(value).map_err(|_| Invalid)
}

/// A name: a text, or an object's `id`. Anything else names nothing.
fn name(value: &[u8]) -> Result<Option<String>, Invalid> {
    let value = small(value)?;
    let text = value.as_str().or_else(|| value.get("id")?.as_str());
    Ok(text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned))
}

/// Whether `value` is a list that has anything in it.
fn holds_any(value: &[u8]) -> bool {
    let inside = value.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    inside.is_some_and(|inside| !inside.starts_with(b"]"))
}

/// What clients put into `metadata`.
#[derive(Default)]
struct Metadata {
    named: Option<String>,
    end_user: Option<String>,
}

impl Metadata {
    fn of(value: &[u8]) -> Result<Self, Invalid> {
        let value = small(value)?;
        let text = |key: &str| value.get(key).and_then(Value::as_str);
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
    if let Ok(value) = serde_json::from_str::<Value>(user)
        && let Some(session) = value.get("session_id").and_then(Value::as_str)
    {
        return Some(session.to_owned());
    }
    let (before, session) = user.rsplit_once("_session_")?;
    (before.starts_with("user_") && !session.is_empty()).then(|| session.to_owned())
}
