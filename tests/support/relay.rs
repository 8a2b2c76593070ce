//! A network that a test can cut: a TCP relay to wherever the test says.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
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

/// Where a line leads.
#[derive(Debug, Clone)]
pub enum End {
    /// To a server on the network.
    Tcp(SocketAddr),
    /// To a server on a socket of the file system.
    Unix(PathBuf),
}

impl From<SocketAddr> for End {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// What is read from and written to one end.
type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

impl End {
    async fn connect(&self) -> io::Result<Halves> {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).await.map(halves),
            Self::Unix(path) => {
                let (read, write) = UnixStream::connect(path).await?.into_split();
                Ok((Box::new(read), Box::new(write)))
            }
        }
    }
}

fn halves(socket: TcpStream) -> Halves {
    socket.set_nodelay(true).ok();
    let (read, write) = socket.into_split();
    (Box::new(read), Box::new(write))
}

/// See the module's text. Dropping it cuts the line.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    /// What new connections follow, behind what those follow that were left.
    lines: Arc<Mutex<Vec<watch::Sender<Line>>>>,
    target: Arc<watch::Sender<End>>,
    serving: JoinHandle<()>,
}

impl Relay {
    /// Starts one to `target` on a free port.
    pub async fn start(target: impl Into<End>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::new(Mutex::new(vec![watch::Sender::new(Line::Up)]));
        let target = Arc::new(watch::Sender::new(target.into()));
        let (of_lines, of_target) = (Arc::clone(&lines), target.subscribe());
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let to = of_target.borrow().clone();
                let line = of_lines.lock().unwrap().last().unwrap().subscribe();
                tokio::spawn(relay(socket, to, line));
            }
        });
        Self { address, lines, target, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the line does this.
    pub fn set(&self, line: Line) {
        self.lines.lock().unwrap().last().unwrap().send_replace(line);
    }

    /// Leaves the connections that there are silent for good, as when their other end has lost its
    /// power. The line is up for new ones.
    pub fn leave(&self) {
        self.set(Line::Silent);
        self.lines.lock().unwrap().push(watch::Sender::new(Line::Up));
    }

    /// From now on new connections go there.
    pub fn lead_to(&self, target: impl Into<End>) {
        self.target.send_replace(target.into());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for line in &*self.lines.lock().unwrap() {
            line.send_replace(Line::Cut);
        }
        self.serving.abort();
    }
}

async fn relay(client: TcpStream, target: End, line: watch::Receiver<Line>) {
    if *line.borrow() == Line::Cut {
        return;
    }
    let Ok((from_server, to_server)) = target.connect().await else { return };
    let (from_client, to_client) = halves(client);
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
        let read = from.read(&mut piece[..bytes]).await;
        // An end is passed on as little as a byte.
        line.wait_for(passes).await.ok()?;
        let read = read.ok()?;
        if read == 0 {
            return to.shutdown().await.ok();
        }
        to.write_all(&piece[..read]).await.ok()?;
    }
}
