//! How a request travels to `heads.lua` and its place back.

use std::{sync::LazyLock, time::Duration};

use permille_types::{RequestId, TurnKind};
use redis::{Script, ScriptInvocation};

use super::{Counter, Note, Told};
use crate::{
    digest::Digest,
    message::Speaker,
    node::{Resent, Turn},
    sessions::{ALIKE_MAX, SOON},
    trail::Search,
};

static HEADS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("heads.lua")));

/// What is in braces decides the slot of a cluster: everything lies together.
const INDEX: &str = "permille:{sessions}:index";
const EPOCH: &str = "permille:{sessions}:epoch";
const TURN: &[u8] = b"permille:{sessions}:turn:";

/// What holds for every call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) idle: Duration,
    pub(super) turns_max: u64,
}

/// An answer that the script does not give.
#[derive(Debug)]
pub(super) struct Unexpected;

/// What the script found.
#[derive(Debug)]
pub(super) struct Answer {
    /// Absent where there were no messages to place.
    pub(super) placed: Option<Placed>,
    /// The turn of a named conversation; absent where nobody knows the one before.
    pub(super) turn: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Placed {
    pub(super) epoch: String,
    pub(super) is_found: bool,
    pub(super) session: String,
    pub(super) turn: Turn,
    pub(super) known: usize,
    pub(super) tokens: Option<u64>,
    /// What the request that is tried again had resent.
    pub(super) again: Option<Resent>,
    /// In a named conversation, the number of the request that is repeated.
    pub(super) number_again: Option<u32>,
}

fn begin(
    frame: Frame,
    operation: &str,
    id: Option<RequestId>,
    counter: Option<&Counter>,
) -> ScriptInvocation<'static> {
    let mut call = HEADS.prepare_invoke();
    call.key(INDEX).key(EPOCH);
    if let Some(Counter(digest)) = counter {
        call.key([TURN, &digest.bytes()].concat());
    }
    call.arg(operation)
        .arg(id.map_or_else(Vec::new, |id| id.as_uuid().into_bytes().to_vec()))
        .arg(milliseconds(frame.idle))
        .arg(frame.turns_max);
    call
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Asks for the name of the data that Redis has; `name` is given where it has none.
pub(super) fn hello(frame: Frame, name: &[u8]) -> ScriptInvocation<'static> {
    let mut call = HEADS.prepare_invoke();
    call.key(INDEX).key(EPOCH).arg("hello").arg(name);
    call.arg(milliseconds(frame.idle)).arg(frame.turns_max);
    call
}

pub(super) fn named(texts: &[String]) -> Result<String, Unexpected> {
    let [name] = texts else { return Err(Unexpected) };
    Ok(name.clone())
}

pub(super) fn place(
    frame: Frame,
    id: RequestId,
    search: &Search<'_>,
    fresh: &str,
    counter: Option<&Counter>,
) -> ScriptInvocation<'static> {
    let mut flags = String::new();
    if search.last() == Some(Speaker::Tool) {
        flags.push('t');
    }
    if search.may_repeat() {
        flags.push('r');
    }
    if search.may_retry() {
        flags.push('m');
    }
    let mut call = begin(frame, "place", Some(id), counter);
    call.arg(milliseconds(SOON))
        .arg(ALIKE_MAX)
        .arg(fresh)
        .arg(flags)
        .arg(beginnings(search))
        .arg(exchanges(search))
        .arg(optional(search.response))
        .arg(optional(search.whole()))
        .arg(optional(search.distinct_asked()))
        .arg(search.len());
    call
}

fn optional(digest: Option<Digest>) -> Vec<u8> {
    digest.map_or_else(Vec::new, |digest| digest.bytes().to_vec())
}

/// A number of messages in two bytes: there are at most 10,000.
fn short(count: usize) -> [u8; 2] {
    u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes()
}

fn beginnings(search: &Search<'_>) -> Vec<u8> {
    let mut packed = Vec::new();
    for beginning in search.beginnings() {
        packed.extend_from_slice(&beginning.prefix.bytes());
        packed.extend_from_slice(&search.scoped(beginning.reply).bytes());
        packed.push(if beginning.is_distinct { b'1' } else { b'0' });
        packed.extend_from_slice(&short(search.known(beginning.at)));
        packed.extend_from_slice(&short(beginning.behind));
    }
    packed
}

