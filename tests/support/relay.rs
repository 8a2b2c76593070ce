//! A network that a test can cut: a TCP relay to wherever the test says.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::interval,
};

/// Between two pieces on a slow line.
const SLOW_EVERY: Duration = Duration::from_millis(2);
/// Bytes of one of them: 500 kB/s.
const SLOW_BYTES: usize = 1_000;
/// Bytes read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Passes everything on.
    Up,
    /// Passes it on slowly.
    Slow,
    /// Passes nothing on and breaks nothing off, like a lost route.
    Silent,
    /// Breaks off every connection and takes none.
    Cut,
}

/// See the module's text. Dropping it cuts the line.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    line: Arc<watch::Sender<Line>>,
    target: Arc<watch::Sender<SocketAddr>>,
    serving: JoinHandle<()>,
}

impl Relay {
    /// Starts one to `target` on a free port.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(watch::Sender::new(Line::Up));
        let target = Arc::new(watch::Sender::new(target));
        let (of_line, of_target) = (line.subscribe(), target.subscribe());
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let to = *of_target.borrow();
                tokio::spawn(relay(socket, to, of_line.clone()));
            }
        });
        Self { address, line, target, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the line does this.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// From now on new connections go there.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.send_replace(Line::Cut);
        self.serving.abort();
    }
}

async fn relay(client: TcpStream, target: SocketAddr, line: watch::Receiver<Line>) {
    if *line.borrow() == Line::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = line.clone();
    tokio::select! {
        _ = cut.wait_for(|line| *line == Line::Cut) => {}
        // Each end passes its own side's end on; the connection is over when both have.
        _ = futures_util::future::join(
            pump(from_client, to_server, line.clone()),
            pump(from_server, to_client, line),
        ) => {}
    }
}

/// Passes bytes on as the line allows, until either side ends.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut line: watch::Receiver<Line>,
) -> Option<()> {
    let mut slow = interval(SLOW_EVERY);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let passes = |line: &Line| matches!(line, Line::Up | Line::Slow);
        let bytes = match *line.wait_for(passes).await.ok()? {
            Line::Slow => SLOW_BYTES,
            _ => PIECE_BYTES,
        };
        if bytes == SLOW_BYTES {
            slow.tick().await;
        }
        let read = from.read(&mut piece[..bytes]).await.ok()?;
        if read == 0 {
            return to.shutdown().await.ok();
        }
        line.wait_for(passes).await.ok()?;
        to.write_all(&piece[..read]).await.ok()?;
    }
}
