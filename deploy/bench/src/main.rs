//! `bench`: puts `permille gateway` beside a bare hyper and tower reverse proxy and nginx, in one
//! run on one machine, and prints how they compare.
//!
//! The runner starts its mock provider, bare proxy and load client as subcommands of this same
//! program: processes of their own, always of the same build.

mod bare_proxy;
mod error;
mod fleet;
mod guard;
mod honesty;
mod load;
mod machine;
mod measure;
mod plan;
mod processes;
mod ready;
mod report;
mod run;
mod server;
mod statistics;
mod subject;
mod upstream;

use std::{io::Write, net::SocketAddr, process::ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::{guard::Guard, load::Load, run::Options, subject::THREADS};

/// The allocator of `permille`: the bare proxy shall not be slower for want of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load bench: permille gateway beside a bare hyper proxy and nginx.
#[derive(Debug, Parser)]
#[command(name = "bench", version, about, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The parts that a run starts as processes of their own.
#[derive(Debug, Subcommand)]
enum Part {
    /// The mock provider.
    Upstream(Upstream),
    /// The bare proxy.
    BareProxy(BareProxy),
    /// The load client; prints one line of JSON.
    Load(Load),
    /// Run a program that ends with its parent.
    #[command(hide = true)]
    Guard(Guard),
}

#[derive(Debug, Args)]
struct Upstream {
    /// Pieces of text in one streamed reply.
    #[arg(long, default_value_t = plan::CHUNKS)]
    chunks: u16,
}

#[derive(Debug, Args)]
struct BareProxy {
    /// Where the provider listens.
    #[arg(long)]
    upstream: SocketAddr,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was checked holds.
fn dispatch(cli: Cli) -> anyhow::Result<bool> {
    match cli.part {
        None => return Ok(one_thread()?.block_on(run::run(&cli.options))?),
        Some(Part::Guard(guard)) => return Err(guard::run(&guard)).context("run a program"),
        Some(Part::Upstream(upstream)) => one_thread()?.block_on(upstream::run(upstream.chunks))?,
        Some(Part::BareProxy(proxy)) => {
            let authority = proxy.upstream.to_string().parse()?;
            let threads = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
            threads?.block_on(bare_proxy::run(authority))?;
        }
        Some(Part::Load(load)) => {
            let report = one_thread()?.block_on(load::run(&load));
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
        }
    }
    Ok(true)
}

/// Children belong to the thread that started them: with one thread, that one lives to the end.
fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }
}
