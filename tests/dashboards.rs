//! Dashboards, rules and alerts: in order as files, and true of a real demo that a real Prometheus
//! scrapes.

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
    collections::{BTreeMap, BTreeSet},
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use http::Method;
use permille_types::{BATCH_MEDIA_TYPE, Batch, INTAKE_PATH, Sequenced};
use serde_json::{Value, json};
use support::{
    Folder, Web, eventually,
    postgres::{self, DATABASE, Postgres},
    prometheus::{Prometheus, check, program, root, succeeded},
    sdk::python,
};

#[test]
fn dashboards_are_what_their_boards_give_and_what_grafana_knows() {
    let said = check(&["files"]);

    assert!(said.contains("dashboards"), "{said}");
}

#[test]
fn the_checks_find_what_is_wrong() {
    succeeded(Command::new(python()).arg(root().join("dashboards/check/tests.py")));
}

#[test]
fn configurations_are_accepted_by_the_programs_that_read_them() {
    let file = |name: &str| root().join(name);

    succeeded(program("promtool").args(["check", "rules"]).args(yaml("dashboards/rules")));
    let config = file("deploy/prometheus/prometheus.yml");
    succeeded(program("promtool").args(["check", "config"]).arg(config));
    let config = file("deploy/alertmanager/alertmanager.yml");
    succeeded(program("amtool").arg("check-config").arg(config));
}

#[test]
fn every_alert_fires_when_it_should_and_is_silent_otherwise() {
    let running: Vec<_> = yaml("dashboards/rules/tests")
        .into_iter()
        .map(|file| {
            std::thread::spawn(move || {
                succeeded(program("promtool").args(["test", "rules"]).arg(file))
            })
        })
        .collect();

    assert!(running.len() > 5, "{}", running.len());
    for test in running {
        test.join().unwrap();
    }
}

fn yaml(folder: &str) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "yml")).collect()
}

/// `permille demo`, which stays up.
struct Demo {
    child: Child,
    gateway: SocketAddr,
    metrics: SocketAddr,
    console: SocketAddr,
    data: PathBuf,
    web: Web,
}

impl Demo {
    async fn start(folder: &Folder) -> Self {
        let printed = folder.path().join("demo.stdout");
        let mut child = folder
            .command(&["demo", "--json"])
            .stdin(Stdio::null())
            .stdout(File::create(&printed).unwrap())
            .spawn()
            .unwrap();
        let places = eventually("the demo says where to look", async || {
            assert!(child.try_wait().unwrap().is_none(), "the demo ended");
            let text = std::fs::read_to_string(&printed).unwrap();
            let last: Value = serde_json::from_str(text.lines().last()?).ok()?;
            last["metrics"].is_string().then_some(last)
        })
        .await;
        let address = |name: &str| {
            let url = places[name].as_str().unwrap().trim_start_matches("http://");
            url.trim_end_matches("/metrics").parse().unwrap()
        };
        let data = places["data"].as_str().unwrap().into();
        let (gateway, metrics, console) =
            (address("gateway"), address("metrics"), address("console"));
        Self { child, gateway, metrics, console, data, web: Web::new() }
    }

    /// A key of a customer of the demo, once the gateway knows it.
    async fn key(&self, folder: &Folder, customer: &str, limits: &[&str]) -> String {
        let create = [&["key", "create", "--customer", customer], limits].concat();
        let created = self.command(folder, &create);
        let key = created["secret"].as_str().unwrap().to_owned();
        eventually("the gateway knows the key", async || {
            let bearer = format!("Bearer {key}");
            let headers = [("authorization", bearer.as_str())];
            // A path that does not exist costs nothing and leaves no row.
            let reply = self.web.get_with(self.gateway, "/v1/", &headers).await;
            (reply.status != 401).then_some(())
        })
        .await;
        key
    }

    /// A `permille` command on the demo's folder that must succeed.
    fn command(&self, folder: &Folder, args: &[&str]) -> Value {
        let mut command = Command::new(support::PROGRAM);
        command.args(args).args(["--json", "--data"]).arg(&self.data).current_dir(folder.path());
        serde_json::from_str(&succeeded(&mut command)).unwrap()
    }

