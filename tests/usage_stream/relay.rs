//! Lines to Redis on which one command at a time goes through, when the test says so, and is lost
//! or its answer is, where it says that.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{Notify, oneshot},
    task::JoinHandle,
};

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered.
    Answered,
    /// It never comes to Redis: the connection ends.
    Lost,
    /// Redis does it, and nobody hears of it: the connection ends.
    AnswerLost,
}

/// A command that waits for its fate; whoever decides it is told when it is done.
type Held = oneshot::Sender<(Fate, oneshot::Sender<()>)>;

/// The way of one process to Redis.
#[derive(Debug)]
pub(crate) struct Line {
    address: SocketAddr,
    held: Arc<Mutex<VecDeque<Held>>>,
    task: JoinHandle<()>,
}

impl Line {
    /// One to the socket of a server; tells `changed` of every command that begins to wait.
    pub(crate) async fn to(socket: PathBuf, changed: Arc<Notify>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::<Mutex<VecDeque<Held>>>::default();
        let queue = Arc::clone(&held);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (queue, changed) = (Arc::clone(&queue), Arc::clone(&changed));
                let socket = socket.clone();
                tokio::spawn(async move { carry(stream, &socket, &queue, &changed).await });
            }
        });
        Self { address, held, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Whether a command waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.held.lock().unwrap().is_empty()
    }

    /// Decides what becomes of the command that has waited longest, and waits until it is done.
    pub(crate) async fn decide(&self, fate: Fate) {
        let held = self.held.lock().unwrap().pop_front();
        let Some(held) = held else { return };
        let (done, is_done) = oneshot::channel();
        if held.send((fate, done)).is_ok() {
            is_done.await.ok();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries what comes on one connection, until one of its commands is lost.
async fn carry(
    mut stream: TcpStream,
    socket: &Path,
    queue: &Mutex<VecDeque<Held>>,
    changed: &Notify,
) -> Option<()> {
    let (reading, mut writing) = stream.split();
    let mut reading = BufReader::new(reading);
    let mut redis = BufReader::new(UnixStream::connect(socket).await.ok()?);
    loop {
        let command = message(&mut reading).await?;
        let mut done = None;
        let mut fate = Fate::Answered;
        // What a connection begins with is nobody's step.
        if !command.windows(6).any(|part| part == b"CLIENT") {
            let (held, decided) = oneshot::channel();
            queue.lock().unwrap().push_back(held);
            changed.notify_one();
            let (decision, told) = decided.await.ok()?;
            (fate, done) = (decision, Some(told));
        }
        if fate == Fate::Lost {
            return Some(());
        }
        redis.get_mut().write_all(&without_waiting(command)).await.ok()?;
        let answer = message(&mut redis).await?;
        if fate == Fate::AnswerLost {
            return Some(());
        }
        // Whoever has gone away does not hear of it.
        writing.write_all(&answer).await.ok()?;
        if let Some(done) = done {
            done.send(()).ok();
        }
    }
}

/// One message of Redis's protocol, byte for byte.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut left = 1_usize;
    while left > 0 {
        left -= 1;
        let start = bytes.len();
        while !bytes[start..].ends_with(b"\r\n") {
            bytes.push(from.read_u8().await.ok()?);
        }
        let line = std::str::from_utf8(&bytes[start..bytes.len() - 2]).unwrap();
        let number = line[1..].parse::<usize>().ok();
        match (line.as_bytes()[0], number) {
            (b'*', Some(parts)) => left += parts,
            (b'$', Some(length)) => {
                let end = bytes.len() + length + 2;
                let start = bytes.len();
                bytes.resize(end, 0);
                from.read_exact(&mut bytes[start..]).await.ok()?;
            }
            // A line, or what is not there.
            _ => {}
        }
    }
    Some(bytes)
}

/// The same command, which waits for a millisecond at most where it says how long.
fn without_waiting(command: Vec<u8>) -> Vec<u8> {
    let text = b"\r\nBLOCK\r\n$";
    let Some(at) = command.windows(text.len()).position(|part| part == text) else {
        return command;
    };
    let rest = &command[at + text.len()..];
    let mut lines = rest.split_inclusive(|byte| *byte == b'\n').skip(2);
    let after: Vec<u8> = std::iter::from_fn(|| lines.next()).flatten().copied().collect();
    [&command[..at], text, b"1\r\n1\r\n", &after].concat()
}
