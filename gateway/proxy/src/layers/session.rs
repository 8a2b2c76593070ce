//! Which conversation a request belongs to, and which turn of it this is.
//!
//! First cut: the client names the conversation in a header. A request without one is a session
//! of its own, named by its request id. Turns count requests in the order of their admission.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use moka::sync::Cache;
use permille_types::{ControlPlane, CustomerId, SessionId};
use tokio::sync::Mutex;

use crate::{
    context::{InSession, Targeted},
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

/// The last turn of one session; `None` until billing was asked.
type LastTurn = Arc<Mutex<Option<u32>>>;

pub(crate) struct Session {
    control: Arc<dyn ControlPlane>,
    last_turns: Cache<(CustomerId, SessionId), LastTurn>,
}

impl Session {
    pub(crate) fn new(control: Arc<dyn ControlPlane>) -> Self {
        let last_turns =
            Cache::builder().max_capacity(SESSIONS_MAX).time_to_idle(SESSION_IDLE).build();
        Self { control, last_turns }
    }

    async fn next_turn(&self, customer: &CustomerId, session: &SessionId) -> u32 {
        let last = self
            .last_turns
            .get_with((customer.clone(), session.clone()), || Arc::new(Mutex::new(None)));
        // Held while billing is asked, so that concurrent first turns get different numbers.
        let mut last = last.lock().await;
        let before = match *last {
            Some(turn) => turn,
            None => self.ask(customer, session).await,
        };
        let turn = before.saturating_add(1);
        *last = Some(turn);
        turn
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
        let head = &targeted.classified.routed;
        let Some(session) = named(&head.parts.headers)? else {
            let session = head.id.into();
            return Ok(InSession { targeted, session, explicit: false, turn: 1 });
        };
        let turn = self.next_turn(&head.key.customer, &session).await;
        Ok(InSession { targeted, session, explicit: true, turn })
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
