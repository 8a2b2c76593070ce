//! Books that several gateways share, in Redis: one script, one round trip per step.
//!
//! Redis is never the truth: what was spent is in the ledger, and counters that are not there are
//! loaded from it again.

mod roll;
mod script;

use std::{fmt, time::Duration};

use permille_types::{CustomerId, NodeId, RequestId};
use redis::{
    Client, RedisError, RedisResult, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

use crate::step::{Base, Extended, Kind, Line, Loaded, Post, Posted, Reserved, Use};
pub(crate) use roll::Roll;
use script::Unexpected;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Times that a load is asked for: once more where the log has nodes that the ledger does not know
/// yet, and again where another begins meanwhile.
const LOADS_MAX: usize = 4;

/// Why a step has no answer. The books may have taken it or not.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The URL is not one.
    #[error("open redis: the url is not usable")]
    Url,
    /// The server refused, or the connection broke.
    #[error("redis: {operation}")]
    Redis {
        /// What was asked.
        operation: &'static str,
        /// What it said.
        #[source]
        cause: RedisError,
    },
    /// No answer came in time.
    #[error("redis: {operation}: no answer within {wait_ms} ms")]
    Late {
        /// What was asked.
        operation: &'static str,
        /// The bound.
        wait_ms: u128,
    },
    /// The server has lost what it held.
    #[error("redis: the books that it held are gone")]
    Forgot,
    /// The answer is not one of the script's.
    #[error("redis: {operation}: an answer that the script does not give")]
    Unexpected {
        /// What was asked.
        operation: &'static str,
    },
}

/// The books of all customers in one Redis. Clones share the connection.
#[derive(Clone)]
pub struct SharedBooks {
    connection: ConnectionManager,
    wait: Duration,
    /// Who asks may run elsewhere; the connection lives here.
    runtime: Handle,
}

impl fmt::Debug for SharedBooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBooks").field("wait", &self.wait).finish_non_exhaustive()
    }
}

/// When and for how long a step is made.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Milliseconds since 1970; absent is the server's own time, on which all gateways agree.
    pub now: Option<u64>,
    /// For how long a reservation holds unless it is renewed.
    pub lease_ms: u64,
}

