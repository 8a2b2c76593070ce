//! What happens when a journal is opened: repairs what a crash left, settles what was open.
//!
//! Everything here may itself be cut short by a crash: each step leaves a folder from which the
//! next start comes to the same result. A record is taken out of a damaged segment by writing
//! it again, syncing, and only then setting the segment aside.

use std::{any::Any, io, path::PathBuf, sync::Arc};

use permille_types::Clock;

use crate::{
    JournalConfig, JournalError, JournalFs, RecoveryReport, format::LOCK_NAME, repair::Repair,
    state::State, store::Store, survey::survey, watermark::Watermark,
};

/// A journal ready for its threads.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) watermark: Arc<Watermark>,
    pub(crate) store: Store,
    pub(crate) report: RecoveryReport,
    pub(crate) lock: Box<dyn Any + Send + Sync>,
}

/// Opens the folder.
pub(crate) fn recover(
    fs: Arc<dyn JournalFs>,
    config: &JournalConfig,
    clock: &dyn Clock,
) -> Result<Recovered, JournalError> {
    let lock = lock(&*fs, config)?;
    let store = Store {
        fs,
        directory: config.directory.clone(),
        node: config.node.clone(),
        segment_bytes: config.segment_bytes,
    };
    let survey = survey(&store)?;
    let watermark = Arc::new(Watermark::default());
    let repair = Repair::begin(&store, config, clock, survey, &watermark)?;
    let (state, report) = repair.run()?;
    Ok(Recovered { state, watermark, store, report, lock })
}

fn lock(
    fs: &dyn JournalFs,
    config: &JournalConfig,
) -> Result<Box<dyn Any + Send + Sync>, JournalError> {
    let directory = &config.directory;
    let error = |operation, path: PathBuf| {
        move |cause| JournalError::Open { operation, path, cause: Arc::new(cause) }
    };
    fs.create_directory(directory).map_err(error("create", directory.clone()))?;
    let path = directory.join(LOCK_NAME);
    fs.lock(&path).map_err(|cause| match cause.kind() {
        io::ErrorKind::WouldBlock => JournalError::Locked { directory: directory.clone() },
        _ => error("lock", path)(cause),
    })
}
