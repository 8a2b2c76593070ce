//! What the figures were measured on: without it they cannot be compared with any others.

use std::{fmt, io, path::Path};

use serde::Serialize;

/// The machine and the moment.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// As `/proc/cpuinfo` names it.
    pub(crate) processor: String,
    /// Linux release.
    pub(crate) kernel: String,
    /// Load averages at the start: a busy machine gives worse figures.
    pub(crate) load_average: String,
    /// File system of the folder that holds the journal.
    pub(crate) file_system: String,
}

impl Machine {
    /// This machine, for a journal in `folder`.
    ///
    /// # Errors
    /// When the folder does not exist.
    pub(crate) fn look(folder: &Path) -> io::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let unknown = || "unknown".to_owned();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: parse_processor(&read("/proc/cpuinfo")).unwrap_or_else(unknown),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            file_system: parse_file_system(&read("/proc/self/mounts"), &folder.canonicalize()?)
                .unwrap_or_else(unknown),
        })
    }

    /// Whether a sync costs nothing there, so that the journal's does not show.
    pub(crate) fn syncs_to_memory(&self) -> bool {
        self.file_system.starts_with("tmpfs") || self.file_system.starts_with("ramfs")
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "- cores: {} ({})", self.cores, self.processor)?;
        writeln!(f, "- kernel: {}", self.kernel)?;
        writeln!(f, "- load average at the start: {}", self.load_average)?;
        write!(f, "- file system of the journal: {}", self.file_system)
    }
}

fn parse_processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Type and device of the mount that holds `path`: the last one among those with the longest
/// mount point, because a later mount covers an earlier one.
fn parse_file_system(mounts: &str, path: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(point).then(|| (point.len(), format!("{kind} on {device}")))
    });
    mounted.max_by_key(|(length, _)| *length).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "/dev/vda / ext4 rw,relatime 0 0\n\
                          tmpfs /run tmpfs rw 0 0\n\
                          /dev/vdb /run/fast xfs rw 0 0\n\
                          tmpfs /run/fast tmpfs rw 0 0\n";

    #[test]
    fn the_innermost_and_last_mount_holds_a_path() {
        let at = |path: &str| parse_file_system(MOUNTS, Path::new(path)).unwrap();

        assert_eq!(at("/home/bench"), "ext4 on /dev/vda");
        assert_eq!(at("/run/lock"), "tmpfs on tmpfs");
        assert_eq!(at("/run/fast/journal"), "tmpfs on tmpfs");
        assert_eq!(at("/run/faster"), "tmpfs on tmpfs");
        assert_eq!(parse_file_system("", Path::new("/")), None);
    }

    #[test]
    fn a_processor_without_a_name_is_unknown_rather_than_empty() {
        let named = "processor\t: 0\nmodel name\t: Example 3000 @ 2 GHz\n";

        assert_eq!(parse_processor(named).as_deref(), Some("Example 3000 @ 2 GHz"));
        assert_eq!(parse_processor("processor\t: 0\n"), None);
    }
}
