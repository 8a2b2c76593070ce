//! Accepts connections and serves the stack on them, HTTP/1.1 and HTTP/2, until told to stop.

use std::{
    net,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::{
    metrics::Metrics,
    stack::Stack,
    upstream::{H2_CONNECTION_BYTES, H2_STREAM_BYTES},
    workers::{Cut, Workers},
};

/// Streams of one HTTP/2 connection at once. Source: Envoy, "Configuring Envoy as an edge proxy".
const H2_STREAMS_MAX: u32 = 100;
/// Buffers of one HTTP/1.1 connection, in bytes: the head of a request must fit.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes buffered per HTTP/2 stream for a client that reads slowly.
const H2_SEND_BYTES: usize = 64 * 1024;
/// A client that takes no byte for so long while some are ready is cut off, and its reply is
/// ended as `client_gone`. Long enough for a laptop that changes networks.
const WRITE_STALL_MAX: Duration = Duration::from_mins(5);
/// Wait after `accept` failed, for example for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How the server runs.
pub(crate) struct Server {
    /// Where connections are served.
    pub(crate) workers: Workers,
    /// The stack in force.
    pub(crate) stacks: watch::Receiver<Stack>,
    pub(crate) metrics: Arc<Metrics>,
    /// How long a client may take to send its headers.
    pub(crate) header_time_max: Duration,
    /// How long open replies may take once the server is stopping.
    pub(crate) grace: Duration,
    /// Cancelled when the grace is over and what is still open is cut.
    pub(crate) cut: CancellationToken,
}

impl Server {
    /// Serves until `stop`, then lets open replies finish within the grace. Returns what is left of
    /// the grace when the last of them has ended, and the threads that they ran on.
    pub(crate) async fn run(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> (Duration, Cut) {
        let builder = self.builder();
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            // From here on another runtime waits for the socket.
            let socket = match accepted.and_then(|(socket, _)| socket.into_std()) {
                Ok(socket) => socket,
                Err(cause) => {
                    tracing::warn!(%cause, "accept");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let (builder, watcher) = (builder.clone(), graceful.watcher());
            let (stacks, silence_max) = (self.stacks.clone(), self.header_time_max);
            let gauge = self.metrics.connections.clone();
            self.workers.spawn(move || async move {
                let Ok(io) = prepared(socket) else { return };
                let asked = Arc::new(Notify::new());
                let request_came = Arc::clone(&asked);
                let newest = Mutex::new(Newest::of(stacks));
                let service = service_fn(move |request| {
                    request_came.notify_one();
                    newest.lock().stack().call(request)
                });
                let connection = builder.serve_connection(TokioIo::new(io), service).into_owned();
                let connection = watcher.watch(connection);
                gauge.inc();
                tokio::select! {
                    ended = connection => if let Err(cause) = ended {
                        tracing::debug!(%cause, "connection ended");
                    },
                    () = nothing_asked(&asked, silence_max) => {
                        tracing::debug!("connection closed: it asked for nothing");
                    }
                }
                gauge.dec();
            });
        }
        drop(listener);
        let stopping = Instant::now();
        if tokio::time::timeout(self.grace, graceful.shutdown()).await.is_err() {
            tracing::warn!(open = self.workers.open(), "grace over: open replies are cut");
            self.cut.cancel();
        }
        let threads = self.workers.cut().await;
        (self.grace.saturating_sub(stopping.elapsed()), threads)
    }

    fn builder(&self) -> auto::Builder<OnThisThread> {
        let mut builder = auto::Builder::new(OnThisThread);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_time_max)
            .max_buf_size(BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS_MAX)
            .initial_stream_window_size(H2_STREAM_BYTES)
            .initial_connection_window_size(H2_CONNECTION_BYTES)
            .max_send_buf_size(H2_SEND_BYTES)
            .keep_alive_interval(Duration::from_secs(30));
        builder
    }
}

/// Runs the streams of an HTTP/2 connection where the connection is served.
#[derive(Clone)]
struct OnThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, stream: F) {
        drop(tokio::task::spawn_local(stream));
    }
}

/// The stack in force, as the requests of one connection share it.
struct Newest {
    stacks: watch::Receiver<Stack>,
    stack: Stack,
}

impl Newest {
    fn of(mut stacks: watch::Receiver<Stack>) -> Self {
        let stack = stacks.borrow_and_update().clone();
        Self { stacks, stack }
    }

    /// The one for a request that comes now.
    fn stack(&mut self) -> &mut Stack {
        // Where nobody can change it any more, it is the newest.
        if self.stacks.has_changed().unwrap_or(false) {
            self.stack = self.stacks.borrow_and_update().clone();
        }
        &mut self.stack
    }
}

/// Resolves when a new connection has brought no request for `silence_max`; `asked` is told of each
/// request. Hyper's own bound on headers begins once the protocol is known, which a client that
/// sends nothing never lets it be, and for HTTP/2 there is none.
pub async fn nothing_asked(asked: &Notify, silence_max: Duration) {
    if tokio::time::timeout(silence_max, asked.notified()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// A client connection with `TCP_NODELAY` and a bound on how long a write may make no progress. The
/// runtime that is entered waits for it.
fn prepared(socket: net::TcpStream) -> std::io::Result<Pin<Box<TimeoutStream<TcpStream>>>> {
    socket.set_nodelay(true)?;
    let socket = TcpStream::from_std(socket)?;
    let mut io = TimeoutStream::new(socket);
    io.set_write_timeout(Some(WRITE_STALL_MAX));
    Ok(Box::pin(io))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_connection_does_not_wait_to_fill_packets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let io = prepared(accepted.unwrap().0.into_std().unwrap()).unwrap();

        assert!(io.get_ref().nodelay().unwrap());
        drop(client);
    }
}