    /// One chat; `simulate` tells the provider how to behave.
    async fn chat(&self, key: &str, model: &str, said: &str, simulate: &str) -> u16 {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("x-simulate", simulate)];
        let body = json!({
            "model": model, "stream": !simulate.contains("status"),
            "messages": [{"role": "user", "content": said}],
        });
        self.web.post(self.gateway, "/v1/chat/completions", &headers, &body).await.status
    }

    /// Hands billing an event that is no usage, as a gateway would.
    async fn send_what_is_no_usage(&self, token: &str, number: u64) {
        let payload = format!("no usage {number}").into();
        let events = vec![Sequenced { sequence: number, payload }];
        let batch = Batch { node: "stray".parse().unwrap(), events };
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", BATCH_MEDIA_TYPE)];
        let sent =
            self.web.send(Method::POST, self.console, INTAKE_PATH, &headers, batch.to_wire());
        let reply = sent.await.unwrap().whole().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// The simulated provider's own books.
    fn books(&self) -> Vec<Value> {
        let file = self.data.join("simulator/books.jsonl");
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Files with what `/metrics` says, for the check of names.
    async fn scrape(&self, to: &Path) {
        let reply = self.web.get(self.metrics, "/metrics").await;
        std::fs::write(to, reply.body).unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Not killed: it ends the simulated provider and removes its folder.
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-s", "TERM", &pid]).status().ok();
        self.child.wait().ok();
    }
}

/// Every link of a dashboard to the API or to a page of the console is answered there, in a browser
/// that has signed in.
async fn links_to_the_console_lead_somewhere(demo: &Demo, folder: &Folder) {
    let created = demo.command(folder, &["token", "create", "--role", "admin"]);
    let form = format!("token={}", created["secret"].as_str().unwrap());
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let own = [kind, ("sec-fetch-site", "same-origin")];
    let signed_in = demo.web.send(Method::POST, demo.console, "/signin", &own, form.into()).await;
    let signed_in = signed_in.unwrap().whole().await;
    let cookie = signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut links = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("dashboards/grafana")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let found = text.split('"').filter_map(|part| part.strip_prefix("$console"));
        links.extend(found.map(|link| {
            let filled = link.replace("${__value.raw}", "acme-query-rewrite");
            filled.replace("${__data.fields.customer}", "acme").replace("$customer", "acme")
        }));
    }
    assert!(links.len() > 4, "{links:?}");
    assert_eq!(links.iter().filter(|link| link.starts_with("/sessions/")).count(), 1, "{links:?}");
    for link in links {
        let headers = [("cookie", cookie.as_str())];
        let reply = demo.web.get_with(demo.console, &link, &headers).await;
        assert_eq!(reply.status, 200, "{link}: {}", reply.text());
    }
}

/// Awaits that a query gives `expected`: scrapes lag behind what is exported.
async fn becomes(prometheus: &Prometheus, query: &str, expected: u64) {
    let mut last = None;
    eventually(&format!("{query} is {expected}"), async || {
        let value = prometheus.value(query).await;
        if value != last {
            println!("{query} is {value:?}, to be {expected}");
            last = value;
        }
        // Both are counts: less than one apart is equal.
        let difference = value? - f64::from(u32::try_from(expected).unwrap());
        (difference.abs() < 0.5).then_some(())
    })
    .await;
}

fn names(alerts: &[Value]) -> BTreeSet<&str> {
    alerts.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap()).collect()
}

