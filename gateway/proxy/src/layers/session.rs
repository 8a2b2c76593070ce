//! Which conversation a request belongs to, and which turn of it this is.
//!
//! A client may name the conversation, in a header or in the body; then turns count its requests in
//! the order of their admission, and the messages only tell how each turn came about. Where it does
//! not, the messages tell which request this one goes on from, and the conversation has the name of
//! its first request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderMap;
use moka::sync::Cache;
use permille_session::{Conversation, Placed, Sessions};
use permille_types::{ControlPlane, CustomerId, SessionId, TurnKind};
use tokio::sync::Mutex;

use crate::{
    context::{Classified, InSession, LastTurn, Targeted},
    headers,
    known::chain,
    refusal::Refusal,
    stage::Waiting,
};

/// Sessions whose last turn is kept here; older ones are asked of billing again.
const SESSIONS_MAX: u64 = 100_000;
/// A session that was silent so long is forgotten here; billing still has it.
const SESSION_IDLE: Duration = Duration::from_hours(24);
/// Billing may take so long to tell a session's last turn; then counting starts at this request.
const LAST_TURN_TIME_MAX: Duration = Duration::from_secs(1);

/// Bodies above this are read off the event loop: below it that takes under a millisecond.
const READ_AT_ONCE_BYTES: usize = 256 * 1024;

pub(crate) struct Session {
    control: Arc<dyn ControlPlane>,
    last_turns: Cache<(CustomerId, SessionId), LastTurn>,
    sessions: Arc<Sessions>,
}

impl Session {
    pub(crate) fn new(control: Arc<dyn ControlPlane>, sessions: Arc<Sessions>) -> Self {
        let last_turns =
            Cache::builder().max_capacity(SESSIONS_MAX).time_to_idle(SESSION_IDLE).build();
        Self { control, last_turns, sessions }
    }

    async fn next_turn(&self, customer: &CustomerId, session: &SessionId) -> (u32, LastTurn) {
        let counted = self
            .last_turns
            .get_with((customer.clone(), session.clone()), || Arc::new(Mutex::new(None)));
        // Held while billing is asked, so that concurrent first turns get different numbers.
        let mut last = counted.lock().await;
        let before = match *last {
            Some(turn) => turn,
            None => self.ask(customer, session).await,
        };
        let turn = before.saturating_add(1);
        *last = Some(turn);
        drop(last);
        (turn, counted)
    }

    async fn ask(&self, customer: &CustomerId, session: &SessionId) -> u32 {
        let asked = self.control.last_turn(customer, session);
        match tokio::time::timeout(LAST_TURN_TIME_MAX, asked).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(cause)) => {
                tracing::warn!(error = %chain(&cause), "last turn of a session unknown");
                0
            }
            Err(_) => {
                tracing::warn!("last turn of a session unknown: billing did not answer in time");
                0
            }
        }
    }
}

impl Waiting<Targeted> for Session {
    type Out = InSession;

    async fn enter(&self, targeted: Targeted) -> Result<InSession, Refusal> {
        let classified = &targeted.classified;
        let head = &classified.routed;
        let (customer, project) = (&head.key.customer, head.key.project.as_str());
        let in_header = named(&head.parts.headers)?;
        let said = self.said(classified).await;
        // A name in a body is the application's own affair: one that we cannot use is no error.
        let in_body = || said.named.as_deref().and_then(|name| name.parse().ok());
        if let Some(session) = in_header.or_else(in_body) {
            let (turn, last_turn) = self.next_turn(customer, &session).await;
            // Only requests of this name are compared, which no unnamed one can be.
            let scope = [customer.as_str(), session.as_str(), "", "named"];
            let placed = self.place(&scope, &said, session.clone());
            let kind = placed.as_ref().map(|placed| placed.place.turn.kind);
            // A later turn that goes on from nothing we know: how it came about is not known.
            let kind = kind.filter(|kind| *kind != TurnKind::New || turn == 1);
            return Ok(InSession {
                targeted,
                session,
                explicit: true,
                turn,
                kind,
                placed,
                last_turn: Some(last_turn),
                reserved: None,
                warnings: Vec::new(),
            });
        }
        let end_user = said.end_user.as_deref().unwrap_or_default();
        let scope = [customer.as_str(), project, end_user];
        let placed = self.place(&scope, &said, head.id.into());
        let place = placed.as_ref().map(|placed| &placed.place);
        let session = place.map_or_else(|| head.id.into(), |place| place.session.clone());
        let turn = place.map_or(1, |place| place.turn.number);
        let kind = place.map(|place| place.turn.kind);
        Ok(InSession {
            targeted,
            session,
            explicit: false,
            turn,
            kind,
            placed,
            last_turn: None,
            reserved: None,
            warnings: Vec::new(),
        })
    }
}

impl Session {
    /// The place of a request that arrives now; absent where nothing is said.
    fn place(&self, scope: &[&str], said: &Conversation, fresh: SessionId) -> Option<Placed> {
        let any = !said.messages.is_empty();
        any.then(|| self.sessions.place(scope, said, fresh, Instant::now()))
    }

    /// What the body says of its conversation; nothing where none is had.
    async fn said(&self, classified: &Classified) -> Conversation {
        let endpoint = classified.routed.endpoint;
        if !endpoint.is_metered() || endpoint.is_embedding() {
            return Conversation::default();
        }
        if classified.body.len() <= READ_AT_ONCE_BYTES {
            return self.sessions.read(&classified.body);
        }
        let (sessions, body) = (Arc::clone(&self.sessions), classified.body.clone());
        // The read neither panics nor is cancelled but by the end of the runtime.
        tokio::task::spawn_blocking(move || sessions.read(&body)).await.unwrap_or_default()
    }
}

fn named(headers: &HeaderMap) -> Result<Option<SessionId>, Refusal> {
    for name in &headers::SESSION {
        let Some(value) = headers.get(name) else { continue };
        let text = value.to_str().map_err(|_| {
            Refusal::InvalidRequest(format!("the header `{name}` holds characters beyond ASCII"))
        })?;
        return text.parse().map(Some).map_err(invalid(name.as_str()));
    }
    Ok(None)
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

    #[test]
    fn an_overlong_session_id_is_refused_by_name() {
        let mut headers = HeaderMap::new();
        headers.insert("permille-session", HeaderValue::from_str(&"x".repeat(300)).unwrap());

        let refusal = named(&headers).unwrap_err().to_string();

        assert!(refusal.contains("permille-session") && refusal.contains("256"), "{refusal}");
    }
}
