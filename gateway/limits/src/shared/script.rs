//! How a step travels to `step.lua` and back.

use std::sync::LazyLock;

use permille_types::{CustomerId, NodeId, RequestId};
use redis::{Script, ScriptInvocation};

use crate::step::{
    BEHIND_MAX, Base, Blocked, Extended, Kind, LATE_MS, LOG_MAX, Line, Loaded, Post, Posted,
    REFRESH_AGAIN_MS, REFRESH_MS, Reserved, SCALE, SETTLED_MS, SWEEP_MAX, Use, idle_ms,
};

/// In builds with assertions a step fails where it uses a key that it does not name: by these a
/// client of a cluster finds the server.
const NAMED_ONLY: &str = "local server, named = redis, {}
    for _, key in ipairs(KEYS) do named[key] = true end
    local redis = { call = function(command, ...)
      local key = ...
      assert(not key or named[key], 'a key that is not named: ' .. tostring(key))
      return server.call(command, ...)
    end }
";

/// The constants of the machine, and the machine.
static STEP: LazyLock<Script> = LazyLock::new(|| {
    let (idle_money, idle) = (idle_ms(Kind::Money), idle_ms(Kind::Open));
    let check = if cfg!(debug_assertions) { NAMED_ONLY } else { "" };
    Script::new(&format!(
        "{check}local SCALE, IDLE_MONEY, IDLE, SETTLED = {SCALE}, {idle_money}, {idle}, {SETTLED_MS}\n\
         local SWEEP, REFRESH, REFRESH_AGAIN = {SWEEP_MAX}, {REFRESH_MS}, {REFRESH_AGAIN_MS}\n\
         local LATE, LOG, BEHIND = {LATE_MS}, {LOG_MAX}, {BEHIND_MAX}\n{}",
        include_str!("step.lua"),
    ))
});

/// Begins a step on the books of `customer`; `now` is the server's own time when absent.
pub(super) fn step(
    operation: &'static str,
    customer: &CustomerId,
    id: Option<RequestId>,
    lease_ms: u64,
    now: Option<u64>,
) -> ScriptInvocation<'static> {
    let mut call = STEP.prepare_invoke();
    // What is in braces decides the slot of a cluster: all of a customer lies together.
    for part in ["counters", "reservations", "due", "log"] {
        call.key(format!("permille:{{{customer}}}:{part}"));
    }
    call.arg(operation)
        .arg(now.map_or_else(String::new, |now| now.to_string()))
        .arg(id.map_or_else(String::new, |id| id.to_string()))
        .arg(lease_ms);
    call
}

/// Names the settlements of some nodes.
pub(super) fn add_logs<'a>(
    call: &mut ScriptInvocation<'_>,
    customer: &CustomerId,
    nodes: impl Iterator<Item = &'a NodeId>,
) {
    for node in nodes {
        call.key(format!("permille:{{{customer}}}:log:{node}"));
    }
}

fn letter(kind: Kind) -> &'static str {
    match kind {
        Kind::Requests => "r",
        Kind::Tokens => "t",
        Kind::Open => "o",
        Kind::Money => "m",
    }
}

pub(super) fn add_lines(call: &mut ScriptInvocation<'_>, lines: &[Line]) {
    for line in lines {
        call.arg(letter(line.kind))
            .arg(&*line.counter)
            .arg(line.limit)
            .arg(line.take)
            .arg(if line.fresh { "1" } else { "0" });
    }
}

pub(super) fn add_posts(
    call: &mut ScriptInvocation<'_>,
    (node, sequence): (&NodeId, u64),
    posts: &[Post],
) {
    call.arg(node.as_str()).arg(sequence);
    for post in posts {
        call.arg(letter(post.kind)).arg(&*post.counter).arg(post.limit).arg(post.amount);
    }
}

pub(super) fn add_bases(call: &mut ScriptInvocation<'_>, seen: &[(NodeId, u64)], bases: &[Base]) {
    let seen: Vec<String> =
        seen.iter().map(|(node, sequence)| format!("{node}\u{1f}{sequence}\u{1e}")).collect();
    call.arg(seen.concat());
    for Base { counter, spent } in bases {
        call.arg(&**counter).arg(*spent);
    }
}

