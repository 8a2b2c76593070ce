//! A disk of one process that is so small that a test can fill it.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use super::Server;

/// Its size.
const BYTES: u64 = 4 << 20;
/// What fills it.
const FILLER: &str = "filler";

/// Mounts a file system of `$1` bytes at `$2`, which nobody but the program that follows sees.
const MOUNT: &str = r#"mount -t tmpfs -o size="$1" permille "$2"; shift 2; exec "$@""#;

/// A file system in memory at a folder, as the process started under it sees that folder. It ends
/// with that process. Where the user of the tests may not mount, no file of the process may grow
/// instead, which fails otherwise than a full disk does.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// One at this folder, which is made.
    pub fn new(at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        Self { at: at.to_owned() }
    }

    /// Has a command that is to be started write there.
    pub fn hold(&self, command: &mut Command) {
        if !may_mount() {
            return;
        }
        let mut held = unshare();
        held.args(["sh", "-ec", MOUNT, "sh", &BYTES.to_string()]).arg(&self.at);
        held.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        held.current_dir(command.get_current_dir().unwrap());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => held.env(name, value),
                None => held.env_remove(name),
            };
        }
        *command = held;
    }

    /// Leaves no byte free.
    pub fn fill(&self, server: &Server) {
        if !may_mount() {
            return server.limit_files(Some(1));
        }
        let file = self.filler(server);
        let mut filler = OpenOptions::new().append(true).create(true).open(file).unwrap();
        let full = loop {
            if let Err(error) = filler.write_all(&[0; 4_096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
    }

    /// Frees what [`SmallDisk::fill`] took.
    pub fn make_room(&self, server: &Server) {
        if !may_mount() {
            return server.limit_files(None);
        }
        std::fs::remove_file(self.filler(server)).unwrap();
    }

    /// The filler as seen from outside.
    fn filler(&self, server: &Server) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", server.pid()));
        root.join(self.at.strip_prefix("/").unwrap()).join(FILLER)
    }
}

/// A command in a space of mounts of its own.
pub(super) fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        command.arg("--map-root-user");
    }
    command.arg("--mount");
    command
}

/// Whether the user of the tests may mount.
fn may_mount() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let tried = unshare()
            .args(["mount", "-t", "tmpfs", "permille"])
            .arg(folder.path())
            .output()
            .is_ok_and(|tried| tried.status.success());
        println!("a disk of its own for a process: {tried}");
        tried
    })
}
