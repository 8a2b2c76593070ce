//! Old usage as Parquet files: what is written is what the ledger has, for every reader, wherever
//! the files lie and whatever stops the writing.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use permille_ledger::{Ledger, LedgerConfig, NewCustomer, NewKey, Pepper, PriceOrigin};
use permille_rating::price_book::parse_price_book;
use permille_types::{
    Attempt, Batch, Clock as _, Currency, CustomerId, Ended, Endpoint, Family, KeyId, Sequenced,
    Source, SystemClock, TokenClass, TokenCounts, UnitCounts, UsageEvent,
};
use rust_decimal::Decimal;
use serde_json::Value;
use support::{Finished, Folder, Web, eventually, sdk::python};

const PRICES: &str = r#"
[[price]]
model = "house"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.012"
output = "0.0000000000007"
cache_read = "0.0012"

[[price]]
model = "house"
currency = "USD"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.0025"
output = "0.01"
cache_read = "0.00125"
"#;

/// The first of the days that have usage.
const FIRST: &str = "2026-03-01T00:00:00Z";

/// The store of a folder, filled as billing fills it.
struct Books {
    ledger: Ledger,
    keys: Vec<(CustomerId, KeyId)>,
    random: fastrand::Rng,
    batches: u32,
}

impl Books {
    async fn open(folder: &Folder) -> Self {
        std::fs::create_dir_all(folder.data()).unwrap();
        let ledger = ledger(folder).await;
        let prices = parse_price_book(PRICES, "a test").unwrap();
        ledger.import_prices(&prices, PriceOrigin::Operator).await.unwrap();
        let mut keys = Vec::new();
        for (id, currency) in [("acme", Currency::CNY), ("zhang", Currency::USD)] {
            let (id, name, time_zone) = (Some(id.to_owned()), id.to_owned(), chrono_tz::UTC);
            let customer = NewCustomer { id, name, currency, time_zone };
            let customer = ledger.create_customer(customer).await.unwrap().id;
            let project = "default".parse().unwrap();
            let key = NewKey { customer: customer.clone(), project, name: None, rpm: None };
            keys.push((customer, ledger.create_key(key).await.unwrap().key.id));
        }
        Self { ledger, keys, random: fastrand::Rng::with_seed(7), batches: 0 }
    }

    /// So many requests on each of so many days, some without a price.
    async fn fill(&mut self, days: u32, rows: u32) {
        for day in 0..days {
            let events: Vec<UsageEvent> = (0..rows).map(|_| self.event(day)).collect();
            self.arrive(&events).await;
        }
    }

    async fn arrive(&mut self, events: &[UsageEvent]) {
        self.batches += 1;
        let sequenced = events.iter().zip(1..).map(|(event, sequence)| Sequenced {
            sequence,
            payload: Bytes::from(event.to_payload()),
        });
        let node = format!("node-{}", self.batches).parse().unwrap();
        self.ledger.accept(&Batch { node, events: sequenced.collect() }).await.unwrap();
    }

