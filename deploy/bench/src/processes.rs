//! What a process and its descendants used, from `/proc`.
//!
//! Source: `proc_pid_stat(5)`, `proc_pid_status(5)`.

use std::{collections::BTreeSet, io, time::Duration};

use serde::Serialize;

/// Memory of a process tree. Unit: KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// In use now (`VmRSS`).
    pub(crate) resident_kib: u64,
    /// The most there ever was (`VmHWM`), added up over the processes.
    pub(crate) peak_kib: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
}

/// CPU time, user and system, that `root` and its living descendants have used so far.
///
/// # Errors
/// When `/proc` cannot be read or `root` is not there.
pub(crate) fn cpu_time(root: u32) -> io::Result<Duration> {
    let ticks: u64 = tree(root)?.iter().map(|stat| stat.ticks).sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_micros(ticks.saturating_mul(1_000_000) / per_second))
}

/// Memory of `root` and its living descendants.
///
/// # Errors
/// When `/proc` cannot be read or `root` is not there.
pub(crate) fn memory(root: u32) -> io::Result<Memory> {
    let mut sum = Memory::default();
    for stat in tree(root)? {
        // A process that ended between the two looks has no memory.
        let status = std::fs::read_to_string(format!("/proc/{}/status", stat.pid));
        let one = parse_memory(&status.unwrap_or_default());
        sum.resident_kib += one.resident_kib;
        sum.peak_kib += one.peak_kib;
    }
    Ok(sum)
}

fn tree(root: u32) -> io::Result<Vec<Stat>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        all.extend(parse_stat(&text));
    }
    let members = members(root, &all);
    if members.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("process {root} has ended")));
    }
    Ok(members)
}

fn members(root: u32, all: &[Stat]) -> Vec<Stat> {
    let mut inside = BTreeSet::from([root]);
    loop {
        let known = inside.len();
        let children = all.iter().filter(|stat| inside.contains(&stat.parent));
        let children: Vec<u32> = children.map(|stat| stat.pid).collect();
        inside.extend(children);
        if inside.len() == known {
            return all.iter().filter(|stat| inside.contains(&stat.pid)).copied().collect();
        }
    }
}

/// Reads one line of `/proc/PID/stat`. A program's name stands in parentheses and may itself hold
/// spaces and parentheses.
fn parse_stat(line: &str) -> Option<Stat> {
    let (head, tail) = line.rsplit_once(')')?;
    let pid = head.split_once(' ')?.0.parse().ok()?;
    // From the third field on: state, parent, then utime and stime as the 14th and 15th.
    let mut fields = tail.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Stat { pid, parent, ticks: user + system })
}

fn parse_memory(status: &str) -> Memory {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    // A kernel thread or a process that has just ended has no such lines.
    Memory {
        resident_kib: field("VmRSS").unwrap_or_default(),
        peak_kib: field("VmHWM").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4242 (a (odd) name) S 17 4242 4242 0 -1 4194560 3131 0 0 0 250 31 7 9 20 0 \
                        3 0 123456 1000000 500 18446744073709551615";

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        assert_eq!(parse_stat(STAT), Some(Stat { pid: 4242, parent: 17, ticks: 281 }));
        assert_eq!(parse_stat("4242 (cut"), None);
        assert_eq!(parse_stat("4242 (cut) S 17 1"), None);
    }

    #[test]
    fn a_tree_holds_grandchildren_and_no_strangers() {
        let stat = |pid, parent| Stat { pid, parent, ticks: 1 };
        let all = [stat(5, 4), stat(4, 3), stat(3, 1), stat(9, 1), stat(1, 0)];

        let found: Vec<u32> = members(3, &all).iter().map(|stat| stat.pid).collect();

        assert_eq!(found, [5, 4, 3]);
        assert!(members(77, &all).is_empty());
    }

    #[test]
    fn memory_is_read_by_name() {
        let status =
            "Name:\tpermille\nVmPeak:\t  99999 kB\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";

        assert_eq!(parse_memory(status), Memory { resident_kib: 1024, peak_kib: 2048 });
        assert_eq!(parse_memory("Name:\tkthreadd\n"), Memory::default());
    }

    #[test]
    fn this_process_is_found() {
        let pid = std::process::id();

        assert!(cpu_time(pid).is_ok());
        assert!(memory(pid).unwrap().resident_kib > 0);
    }
}