/// Injects faults until their alerts fire, and gives the names of these.
async fn faults_make_alerts_fire(
    demo: &Demo,
    folder: &Folder,
    prometheus: &Prometheus,
    acme: &str,
) -> BTreeSet<&'static str> {
    // A gateway that sends what is no usage and a budget that is spent; a provider that reports
    // nothing or what does not add up, writes nonsense, breaks off and fails. One fault after the
    // other, and each until its alerts fire: failures in a row open the circuit, after which no
    // other fault is reached.
    let token = demo.command(folder, &["token", "create", "--role", "gateway"]);
    let token = token["secret"].as_str().unwrap();
    let poor = demo.key(folder, "acme", &["--budget", "0.000001 USD/month"]).await;
    let faults: [(&[&str], &[&'static str]); 5] = [
        (&[], &["PermilleBudgetRefuses", "PermilleUsageQuarantined"]),
        (&["usage=none"], &["PermilleUnreportedUsage"]),
        (&["usage=wrong_total"], &["PermilleUsageMismatch"]),
        (&["garble_after=2", "cut_after=3"], &["PermilleTapErrors"]),
        (
            &["status=500"; 5],
            &["PermilleCircuitOpened", "PermilleErrorBudgetBurnsFast", "PermilleUpstreamFails"],
        ),
    ];
    let mut number = 0_u64;
    let mut fired: BTreeMap<String, Value> = BTreeMap::new();
    for (faults, alerts) in faults {
        eventually(&format!("{alerts:?} fire"), async || {
            if faults.is_empty() {
                number += 1;
                demo.send_what_is_no_usage(token, number).await;
                let refused = demo.chat(&poor, "gpt-4o-mini", "too dear", "tokens=40").await;
                assert_eq!(refused, 402);
            }
            for fault in faults {
                number += 1;
                demo.chat(acme, "gpt-4o-mini", &format!("failure {number}"), fault).await;
            }
            for alert in prometheus.firing().await {
                fired.insert(alert["labels"]["alertname"].as_str().unwrap().to_owned(), alert);
            }
            alerts.iter().all(|name| fired.contains_key(*name)).then_some(())
        })
        .await;
    }
    for alert in fired.values() {
        let told = alert["annotations"].to_string();
        assert!(!told.contains("no value") && !told.contains("error expanding"), "{told}");
    }
    faults.iter().flat_map(|(_, alerts)| alerts.iter().copied()).collect()
}

#[tokio::test]
async fn every_query_is_true_of_a_real_demo_and_alerts_fire_and_clear() {
    let folder = Folder::new();
    let demo = Demo::start(&folder).await;
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    check(&["shorten", rules.to_str().unwrap()]);
    let prometheus = Prometheus::start(folder.path(), &[demo.metrics], &rules).await;
    becomes(&prometheus, "sum(up)", 1).await;
    let acme = demo.key(&folder, "acme", &[]).await;
    let wenxin = demo.key(&folder, "wenxin", &[]).await;

    // Something to see in rates, after the first scrape.
    for number in 0..6 {
        for (key, model) in [(&acme, "gpt-4o-mini"), (&wenxin, "ERNIE-Bot")] {
            let status = demo.chat(key, model, &format!("question {number}"), "tokens=40").await;
            assert_eq!(status, 200);
        }
    }

    // What Prometheus has of the whole demo is what the provider has in its books.
    let books = eventually("the provider's books are closed", async || {
        let books = demo.books();
        (books.len() == 27).then_some(books)
    })
    .await;
    let sum = |field: &str| books.iter().map(|book| book[field].as_u64().unwrap()).sum::<u64>();
    let calls = u64::try_from(books.len()).unwrap();
    becomes(&prometheus, "sum(permille_upstream_calls_total)", calls).await;
    becomes(&prometheus, "sum(permille_requests_ended_total)", calls).await;
    becomes(&prometheus, "permille_intake_events_total{result=\"booked\"}", calls).await;
    let input = "class=~\"input_uncached|cache_read|cache_write_.*\"";
    let output = "class=~\"output_text|reasoning\"";
    for metric in ["permille_metered_tokens_total", "permille_tokens_total"] {
        let tokens = |class: &str| format!("sum({metric}{{{class}}})");
        becomes(&prometheus, &tokens(input), sum("prompt_tokens")).await;
        becomes(&prometheus, &tokens("class=\"cache_read\""), sum("cached_tokens")).await;
        becomes(&prometheus, &tokens(output), sum("completion_tokens")).await;
    }
    let of_a_busy_machine = BTreeSet::from([
        "PermilleDiskSlow",
        "PermilleIntakeSlow",
        "PermilleLateReleases",
        "PermilleOverheadHigh",
    ]);
    // What holds for one look alone is no alert: the shortened rules have no `for`.
    eventually("nothing fires", async || {
        let firing = prometheus.firing().await;
        names(&firing).is_subset(&of_a_busy_machine).then_some(())
    })
    .await;

    // What became of sessions, told one after the other: a counter is seen to grow. The demo has
    // told of two.
    let told = [("acme", "acme-query-rewrite"), ("nordlicht", "nordlicht-review")];
    for (number, (customer, session)) in (3..).zip(told) {
        demo.command(&folder, &["session", "outcome", session, "accepted", "--customer", customer]);
        becomes(&prometheus, "sum(permille_session_outcomes_total{outcome=\"accepted\"})", number)
            .await;
    }

    links_to_the_console_lead_somewhere(&demo, &folder).await;

    let expected = faults_make_alerts_fire(&demo, &folder, &prometheus, &acme).await;
    // Increases, which panels show, take two scrapes of a series.
    let twice = |series: &str| format!("max(count_over_time({series}[1m])) > 1");
    let ended = [
        "permille_session_resent_ratio_count{turns!=\"1\"}",
        "permille_session_cost_count{currency=\"USD\"}",
    ];
    let ended = ended.map(twice).join(" and ");
    eventually("sessions are seen to have ended", async || prometheus.value(&ended).await).await;

    // Every query as it is shipped, and every name in it.
    let scrape = folder.path().join("metrics.txt");
    demo.scrape(&scrape).await;
    check(&["names", scrape.to_str().unwrap()]);
    let ledger = demo.data.join("permille.db");
    let ledger = ledger.to_str().unwrap();
    println!("{}", check(&["live", &prometheus.url(), ledger]));
    let pictures = folder.path().to_str().unwrap();
    println!("{}", check(&["draw", &prometheus.url(), ledger, pictures]));

    let mut number = 0;
    eventually("alerts clear", async || {
        number += 1;
        demo.chat(&acme, "gpt-4o-mini", &format!("well again {number}"), "tokens=40").await;
        let firing = prometheus.firing().await;
        names(&firing).is_disjoint(&expected).then_some(())
    })
    .await;

    // Panel by panel, faults included, to the last token, by dashboards/check/expected.py.
    println!("{}", check(&["agree", &prometheus.url(), demo.data.to_str().unwrap()]));
}

/// What panels get of a ledger over the day before `end`, in seconds since 1970.
fn of_the_ledger(engine: &str, address: &str, end: i64) -> BTreeMap<String, Vec<Value>> {
    let mut command = Command::new(python());
    command.arg(root().join("dashboards/check")).args(["ledger", engine, address]);
    command.args([(end - 86_400).to_string(), end.to_string()]).env("PATH", postgres::path());
    serde_json::from_str(&succeeded(&mut command)).unwrap()
}

/// Whom Grafana asks as on PostgreSQL.
const READER: &str = "permille_reader";

/// Makes [`READER`] as `deploy/` says, and sees that it reads no more than panels ask.
fn reader(postgres: &Postgres) {
    let psql = |url: &str| {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-d", url]).env("PATH", postgres::path());
        psql
    };
    let file = root().join("deploy/grafana/postgresql/reader.sql");
    succeeded(psql(&postgres.url(DATABASE)).args(["-v", "password=secret", "-f"]).arg(file));

    for refused in ["select * from api_key", "delete from session", "update usage set cost = '0'"] {
        let said = psql(&postgres.url_of(READER, DATABASE)).args(["-c", refused]).output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("permission denied"), "{refused}: {said}");
    }
}