    fn event(&mut self, day: u32) -> UsageEvent {
        let random = &mut self.random;
        let of_day = TimeDelta::microseconds(random.i64(0..86_400_000_000));
        let at = FIRST.parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(day.into()) + of_day;
        let mut tokens = TokenCounts::from([
            (TokenClass::INPUT_UNCACHED, random.u64(0..5_000)),
            (TokenClass::OUTPUT_TEXT, random.u64(0..900)),
        ]);
        if random.bool() {
            tokens.insert(TokenClass::CACHE_READ, random.u64(0..2_000));
        }
        // A class of tomorrow: it has no price, and no column of its own.
        let unpriced = random.u8(0..20) == 0;
        if unpriced {
            tokens.insert(TokenClass::named("smell_in"), random.u64(1..50));
        }
        let (customer, key) = self.keys[random.usize(0..2)].clone();
        let id = (u128::from(random.u64(..)) << 64 | u128::from(random.u64(..)))
            & !(0xf << 76 | 0x3 << 62)
            | 0x7 << 76
            | 0x2 << 62;
        UsageEvent {
            version: 5,
            request_id: uuid(id).parse().unwrap(),
            at,
            customer,
            project: "default".parse().unwrap(),
            key,
            session: format!("chat-{}", random.u8(0..9)).parse().unwrap(),
            session_explicit: random.bool(),
            turn: random.u32(1..9),
            turn_kind: None,
            resent_tokens: None,
            family: Family::OpenAi,
            endpoint: Endpoint::ChatCompletions,
            model_requested: "house".parse().unwrap(),
            model_served: random.bool().then(|| "house".parse().unwrap()),
            service_tier: None,
            region: None,
            upstream: Some("main".parse().unwrap()),
            status: Some(200),
            streamed: random.bool(),
            ended: Ended::Complete,
            source: Source::Reported,
            input_total: Some(random.u64(0..5_000)),
            output_total: None,
            estimate_error_permille: None,
            units: UnitCounts::new(),
            attempts: vec![Attempt {
                upstream: "main".parse().unwrap(),
                model: None,
                status: Some(200),
                provider_id: Some(format!("chatcmpl-{:x}", random.u64(..))),
                provider_request_id: None,
                ended: Ended::Complete,
                tokens: tokens.clone(),
            }],
            tokens,
            latency_ms: 1_234,
            first_token_ms: None,
            flags: Vec::new(),
        }
    }
}

async fn ledger(folder: &Folder) -> Ledger {
    let pepper = Pepper::load_or_create(&folder.data().join("pepper")).unwrap();
    let store = folder.data().join("permille.db").into();
    Ledger::open(LedgerConfig { store, pepper, clock: Arc::new(SystemClock) }).await.unwrap()
}

fn uuid(id: u128) -> String {
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// What rows add up to, by the list of usage and by nothing of the archive.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    rows: u64,
    tokens: BTreeMap<String, u64>,
    costs: BTreeMap<String, Decimal>,
}

fn sums(folder: &Folder) -> Sums {
    let mut sums = Sums::default();
    for row in folder.usage(&[]) {
        sums.rows += 1;
        for (class, tokens) in row["tokens"].as_object().unwrap() {
            *sums.tokens.entry(class.clone()).or_default() += tokens.as_u64().unwrap();
        }
        if let Some(cost) = row["cost"].as_str() {
            let currency = row["currency"].as_str().unwrap().to_owned();
            *sums.costs.entry(currency).or_default() += Decimal::from_str_exact(cost).unwrap();
        }
    }
    sums
}

/// The same by `DuckDB`, of the files; and all that it found.
fn duckdb(files: &Path) -> (Sums, Value) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/duckdb_sums.py");
    let output = Command::new(python()).arg(script).arg(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let decimal = |text: &str| Decimal::from_str_exact(text.trim_end_matches('0')).unwrap();
    let tokens = found["tokens"].as_object().unwrap().iter();
    let costs = found["costs"].as_object().unwrap().iter();
    let sums = Sums {
        rows: found["rows"].as_u64().unwrap(),
        tokens: tokens.map(|(class, n)| (class.clone(), n.as_u64().unwrap())).collect(),
        costs: costs.map(|(code, sum)| (code.clone(), decimal(sum.as_str().unwrap()))).collect(),
    };
    (sums, found)
}

fn archive<'a>(to: &'a str, before: &'a str) -> [&'a str; 6] {
    ["usage", "archive", "--before", before, "--to", to]
}

