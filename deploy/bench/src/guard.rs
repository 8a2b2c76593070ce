//! Runs a program that ends with the bench, also when the bench is killed with `kill -9`.

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, parent_id},
    process::Command,
};

use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};

/// Which program, and whose child it is.
#[derive(Debug, Args)]
pub(crate) struct Guard {
    /// Process id of the bench.
    #[arg(long)]
    parent: u32,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the program. Comes back only with a reason why not.
pub(crate) fn run(guard: &Guard) -> io::Error {
    // The order outlives `exec`, so the program itself need not know.
    if let Err(cause) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return cause.into();
    }
    // A parent that ended before the order was given would never be noticed.
    if parent_id() != guard.parent {
        return io::Error::other("the bench has ended");
    }
    match guard.command.split_first() {
        Some((program, arguments)) => Command::new(program).args(arguments).exec(),
        None => io::Error::other("no program is given"),
    }
}
