//! No herd: requests do not probe a Redis that is away, each gateway does once at a time, and
//! limits hold while many gateways come back. That they do not come back in one instant is tested
//! where their pauses are.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;
use permille_limits::{Kind, Refused, SharedBooks, Use, WhenAway};
use permille_test_redis::Redis;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

use crate::{
    gateways::{Gateway, read},
    outages::{all_there, noticed},
    server::books,
    support::{Ledger, customer, eventually, id, line, money},
};

/// What a server was asked, by the name of the command.
type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

/// A server that has an error for everything, and for a probe only when it is told to answer it.
struct Ailing {
    address: SocketAddr,
    asked: Asked,
    answers: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Ailing {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answers) = (Asked::default(), Arc::new(Semaphore::new(0)));
        let (noted, permits) = (Arc::clone(&asked), Arc::clone(&answers));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&noted), Arc::clone(&permits)));
            }
        });
        Self { address, asked, answers, task }
    }

    fn books(&self) -> SharedBooks {
        // Nobody goes on because no answer came.
        SharedBooks::open(&format!("redis://{}", self.address).into(), PATIENCE).unwrap()
    }

    fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.lock().clone()
    }

    async fn is_probed(&self, times: usize) {
        eventually("it is probed", async || self.asked().get("PING") == Some(&times)).await;
    }

    /// Answers one probe.
    fn answer_a_probe(&self) {
        self.answers.add_permits(1);
    }
}

impl Drop for Ailing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const PATIENCE: Duration = Duration::from_mins(1);

/// Notes each command as it comes, also while one before it waits for its answer.
async fn answer(stream: TcpStream, asked: Asked, answers: Arc<Semaphore>) {
    let (mut reading, mut writing) = stream.into_split();
    let (noted, mut to_answer) = mpsc::unbounded_channel::<String>();
    tokio::spawn(async move {
        while let Some(name) = to_answer.recv().await {
            if name == "PING" {
                answers.acquire().await.unwrap().forget();
            }
            let answer = if name == "CLIENT" { "+OK\r\n" } else { "-ERR not now\r\n" };
            writing.write_all(answer.as_bytes()).await.ok();
        }
    });
    let mut unread = Vec::new();
    while reading.read_buf(&mut unread).await.is_ok_and(|read| read > 0) {
        while let Some((name, end)) = command(&unread) {
            unread.drain(..end);
            *asked.lock().entry(name.clone()).or_default() += 1;
            noted.send(name).unwrap();
        }
    }
}

/// The name of the first command in `bytes` and where it ends, once it is whole.
fn command(bytes: &[u8]) -> Option<(String, usize)> {
    let mut at = 0;
    let mut number = |sign: u8| {
        let line = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        assert_eq!(bytes[at], sign);
        let number: usize =
            std::str::from_utf8(&bytes[at + 1..at + line]).unwrap().parse().unwrap();
        at += line + 2;
        let word = at;
        if sign == b'$' {
            at += number + 2;
        }
        Some((number, word))
    };
    let (words, _) = number(b'*')?;
    let mut name = None;
    for _ in 0..words {
        let (length, word) = number(b'$')?;
        let text = bytes.get(word..word + length)?;
        name.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
    }
    (at <= bytes.len()).then_some((name?, at))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_probe_and_one_probe_of_a_gateway_is_under_way_at_most() {
    let (redis, ledger) = (Ailing::start().await, Arc::new(Ledger::default()));
    let gateway = Gateway::start("gw-1", redis.books(), WhenAway::Refuse, &ledger);
    let (whose, rate) = (customer("acme"), [line(Kind::Requests, "r", 1_000_000, 1)]);

    for probe in 1..=3 {
        redis.is_probed(probe).await;
        let before = redis.asked();
        let waiting = (0..1_000).map(|_| gateway.limits.reserve(&whose, id(), &rate));
        for reserved in join_all(waiting).await {
            assert!(matches!(reserved, Err(Refused::Unavailable)), "{reserved:?}");
        }
        assert_eq!(redis.asked(), before, "probe {probe} is not answered yet");
        redis.answer_a_probe();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_while_many_gateways_come_back_from_an_outage() {
    let (mut redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let start = |place| {
        let name = format!("gw-{place}");
        Gateway::start(&name, books(&redis), WhenAway::Refuse, &ledger)
    };
    let gateways: Vec<Gateway> = (1..=12).map(start).collect();
    let (whose, lines) = (customer("acme"), [money(1_000, 10)]);
    all_there(&redis, &gateways).await;
    let mut open = Vec::new();
    for place in 0..60 {
        let gateway = &gateways[place % gateways.len()];
        open.push(gateway.limits.reserve(&whose, id(), &lines).await.unwrap());
    }

    redis.kill();
    noticed(&gateways, &whose).await;
    redis.start_again().await;
    // Everybody asks all the time: as each of them is back, what the others hold counts.
    eventually("all are back and nothing is left", async || {
        let asked = gateways.iter().map(|gateway| gateway.limits.reserve(&whose, id(), &lines));
        let answers = join_all(asked).await;
        let is_full = answers.iter().all(|answer| matches!(answer, Err(Refused::Blocked(_))));
        open.extend(answers.into_iter().filter_map(Result::ok));
        assert!(open.len() <= 100, "{} are open", open.len());
        is_full
    })
    .await;

    assert_eq!(open.len(), 100);
    assert_eq!(read(&redis, &whose, "m").await, Use { used: 0, held: 1_000 });
}