fn url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for day in std::fs::read_dir(folder).into_iter().flatten() {
        for file in std::fs::read_dir(day.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn files_hold_what_the_ledger_has_for_two_readers_and_late_rows_are_added() {
    let folder = Folder::new();
    let mut books = Books::open(&folder).await;
    books.fill(3, 120).await;
    let place = folder.path().join("old usage");
    let to = url(&place).replace(' ', "%20");

    let written = folder.lines(&archive(&to, "2026-03-04"));

    let ledger_sums = sums(&folder);
    assert_eq!(written.len(), 3);
    assert_eq!(ledger_sums.rows, 360);
    assert!(ledger_sums.tokens.contains_key("smell_in") && ledger_sums.costs.len() == 2);
    let (found_sums, found) = duckdb(&place);
    assert_eq!(found_sums, ledger_sums);
    assert_eq!((&found["requests"], &found["misplaced"]), (&360.into(), &0.into()));
    assert_eq!(
        found["days"],
        serde_json::json!({"2026-03-01": 120, "2026-03-02": 120, "2026-03-03": 120})
    );
    let types = &found["types"];
    assert_eq!(types["cost"], "DECIMAL(38,20)");
    assert_eq!(types["at"], "TIMESTAMP WITH TIME ZONE");
    assert_eq!(types["tokens_output_text"], "BIGINT");
    for encoding in found["encodings"].as_array().unwrap() {
        let encoding = encoding.as_str().unwrap();
        assert!(encoding.contains("DICTIONARY") && encoding.ends_with("ZSTD"), "{encoding}");
    }
    // And by the crate that wrote them, which `--check` reads with.
    let checked = folder.lines(&["usage", "archive", "--check"]);
    assert!(checked.iter().all(|line| line["file"] == "same" && line["ledger"] == "same"));

    // Again, nothing is due, and nothing is written.
    let before = files(&place);
    let text = folder.text(&archive(&to, "2026-03-04"));
    assert!(text.contains("nothing is due"), "{text}");
    let late = books.event(1);
    books.arrive(&[late]).await;
    let checked = folder.lines(&["usage", "archive", "--check"]);
    assert_eq!(checked[1]["ledger"], "due");
    let written = folder.lines(&archive(&to, "2026-03-04"));
    assert_eq!((written.len(), &written[0]["day"]), (1, &"2026-03-02".into()));
    assert_eq!(duckdb(&place).0, sums(&folder));
    let after = files(&place);
    let other = before.iter().filter(|(path, bytes)| after[*path] != **bytes).count();
    assert_eq!((before.len(), after.len(), other), (3, 3, 1));

    // A file that is not as it was written is told, and one that is not there.
    let path = place.join("day=2026-03-01/part-0.parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_file(place.join("day=2026-03-03/part-0.parquet")).unwrap();
    let refused = folder.run(&["usage", "archive", "--check", "--json"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("2 of 3 files"), "{}", refused.stderr);
    let states: Vec<Value> =
        refused.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<&str> = states.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!(states, ["changed", "same", "missing"]);
    assert_eq!(folder.lines(&["usage", "archive", "--list"]).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_not_over_is_not_written_and_a_place_must_be_one() {
    let folder = Folder::new();
    let mut books = Books::open(&folder).await;
    books.fill(1, 2).await;

    let tomorrow = (SystemClock.now() + TimeDelta::days(2)).date_naive().to_string();
    let to = url(folder.path());
    let refusal = folder.run(&archive(&to, &tomorrow)).refused(1);
    assert!(refusal.contains(&tomorrow) && refusal.contains("when it is over"), "{refusal}");
    let refusal = folder.run(&archive("ftp://h/x", "2026-03-02")).refused(1);
    assert!(refusal.contains("ftp://h/x") && refusal.contains("s3://BUCKET"), "{refusal}");
    let refusal = folder.run(&["usage", "archive", "--before", "2026-03-02"]).refused(2);
    assert!(refusal.contains("--to") && refusal.contains("[archive]"), "{refusal}");
    assert_eq!(folder.run(&["usage", "archive"]).code, 2);
    folder.config("[archive]\nurl = \"gs://b\"\n");
    let refusal = folder.run(&["usage", "archive", "--list"]).refused(1);
    assert!(refusal.contains("archive.url"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_kills_a_run_the_next_one_comes_to_the_same_files() {
    let folder = Folder::new();
    let mut books = Books::open(&folder).await;
    books.fill(60, 20).await;
    // A server on the same folder is no hindrance.
    let mut server = folder.serve().await;
    let (whole, place) = (folder.path().join("whole"), folder.path().join("place"));
    let mut kills = 0_usize;
    let to = url(&place);
    loop {
        let done = files(&place).len();
        let mut command = folder.command(&archive(&to, "2026-04-30"));
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut more = false;
        eventually("a file more, or the end", async || {
            more = files(&place).len() > done + 3;
            (more || run.try_wait().unwrap().is_some()).then_some(())
        })
        .await;
        if !more {
            assert!(run.wait().unwrap().success());
            break;
        }
        run.kill().unwrap();
        run.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 1, "{kills} kills");
    let checked = folder.lines(&["usage", "archive", "--check"]);
    assert_eq!(checked.len(), 60);
    server.stop().await;

    // Another folder with the same rows, in one run.
    let other = Folder::new();
    std::fs::create_dir_all(other.data()).unwrap();
    books.ledger.close().await;
    for name in ["permille.db", "pepper"] {
        std::fs::copy(folder.data().join(name), other.data().join(name)).unwrap();
    }
    forget(&other);
    assert_eq!(other.lines(&archive(&url(&whole), "2026-04-30")).len(), 60);
    assert_eq!(files(&place), files(&whole));
}

/// Makes a store forget its archives.
fn forget(folder: &Folder) {
    let path = folder.data().join("permille.db");
    let script = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
                  db.execute('delete from usage_archive'); db.commit()";
    let done = Command::new(python()).args(["-c", script]).arg(path).status().unwrap();
    assert!(done.success());
}

/// Of whoever reads a bucket. The server believes any signature.
const LOGIN: &str = "AWS4-HMAC-SHA256 Credential=tester/20260301/cn-north-1/s3/aws4_request, \
                     SignedHeaders=host, Signature=00";

/// A server that speaks S3: `moto`, on loopback.
struct S3 {
    process: Child,
    address: SocketAddr,
}

impl S3 {
    fn start() -> Self {
        let script = "from moto.server import main; main(['-p0', '-H127.0.0.1'])";
        let mut command = Command::new(python());
        command.args(["-u", "-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            if let Some((_, rest)) = line.split_once("http://") {
                break rest.trim().trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
            }
        };
        // What it says of each request must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_gets_the_bytes_that_a_folder_gets() {
    let folder = Folder::new();
    let mut books = Books::open(&folder).await;
    books.fill(2, 60).await;
    let s3 = S3::start();
    let web = Web::new();
    let made = web.send(http::Method::PUT, s3.address, "/bucket", &[], Bytes::new()).await;
    assert_eq!(made.unwrap().status, 200);
    let endpoint = format!("http://{}", s3.address);
    folder.config(&format!(
        "[archive]\nurl = \"s3://bucket/usage\"\nendpoint = \"{endpoint}\"\nregion = \"cn-north-1\"\n"
    ));
    let with_login = |args: &[&str]| {
        let mut command = folder.command(args);
        command.env("AWS_ACCESS_KEY_ID", "tester").env("AWS_SECRET_ACCESS_KEY", "hunter2");
        Finished::of(&mut command)
    };

    let written = with_login(&["usage", "archive", "--before", "2026-03-03", "--json"]);
    let written = written.succeeded();

    assert_eq!(written.stdout.lines().count(), 2, "{}", written.stdout);
    assert!(!written.stdout.contains("hunter2") && written.stdout.contains("s3://bucket/usage/"));
    with_login(&["usage", "archive", "--check"]).succeeded();
    forget(&folder);
    let place = folder.path().join("place");
    folder.lines(&archive(&url(&place), "2026-03-03"));
    let local = files(&place);
    assert_eq!(local.len(), 2);
    for (path, bytes) in local {
        let path = format!("/bucket/usage/{}", path.display().to_string().replace('=', "%3D"));
        let found = web.get_with(s3.address, &path, &[("authorization", LOGIN)]).await;
        assert_eq!((found.status, found.body.len()), (200, bytes.len()), "{path}");
        assert_eq!(found.body, bytes);
    }
}
