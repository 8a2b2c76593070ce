//! `permille doctor`: what keeps this installation from running well, and what to do about it. It
//! changes nothing.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use http::Uri;
use permille_ledger::{Ledger, StoreVersion};
use permille_types::{Clock as _, SystemClock};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpStream;

use super::Context;
use crate::{
    config::Config,
    data_folder::DataFolder,
    error::{CliError, chain},
    table::{Align, Grid, grouped},
};

/// Longest wait for a server that is asked.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Oldest Redis that is tested.
const REDIS_MAJOR_MIN: u32 = 7;
/// How far the clock may be from another machine's: leases and time windows stand a second or two.
const CLOCK_SECONDS_MAX: u64 = 2;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Error,
}

/// What was looked at, what was found, and what to do.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_do: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Ok, found: found.into(), to_do: None }
    }

    fn warning(check: &str, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self::amiss(State::Warning, check, found, to_do)
    }

    fn error(check: &str, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self::amiss(State::Error, check, found, to_do)
    }

    fn amiss(
        state: State,
        check: &str,
        found: impl Into<String>,
        to_do: impl Into<String>,
    ) -> Self {
        Self { check: check.to_owned(), state, found: found.into(), to_do: Some(to_do.into()) }
    }
}

/// Runs the command.
///
/// # Errors
/// [`CliError::Refused`] when a check ends in an error.
pub(crate) async fn run(context: &Context) -> Result<(), CliError> {
    let mut checks = Vec::new();
    match context.config() {
        Err(error) => checks.push(Finding::error(
            "configuration",
            chain(&error),
            "mend it; `permille config check` says the same",
        )),
        Ok(config) => {
            checks.push(configuration(&config));
            checks.extend(data_folder(&context.data));
            checks.extend(journal(&context.data, &config));
            checks.extend(disk(&context.data, &config));
            checks.push(store(&context.data, &config).await);
            checks.extend(redis(&config).await);
            for upstream in &config.settings.upstream {
                checks.push(upstream_of(upstream.name.as_str(), &upstream.base_url).await);
            }
        }
    }
    tell(context, &checks)
}

fn tell(context: &Context, checks: &[Finding]) -> Result<(), CliError> {
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let (errors, warnings) = (count(State::Error), count(State::Warning));
    if context.output.is_json() {
        context.output.document(&json!({
            "ok": errors == 0, "errors": errors, "warnings": warnings, "checks": checks,
        }))?;
    } else {
        let mut grid = Grid::new(&[
            ("", Align::Left),
            ("check", Align::Left),
            ("found", Align::Left),
            ("to do", Align::Left),
        ]);
        for Finding { check, state, found, to_do } in checks {
            let state = match state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Error => "ERROR",
            };
            grid.row([state, check, found, to_do.as_deref().unwrap_or("")]);
        }
        context.output.line(&grid.render("nothing was checked"))?;
    }
    match errors {
        0 => Ok(()),
        _ => Err(CliError::Refused(format!(
            "{errors} of {} checks found an error, {warnings} a warning",
            checks.len()
        ))),
    }
}

fn configuration(config: &Config) -> Finding {
    let name = "configuration";
    match (config.check_files(), &config.file) {
        (Err(error), _) => Finding::error(name, chain(&error), "give what the configuration names"),
        (Ok(()), Some(file)) => Finding::ok(name, format!("`{}` is usable", file.display())),
        (Ok(()), None) => Finding::ok(name, "no file, defaults and environment are usable"),
    }
}

/// Who may read the folder and its secrets, and whether it can be written.
fn data_folder(data: &Path) -> Vec<Finding> {
    let name = "data folder";
    let Ok(found) = fs::metadata(data) else {
        let found = format!("`{}` is not there", data.display());
        return vec![Finding::warning(name, found, "the first start makes it; else give --data")];
    };
    let mut checks = Vec::new();
    if let Err(error) = DataFolder::open(data) {
        let to_do = "let the user that runs permille write it";
        checks.push(Finding::error(name, chain(&error), to_do));
    }
    for (file, of_folder) in [("", true), ("pepper", false), ("cli.token", false)] {
        let path = data.join(file);
        let mode = if of_folder { Ok(found.clone()) } else { fs::metadata(&path) };
        let Ok(mode) = mode.map(|file| file.permissions().mode() & 0o777) else { continue };
        if mode & 0o077 != 0 {
            let path = path.display();
            let accepted = if of_folder { "700" } else { "600" };
            checks.push(Finding::warning(
                name,
                format!("others may read `{path}` (mode {mode:o})"),
                format!("chmod {accepted} {path}"),
            ));
        }
    }
    if checks.is_empty() {
        checks.push(Finding::ok(name, format!("`{}` is private and writable", data.display())));
    }
    checks
}

/// What waits for billing on this disk, and what could not be read.
fn journal(data: &Path, config: &Config) -> Option<Finding> {
    let name = "journal";
    let entries = fs::read_dir(DataFolder::existing(data).journal()).ok()?;
    let (mut bytes, mut segments, mut aside) = (0_u64, 0_u64, 0_u64);
    for entry in entries.filter_map(Result::ok) {
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.ends_with(".corrupt") {
            aside = aside.saturating_add(1);
        } else if file.ends_with(".segment") {
            segments = segments.saturating_add(1);
            bytes = bytes.saturating_add(entry.metadata().map_or(0, |file| file.len()));
        }
    }
    let most = config.settings.journal.bytes_max;
    let found = format!(
        "{segments} segments, {} of {} bytes",
        grouped(&bytes.to_string()),
        grouped(&most.to_string())
    );
    Some(if aside > 0 {
        Finding::warning(
            name,
            format!("{found}; {aside} damaged segments are set aside"),
            "see docs/operations.md, \"A segment was set aside\"",
        )
    } else if bytes > most / 2 {
        Finding::warning(name, found, "billing does not take usage: see PermilleJournalLag")
    } else {
        Finding::ok(name, found)
    })
}

