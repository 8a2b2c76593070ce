//! What the layers know of a request, one type per stage. A layer takes the stage before it and
//! gives the next, so the compiler checks the order of the stack.

use std::{borrow::Cow, sync::Arc, time::Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, Method, request::Parts};
use hyper::body::Incoming;
use permille_limits::Taken;
use permille_session::{Counter, Placed, Recogniser};
use permille_types::{Endpoint, Family, KeyPolicy, ModelName, RequestId, SessionId, TurnKind};
use permille_usage::request::RequestFacts;
use smallvec::SmallVec;

use crate::{
    access_token::AccessToken, attempts::Attempts, known::Known, limiter::Reserved, reply::Asked,
    stored::Created, upstream::Upstream,
};

/// A request as it arrived.
pub(crate) struct Inbound {
    /// Our id, also in the answer's headers.
    pub(crate) id: RequestId,
    /// When it arrived, wall clock.
    pub(crate) at: DateTime<Utc>,
    /// When it arrived, for durations.
    pub(crate) started: Instant,
    /// Method, target and headers.
    pub(crate) head: Parts,
    /// The body, not yet read.
    pub(crate) body: Incoming,
}

/// A request that may be served now: it holds one of the bounded places.
pub(crate) struct Admitted {
    /// The request.
    pub(crate) inbound: Inbound,
    /// Its place, held until the reply has ended.
    pub(crate) place: Taken,
}

/// A request of a known key.
pub(crate) struct Authenticated {
    /// The request.
    pub(crate) admitted: Admitted,
    /// Whose key it is.
    pub(crate) key: Arc<KeyPolicy>,
    /// The keys and prices in force when it arrived.
    pub(crate) known: Arc<Known>,
}

/// A request for a known endpoint.
pub(crate) struct Routed {
    /// The request.
    pub(crate) authenticated: Authenticated,
    /// Whose format it has.
    pub(crate) family: Family,
    /// Whose upstreams may serve it; absent where all of the family may.
    pub(crate) provider: Option<Cow<'static, str>>,
    /// What it asks for.
    pub(crate) endpoint: Endpoint,
    /// The model, where the path names it.
    pub(crate) model: Option<String>,
    /// Path below the upstream's base URL, with the query.
    pub(crate) upstream_path: String,
}

/// A request whose body has been read as far as metering needs it.
pub(crate) struct Classified {
    /// The request, without its body. In a box, because it goes through every layer from here on.
    pub(crate) routed: Box<Head>,
    /// Model, stream, limits; absent for endpoints without a body.
    pub(crate) facts: Option<RequestFacts>,
    /// The body as the client sent it. Kept until the reply ends, for estimation.
    pub(crate) body: Bytes,
    /// The body as the upstream gets it: differs only where we ask for usage. The call takes it
    /// over.
    pub(crate) upstream_body: Bytes,
    /// Whether we asked for a usage frame that the client did not ask for.
    pub(crate) usage_added: bool,
}

/// A routed request whose body has been taken off.
pub(crate) struct Head {
    /// Our id.
    pub(crate) id: RequestId,
    /// When it arrived, wall clock.
    pub(crate) at: DateTime<Utc>,
    /// When it arrived, for durations.
    pub(crate) started: Instant,
    /// Method, target and headers.
    pub(crate) parts: Parts,
    /// Its bounded place and the memory of its body; the exchange takes them over.
    pub(crate) held: Option<(Taken, Taken)>,
    /// Whose key it is.
    pub(crate) key: Arc<KeyPolicy>,
    /// The keys and prices in force when it arrived.
    pub(crate) known: Arc<Known>,
    /// Whose format it has.
    pub(crate) family: Family,
    /// Whose upstreams may serve it; absent where all of the family may.
    pub(crate) provider: Option<Cow<'static, str>>,
    /// What it asks for.
    pub(crate) endpoint: Endpoint,
    /// Whether the path names the model, so that none can be named in its place.
    pub(crate) model_in_path: bool,
    /// Path below the upstream's base URL, with the query. The call takes it over.
    pub(crate) upstream_path: String,
}

/// A request with the upstreams that serve its model at a known price.
pub(crate) struct Targeted {
    /// The request.
    pub(crate) classified: Classified,
    /// Where it may go, in the order in which they are called. Never empty, until the call takes
    /// them over.
    pub(crate) candidates: Candidates,
    /// The response of the background that a read of it settles, once it has ended.
    pub(crate) settles: Option<Arc<Created>>,
    /// The aliases that a list of models is to name too; empty for every other request.
    pub(crate) aliases: Vec<ModelName>,
}

