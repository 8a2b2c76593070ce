//! Calls that do their work in steps, from customer to customer. Each ends long before a client
//! gives up, and whoever waits sees how many are done of how many.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::view;
use crate::{
    api::{Api, ApiError, Path, WORK_SECONDS_MAX},
    error::CliError,
    output::stepping,
};

/// Customers of the first step: a second of work, where each takes long.
const FIRST: u32 = 8;
/// Customers that the API takes in one step.
const CUSTOMERS_MAX: u32 = 1_000;
/// A step that takes less is followed by one of twice as many customers.
const QUICK: Duration = Duration::from_millis(250);
/// One that takes longer by one of half as many.
const SLOW: Duration = Duration::from_secs(2);
/// How often a step is asked for while another such work takes its turn: each time the API waits
/// for ten seconds.
const BUSY_MAX: u32 = 360;

/// What every step answers.
#[derive(Debug, Deserialize)]
struct Stepped {
    progress: Progress,
}

#[derive(Debug, Deserialize)]
struct Progress {
    done: u64,
    of: u64,
    next_cursor: Option<String>,
}

/// Makes the call `body` to `path` again and again, handing each answer to `take`, until all
/// customers are done. Shows on a terminal how far it is.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached, or what `take` says.
pub(super) async fn each(
    what: &'static str,
    api: &Api,
    path: &Path,
    mut body: Value,
    mut take: impl FnMut(&RawValue) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let bar = stepping(what);
    let mut limit = FIRST;
    let mut cursor: Option<String> = None;
    loop {
        if let Value::Object(fields) = &mut body {
            fields.insert("limit".to_owned(), limit.into());
            fields.insert("cursor".to_owned(), cursor.clone().into());
        }
        let begun = Instant::now();
        let answer = step(api, path, &body).await?;
        let Progress { done, of, next_cursor } = view::<Stepped>(&answer)?.progress;
        bar.set_position(done);
        // Draws, too.
        bar.set_length(of);
        take(&answer)?;
        // A cursor that does not move would loop for ever.
        if next_cursor.is_none() || next_cursor == cursor {
            bar.finish_and_clear();
            return Ok(());
        }
        cursor = next_cursor;
        limit = match begun.elapsed() {
            took if took < QUICK => limit.saturating_mul(2).min(CUSTOMERS_MAX),
            took if took > SLOW => limit.div_ceil(2),
            _ => limit,
        };
    }
}

/// One step, which changes nothing when it is refused for want of a turn.
async fn step(api: &Api, path: &Path, body: &Value) -> Result<Box<RawValue>, CliError> {
    let mut refused = 0;
    loop {
        match api.post_within(WORK_SECONDS_MAX, path, body).await {
            Err(ApiError::Busy { .. }) if refused < BUSY_MAX => refused += 1,
            answer => return Ok(answer?),
        }
    }
}
