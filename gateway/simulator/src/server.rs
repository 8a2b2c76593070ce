//! Listening, connections, shutdown.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::{
    config::SimulatorConfig,
    connection::{Connection, ResetSwitch},
    error::SimulatorError,
    provider::{OpenCount, Provider},
    routes, vocabulary,
};

/// A simulated provider that listens.
#[derive(Debug)]
pub struct Simulator {
    listener: TcpListener,
    address: SocketAddr,
    provider: Arc<Provider>,
}

/// Connections that wait to be accepted; load tests open thousands at once.
const BACKLOG: u32 = 4_096;
/// How long replies may go on after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(3);
/// Bytes of a reply that wait for a slow reader, per connection (HTTP/1.1) or stream (HTTP/2).
const WRITE_BUFFER_BYTES_MAX: usize = 64 << 10;
/// HTTP/2 streams per connection; a load test multiplexes more than the usual 100.
const STREAMS_MAX: u32 = 10_000;
/// How long to wait when no connection can be accepted (out of file descriptors).
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

impl Simulator {
    /// Opens the listener and the books. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`SimulatorError::Listen`] when the address cannot be had, [`SimulatorError::Books`] and
    /// [`SimulatorError::BookLine`] when the books cannot be used.
    pub fn bind(config: SimulatorConfig) -> Result<Self, SimulatorError> {
        let address = config.listen;
        let failed = |source| SimulatorError::Listen { address, source };
        let listener = listen(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, provider: Arc::new(Provider::open(config)?) })
    }

    /// Where it listens, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` completes, then lets open replies end for at most three seconds.
    ///
    /// # Errors
    /// None at present: a connection that fails takes nothing else with it.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), SimulatorError> {
        let Self { listener, provider, .. } = self;
        tokio::task::spawn_blocking(vocabulary::load);
        let builder = Arc::new(builder());
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        let builder = Arc::clone(&builder);
                        let watcher = graceful.watcher();
                        let provider = Arc::clone(&provider);
                        connections.spawn(serve(socket, provider, builder, watcher));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the simulator could not accept a connection");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        drop(listener);
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            provider.stopping.store(true, Ordering::Relaxed);
        }
        connections.shutdown().await;
        Ok(())
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).max_buf_size(WRITE_BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(WRITE_BUFFER_BYTES_MAX);
    builder
}

async fn serve(
    socket: TcpStream,
    provider: Arc<Provider>,
    builder: Arc<Builder<TokioExecutor>>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    provider.counters.connections.fetch_add(1, Ordering::Relaxed);
    let _open = OpenCount::new(Arc::clone(&provider), |counters| &counters.connections_open);
    let switch = Arc::new(ResetSwitch::default());
    let io = TokioIo::new(Connection::new(socket, Arc::clone(&switch)));
    let service = service_fn(move |request| {
        routes::respond(Arc::clone(&provider), Arc::clone(&switch), request)
    });
    let connection = builder.serve_connection(io, service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection to the simulator broke off");
    }
}
