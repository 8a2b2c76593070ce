//! Commands on a terminal: what people see of them, and Ctrl-C.

use std::{
    fs::File,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::{Folder, eventually, sdk::python};

/// Gives a program a terminal of its own, passes on what comes and goes, and ends as it ended. Who
/// is started in the background by a script ignores Ctrl-C, and what it starts inherits that.
const HOLD: &str = "import os, pty, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
code = os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:]))
sys.exit(code if code >= 0 else 128 - code)";

/// A command on a terminal. Dropping it hangs up.
#[derive(Debug)]
pub struct Terminal {
    holder: Child,
    screen: PathBuf,
}

impl Terminal {
    /// Runs a `permille` command of `folder` on a terminal.
    pub fn run(folder: &Folder, args: &[&str]) -> Self {
        let screen = folder.path().join("screen");
        let plain = folder.command(args);
        let mut holder = Command::new(python());
        holder.args(["-c", HOLD]).arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => holder.env(name, value),
                None => holder.env_remove(name),
            };
        }
        let holder = holder
            .env("TERM", "xterm")
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(File::create(&screen).unwrap())
            .spawn()
            .unwrap();
        Self { holder, screen }
    }

    /// Everything that was on it so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.screen).unwrap()).into_owned()
    }

    /// Waits until a text is on it, or the command has ended.
    pub async fn shows(&mut self, text: &str) {
        eventually(&format!("`{text}` is on the terminal"), async || {
            let ended = self.holder.try_wait().unwrap().is_some();
            (ended || self.screen().contains(text)).then_some(())
        })
        .await;
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&mut self) {
        // Who has ended reads nothing any more.
        self.holder.stdin.as_mut().unwrap().write_all(b"\x03").unwrap_or_default();
    }

    /// `kill -9` to the command.
    pub fn kill(&self) {
        let holder = self.holder.id();
        let children = format!("/proc/{holder}/task/{holder}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        for child in children.split_whitespace() {
            // It may have ended meanwhile.
            Command::new("kill").args(["-s", "KILL", child]).status().unwrap();
        }
    }

    /// Waits for the end of the command. Its exit code; that of a signal is 128 and its number.
    pub async fn ended(&mut self) -> i32 {
        eventually("the command ends", async || self.holder.try_wait().unwrap())
            .await
            .code()
            .unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.holder.kill().unwrap_or_default();
        self.holder.wait().map(drop).unwrap_or_default();
    }
}
