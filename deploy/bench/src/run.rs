//! A run: start everything, measure each subject in turn, check the metering, end everything.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use tempfile::TempDir;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::{
    error::BenchError,
    fleet::{Fleet, this_program},
    honesty::Honesty,
    machine::Machine,
    measure::{Amount, Sample, sample},
    plan::{Plan, TESTS, Test},
    report,
    subject::{self, GATEWAY, Subject, nginx, permille::Installation},
};

/// Requests of each kind before anything is measured: connections, caches and lazy tables.
const WARM_UP_REQUESTS: u64 = 300;

/// Kept of the whole time for the last table and for ending the children.
const MARGIN: Duration = Duration::from_secs(2);

/// `bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// One short round in under half a minute: a look, not a result.
    #[arg(long)]
    quick: bool,
    /// Only this test; may be given more than once.
    #[arg(long = "test", value_name = "NAME", value_parser = TESTS.map(|test| test.name))]
    tests: Vec<String>,
    /// The permille program [default: beside this one].
    #[arg(long, value_name = "FILE")]
    permille: Option<PathBuf>,
    /// Measure the mock provider, the bare proxy and nginx alone.
    #[arg(long, conflicts_with = "permille")]
    without_permille: bool,
    /// `journal.sync` of the gateway.
    #[arg(long, value_name = "MODE", default_value = "settle")]
    sync: String,
    /// Folder for journal and database, removed afterwards [default: beside this program, which
    /// is on a disk where a temporary folder often is not].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// File for every single measurement, as JSON lines [default: bench.jsonl beside this
    /// program].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// One line of the file of measurements.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Record<'a> {
    Machine(&'a Machine),
    Sample(&'a Sample),
    Honesty(&'a Honesty),
}

/// Everything that one run knows.
struct Run<'a> {
    options: &'a Options,
    plan: Plan,
    deadline: Instant,
    out: std::fs::File,
    honesty: Honesty,
}

/// Runs the bench; `false` when the metering check fails or a request failed.
///
/// # Errors
/// [`BenchError`] when there are no figures.
pub(crate) async fn run(options: &Options) -> Result<bool, BenchError> {
    let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
    let here = this_program()?.parent().unwrap_or(Path::new(".")).to_owned();
    // Children work in folders of their own, where a relative path would mean another place.
    let base = std::path::absolute(options.folder.as_deref().unwrap_or(&here))
        .map_err(BenchError::during("find the working folder"))?;
    let folder = TempDir::with_prefix_in("permille-bench-", &base)
        .map_err(BenchError::during(format!("create a folder in `{}`", base.display())))?;
    let out = options.out.clone().unwrap_or_else(|| here.join("bench.jsonl"));
    let out = std::fs::File::create(&out)
        .map_err(BenchError::during(format!("create `{}`", out.display())))?;
    let deadline = Instant::now() + plan.total_max;
    let mut run = Run { options, plan, deadline, out, honesty: Honesty::new() };

    let mut fleet = Fleet::new(folder.path());
    let outcome = tokio::select! {
        outcome = run.all(&mut fleet, folder.path(), &here) => outcome,
        () = tokio::time::sleep_until(deadline) => {
            Err(BenchError::Late { seconds: plan.total_max.as_secs() })
        }
        interrupted = interrupted() => interrupted,
    };
    fleet.end().await;
    outcome
}

/// Waits for Ctrl-C or a request to end.
async fn interrupted() -> Result<bool, BenchError> {
    let take = |kind| signal(kind).map_err(BenchError::during("take signals over"));
    let (mut interrupt, mut terminate) =
        (take(SignalKind::interrupt())?, take(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Err(BenchError::Interrupted)
}

impl Run<'_> {
    async fn all(
        &mut self,
        fleet: &mut Fleet,
        folder: &Path,
        here: &Path,
    ) -> Result<bool, BenchError> {
        let program = self.options.permille.clone().unwrap_or_else(|| here.join("permille"));
        let installation = if self.options.without_permille {
            None
        } else {
            Some(Installation::new(&program, &folder.join("permille"))?)
        };
        self.introduce(folder, installation.is_some().then_some(&*program))?;

        let subjects = self.start(fleet, folder, installation.as_ref()).await?;
        let samples = self.measure(&subjects).await?;
        let failed: u64 = samples.iter().map(|sample| sample.load.errors).sum();
        for test in self.tests() {
            let table = report::table(&test, &samples);
            let table = table.map_err(|cause| std::io::Error::other(cause.to_string()));
            print(&table.map_err(BenchError::during("write a table"))?)?;
        }
        for sample in samples.iter().filter(|sample| sample.load.errors > 0) {
            let reason = sample.load.first_error.as_deref().unwrap_or_default();
            eprintln!("{} of {}, round {}: {reason}", sample.test, sample.subject, sample.round);
        }
        let Some(installation) = installation else { return Ok(failed == 0) };
        let honesty = self.honesty.read(&installation, self.deadline - MARGIN).await?;
        self.record(&Record::Honesty(&honesty))?;
        print(&honesty.to_string())?;
        Ok(failed == 0 && honesty.holds())
    }

    /// Says what is measured on what.
    fn introduce(&mut self, folder: &Path, program: Option<&Path>) -> Result<(), BenchError> {
        let machine = Machine::look(folder).map_err(BenchError::during("look at the machine"))?;
        self.record(&Record::Machine(&machine))?;
        let profile =
            if cfg!(debug_assertions) { "debug: figures mean nothing" } else { "release" };
        let Plan { rounds, seconds, .. } = self.plan;
        let mut lines = vec![format!("# Load bench\n\n{machine}\n- bench: built as {profile}")];
        if let Some(program) = program {
            lines.push(format!("- permille: `{}`", program.display()));
            lines.push(format!("- journal sync: {}", self.options.sync));
        }
        lines.push(format!("- measured: {rounds} × {seconds} s of each, in turn"));
        if machine.syncs_to_memory() {
            lines.push(
                "- **The journal is in memory: its syncs cost nothing here. Give a folder on a \
                 disk with --folder.**"
                    .to_owned(),
            );
        }
        lines.push(String::new());
        print(&lines.join("\n"))
    }

    async fn start(
        &self,
        fleet: &mut Fleet,
        folder: &Path,
        installation: Option<&Installation>,
    ) -> Result<Vec<Subject>, BenchError> {
        let direct = subject::direct(fleet).await?;
        let upstream = direct.address;
        let mut subjects = vec![direct, subject::bare(fleet, upstream).await?];
        match nginx::find() {
            Some(program) => {
                let folder = folder.join("nginx");
                subjects.push(nginx::start(fleet, &program, &folder, upstream).await?);
            }
            None => eprintln!("nginx is {}; going on without it", nginx::REMEDY),
        }
        if let Some(installation) = installation {
            subjects.push(installation.start(fleet, upstream, &self.options.sync).await?);
        }
        Ok(subjects)
    }

    async fn measure(&mut self, subjects: &[Subject]) -> Result<Vec<Sample>, BenchError> {
        for subject in subjects {
            for test in self.tests() {
                let sample = sample(subject, &test, 0, Amount::Requests(WARM_UP_REQUESTS)).await?;
                self.took(&sample)?;
            }
        }
        let mut samples = Vec::new();
        let mut longest = Duration::ZERO;
        for round in 1..=self.plan.rounds {
            let begun = Instant::now();
            if begun + longest + self.plan.reading > self.deadline {
                eprintln!("no time for round {round}: the medians are over fewer");
                break;
            }
            for test in self.tests() {
                for subject in subjects {
                    eprintln!("round {round}: {} of {}", test.name, subject.name);
                    let amount = Amount::Seconds(self.plan.seconds);
                    let sample = sample(subject, &test, round, amount).await?;
                    self.took(&sample)?;
                    samples.push(sample);
                }
            }
            longest = longest.max(begun.elapsed());
        }
        Ok(samples)
    }

    fn took(&mut self, sample: &Sample) -> Result<(), BenchError> {
        if sample.subject == GATEWAY {
            self.honesty.count(sample);
        }
        self.record(&Record::Sample(sample))
    }

    fn tests(&self) -> Vec<Test> {
        let chosen = &self.options.tests;
        let wanted = |test: &Test| chosen.is_empty() || chosen.iter().any(|n| n == test.name);
        TESTS.into_iter().filter(wanted).collect()
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), BenchError> {
        let mut line = serde_json::to_string(record)
            .map_err(|cause| BenchError::Answer { of: "the bench".to_owned(), cause })?;
        line.push('\n');
        self.out
            .write_all(line.as_bytes())
            .map_err(BenchError::during("write the file of measurements"))
    }
}

fn print(text: &str) -> Result<(), BenchError> {
    writeln!(std::io::stdout(), "{text}").map_err(BenchError::during("print the results"))
}
