//! One measurement: a load on one subject, and what its processes used for it.

use std::{
    io,
    process::Stdio,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    error::BenchError,
    fleet::{guarded, tail, this_program},
    load::{KEY_VARIABLE, LoadReport},
    plan::Test,
    processes::{self, Memory},
    statistics::micros,
    subject::{Process, Subject},
};

/// CPU that stands still for so long is settled: usage is shipped in batches after the replies.
const QUIET: Duration = Duration::from_millis(250);
/// Longest wait for that: the next measurement then begins while the work still goes on, and the
/// sample says so.
const SETTLE_MAX: Duration = Duration::from_secs(8);

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// Name of the test.
    pub(crate) test: &'static str,
    /// Which turn, from 1.
    pub(crate) round: u32,
    /// Name of the subject.
    pub(crate) subject: &'static str,
    /// What the client saw.
    pub(crate) load: LoadReport,
    /// What the processes used: the subject's own first.
    pub(crate) processes: Vec<Used>,
    /// Whether the processes were at rest at the end.
    pub(crate) settled: bool,
}

/// What one process used during a measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Used {
    /// Its name.
    pub(crate) name: &'static str,
    /// CPU time, user and system, with 10 ms resolution.
    pub(crate) cpu_us: u64,
    /// Memory at the end.
    pub(crate) memory: Memory,
}

/// How much load.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Amount {
    /// For so many seconds.
    Seconds(u64),
    /// So many requests.
    Requests(u64),
}

/// Sends `amount` of the load of `test` to `subject`.
///
/// # Errors
/// [`BenchError`] when the load client or a process of the subject fails.
pub(crate) async fn sample(
    subject: &Subject,
    test: &Test,
    round: u32,
    amount: Amount,
) -> Result<Sample, BenchError> {
    let reading = |process: &Process| BenchError::during(format!("read CPU of {}", process.name));
    let mut before = Vec::new();
    for process in &subject.processes {
        before.push(processes::cpu_time(process.pid).map_err(reading(process))?);
    }
    let load = load(subject, test, amount).await?;
    let settled = settle(subject).await.map_err(BenchError::during("wait for rest"))?;
    let mut used = Vec::new();
    for (process, before) in subject.processes.iter().zip(before) {
        let after = processes::cpu_time(process.pid).map_err(reading(process))?;
        used.push(Used {
            name: process.name,
            cpu_us: micros(after.saturating_sub(before)),
            memory: processes::memory(process.pid).map_err(reading(process))?,
        });
    }
    Ok(Sample { test: test.name, round, subject: subject.name, load, processes: used, settled })
}

async fn load(subject: &Subject, test: &Test, amount: Amount) -> Result<LoadReport, BenchError> {
    let mut command = guarded(&this_program()?)?;
    command.args(["load", "--address", &subject.address.to_string()]);
    command.args(["--connections", &test.connections.to_string()]);
    match amount {
        Amount::Seconds(seconds) => command.args(["--seconds", &seconds.to_string()]),
        Amount::Requests(requests) => command.args(["--requests", &requests.to_string()]),
    };
    if test.stream {
        command.arg("--stream");
    }
    command.env_remove(KEY_VARIABLE);
    if let Some(key) = &subject.key {
        command.env(KEY_VARIABLE, key);
    }
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .await
        .map_err(BenchError::during("run the load client"))?;
    if !output.status.success() {
        let said = tail(&String::from_utf8_lossy(&output.stderr));
        let (command, status) = ("bench load".to_owned(), output.status.to_string());
        return Err(BenchError::Refused { command, status, said });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|cause| BenchError::Answer { of: "the load client".to_owned(), cause })
}

/// Waits until no process of the subject uses CPU; `false` when one still does at the end.
async fn settle(subject: &Subject) -> io::Result<bool> {
    let used = || -> io::Result<Duration> {
        subject.processes.iter().map(|process| processes::cpu_time(process.pid)).sum()
    };
    let deadline = Instant::now() + SETTLE_MAX;
    let mut last = used()?;
    while Instant::now() < deadline {
        tokio::time::sleep(QUIET).await;
        let now = used()?;
        if now == last {
            return Ok(true);
        }
        last = now;
    }
    Ok(false)
}