/// The numbers of rows as far as display goes, without the times at which tests happen to run.
fn rounded(rows: &[Value]) -> Vec<BTreeMap<&String, Value>> {
    fn cells(row: &Value) -> BTreeMap<&String, Value> {
        let cells = row.as_object().unwrap().iter();
        let cells = cells.filter(|(name, _)| {
            !["began", "first_token_ms", "last", "time"].contains(&name.as_str())
        });
        let round = |value: &Value| value.as_f64().map(|number| json!(format!("{number:.9}")));
        cells.map(|(name, value)| (name, round(value).unwrap_or_else(|| value.clone()))).collect()
    }
    rows.iter().map(cells).collect()
}

const PROVIDERS: &str = r#"
[[price]]
model = "gpt-4o-mini"
side = "cost"
currency = "USD"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.0001"
output = "0.0004"
"#;

const FLAT: &str = r#"
[[plan]]
name = "flat"
kind = "subscription"
currency = "USD"
fee = "20"
"#;

/// An issued invoice of the fee of the month before `month`, of which 5 are paid.
fn owe_last_months_fee(folder: &Folder, month: &str) {
    let first: chrono::NaiveDate = format!("{month}-01").parse().unwrap();
    let before = first.pred_opt().unwrap().format("%Y-%m").to_string();
    let from = format!("{before}-01T00:00:00Z");
    folder.text(&["customer", "set", "acme", "--plan", "flat", "--plan-from", &from]);
    let draft =
        folder.json(&["invoice", "draft", "--customer", "acme", "--period", before.as_str()]);
    let id = draft["id"].as_str().unwrap();
    folder.text(&["invoice", "approve", id]);
    folder.text(&["invoice", "finalize", id]);
    folder.text(&["invoice", "pay", id, "--amount", "5", "--reference", "bank 1"]);
}

