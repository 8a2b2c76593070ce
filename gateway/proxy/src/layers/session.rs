//! Which conversation a request belongs to, and which turn of it this is.
//!
//! A client may name the conversation, in a header or in the body; then turns count its requests in
//! the order of their admission, and the messages only tell how each turn came about, and which
//! request is the same turn once more. Where it does not, the messages tell which request this one
//! goes on from, and the conversation has the name of its first request. What asks no model to say
//! anything is no turn: it counts nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName};
use moka::sync::Cache;
use permille_session::{Conversation, Counter, NextTurn, Placed, Recogniser, Search};
use permille_types::{ControlPlane, CustomerId, Endpoint, RequestId, SessionId, TurnKind};
use tokio::sync::Mutex;

use crate::{
    context::{Classified, Counted, InSession, LastTurn, NamedTurn, Targeted},
    headers,
    known::chain,
    layers::READ_AT_ONCE_BYTES,
    refusal::Refusal,
    stage::{Step, Waiting},
};

/// Sessions whose last turn is kept here; older ones are asked of billing again.
const SESSIONS_MAX: u64 = 100_000;
/// A session that was silent so long is forgotten here; billing still has it.
const SESSION_IDLE: Duration = Duration::from_hours(24);
/// Billing may take so long to tell a session's last turn; then counting starts without it.
const LAST_TURN_TIME_MAX: Duration = Duration::from_secs(1);
/// Billing that did not tell a session's last turn is asked again after so long, so that while it
/// is silent one request of a session in so long waits for it.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Bodies up to this are read in passing, while no other request of the connection can begin: that
/// takes some ten microseconds.
const READ_IN_PASSING_BYTES: usize = 8 * 1024;

pub(crate) struct Session {
    control: Arc<dyn ControlPlane>,
    last_turns: Cache<(CustomerId, SessionId), LastTurn>,
    recogniser: Arc<Recogniser>,
}

impl Session {
    pub(crate) fn new(control: Arc<dyn ControlPlane>, recogniser: Arc<Recogniser>) -> Self {
        let last_turns =
            Cache::builder().max_capacity(SESSIONS_MAX).time_to_idle(SESSION_IDLE).build();
        Self { control, last_turns, recogniser }
    }

    /// The turn of a request that names its conversation: the one that all gateways together count,
    /// else the one that this gateway does.
    async fn next_turn(
        &self,
        id: RequestId,
        (customer, session): (&CustomerId, &SessionId),
        counter: Counter,
        shared: Option<NextTurn>,
        replies: u32,
    ) -> (u32, LastTurn) {
        let last_turn = self
            .last_turns
            .get_with((customer.clone(), session.clone()), || Arc::new(Mutex::default()));
        // Held while billing is asked, so that concurrent first turns get different numbers.
        let mut known = last_turn.lock().await;
        let turn = if let Some(NextTurn::Is(turn)) = shared {
            turn
        } else {
            if known.must_ask(shared.is_some()) {
                self.ask(customer, session, &mut known, replies).await;
            }
            let (base, sure) = (known.last, known.unsure_since.is_none());
            let together = match shared {
                Some(NextTurn::Unknown) => self.recogniser.count(id, &counter, base, sure).await,
                _ => None,
            };
            together.unwrap_or_else(|| {
                let turn = base.saturating_add(1);
                self.recogniser.raise(counter, turn);
                turn
            })
        };
        known.last = known.last.max(turn);
        known.is_begun = true;
        drop(known);
        (turn, last_turn)
    }

    /// The turn that a request stands beside which is none itself: the last one that this gateway
    /// knows of, or the first.
    async fn known_turn(&self, customer: &CustomerId, session: &SessionId) -> u32 {
        match self.last_turns.get(&(customer.clone(), session.clone())) {
            Some(counted) => counted.lock().await.last.max(1),
            None => 1,
        }
    }

