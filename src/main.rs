//! `permille`: meters what goes through model APIs, token by token, and bills it per thousand.
//!
//! This program only composes: it reads the command line and the configuration and wires the
//! crates of `gateway/` and `billing/` together. One file per subcommand; no metering and no
//! money is computed here.

mod api;
mod backup;
mod cli;
mod command;
mod config;
mod data_folder;
mod demo;
mod error;
mod logging;
mod output;
mod serve;
mod store;
mod table;
mod whole_file;

use std::process::ExitCode;

use clap::Parser;
use permille_allocator as _;

use crate::{
    cli::{Cli, Command, ConfigCommand},
    command::Context,
    error::CliError,
    output::Output,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                error::report(&error);
            }
            error.exit_code()
        }
    }
}

fn run(cli: &Cli) -> Result<(), CliError> {
    // Only one TLS provider is built in; installing it twice is the one way this can fail.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return Err(CliError::Refused("a TLS provider is already installed".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let done = runtime.block_on(dispatch(cli));
    // What still runs has had its grace; a blocked thread must not hold the process.
    runtime.shutdown_background();
    done
}

async fn dispatch(cli: &Cli) -> Result<(), CliError> {
    let context = Context {
        output: Output::new(cli.json),
        data: cli.data.clone(),
        overrides: cli.overrides(),
        idempotency_key: cli.idempotency_key.clone(),
    };
    match &cli.command {
        Command::Serve(_) => serve::all(&context).await,
        Command::Gateway(_) => serve::gateway_half(&context).await,
        Command::Billing(_) => serve::billing_half(&context).await,
        Command::Demo(args) => demo::run(&context, *args).await,
        Command::Simulator(args) => serve::simulator(&context, args).await,
        Command::Config(ConfigCommand::Check) => command::config::check(&context),
        Command::Customer(command) => command::customer::run(&context, command).await,
        Command::Project(command) => command::project::run(&context, command).await,
        Command::Key(command) => command::key::run(&context, command).await,
        Command::Token(command) => command::token::run(&context, command).await,
        Command::Price(command) => command::price::run(&context, command).await,
        Command::Charge(command) => command::charge::run(&context, command).await,
        Command::Simulate(simulate) => command::simulate::run(&context, simulate).await,
        Command::Plan(command) => command::plan::run(&context, command).await,
        Command::Grant(command) => command::grant::run(&context, command).await,
        Command::Quote(quote) => command::quote::run(&context, quote),
        Command::Verify(verify) => command::verify::run(&context, verify),
        Command::Usage(command) => command::usage::run(&context, command).await,
        Command::Session(command) => command::session::run(&context, command).await,
        Command::Invoice(command) => command::invoice::run(&context, command).await,
        Command::Close(close) => command::close::run(&context, close).await,
        Command::Fx(command) => command::fx::run(&context, command).await,
        Command::Dispute(command) => command::dispute::run(&context, command).await,
        Command::Audit(audit) => command::audit::run(&context, audit).await,
        Command::Margin(margin) => command::margin::run(&context, margin).await,
        Command::Reconcile(asked) => command::reconcile::run(&context, asked).await,
        Command::Journal(command) => command::journal::run(&context, command).await,
        Command::Health(health) => command::health::run(&context, *health).await,
        Command::Webhook(command) => command::webhook::run(&context, command).await,
        Command::Backup(asked) => command::backup::back_up(&context, asked).await,
        Command::Restore(asked) => command::backup::put_back(&context, asked).await,
        Command::Migrate(asked) => command::migrate::run(&context, *asked).await,
        Command::Doctor => command::doctor::run(&context).await,
        Command::Openapi => command::openapi::run(&context),
    }
}
