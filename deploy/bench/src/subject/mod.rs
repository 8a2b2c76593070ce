//! What is measured: the mock provider itself, and each proxy in front of it.

pub(crate) mod nginx;
pub(crate) mod permille;

use std::{net::SocketAddr, path::Path};

use tokio::net::TcpStream;

use crate::{
    error::BenchError,
    fleet::{Fleet, guarded, this_program},
    plan::CHUNKS,
};

/// The mock provider without any proxy: what every latency is compared with.
pub(crate) const DIRECT: &str = "direct";
/// The proxy that every CPU figure is compared with.
pub(crate) const BARE: &str = "bare proxy";
/// What other proxies are often compared with.
pub(crate) const NGINX: &str = "nginx";
/// What this bench is for.
pub(crate) const GATEWAY: &str = "permille gateway";
/// The other half, which takes the usage in while the gateway serves.
pub(crate) const BILLING: &str = "permille billing";

/// Threads of the bare proxy, and threads that serve in the gateway: the same for both, whatever
/// the machine has.
pub(crate) const THREADS: usize = 2;

/// One server that takes the load.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// Its name in the results.
    pub(crate) name: &'static str,
    /// Where it takes chat completions.
    pub(crate) address: SocketAddr,
    /// Bearer key that it asks for.
    pub(crate) key: Option<String>,
    /// Whose CPU and memory are read: its own process first, then those that work beside it.
    pub(crate) processes: Vec<Process>,
}

/// A process whose figures are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    /// Its name in the results.
    pub(crate) name: &'static str,
    /// Its process id; its descendants count as well.
    pub(crate) pid: u32,
}

/// Starts the mock provider.
///
/// # Errors
/// [`BenchError`] when it does not come up.
pub(crate) async fn direct(fleet: &mut Fleet) -> Result<Subject, BenchError> {
    let mut command = guarded(&this_program()?)?;
    command.args(["upstream", "--chunks", &CHUNKS.to_string()]);
    let address = fleet.start(DIRECT, command)?.announced().await?.listening;
    Ok(Subject { name: DIRECT, address, key: None, processes: Vec::new() })
}

/// Starts the bare proxy.
///
/// # Errors
/// [`BenchError`] when it does not come up.
pub(crate) async fn bare(fleet: &mut Fleet, upstream: SocketAddr) -> Result<Subject, BenchError> {
    let mut command = guarded(&this_program()?)?;
    command.args(["bare-proxy", "--upstream", &upstream.to_string()]);
    let member = fleet.start(BARE, command)?;
    let address = member.announced().await?.listening;
    let processes = vec![Process { name: BARE, pid: member.pid() }];
    Ok(Subject { name: BARE, address, key: None, processes })
}

async fn accepts(address: SocketAddr) -> Option<()> {
    TcpStream::connect(address).await.ok().map(drop)
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(BenchError::during(format!("write `{}`", path.display())))
}

fn create_folder(path: &Path) -> Result<(), BenchError> {
    std::fs::create_dir_all(path)
        .map_err(BenchError::during(format!("create `{}`", path.display())))
}
