//! A real Prometheus as a process of its own, and the checks of `dashboards/check`.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use super::{Web, eventually, sdk::python};

/// A program of Prometheus: where `tests/run` unpacks it, else wherever the system has it.
pub fn program(name: &str) -> Command {
    let unpacked = root().join("tests/.prometheus/usr/bin").join(name);
    Command::new(if unpacked.exists() { unpacked } else { PathBuf::from(name) })
}

/// The folder of this repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command of `dashboards/check` that must find everything in order; gives what it says.
pub fn check(args: &[&str]) -> String {
    succeeded(Command::new(python()).arg(root().join("dashboards/check")).args(args))
}

/// Runs a command that must succeed and gives its standard output.
///
/// # Panics
/// With everything it said, when it fails or is not there.
pub fn succeeded(command: &mut Command) -> String {
    let told = format!("{command:?}: `bash tests/run` installs it");
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{told}: {error}"));
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{stdout}\n{}", String::from_utf8_lossy(&stderr));
    stdout
}

/// A running Prometheus. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    settings: Settings,
    address: SocketAddr,
    web: Web,
}

/// What its configuration says beside its targets.
#[derive(Debug)]
struct Settings {
    file: PathBuf,
    rules: PathBuf,
    alertmanager: Option<SocketAddr>,
}

impl Settings {
    fn write(&self, targets: &[SocketAddr]) {
        let quoted = |address: &SocketAddr| format!("'{address}'");
        let targets: Vec<String> = targets.iter().map(quoted).collect();
        let told: String = self.alertmanager.iter().map(quoted).collect();
        let text = format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\n\
             rule_files: ['{}/*.yml']\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: [{told}]}}]}}]}}\n\
             scrape_configs:\n  - job_name: permille\n    static_configs:\n      \
             - targets: [{}]\n",
            self.rules.display(),
            targets.join(", "),
        );
        std::fs::write(&self.file, text).unwrap();
    }
}

impl Prometheus {
    /// Starts one in `folder` that scrapes `targets` twice a second as job `permille`, with the
    /// rules of `rules`.
    ///
    /// # Panics
    /// When it ends or does not listen in time.
    pub async fn start(folder: &Path, targets: &[SocketAddr], rules: &Path) -> Self {
        Self::that_tells(None, folder, targets, rules).await
    }

    /// The same that tells an Alertmanager what fires.
    pub async fn that_tells(
        alertmanager: Option<SocketAddr>,
        folder: &Path,
        targets: &[SocketAddr],
        rules: &Path,
    ) -> Self {
        let file = folder.join("prometheus.yml");
        let settings = Settings { file, rules: rules.to_owned(), alertmanager };
        settings.write(targets);
        let log = folder.join("prometheus.log");
        let mut child = program("prometheus")
            .arg(format!("--config.file={}", settings.file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("series").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}: `bash tests/run` installs it"));
        let web = Web::new();
        let address = eventually("Prometheus listens", async || {
            let said = std::fs::read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "Prometheus ended: {said}");
            let line = said.lines().find(|line| line.contains("\"Listening on\""))?;
            let address = line.split("address=").nth(1)?.split_whitespace().next()?;
            let address = address.parse().ok()?;
            (web.get(address, "/-/ready").await.status == 200).then_some(address)
        })
        .await;
        Self { child, settings, address, web }
    }

    /// From now on it scrapes `targets` instead.
    ///
    /// # Panics
    /// When it cannot be told.
    pub fn scrape(&self, targets: &[SocketAddr]) {
        self.settings.write(targets);
        succeeded(Command::new("kill").args(["-s", "HUP", &self.child.id().to_string()]));
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The value of a query that gives one, or none.
    pub async fn value(&self, query: &str) -> Option<f64> {
        let series = self.series(query).await;
        assert!(series.len() < 2, "{query}: {series:?}");
        series.first()?["value"][1].as_str()?.parse().ok()
    }

    /// What a query gives now.
    pub async fn series(&self, query: &str) -> Vec<Value> {
        let query: String =
            percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC)
                .collect();
        let reply = self.web.get(self.address, &format!("/api/v1/query?query={query}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["data"]["result"].as_array().unwrap().clone()
    }

    /// The alerts that fire.
    pub async fn firing(&self) -> Vec<Value> {
        let reply = self.web.get(self.address, "/api/v1/alerts").await;
        let mut alerts = reply.json()["data"]["alerts"].as_array().unwrap().clone();
        alerts.retain(|alert| alert["state"] == "firing");
        alerts
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