#[tokio::test]
async fn panels_of_the_ledger_say_the_same_on_postgresql_as_on_a_file() {
    let postgres = Postgres::start();
    let (file, shared) = (Folder::new(), Folder::new());
    let mut running = Vec::new();
    let mut last = String::new();
    for (folder, store) in [(&file, ""), (&shared, &*postgres.url(DATABASE))] {
        let simulator = folder.simulator().await;
        let store = match store {
            "" => String::new(),
            url => format!("[store]\nurl = \"{url}\"\n"),
        };
        folder.config(&format!("{store}{}", simulator.upstreams()));
        let permille = folder.serve().await;
        let key = folder.key("acme", "USD");
        let terms = folder.path().join("terms.toml");
        std::fs::write(&terms, PROVIDERS).unwrap();
        folder.text(&["price", "import", terms.to_str().unwrap(), "--apply"]);
        for turn in 1..=3 {
            let bearer = format!("Bearer {key}");
            let headers =
                [("authorization", bearer.as_str()), ("permille-session", "acme-query-rewrite")];
            let said = json!({"role": "user", "content": format!("simulate:tokens=20 {turn}")});
            let body = json!({"model": "gpt-4o-mini", "messages": [said]});
            let path = "/v1/chat/completions";
            let reply = permille.web.post(permille.gateway(), path, &headers, &body).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        let rows = eventually("usage arrives", async || {
            let rows = folder.usage(&[]);
            (rows.len() == 3).then_some(rows)
        })
        .await;
        last = rows.iter().map(|row| row["at"].as_str().unwrap().to_owned()).max().unwrap();
        let month = &last[..7];
        std::fs::write(&terms, FLAT).unwrap();
        folder.text(&["plan", "add", terms.to_str().unwrap()]);
        owe_last_months_fee(folder, month);
        folder.json(&["invoice", "draft", "--customer", "acme", "--period", month]);
        running.push((permille, simulator));
    }
    let end = last.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp() + 1;

    let sqlite = of_the_ledger("sqlite", file.data().join("permille.db").to_str().unwrap(), end);
    reader(&postgres);
    let postgresql = of_the_ledger("postgresql", &postgres.url_of(READER, DATABASE), end);

    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgresql.keys().collect::<Vec<_>>());
    for (panel, rows) in &sqlite {
        assert_eq!(rounded(rows), rounded(&postgresql[panel]), "{panel}");
        assert!(!rows.is_empty() || panel.contains("annotation"), "{panel}");
    }
    let forecast = &sqlite["finance: Month to date and forecast"][0];
    let number = |name: &str| forecast[name].as_f64().unwrap();
    assert!(number("month_to_date") > 0.0 && number("forecast") >= number("month_to_date"));
    let fees = &sqlite["finance: Fees and what providers take, $currency"][0];
    assert_eq!((&fees["plan"], &fees["fee"]), (&json!("flat"), &json!(20.0)));
    let [taken, margin] = ["provider_cost", "margin"].map(|name| fees[name].as_f64().unwrap());
    assert!(taken > 0.0 && (20.0 - taken - margin).abs() < 1e-9, "{fees}");
    let unpaid = &sqlite["finance: Unpaid"][0];
    assert_eq!((&unpaid["invoices"], &unpaid["unpaid"]), (&json!(1), &json!(15.0)), "{unpaid}");
    let turns = &sqlite["sessions: Turns of $session, $session_customer"];
    let costs = turns.iter().map(|turn| turn["cost"].as_f64().unwrap());
    assert_eq!(turns.len(), 3);
    assert!((costs.sum::<f64>() - number("month_to_date")).abs() < 1e-9, "{turns:?}");
}
