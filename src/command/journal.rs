//! `permille journal ship`: hands over what a node has left behind that will not start again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Subcommand;
use permille_journal::{Journal, JournalConfig, RealFs, RecoveryReport, ship_all};
use permille_service::Billing;
use permille_types::{Intake, NodeId, SystemClock};
use prometheus::Registry;
use serde_json::json;

use super::Context;
use crate::{
    api::ApiError,
    config::Config,
    data_folder::{DataFolder, DataFolderError, FolderLock},
    error::CliError,
    logging, output,
    serve::{ServeError, remote_billing, usage_stream},
    store::Store,
};

/// Bytes that the segments may take: no new request comes, so only orphans are added to what is
/// there, whatever the bound was that it grew within.
const BYTES_MAX: u64 = 1 << 50;

/// What to do with journals.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Hand over the usage that a gateway has left in its data folder, instead of starting it
    /// again: over the stream of `[usage_stream]`, else to the billing of `[billing]`, else into
    /// the store of `--data`. Again, it changes nothing.
    Ship {
        /// The data folder that was left behind. Refused while its gateway runs.
        folder: PathBuf,
        /// Base URL of the billing half, over `billing.url`.
        #[arg(long, value_name = "URL")]
        billing: Option<String>,
    },
}

impl Command {
    /// Where billing is, as the command line says.
    pub(crate) fn billing(&self) -> Option<&String> {
        let Self::Ship { billing, .. } = self;
        billing.as_ref()
    }
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the folder is in use or no gateway's, billing does not take everything (what
/// it did not take stays), or puts some of it in quarantine.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let Command::Ship { folder, .. } = command;
    let config = context.config()?;
    logging::start(config.settings.log.format, "warn");
    let left = LeftBehind::take(folder)?;
    let over_http = command.billing().is_some();
    let target = Target::of(context, &config, over_http).await?;
    let (journal, found) = left.open(config.settings.journal.segment_bytes).await?;
    let events = journal.stats().lag_records;
    let bar = output::progress("events handed over", events);
    let told = |left: u64| bar.set_position(events.saturating_sub(left));
    let shipped = ship_all(journal.clone(), Arc::clone(&target.intake), told).await;
    bar.finish_and_clear();
    let closed = journal.close().await;
    target.close().await;
    let quarantined = shipped.map_err(failed)?;
    closed.map_err(failed)?;
    report(context, &left.node, (events, quarantined), &found)?;
    if quarantined > 0 {
        return Err(CliError::Refused(format!(
            "{quarantined} of {events} events are in quarantine and not booked: see \
             GET /api/v1/usage/quarantine"
        )));
    }
    Ok(())
}

fn report(
    context: &Context,
    node: &NodeId,
    (events, quarantined): (u64, u64),
    found: &RecoveryReport,
) -> Result<(), CliError> {
    let (orphans, damaged) = (found.orphans, found.damage.len());
    if context.output.is_json() {
        return context.output.document(&json!({
            "node": node.as_str(), "shipped": events, "quarantined": quarantined, "orphans": orphans,
            "damaged": damaged,
        }));
    }
    let aside = match quarantined {
        0 => String::new(),
        count => format!(", {count} of them put in quarantine"),
    };
    context.output.line(&format!(
        "{events} events of {node} handed over{aside}, {orphans} of them settled as orphaned just \
         now; nothing is left"
    ))?;
    for damage in &found.damage {
        context.output.line(&format!("damaged, what verifies was kept: {damage:?}"))?;
    }
    Ok(())
}

/// A data folder without its process.
struct LeftBehind {
    folder: DataFolder,
    node: NodeId,
    /// Its owner stays out until we are done.
    _lock: FolderLock,
}

impl LeftBehind {
    fn take(path: &Path) -> Result<Self, CliError> {
        let folder = DataFolder::existing(path);
        let named = path.display();
        if !folder.journal().is_dir() {
            return Err(CliError::Refused(format!(
                "`{named}` holds no folder `journal`, accepted: the data folder of a gateway"
            )));
        }
        let lock =
            folder.try_lock()?.ok_or_else(|| DataFolderError::InUse { folder: path.to_owned() })?;
        let Some(node) = folder.made_node()? else {
            return Err(CliError::Refused(format!(
                "`{named}` holds no file `node`, which says whose journal it is: restore it from \
                 a backup"
            )));
        };
        Ok(Self { folder, node, _lock: lock })
    }

    /// Opens its journal as its own start would: what was open is settled as orphaned.
    async fn open(&self, segment_bytes: u64) -> Result<(Journal, RecoveryReport), CliError> {
        let mut config = JournalConfig::new(self.folder.journal(), self.node.clone());
        config.segment_bytes = segment_bytes;
        config.bytes_max = BYTES_MAX;
        let open = move || Journal::open(Arc::new(RealFs), &config, Arc::new(SystemClock));
        let opened = tokio::task::spawn_blocking(open).await.map_err(failed)?.map_err(failed)?;
        Ok((opened.journal, opened.recovered))
    }
}

/// Who takes the usage.
struct Target {
    intake: Arc<dyn Intake>,
    /// The store, where no billing runs that could be asked.
    own: Option<(Billing, FolderLock)>,
}

impl Target {
    async fn of(context: &Context, config: &Config, over_http: bool) -> Result<Self, CliError> {
        let stream = if over_http { None } else { usage_stream(config)? };
        if let Some(intake) = stream {
            return Ok(Self { intake, own: None });
        }
        if let Some(remote) = remote_billing(config)? {
            return Ok(Self { intake: remote, own: None });
        }
        // A new store would know no key, and all that is handed over would be in its quarantine.
        if !context.data.is_dir() {
            return Err(CliError::Refused(format!(
                "data folder `{}` is not there; accepted: --data with the folder of the store that \
                 the usage belongs to, or --billing URL",
                context.data.display()
            )));
        }
        let folder = DataFolder::open(&context.data)?;
        let Some(lock) = folder.try_lock()? else {
            return Err(CliError::Refused(format!(
                "a server runs on data folder `{}`: give it as --billing URL, with a token of role \
                 `gateway` in [billing] token_file",
                context.data.display()
            )));
        };
        let store = Store::open(&folder, &lock, config).await?;
        let billing = Billing::new(store.ledger, &Registry::new())
            .map_err(|cause| ApiError::Store(Box::new(cause)))?;
        Ok(Self { intake: Arc::new(billing.clone()), own: Some((billing, lock)) })
    }

    async fn close(self) {
        if let Some((billing, _lock)) = self.own {
            billing.ledger().close().await;
        }
    }
}

fn failed(cause: impl std::error::Error + Send + Sync + 'static) -> CliError {
    ServeError::HandOver(Box::new(cause)).into()
}