    /// Asks billing for the last turn. Where it does not tell, the replies that the client sends
    /// again are turns that have been.
    async fn ask(
        &self,
        customer: &CustomerId,
        session: &SessionId,
        counted: &mut Counted,
        replies: u32,
    ) {
        let asked = self.control.last_turn(customer, session);
        counted.unsure_since = None;
        match tokio::time::timeout(LAST_TURN_TIME_MAX, asked).await {
            Ok(Ok(turn)) => counted.last = counted.last.max(turn),
            late_or_failed => {
                counted.last = counted.last.max(replies);
                counted.unsure_since = Some(Instant::now());
                if let Ok(Err(cause)) = late_or_failed {
                    tracing::warn!(error = %chain(&cause), "last turn of a session unknown");
                } else {
                    tracing::warn!("last turn of a session unknown: no answer in time");
                }
            }
        }
    }
}

impl Counted {
    /// Whether billing is to be asked: it never told, or, where the other gateways know nothing
    /// either, may know of turns that they gave.
    fn must_ask(&self, others_know_nothing: bool) -> bool {
        match self.unsure_since {
            Some(since) => since.elapsed() >= ASK_AGAIN_AFTER,
            None => !self.is_begun || others_know_nothing,
        }
    }
}

impl Waiting<Targeted> for Session {
    type Out = Box<InSession>;

    fn enter(self: Arc<Self>, targeted: Targeted) -> Step<Box<InSession>> {
        let classified = &targeted.classified;
        let in_header = match named(&classified.routed.parts.headers) {
            Ok(in_header) => in_header,
            Err(refusal) => return Step::Taken(Err(refusal)),
        };
        let Some(said) = said_in_passing(classified) else {
            return Step::Begun(Box::pin(async move {
                let said = said_in_time(&targeted.classified).await;
                let name = name_of(in_header, &said, &targeted.classified);
                Ok(self.place(targeted, name, &said).await)
            }));
        };
        let name = name_of(in_header, &said, classified);
        if name.is_none() {
            let id = classified.routed.id;
            let placed = self.recogniser.place_at_once(id, &search_of(classified, &said));
            if let Some(placed) = placed {
                return Step::Taken(Ok(unnamed(targeted, placed)));
            }
        }
        Step::Begun(Box::pin(async move { Ok(self.place(targeted, name, &said).await) }))
    }
}

impl Session {
    /// A request in its conversation: that of its `name`, else the one that its messages go on.
    async fn place(
        &self,
        targeted: Targeted,
        name: Option<SessionId>,
        said: &Conversation,
    ) -> Box<InSession> {
        let head = &targeted.classified.routed;
        let Some(session) = name else {
            let search = search_of(&targeted.classified, said);
            let (placed, _) = self.recogniser.place(head.id, &search, head.id.into(), None).await;
            return unnamed(targeted, placed);
        };
        let customer = &head.key.customer;
        if !may_be_turn(head.endpoint) {
            let turn = self.known_turn(customer, &session).await;
            let request = InSession::new(targeted, session, turn);
            return Box::new(InSession { is_named: true, ..request });
        }
        let key = head.known.conversations();
        let counter = Counter::of(key, customer, &session);
        // Only requests of this name are compared, which no unnamed one can be.
        let scope = [customer.as_str(), session.as_str(), "", "named"];
        let search = Search::of(key, &scope, said).named();
        let asked = self.recogniser.place(head.id, &search, session.clone(), Some(&counter));
        let (placed, shared) = asked.await;
        let (turn, as_named) = if let Some(turn) = placed.as_ref().and_then(|p| p.again) {
            (turn, None)
        } else {
            let whose = (customer, &session);
            let next = self.next_turn(head.id, whose, counter, shared, said.replies());
            let (turn, last) = next.await;
            if let Some(placed) = &placed {
                self.recogniser.given(placed, turn);
            }
            (turn, Some(NamedTurn { last, counter }))
        };
        let kind = placed.as_ref().map(|placed| placed.place.turn.kind);
        // A later turn that goes on from nothing we know: how it came about is not known.
        let kind = kind.filter(|kind| *kind != TurnKind::New || turn == 1);
        Box::new(InSession {
            kind,
            placed,
            is_named: true,
            counted: as_named,
            ..InSession::new(targeted, session, turn)
        })
    }
}