/// Mostly one: it needs no memory of its own.
pub(crate) type Candidates = SmallVec<[Candidate; 1]>;

/// An upstream that may be called for a request.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// Where the request goes.
    pub(crate) upstream: Arc<Upstream>,
    /// The model that it is asked for; `None`: the one that the client named.
    pub(crate) model: Option<ModelName>,
}

/// A request with its place in a conversation.
pub(crate) struct InSession {
    /// The request.
    pub(crate) targeted: Targeted,
    /// The conversation.
    pub(crate) session: SessionId,
    /// The turn, from 1.
    pub(crate) turn: u32,
    /// How it came about, where that is known.
    pub(crate) kind: Option<TurnKind>,
    /// Where its reply is told, so that later requests find this one; absent where its body holds
    /// no messages. The record takes it over.
    pub(crate) placed: Option<Placed>,
    /// Whether the client named the conversation.
    pub(crate) is_named: bool,
    /// Where its turn was counted; absent where it is none, or that of a request that it repeats.
    pub(crate) counted: Option<NamedTurn>,
    /// What it holds of its limits; absent where it has none. The record takes it over.
    pub(crate) reserved: Option<Reserved>,
    /// Limits that are nearly used, as the answer says it.
    pub(crate) warnings: Vec<HeaderValue>,
}

/// Where the turns of a named conversation are counted.
pub(crate) struct NamedTurn {
    /// By this gateway.
    pub(crate) last: LastTurn,
    /// By all gateways together.
    pub(crate) counter: Counter,
}

/// The last turn of one session, as this gateway knows it.
pub(crate) type LastTurn = Arc<tokio::sync::Mutex<Counted>>;

/// See [`LastTurn`].
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Its number; 0 before the first.
    pub(crate) last: u32,
    /// Whether any was counted here.
    pub(crate) is_begun: bool,
    /// Since when billing has not said what it knows, where it has not.
    pub(crate) unsure_since: Option<Instant>,
}

impl InSession {
    /// Nothing more is known of it.
    pub(crate) fn new(targeted: Targeted, session: SessionId, turn: u32) -> Self {
        Self {
            targeted,
            session,
            turn,
            kind: None,
            placed: None,
            is_named: false,
            counted: None,
            reserved: None,
            warnings: Vec::new(),
        }
    }

    /// The request goes no further: the next one of its conversation has its turn, unless another
    /// one came meanwhile.
    pub(crate) fn turn_away(&self, recogniser: &Recogniser) {
        let id = self.targeted.classified.routed.id;
        self.give_back(id, recogniser);
        if let Some(placed) = &self.placed {
            recogniser.failed(id, placed);
        }
    }

    /// The number comes first: who is told that the request failed does not repeat it.
    fn give_back(&self, id: RequestId, recogniser: &Recogniser) {
        let Some(NamedTurn { last, counter }) = &self.counted else { return };
        if recogniser.back(id, self.placed.as_ref(), *counter, self.turn)
            && let Ok(mut counted) = last.try_lock()
            && counted.last == self.turn
        {
            counted.last = self.turn.saturating_sub(1);
        }
    }
}

/// What is sent to whichever upstream is called, and those that may be.
pub(crate) struct Calls {
    /// In the order in which they are called.
    pub(crate) candidates: Candidates,
    /// Method and headers as every upstream gets them, before its credential.
    pub(crate) method: Method,
    /// See `method`.
    pub(crate) headers: HeaderMap,
    /// Path below an upstream's base URL, with the query.
    pub(crate) path: String,
    /// The body, but for the model.
    pub(crate) body: Bytes,
    /// How a reply is to be read.
    pub(crate) asked: Asked,
    /// Where each call is noted.
    pub(crate) attempts: Attempts,
}

/// One call to an upstream, with everything but the credential.
pub(crate) struct Outgoing {
    /// Where it goes.
    pub(crate) upstream: Arc<Upstream>,
    /// What the upstream's credential was exchanged for, where it is one that is exchanged.
    pub(crate) token: Option<AccessToken>,
    /// What is sent.
    pub(crate) request: http::Request<Bytes>,
}