/// An answer that the script does not give.
#[derive(Debug)]
pub(super) struct Unexpected;

fn number<T: std::str::FromStr>(text: Option<&String>) -> Result<T, Unexpected> {
    text.and_then(|text| text.parse().ok()).ok_or(Unexpected)
}

fn uses(texts: &[String]) -> Result<Vec<Use>, Unexpected> {
    let pairs = texts.chunks_exact(2);
    pairs.map(|pair| Ok(Use { used: number(pair.first())?, held: number(pair.get(1))? })).collect()
}

pub(super) fn places(texts: &[String]) -> Result<Vec<usize>, Unexpected> {
    texts.iter().map(|place| number(Some(place))).collect()
}

pub(super) fn missing(answer: &[String]) -> Result<Vec<usize>, Unexpected> {
    places(answer.get(1..).ok_or(Unexpected)?)
}

/// What a load came to, or the nodes that it has to name beside those that it did.
pub(super) fn loaded(answer: &[String]) -> Result<Result<Loaded, Vec<NodeId>>, Unexpected> {
    let (what, rest) = answer.split_first().ok_or(Unexpected)?;
    match what.as_str() {
        "g" => Ok(Ok(Loaded::Now)),
        "o" => Ok(Ok(Loaded::Outdated)),
        "b" => Ok(Ok(Loaded::Behind)),
        "n" => {
            let nodes = rest.iter().map(|node| node.parse().map_err(|_| Unexpected));
            nodes.collect::<Result<_, _>>().map(Err)
        }
        _ => Err(Unexpected),
    }
}

fn blocked(texts: &[String]) -> Result<Blocked, Unexpected> {
    let wait = texts.get(3).filter(|text| !text.is_empty());
    Ok(Blocked {
        line: number(texts.first())?,
        is: Use { used: number(texts.get(1))?, held: number(texts.get(2))? },
        wait_ms: wait.map(|wait| number(Some(wait))).transpose()?,
    })
}

pub(super) fn reserved(answer: &[String]) -> Result<Reserved, Unexpected> {
    let (what, rest) = answer.split_first().ok_or(Unexpected)?;
    match what.as_str() {
        "g" => {
            let (count, rest) = rest.split_first().ok_or(Unexpected)?;
            let count: usize = number(Some(count))?;
            let (stale, rest) = rest.split_at_checked(count).ok_or(Unexpected)?;
            Ok(Reserved::Granted { uses: uses(rest)?, stale: places(stale)? })
        }
        "b" => Ok(Reserved::Blocked(blocked(rest)?)),
        "u" => Ok(Reserved::Unknown(places(rest)?)),
        _ => Err(Unexpected),
    }
}

pub(super) fn extended(answer: &[String]) -> Result<Extended, Unexpected> {
    let (what, rest) = answer.split_first().ok_or(Unexpected)?;
    match what.as_str() {
        "g" => Ok(Extended::Granted),
        "b" => Ok(Extended::Blocked(blocked(rest)?)),
        "x" => Ok(Extended::Gone),
        _ => Err(Unexpected),
    }
}

pub(super) fn posted(answer: &[String]) -> Result<Posted, Unexpected> {
    match answer.first().map(String::as_str) {
        Some("g") => Ok(Posted::Now),
        Some("a") => Ok(Posted::Before),
        _ => Err(Unexpected),
    }
}

pub(super) fn read(answer: &[String]) -> Result<Vec<Option<Use>>, Unexpected> {
    let (_, rest) = answer.split_first().ok_or(Unexpected)?;
    let pairs = rest.chunks_exact(2);
    pairs
        .map(|pair| match pair.first().map(String::as_str) {
            Some("") => Ok(None),
            _ => Ok(Some(Use { used: number(pair.first())?, held: number(pair.get(1))? })),
        })
        .collect()
}

pub(super) fn add_reads(call: &mut ScriptInvocation<'_>, counters: &[(Kind, &str)]) {
    for (kind, counter) in counters {
        call.arg(*counter).arg(letter(*kind));
    }
}
