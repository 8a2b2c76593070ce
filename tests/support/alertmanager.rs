//! A real Alertmanager as a process of its own.

use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{
    Web,
    disk::unshare,
    eventually,
    prometheus::{program, root},
};

/// Where Debian's Alertmanager looks for its templates, wherever it is itself.
const TEMPLATES: &str = "/usr/share/prometheus/alertmanager/default.tmpl";

/// Puts folder `$1` in the place of `/usr/share`, which nobody but the program that follows sees.
const MOUNT: &str = r#"mount --bind "$1" /usr/share; shift; exec "$@""#;

/// A running Alertmanager. Dropping it kills it.
#[derive(Debug)]
pub struct Alertmanager {
    child: Child,
    address: SocketAddr,
    web: Web,
}

impl Alertmanager {
    /// Starts one in `folder` with this configuration.
    ///
    /// # Panics
    /// When it ends or does not listen in time.
    pub async fn start(folder: &Path, config: &str) -> Self {
        let file = folder.join("alertmanager.yml");
        std::fs::write(&file, config).unwrap();
        let log = folder.join("alertmanager.log");
        let mut child = alertmanager()
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("Alertmanager: {error}: `bash tests/run` installs it"));
        let web = Web::new();
        let address = eventually("Alertmanager listens", async || {
            let said = std::fs::read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "Alertmanager ended: {said}");
            let line = said.lines().find(|line| line.contains("\"Listening on\""))?;
            let address = line.split("address=").nth(1)?.split_whitespace().next()?;
            let address = address.parse().ok()?;
            (web.get(address, "/-/ready").await.status == 200).then_some(address)
        })
        .await;
        Self { child, address, web }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it of alerts, as Prometheus does.
    pub async fn tell(&self, alerts: &Value) {
        let reply = self.web.post(self.address, "/api/v2/alerts", &[], alerts).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// What it has heard of and has not ended, with the state of each.
    pub async fn alerts(&self) -> Vec<Value> {
        let reply = self.web.get(self.address, "/api/v2/alerts").await;
        reply.json().as_array().unwrap().clone()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program, which finds what was unpacked with it.
fn alertmanager() -> Command {
    let plain = program("prometheus-alertmanager");
    if Path::new(TEMPLATES).exists() {
        return plain;
    }
    let mut mounted = unshare();
    mounted.args(["sh", "-ec", MOUNT, "sh"]).arg(root().join("tests/.prometheus/usr/share"));
    mounted.arg(plain.get_program());
    mounted
}