/// A request whose client does not name its conversation, and where it has its place.
fn unnamed(targeted: Targeted, placed: Option<Placed>) -> Box<InSession> {
    let id = targeted.classified.routed.id;
    let place = placed.as_ref().map(|placed| &placed.place);
    let session = place.map_or_else(|| id.into(), |place| place.session.clone());
    let turn = place.map_or(1, |place| place.turn.number);
    let kind = place.map(|place| place.turn.kind);
    Box::new(InSession { kind, placed, ..InSession::new(targeted, session, turn) })
}

/// What an unnamed request is searched by: among those of its customer, project and end user.
fn search_of<'c>(classified: &Classified, said: &'c Conversation) -> Search<'c> {
    let head = &classified.routed;
    let end_user = said.end_user.as_deref().unwrap_or_default();
    let scope = [head.key.customer.as_str(), head.key.project.as_str(), end_user];
    Search::of(head.known.conversations(), &scope, said)
}

/// The name that a request gives its conversation. One in a body, or in an agent's own header, is
/// the application's affair: one that we cannot use is no error.
fn name_of(
    in_header: Option<SessionId>,
    said: &Conversation,
    classified: &Classified,
) -> Option<SessionId> {
    let in_body = || said.named.as_deref().and_then(|name| name.parse().ok());
    let by_agent = || named_by_agent(&classified.routed.parts.headers);
    in_header.or_else(in_body).or_else(by_agent)
}

/// What the body says of its conversation, nothing where none is had; absent where the body is not
/// small.
fn said_in_passing(classified: &Classified) -> Option<Conversation> {
    if !may_be_turn(classified.routed.endpoint) {
        return Some(Conversation::default());
    }
    let key = classified.routed.known.conversations();
    let is_small = classified.body.len() <= READ_IN_PASSING_BYTES;
    is_small.then(|| Conversation::read(key, &classified.body))
}

