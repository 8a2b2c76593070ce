//! A disk of one process that a test can slow down: a library in front of the system's.

use std::{path::PathBuf, process::Command};

use super::{
    Folder,
    prometheus::{root, succeeded},
};

/// How long the syncs of a process take longer than the disk needs.
#[derive(Debug)]
pub struct SlowDisk {
    library: PathBuf,
    file: PathBuf,
}

impl SlowDisk {
    /// A disk that is as quick as it is, of a process in `folder`.
    ///
    /// # Panics
    /// When there is no C compiler, which building Permille needs too.
    pub fn new(folder: &Folder) -> Self {
        let library = folder.path().join("slow_disk.so");
        let source = root().join("tests/support/slow_disk.c");
        succeeded(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source));
        let disk = Self { library, file: folder.path().join("sync_ms") };
        disk.takes(0);
        disk
    }

    /// From now on a sync takes so many milliseconds longer.
    pub fn takes(&self, ms: u32) {
        // In one step: a reader must not find half a number.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{ms}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    /// Has a process that is to be started write to it.
    pub fn hold(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("SLOW_DISK_FILE", &self.file);
    }
}
