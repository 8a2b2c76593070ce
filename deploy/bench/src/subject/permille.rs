//! `permille gateway` and `permille billing`, each a process of its own with its own data folder,
//! set up through the program's own commands.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use super::{BILLING, GATEWAY, Process, Subject, THREADS, create_folder, write};
use crate::{
    error::BenchError,
    fleet::{Fleet, guarded, tail},
    ready::is_ready,
};

/// Who is billed for the load.
pub(crate) const CUSTOMER: &str = "bench";
/// Variable with the credential that the gateway sends to the mock provider, which asks for none.
const CREDENTIAL_VARIABLE: &str = "BENCH_UPSTREAM_KEY";

/// An installation of both halves.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    program: PathBuf,
    folder: PathBuf,
}

/// Where a server listens, as it says in its data folder.
#[derive(Debug, Deserialize)]
struct ServerRecord {
    pid: u32,
    gateway: Option<SocketAddr>,
    console: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
}

impl Installation {
    /// An installation of `program` with everything it writes in `folder`.
    ///
    /// # Errors
    /// [`BenchError::Missing`] when there is no such program.
    pub(crate) fn new(program: &Path, folder: &Path) -> Result<Self, BenchError> {
        if !program.is_file() {
            return Err(BenchError::Missing {
                path: program.to_owned(),
                remedy: "build it with `deploy/dist`, give another one with \
                         --permille, or go on without it with --without-permille",
            });
        }
        let program = std::path::absolute(program)
            .map_err(BenchError::during(format!("find `{}`", program.display())))?;
        Ok(Self { program, folder: folder.to_owned() })
    }

    /// Where the gateway's data lie, its journal among them.
    pub(crate) fn gateway_data(&self) -> PathBuf {
        self.folder.join("gateway")
    }

    fn billing_data(&self) -> PathBuf {
        self.folder.join("billing")
    }

    fn billing_config(&self) -> PathBuf {
        self.folder.join("billing.toml")
    }

    /// Starts both halves and gives the customer a key.
    ///
    /// # Errors
    /// [`BenchError`] when a half does not come up or a command fails.
    pub(crate) async fn start(
        &self,
        fleet: &mut Fleet,
        upstream: SocketAddr,
        sync: &str,
    ) -> Result<Subject, BenchError> {
        create_folder(&self.folder)?;
        write(&self.billing_config(), &billing_configuration())?;
        let command = self.command(&self.billing_config(), &self.billing_data(), &["billing"])?;
        let (billing, record) = ready(fleet, BILLING, command, &self.billing_data()).await?;
        let lacks = |of: &str, field| BenchError::Lacks { of: of.to_owned(), field };
        let console = record.console.ok_or_else(|| lacks(BILLING, "console"))?;

        self.ask(&["customer", "add", CUSTOMER, "--id", CUSTOMER, "--currency", "USD"]).await?;
        let key = self.ask(&["key", "create", "--customer", CUSTOMER]).await?;
        let key = text(&key, "secret").ok_or_else(|| lacks("key create", "secret"))?;
        let token = self.ask(&["token", "create", "--role", "gateway"]).await?;
        let token = text(&token, "secret").ok_or_else(|| lacks("token create", "secret"))?;

        write(&self.folder.join("gateway.token"), &token)?;
        let file = self.folder.join("gateway.toml");
        write(&file, &gateway_configuration(console, upstream, sync))?;
        let mut command = self.command(&file, &self.gateway_data(), &["gateway"])?;
        command.env("TOKIO_WORKER_THREADS", THREADS.to_string());
        command.env(CREDENTIAL_VARIABLE, "none");
        let (gateway, record) = ready(fleet, GATEWAY, command, &self.gateway_data()).await?;
        let address = record.gateway.ok_or_else(|| lacks(GATEWAY, "gateway"))?;
        let processes =
            vec![Process { name: GATEWAY, pid: gateway }, Process { name: BILLING, pid: billing }];
        Ok(Subject { name: GATEWAY, address, key: Some(key), processes })
    }

    /// A command of the billing half, with JSON on its standard output.
    ///
    /// # Errors
    /// [`BenchError`] when the bench does not find itself.
    pub(crate) fn billing_command(&self, arguments: &[&str]) -> Result<Command, BenchError> {
        let arguments = [arguments, &["--json"]].concat();
        self.command(&self.billing_config(), &self.billing_data(), &arguments)
    }

    fn command(
        &self,
        config: &Path,
        data: &Path,
        arguments: &[&str],
    ) -> Result<Command, BenchError> {
        let mut command = guarded(&self.program)?;
        command.args(arguments).arg("--config").arg(config).arg("--data").arg(data);
        command.current_dir(&self.folder);
        Ok(command)
    }

    /// Runs a command of the billing half and reads its one document.
    async fn ask(&self, arguments: &[&str]) -> Result<Value, BenchError> {
        let named = format!("permille {}", arguments.join(" "));
        let mut command = self.billing_command(arguments)?;
        let output = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .await
            .map_err(BenchError::during(format!("run `{named}`")))?;
        if !output.status.success() {
            let said = tail(&String::from_utf8_lossy(&output.stderr));
            let status = output.status.to_string();
            return Err(BenchError::Refused { command: named, status, said });
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|cause| BenchError::Answer { of: named, cause })
    }
}

/// Starts a half and waits until it is ready.
async fn ready(
    fleet: &mut Fleet,
    name: &'static str,
    command: Command,
    data: &Path,
) -> Result<(u32, ServerRecord), BenchError> {
    let member = fleet.start(name, command)?;
    let pid = member.pid();
    let file = data.join("server.json");
    let look = async || {
        let record = std::fs::read_to_string(&file).ok()?;
        let record: ServerRecord = serde_json::from_str(&record).ok()?;
        let metrics = record.metrics.filter(|_| record.pid == pid)?;
        is_ready(metrics).await.then_some(record)
    };
    Ok((pid, member.until(look).await?))
}

fn text(document: &Value, field: &str) -> Option<String> {
    Some(document.get(field)?.as_str()?.to_owned())
}

fn billing_configuration() -> String {
    "[console]\nlisten = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n".to_owned()
}

fn gateway_configuration(console: SocketAddr, upstream: SocketAddr, sync: &str) -> String {
    format!(
        r#"[gateway]
listen = "127.0.0.1:0"
[metrics]
listen = "127.0.0.1:0"
[journal]
sync = "{sync}"
[billing]
url = "http://{console}"
token_file = "gateway.token"
[[upstream]]
name = "bench"
family = "openai"
base_url = "http://{upstream}/v1"
api_key_env = "{CREDENTIAL_VARIABLE}"
models = ["*"]
"#
    )
}
