//! The clock of one process, which a test can step: `libfaketime` in front of the system's.

use std::{path::PathBuf, process::Command};

use super::{Folder, prometheus::root};

/// How far the clock of a process is from the system's. What measures time that passes is not
/// touched, as with a real step.
#[derive(Debug)]
pub struct SteppedClock {
    file: PathBuf,
}

impl SteppedClock {
    /// A clock that agrees with the system's, of a process in `folder`.
    pub fn new(folder: &Folder) -> Self {
        let clock = Self { file: folder.path().join("clock") };
        clock.step(0);
        clock
    }

    /// From now on, within a second, it is ahead by so many seconds.
    pub fn step(&self, seconds: i64) {
        // In one step: a reader must not find half a number.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    /// Puts a process that is to be started under this clock.
    ///
    /// # Panics
    /// When the library is not there: `bash tests/run` unpacks it.
    pub fn rule(&self, command: &mut Command) {
        let folders = std::fs::read_dir(root().join("tests/.faketime/usr/lib")).ok();
        let library = folders
            .into_iter()
            .flatten()
            .map(|folder| folder.unwrap().path().join("faketime/libfaketime.so.1"))
            .find(|library| library.exists());
        let library = library.expect("no libfaketime: `bash tests/run` unpacks it");
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }
}