fn disk(data: &Path, config: &Config) -> Option<Finding> {
    let name = "disk";
    let room = rustix::fs::statvfs(data).ok()?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let journal = &config.settings.journal;
    let found = format!("{} bytes are free", grouped(&free.to_string()));
    let most = grouped(&journal.bytes_max.to_string());
    Some(if free < journal.segment_bytes.saturating_mul(4) {
        Finding::error(
            name,
            found,
            "make room: no request is admitted without room for the journal",
        )
    } else if free < journal.bytes_max {
        let to_do = format!("make room for `journal.bytes_max` ({most}), or lower it");
        Finding::warning(name, found, to_do)
    } else {
        Finding::ok(name, found)
    })
}

async fn store(data: &Path, config: &Config) -> Finding {
    let name = "store";
    if config.settings.billing.url.is_some() {
        return Finding::ok(name, "billing is another process");
    }
    let address = match config.store_to_open(data) {
        Ok(address) => address,
        Err(error) => {
            return Finding::error(name, chain(&error), "give what the configuration names");
        }
    };
    let asked = tokio::time::timeout(ANSWER_TIME_MAX, Ledger::version_of(&address)).await;
    let StoreVersion { found, known, pending } = match asked {
        Ok(Ok(version)) => version,
        Ok(Err(error)) => {
            return Finding::error(name, chain(&error), "start the database, or mend `store.url`");
        }
        Err(_) => {
            let slow = format!("{address}: no answer within {} s", ANSWER_TIME_MAX.as_secs());
            return Finding::error(name, slow, "start the database, or mend `store.url`");
        }
    };
    match found {
        None => Finding::warning(name, format!("{address} is empty"), "the first start fills it"),
        Some(found) if found > known => Finding::error(
            name,
            format!("{address} is at migration {found}, this build knows {known}"),
            "run the newer build",
        ),
        Some(found) if !pending.is_empty() => Finding::warning(
            name,
            format!("{address} is at migration {found}, {} are pending", pending.len()),
            "`permille migrate`, or the next start, brings it up to date",
        ),
        Some(found) => Finding::ok(name, format!("{address} is at migration {found}")),
    }
}

/// Redis, and the clock of its machine beside ours.
async fn redis(config: &Config) -> Vec<Finding> {
    let stream = config.settings.usage_stream_url();
    let limits = config.settings.redis.as_ref().map(|redis| redis.url.secret());
    let mut urls: Vec<_> = limits.into_iter().chain(stream).collect();
    urls.dedup_by(|a, b| a.expose_secret() == b.expose_secret());
    let mut checks = Vec::new();
    for url in urls {
        let asked = tokio::time::timeout(ANSWER_TIME_MAX, ask_redis(url.expose_secret())).await;
        checks.extend(match asked {
            // Its own words may hold the password.
            Err(_) | Ok(Err(_)) => vec![Finding::error(
                "redis",
                "no answer, or a refusal",
                "start Redis, or mend `redis.url` or `usage_stream.url`",
            )],
            Ok(Ok((version, seconds))) => vec![version_of(&version), clock(seconds)],
        });
    }
    checks
}

async fn ask_redis(url: &str) -> redis::RedisResult<(String, u64)> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let server: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
    let version = server.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok((version.unwrap_or("0").trim().to_owned(), seconds))
}

fn version_of(version: &str) -> Finding {
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < REDIS_MAJOR_MIN {
        Finding::error("redis", format!("it is Redis {version}"), "run Redis 7 or later")
    } else {
        Finding::ok("redis", format!("Redis {version} answers"))
    }
}

fn clock(seconds: u64) -> Finding {
    let ours = u64::try_from(SystemClock.now().timestamp()).unwrap_or_default();
    let apart = ours.abs_diff(seconds);
    let found = format!("{apart} s from that of Redis");
    if apart > CLOCK_SECONDS_MAX {
        Finding::error("clock", found, "synchronise the clocks of both machines (NTP)")
    } else {
        Finding::ok("clock", found)
    }
}

/// Whether something listens where a provider should.
async fn upstream_of(name: &str, base_url: &str) -> Finding {
    let check = format!("upstream {name}");
    let place = base_url.parse::<Uri>().ok().and_then(|uri| {
        let port =
            uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        Some((uri.host()?.trim_matches(['[', ']']).to_owned(), port))
    });
    let Some((host, port)) = place else {
        return Finding::error(
            &check,
            format!("`{base_url}` names no host"),
            "mend its `base_url`",
        );
    };
    let to_do = "check name, network and firewall: requests for its models fail";
    let connecting = TcpStream::connect((host.as_str(), port));
    match tokio::time::timeout(ANSWER_TIME_MAX, connecting).await {
        Ok(Ok(_)) => Finding::ok(check, format!("{host}:{port} takes connections")),
        Ok(Err(error)) => Finding::error(&check, format!("{host}:{port}: {error}"), to_do),
        Err(_) => {
            let slow = format!("{host}:{port}: no answer within {} s", ANSWER_TIME_MAX.as_secs());
            Finding::error(&check, slow, to_do)
        }
    }
}
