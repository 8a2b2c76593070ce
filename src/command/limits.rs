//! Limits on the command line: the flags that set them, and how they are shown.

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{Context, or_dash, view};
use crate::{
    api::{Api, Path},
    error::CliError,
    table::{Align, Grid},
};

/// Limits to set. What is not given stays as it is; `none` takes a limit away.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Requests per minute.
    #[arg(long, value_name = "N", value_parser = number)]
    rpm: Option<Value>,
    /// Input and output tokens per minute.
    #[arg(long, value_name = "N", value_parser = number)]
    tpm: Option<Value>,
    /// Requests open at once.
    #[arg(long, value_name = "N", value_parser = number)]
    concurrency: Option<Value>,
    /// Spending limit by day, month or in all, such as "50 CNY/month"; once for each.
    #[arg(long, value_name = "AMOUNT/PERIOD")]
    budget: Vec<String>,
    /// What each session may spend, such as "2 CNY/total".
    #[arg(long, value_name = "AMOUNT/total")]
    session_budget: Option<String>,
    /// From which part of a limit on answers warn, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = number)]
    warn_percent: Option<Value>,
}

/// A number, or the word that takes a limit away.
fn number(text: &str) -> Result<Value, String> {
    if text == NONE {
        return Ok(Value::Null);
    }
    let number: Result<u64, _> = text.parse();
    number.map(Value::from).map_err(|_| format!("accepted: a whole number or `{NONE}`"))
}

const NONE: &str = "none";

impl Flags {
    /// Adds what was given to the body of a call.
    pub(crate) fn insert_into(&self, body: &mut Map<String, Value>) {
        let text = |text: &str| if text == NONE { Value::Null } else { json!(text) };
        let budget = (!self.budget.is_empty()).then(|| text(&self.budget.join(", ")));
        for (name, value) in [
            ("rpm", self.rpm.clone()),
            ("tpm", self.tpm.clone()),
            ("concurrency", self.concurrency.clone()),
            ("budget", budget),
            ("session_budget", self.session_budget.as_deref().map(text)),
            ("warn_percent", self.warn_percent.clone()),
        ] {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        }
    }

    /// Changes the limits at `path`, or only shows them where nothing was given.
    ///
    /// # Errors
    /// [`CliError`] when the API refuses or cannot be reached.
    pub(crate) async fn run(
        &self,
        context: &Context,
        api: &Api,
        path: &Path,
    ) -> Result<(), CliError> {
        let mut body = Map::new();
        self.insert_into(&mut body);
        let limits =
            if body.is_empty() { api.get(path).await? } else { api.post(path, &body).await? };
        context.output.one(&limits, |limits| Ok(table(&view(limits)?)))
    }
}

/// Limits as the API tells them.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Limits {
    pub(crate) rpm: Option<u32>,
    pub(crate) tpm: Option<u64>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) budget: Option<String>,
    session_budget: Option<String>,
    warn_percent: Option<u8>,
}

/// One owner's limits, a line each.
fn table(limits: &Limits) -> String {
    let mut grid = Grid::new(&[("limit", Align::Left), ("", Align::Left)]);
    for (title, value) in [
        ("requests per minute", or_dash(limits.rpm.as_ref())),
        ("tokens per minute", or_dash(limits.tpm.as_ref())),
        ("requests at once", or_dash(limits.concurrency.as_ref())),
        ("budget", or_dash(limits.budget.as_ref())),
        ("budget of each session", or_dash(limits.session_budget.as_ref())),
        ("warns from, percent", or_dash(limits.warn_percent.as_ref())),
    ] {
        grid.row([title.to_owned(), value]);
    }
    grid.render("no limits")
}

/// The limits of a customer as lines of its own table; nothing where there are none.
///
/// # Errors
/// [`CliError`] when the answer does not read.
pub(crate) fn of(owner: &RawValue) -> Result<String, CliError> {
    #[derive(Deserialize)]
    struct Owner {
        limits: Option<Limits>,
    }
    let Owner { limits } = view(owner)?;
    Ok(limits.as_ref().map_or_else(String::new, table))
}