impl SharedBooks {
    /// Books at `url`; each step waits for at most `wait`. Connects with the first step.
    ///
    /// # Errors
    /// [`SharedError::Url`] when the URL cannot be used.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn open(url: &SecretString, wait: Duration) -> Result<Self, SharedError> {
        let client = Client::open(url.expose_secret()).map_err(|_| SharedError::Url)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(wait))
            // Whoever asks goes on without; one probe at a time comes back.
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(client, config)
            .map_err(|cause| SharedError::Redis { operation: "open", cause })?;
        Ok(Self { connection, wait, runtime: Handle::current() })
    }

    async fn call(
        &self,
        operation: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<Vec<String>, SharedError> {
        let mut connection = self.connection.clone();
        self.answer(operation, call.invoke_async(&mut connection)).await
    }

    /// Waits for an answer, within the bound.
    async fn answer<T>(
        &self,
        operation: &'static str,
        asked: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, SharedError> {
        let asked = async { tokio::time::timeout(self.wait, asked).await };
        match TokioContext::new(asked, self.runtime.clone()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(cause)) => Err(SharedError::Redis { operation, cause }),
            Err(_) => Err(SharedError::Late { operation, wait_ms: self.wait.as_millis() }),
        }
    }

    /// See [`crate::Books::reserve`].
    ///
    /// # Errors
    /// [`SharedError`]: whether it holds is not known.
    pub async fn reserve(
        &self,
        customer: &CustomerId,
        id: RequestId,
        at: Lease,
        lines: &[Line],
    ) -> Result<Reserved, SharedError> {
        const OPERATION: &str = "reserve";
        let mut call = script::step(OPERATION, customer, Some(id), at.lease_ms, at.now);
        script::add_lines(&mut call, lines);
        let answer = self.call(OPERATION, &call).await?;
        script::reserved(&answer).map_err(|_: Unexpected| unexpected(OPERATION))
    }

    /// See [`crate::Books::extend`].
    ///
    /// # Errors
    /// [`SharedError`]: whether it holds is not known.
    pub async fn extend(
        &self,
        customer: &CustomerId,
        id: RequestId,
        at: Lease,
        lines: &[Line],
    ) -> Result<Extended, SharedError> {
        const OPERATION: &str = "extend";
        let mut call = script::step(OPERATION, customer, Some(id), at.lease_ms, at.now);
        script::add_lines(&mut call, lines);
        let answer = self.call(OPERATION, &call).await?;
        script::extended(&answer).map_err(|_| unexpected(OPERATION))
    }

    /// See [`crate::Books::hold`].
    ///
    /// # Errors
    /// [`SharedError`]: whether it holds is not known; asking again is safe.
    pub async fn hold(
        &self,
        customer: &CustomerId,
        id: RequestId,
        at: Lease,
        lines: &[Line],
    ) -> Result<(), SharedError> {
        const OPERATION: &str = "hold";
        let mut call = script::step(OPERATION, customer, Some(id), at.lease_ms, at.now);
        script::add_lines(&mut call, lines);
        self.call(OPERATION, &call).await.map(drop)
    }

    /// See [`crate::Books::renew`]; where in `ids` those are that are not there.
    ///
    /// # Errors
    /// [`SharedError`]: whether it was renewed is not known.
    pub async fn renew(
        &self,
        customer: &CustomerId,
        at: Lease,
        ids: &[RequestId],
    ) -> Result<Vec<usize>, SharedError> {
        const OPERATION: &str = "renew";
        let mut call = script::step(OPERATION, customer, None, at.lease_ms, at.now);
        for id in ids {
            call.arg(id.to_string());
        }
        let answer = self.call(OPERATION, &call).await?;
        script::missing(&answer).map_err(|_| unexpected(OPERATION))
    }

    /// See [`crate::Books::settle`].
    ///
    /// # Errors
    /// [`SharedError`]: whether it is in the books is not known; telling it again is safe.
    pub async fn settle(
        &self,
        customer: &CustomerId,
        id: RequestId,
        now: Option<u64>,
        event: (&NodeId, u64),
        posts: &[Post],
    ) -> Result<Posted, SharedError> {
        const OPERATION: &str = "settle";
        let mut call = script::step(OPERATION, customer, Some(id), 0, now);
        script::add_logs(&mut call, customer, std::iter::once(event.0));
        script::add_posts(&mut call, event, posts);
        let answer = self.call(OPERATION, &call).await?;
        script::posted(&answer).map_err(|_| unexpected(OPERATION))
    }

    /// See [`crate::Books::release`].
    ///
    /// # Errors
    /// [`SharedError`]: whether it was given back is not known; telling it again is safe.
    pub async fn release(
        &self,
        customer: &CustomerId,
        id: RequestId,
        now: Option<u64>,
    ) -> Result<(), SharedError> {
        const OPERATION: &str = "release";
        let call = script::step(OPERATION, customer, Some(id), 0, now);
        self.call(OPERATION, &call).await.map(drop)
    }

    /// See [`crate::Books::load`].
    ///
    /// # Errors
    /// [`SharedError`]: whether they were loaded is not known; telling it again is safe.
    pub async fn load(
        &self,
        customer: &CustomerId,
        now: Option<u64>,
        seen: &[(NodeId, u64)],
        bases: &[Base],
    ) -> Result<Loaded, SharedError> {
        const OPERATION: &str = "load";
        // Nodes that the ledger does not know yet.
        let mut others = Vec::new();
        for _ in 0..LOADS_MAX {
            let mut call = script::step(OPERATION, customer, None, 0, now);
            let known = seen.iter().map(|(node, _)| node);
            script::add_logs(&mut call, customer, known.chain(&others));
            script::add_bases(&mut call, seen, bases);
            let answer = self.call(OPERATION, &call).await?;
            match script::loaded(&answer).map_err(|_| unexpected(OPERATION))? {
                Ok(loaded) => return Ok(loaded),
                Err(more) => others.extend(more),
            }
        }
        Err(unexpected(OPERATION))
    }

    /// How far counters are used; `None` for one that is not there.
    ///
    /// # Errors
    /// [`SharedError`] when there is no answer.
    pub async fn read(
        &self,
        customer: &CustomerId,
        now: Option<u64>,
        counters: &[(Kind, &str)],
    ) -> Result<Vec<Option<Use>>, SharedError> {
        const OPERATION: &str = "read";
        let mut call = script::step(OPERATION, customer, None, 0, now);
        script::add_reads(&mut call, counters);
        let answer = self.call(OPERATION, &call).await?;
        script::read(&answer).map_err(|_| unexpected(OPERATION))
    }

    /// Whether the server answers at all.
    ///
    /// # Errors
    /// [`SharedError`] when it does not.
    pub async fn ping(&self) -> Result<(), SharedError> {
        let (mut connection, asked) = (self.connection.clone(), redis::cmd("PING"));
        self.answer::<String>("ping", asked.query_async(&mut connection)).await.map(|_| ())
    }
}

fn unexpected(operation: &'static str) -> SharedError {
    SharedError::Unexpected { operation }
}