/// The same of a body that is not small.
async fn said_in_time(classified: &Classified) -> Conversation {
    let known = &classified.routed.known;
    if classified.body.len() <= READ_AT_ONCE_BYTES {
        return Conversation::read(known.conversations(), &classified.body);
    }
    let (known, body) = (Arc::clone(known), classified.body.clone());
    let read = move || Conversation::read(known.conversations(), &body);
    // The read neither panics nor is cancelled but by the end of the runtime.
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// Whether a request of `endpoint` can be a turn: it asks a model for something that it says.
fn may_be_turn(endpoint: Endpoint) -> bool {
    endpoint.is_metered() && !endpoint.is_embedding()
}

fn named(headers: &HeaderMap) -> Result<Option<SessionId>, Refusal> {
    if !names_any(headers, &headers::SESSION) {
        return Ok(None);
    }
    for name in &headers::SESSION {
        let Some(value) = headers.get(name) else { continue };
        let text = value.to_str().map_err(|_| {
            Refusal::InvalidRequest(format!("the header `{name}` holds characters beyond ASCII"))
        })?;
        return text.parse().map(Some).map_err(invalid(name.as_str()));
    }
    Ok(None)
}

fn named_by_agent(headers: &HeaderMap) -> Option<SessionId> {
    if !names_any(headers, &headers::AGENT_SESSION) {
        return None;
    }
    let mut values = headers::AGENT_SESSION.iter().filter_map(|name| headers.get(name));
    values.find_map(|value| value.to_str().ok()?.trim().parse().ok())
}

/// Whether one of `names` is there, in one pass: most requests have none, and each look for a name
/// alone hashes it.
fn names_any(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    headers.keys().any(|name| names.contains(name))
}

fn invalid(name: &str) -> impl FnOnce(permille_types::IdError) -> Refusal {
    move |cause| Refusal::InvalidRequest(format!("the header `{name}` is not accepted: {cause}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn our_own_session_header_wins_over_the_others() {
        let mut headers = HeaderMap::new();
        headers.insert("x-litellm-session-id", HeaderValue::from_static("theirs"));
        headers.insert("permille-session", HeaderValue::from_static("ours"));

        assert_eq!(named(&headers).unwrap().unwrap().as_str(), "ours");
    }

    /// Every name is written out once more: a slip in `headers.rs` fails here.
    #[test]
    fn every_header_that_names_a_conversation_is_read_and_no_other() {
        let alone = |name: &str| {
            let mut headers = HeaderMap::new();
            let name: http::HeaderName = name.parse().unwrap();
            headers.insert(name, HeaderValue::from_static("talk-7"));
            let text = |session: SessionId| session.as_str().to_owned();
            (named(&headers).unwrap().map(text), named_by_agent(&headers).map(text))
        };
        let (session, nothing) = (Some("talk-7".to_owned()), None);
        let of_clients =
            ["Permille-Session", "X-Session-Id", "Helicone-Session-Id", "X-LiteLLM-Session-Id"];
        let of_agents = [
            "X-Claude-Code-Session-Id",
            "Session-Id",
            "session_id",
            "Thread-Id",
            "thread_id",
            "X-Opencode-Session",
            "X-Session-Affinity",
            "X-Agent-Session",
            "X-OpenClaw-Session-Key",
        ];
        // One for each call, with some clients: they would split a conversation.
        let of_calls = [
            "X-Client-Request-Id",
            "X-Request-Id",
            "X-LiteLLM-Trace-Id",
            "X-Portkey-Trace-Id",
            "Traceparent",
        ];

        assert_eq!((headers::SESSION.len(), headers::AGENT_SESSION.len()), (4, of_agents.len()));
        for name in of_clients {
            assert_eq!(alone(name), (session.clone(), nothing.clone()), "{name}");
        }
        for name in of_agents {
            assert_eq!(alone(name), (nothing.clone(), session.clone()), "{name}");
        }
        for name in of_calls {
            assert_eq!(alone(name), (nothing.clone(), nothing.clone()), "{name}");
        }
    }

    #[test]
    fn an_agents_own_header_names_the_session_where_it_can() {
        let mut headers = HeaderMap::new();
        headers.insert("x-claude-code-session-id", HeaderValue::from_static(" "));
        headers.insert("session_id", HeaderValue::from_static("0199-codex"));

        assert_eq!(named_by_agent(&headers).unwrap().as_str(), "0199-codex");
        assert_eq!(named(&headers).unwrap(), None, "it is not refused where it cannot");
    }

    #[test]
    fn billing_that_did_not_tell_is_asked_again_after_a_while() {
        let since = |age| Instant::now().checked_sub(age);
        let counted = |is_begun, unsure_since| Counted { last: 3, is_begun, unsure_since };

        assert!(counted(false, None).must_ask(false), "nobody was asked yet");
        assert!(!counted(true, None).must_ask(false));
        assert!(counted(true, None).must_ask(true), "the other gateways have lost it");
        assert!(!counted(true, since(ASK_AGAIN_AFTER / 2)).must_ask(true));
        assert!(counted(true, since(ASK_AGAIN_AFTER * 2)).must_ask(false));
    }

    #[test]
    fn an_overlong_session_id_is_refused_by_name() {
        let mut headers = HeaderMap::new();
        headers.insert("permille-session", HeaderValue::from_str(&"x".repeat(300)).unwrap());

        let refusal = named(&headers).unwrap_err().to_string();

        assert!(refusal.contains("permille-session") && refusal.contains("256"), "{refusal}");
    }
}