fn exchanges(search: &Search<'_>) -> Vec<u8> {
    let mut packed = Vec::new();
    for exchange in search.exchanges() {
        for digest in [exchange.asked, exchange.both, exchange.after] {
            packed.extend_from_slice(&digest.unwrap_or(Digest::START).bytes());
        }
        packed.extend_from_slice(&search.scoped(exchange.reply).bytes());
        packed.extend_from_slice(&short(exchange.end));
    }
    packed
}

fn text(number: Option<u64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

pub(super) fn note(frame: Frame, note: &Note) -> ScriptInvocation<'static> {
    match note {
        Note::Turn { id, told } => {
            let Told { place, found_by, opening, more, tokens, failed, named } = &**told;
            let mut call = begin(frame, "note", Some(*id), None);
            call.arg(ALIKE_MAX)
                .arg(place.session.as_str())
                .arg(place.turn.number)
                .arg(letter(place.turn.kind))
                .arg(packed(found_by))
                .arg(optional(*opening))
                .arg(packed(more))
                .arg(text(*tokens))
                .arg(if failed.is_some() { "1" } else { "0" })
                .arg(text(failed.and_then(|resent| resent.bytes)))
                .arg(text(failed.and_then(|resent| resent.tokens)))
                .arg(text(named.map(u64::from)));
            call
        }
        Note::Raise { counter, turn } => {
            let mut call = begin(frame, "raise", None, Some(counter));
            call.arg(*turn);
            call
        }
        Note::Back { id, counter, turn } => {
            let mut call = begin(frame, "back", Some(*id), Some(counter));
            call.arg(*turn);
            call
        }
    }
}

fn packed(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| digest.bytes()).collect()
}

pub(super) fn count(
    frame: Frame,
    id: RequestId,
    counter: &Counter,
    base: u32,
    is_sure: bool,
) -> ScriptInvocation<'static> {
    let mut call = begin(frame, "count", Some(id), Some(counter));
    call.arg(base).arg(if is_sure { "1" } else { "0" });
    call
}

fn letter(kind: TurnKind) -> &'static str {
    match kind {
        TurnKind::New => "n",
        TurnKind::Continue => "c",
        TurnKind::ToolLoop => "t",
        TurnKind::Regenerate => "r",
        TurnKind::Branch => "b",
    }
}

fn kind(letter: &str) -> Result<TurnKind, Unexpected> {
    match letter {
        "n" => Ok(TurnKind::New),
        "c" => Ok(TurnKind::Continue),
        "t" => Ok(TurnKind::ToolLoop),
        "r" => Ok(TurnKind::Regenerate),
        "b" => Ok(TurnKind::Branch),
        _ => Err(Unexpected),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Unexpected> {
    text.parse().map_err(|_| Unexpected)
}

fn optional_number<T: std::str::FromStr>(text: &str) -> Result<Option<T>, Unexpected> {
    if text.is_empty() { Ok(None) } else { number(text).map(Some) }
}

pub(super) fn answer(texts: &[String]) -> Result<Answer, Unexpected> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (turn, placed) = match *texts.as_slice() {
        [_, turn] => (turn, None),
        [
            epoch,
            turn,
            found,
            session,
            turn_number,
            turn_kind,
            known,
            tokens,
            again,
            resent_bytes,
            resent_tokens,
            number_again,
        ] => {
            let resent = Resent {
                bytes: optional_number(resent_bytes)?,
                tokens: optional_number(resent_tokens)?,
            };
            let placed = Placed {
                epoch: epoch.to_owned(),
                is_found: found == "1",
                session: session.to_owned(),
                turn: Turn { number: number(turn_number)?, kind: kind(turn_kind)? },
                known: number(known)?,
                tokens: optional_number(tokens)?,
                again: (again == "1").then_some(resent),
                number_again: optional_number(number_again)?,
            };
            (turn, Some(placed))
        }
        _ => return Err(Unexpected),
    };
    Ok(Answer { placed, turn: optional_number(turn)? })
}

pub(super) fn counted(texts: &[String]) -> Result<u32, Unexpected> {
    let [turn] = texts else { return Err(Unexpected) };
    number(turn)
}
