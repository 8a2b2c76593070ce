//! Servers: everything in one process (`serve`), or either half (`gateway`, `billing`).
//!
//! Composition only. [`Running`] starts the parts in order and ends them in the reverse one:
//! gateway, journal, billing.

mod billing;
mod days;
mod error;
mod first_start;
mod gateway;
mod http;
mod observe;
mod part;
mod reload;
mod running;
mod signal;
mod simulated;

use std::time::Duration;

use permille_simulator::{Pace, Simulator, SimulatorConfig};

pub(crate) use error::ServeError;
pub(crate) use running::{Access, Running, Shape, remote_billing, usage_stream};
use signal::Hangups;
pub(crate) use signal::Signals;

use crate::{
    cli, command::Context, config::Config, data_folder::DataFolder, error::CliError, logging,
};

/// `permille serve`.
///
/// # Errors
/// [`CliError`] when it cannot start or does not end well.
pub(crate) async fn all(context: &Context) -> Result<(), CliError> {
    run(context, Shape::All).await
}

/// `permille gateway`.
///
/// # Errors
/// As [`all`].
pub(crate) async fn gateway_half(context: &Context) -> Result<(), CliError> {
    run(context, Shape::Gateway).await
}

/// `permille billing`.
///
/// # Errors
/// As [`all`].
pub(crate) async fn billing_half(context: &Context) -> Result<(), CliError> {
    run(context, Shape::Billing).await
}

async fn run(context: &Context, shape: Shape) -> Result<(), CliError> {
    let mut config: Config = context.config()?;
    logging::start(config.settings.log.format, "info");
    let (mut signals, mut hangups) = (Signals::take()?, Hangups::take()?);
    let folder = DataFolder::open(&context.data)?;
    let mut running = Running::start(&config, &folder, shape).await?;
    let ended = match first_start::greet(context.output, &running).await {
        // The reader of our output may leave; the server stays.
        Ok(()) | Err(CliError::OutputClosed) => tokio::select! {
            () = signals.next() => Ok(()),
            error = serving(context, &mut running, &mut config, &mut hangups) => Err(error.into()),
        },
        Err(error) => Err(error),
    };
    tracing::info!("stopping: open replies are finished or settled");
    running.stop(&mut signals).await?;
    tracing::info!("stopped");
    ended
}

/// Reads the configuration again as often as it is told to, until a part has ended by itself, which
/// none should.
async fn serving(
    context: &Context,
    running: &mut Running,
    config: &mut Config,
    hangups: &mut Hangups,
) -> ServeError {
    loop {
        tokio::select! {
            error = running.failed() => return error,
            () = hangups.next() => {}
        }
        let read = context.config();
        match read.and_then(|after| reload::reload(running, config, after)) {
            Ok(()) => {
                tracing::info!(sections = reload::CHANGEABLE, "the configuration is in force anew");
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the configuration stays as it was");
            }
        }
    }
}

/// `permille simulator`: the simulated provider alone, until its standard input ends.
///
/// # Errors
/// [`CliError`] when it cannot listen or write its books.
pub(crate) async fn simulator(context: &Context, args: &cli::Simulator) -> Result<(), CliError> {
    logging::start(crate::config::LogFormat::Text, "warn");
    let mut signals = Signals::take()?;
    let millis = |value| Duration::from_millis(value);
    let config = SimulatorConfig {
        listen: args.listen,
        books: Some(args.books.clone()),
        pace: Pace { first_token: millis(args.first_token_ms), per_chunk: millis(args.chunk_ms) },
        seed: args.seed,
        ..SimulatorConfig::default()
    };
    let failed = |cause| ServeError::start("the simulated provider", cause);
    let simulator = Simulator::bind(config).map_err(failed)?;
    context.output.document(&simulated::Announcement { listening: simulator.address() })?;
    let stop = async {
        tokio::select! {
            () = signals.next() => {}
            () = simulated::input_ended(), if !args.detached => {}
        }
    };
    simulator.run(stop).await.map_err(failed)?;
    Ok(())
}
