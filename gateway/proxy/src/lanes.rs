//! Ways to one upstream: as many clients as its open requests need.
//!
//! A client keeps one HTTP/2 connection to a host, and a request beyond the streams which the
//! server takes on it waits inside for another to end. So a lane, which is such a client, takes no
//! more requests than any server takes streams, and the next request gets the next lane.
//!
//! Each thread that serves has its own: a reply arrives where its request is.

use std::sync::Arc;

use parking_lot::Mutex;
use permille_limits::{Budget, Taken};
use thread_local::ThreadLocal;

use crate::upstream::{Connector, HttpClient, client_over};

/// Open requests of one lane.
/// Source: RFC 9113, section 6.5.2 (servers should take no fewer than 100 streams).
const LANE_REQUESTS_MAX: u64 = 100;

struct Lane {
    client: HttpClient,
    requests: Arc<Budget>,
}

/// See the module's text. Bounded, for each thread, by the open requests that the gateway admits.
pub(crate) struct Lanes {
    connector: Connector,
    http2: bool,
    open: ThreadLocal<Mutex<Vec<Lane>>>,
}

impl Lanes {
    pub(crate) fn new(connector: Connector, http2: bool) -> Self {
        Self { connector, http2, open: ThreadLocal::new() }
    }

    /// A client with room for one more request, and the room, to be held until its reply has ended.
    pub(crate) fn enter(&self) -> (HttpClient, Option<Taken>) {
        let mut lanes = self.open.get_or_default().lock();
        for lane in &*lanes {
            if let Some(room) = lane.requests.take(1) {
                return (lane.client.clone(), Some(room));
            }
        }
        let requests = Budget::new(LANE_REQUESTS_MAX);
        let room = requests.take(1);
        let client = client_over(&self.connector, self.http2);
        lanes.push(Lane { client: client.clone(), requests });
        (client, room)
    }
}
