//! `permille session list|show|outcome`: multi-turn sessions, what each turn of them cost, and what
//! became of them.

use clap::Subcommand;
use permille_types::{TokenClass, TokenCounts};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, moment, or_dash, session_summary, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid, counted},
};

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the sessions of a customer, or of all of them.
    List {
        /// Only those of this customer, by its id.
        #[arg(long)]
        customer: Option<String>,
        /// Only sessions of at least so many turns.
        #[arg(long, value_name = "N")]
        turns: Option<u32>,
    },
    /// Show one session, turn by turn.
    Show {
        /// The session's id, as the client gave it.
        id: String,
        /// Whose: two customers may use the same id.
        #[arg(long)]
        customer: Option<String>,
    },
    /// What sessions cost over a stretch of time, and what of it is hidden.
    Summary(session_summary::Summary),
    /// Say what became of a session: accepted, rejected, resolved or abandoned.
    Outcome {
        /// The session's id.
        id: String,
        /// What became of it.
        outcome: String,
        /// Whose: two customers may use the same id.
        #[arg(long)]
        customer: Option<String>,
    },
}

/// The part of a session that is printed.
#[derive(Debug, Deserialize)]
struct Session {
    customer: String,
    id: String,
    turns: u32,
    requests: u64,
    unpriced_requests: u64,
    simulated_requests: u64,
    tokens: TokenCounts,
    cost: String,
    currency: String,
    hidden: Hidden,
    outcome: Option<Told>,
    inferred_outcome: String,
    first_at: String,
    last_at: String,
}

/// What somebody said of a session.
#[derive(Debug, Deserialize)]
struct Told {
    outcome: String,
}

/// What of a cost is hidden.
#[derive(Debug, Deserialize)]
pub(super) struct Hidden {
    resent_tokens: Option<u64>,
    resent_share_permille: Option<u64>,
    resent_cost: String,
    cached_tokens: u64,
    cached_share_permille: Option<u64>,
    cache_saving: String,
    cache_saving_missed: String,
    regenerations: u64,
    regenerated_cost: String,
    failed_requests: u64,
    failed_request_cost: String,
    retries: u64,
    failed_attempts: u64,
    failed_attempt_cost: String,
    first_token_ms_mean: Option<u64>,
}

/// One session with its turns.
#[derive(Debug, Deserialize)]
struct Detail {
    session: Session,
    turns: Vec<Turn>,
    truncated: bool,
}

/// One turn, as far as it is printed.
#[derive(Debug, Deserialize)]
struct Turn {
    #[serde(rename = "turn")]
    number: u32,
    kind: Option<String>,
    requests: u64,
    branches: u64,
    unpriced_requests: u64,
    tokens: TokenCounts,
    cost: String,
    cumulative_cost: String,
    hidden: Hidden,
    first_at: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::List { customer, turns } => {
            let turns = turns.as_ref().map(ToString::to_string);
            let path = Path::of(&["sessions"])
                .with("customer", customer.as_deref())
                .with("turns_min", turns.as_deref());
            let sessions = api.list(&path).await?;
            context.output.list(&sessions, table)
        }
        Command::Show { id, customer } => {
            let path = Path::of(&["sessions", id]).with("customer", customer.as_deref());
            let session = api.get(&path).await?;
            context.output.one(&session, text)
        }
        Command::Summary(asked) => session_summary::run(context, &api, asked).await,
        Command::Outcome { id, outcome, customer } => {
            let body = json!({ "outcome": outcome, "customer": customer });
            let session = api.post(&Path::of(&["sessions", id, "outcome"]), &body).await?;
            context.output.one(&session, |session| {
                let session: Session = view(session)?;
                Ok(format!("session {}: {}", session.id, session.standing()))
            })
        }
    }
}

fn table(sessions: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("session", Align::Left),
        ("customer", Align::Left),
        ("turns", Align::Right),
        ("requests", Align::Right),
        ("resent", Align::Right),
        ("cost", Align::Right),
        ("", Align::Left),
        ("outcome", Align::Left),
        ("last (UTC)", Align::Left),
        ("notes", Align::Left),
    ]);
    for session in sessions {
        let session: Session = view(session)?;
        let (notes, standing) = (session.notes(), session.standing());
        grid.row([
            session.id,
            session.customer,
            session.turns.to_string(),
            session.requests.to_string(),
            or_dash(share(session.hidden.resent_share_permille).as_ref()),
            session.cost,
            session.currency,
            standing,
            moment(&session.last_at),
            notes,
        ]);
    }
    Ok(grid.render("no sessions"))
}

/// One session as text: its totals, then what each turn used and cost.
///
/// # Errors
/// [`CliError::Api`] when the document is not what this version expects.
pub(crate) fn text(document: &RawValue) -> Result<String, CliError> {
    let Detail { session, turns, truncated } = view(document)?;
    // Only the classes that occur: an absent one was not reported, and is not 0.
    let classes: Vec<&TokenClass> = TokenClass::KNOWN
        .iter()
        .chain(session.tokens.keys().filter(|class| !TokenClass::KNOWN.contains(class)))
        .filter(|class| session.tokens.contains_key(class))
        .collect();
    let mut columns = vec![
        ("turn", Align::Right),
        ("kind", Align::Left),
        ("at (UTC)", Align::Left),
        ("requests", Align::Right),
    ];
    columns.extend(classes.iter().map(|class| (class.as_str(), Align::Right)));
    columns.extend([
        ("resent", Align::Right),
        ("first token ms", Align::Right),
        ("cost", Align::Right),
        ("so far", Align::Right),
        ("notes", Align::Left),
    ]);
    let mut grid = Grid::new(&columns);
    for turn in turns {
        let counts = classes.iter().map(|class| or_dash(turn.tokens.get(class)));
        let lead = [
            turn.number.to_string(),
            or_dash(turn.kind.as_ref()),
            moment(&turn.first_at),
            turn.requests.to_string(),
        ];
        let hidden = [
            or_dash(turn.hidden.resent_tokens.as_ref()),
            or_dash(turn.hidden.first_token_ms_mean.as_ref()),
        ];
        let notes = turn.notes();
        let cells = lead.into_iter().chain(counts).chain(hidden);
        grid.row(cells.chain([turn.cost, turn.cumulative_cost, notes]));
    }
    let more = if truncated { "\n\nlater turns are not shown: too many requests" } else { "" };
    Ok(format!(
        "session {} of customer {}: {} in {}, {} {}\n{} to {} UTC{}, {}\n\n{}{more}\n\n{}",
        session.id,
        session.customer,
        counted(session.turns.into(), "turn"),
        counted(session.requests, "request"),
        session.cost,
        session.currency,
        moment(&session.first_at),
        moment(&session.last_at),
        match session.notes() {
            notes if notes.is_empty() => notes,
            notes => format!(" ({notes})"),
        },
        session.standing(),
        grid.render("no requests"),
        session.hidden.text(&session.currency),
    ))
}

impl Turn {
    fn notes(&self) -> String {
        let told = notes(self.requests, self.unpriced_requests, 0);
        let Hidden { regenerations, failed_requests, failed_attempts, .. } = &self.hidden;
        let hidden = [
            (*regenerations, format!("{regenerations} regenerated")),
            (self.branches, format!("{} branched", self.branches)),
            (*failed_requests, format!("{failed_requests} not complete")),
            (*failed_attempts, format!("{} failed", counted(*failed_attempts, "call"))),
        ];
        let hidden = hidden.into_iter().filter(|(count, _)| *count > 0).map(|(_, what)| what);
        Some(told)
            .filter(|told| !told.is_empty())
            .into_iter()
            .chain(hidden)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Hidden {
    /// What of the cost is hidden, a line each; what is nothing is left out.
    pub(super) fn text(&self, currency: &str) -> String {
        let mut grid = Grid::new(&[
            ("hidden cost", Align::Left),
            ("count", Align::Right),
            ("share", Align::Right),
            (currency, Align::Right),
        ]);
        for (what, count, share_permille, amount) in [
            (
                "tokens sent before",
                self.resent_tokens,
                self.resent_share_permille,
                &self.resent_cost,
            ),
            (
                "tokens from the cache (saved)",
                Some(self.cached_tokens),
                self.cached_share_permille,
                &self.cache_saving,
            ),
            ("not from the cache (saving missed)", None, None, &self.cache_saving_missed),
            ("requests made again", Some(self.regenerations), None, &self.regenerated_cost),
            (
                "requests that did not complete",
                Some(self.failed_requests),
                None,
                &self.failed_request_cost,
            ),
            (
                "calls that failed (not billed)",
                Some(self.failed_attempts),
                None,
                &self.failed_attempt_cost,
            ),
            ("calls made again", Some(self.retries), None, &String::new()),
        ] {
            if count.is_some_and(|count| count > 0) || (count.is_none() && amount != "0") {
                let share = or_dash(share(share_permille).as_ref());
                grid.row([what.to_owned(), or_dash(count.as_ref()), share, amount.clone()]);
            }
        }
        grid.render("no hidden cost is known")
    }
}

/// Thousandths as people read them.
pub(super) fn share(permille: Option<u64>) -> Option<String> {
    permille.map(|permille| format!("{permille} ‰"))
}

impl Session {
    /// What was said of it, else what is inferred, and that it is.
    fn standing(&self) -> String {
        let inferred = || format!("{} (inferred)", self.inferred_outcome.replace('_', " "));
        self.outcome.as_ref().map_or_else(inferred, |told| told.outcome.clone())
    }

    fn notes(&self) -> String {
        notes(self.requests, self.unpriced_requests, self.simulated_requests)
    }
}

/// What a reader should know of `requests`: how many are unpriced or simulated.
fn notes(requests: u64, unpriced: u64, simulated: u64) -> String {
    let told: Vec<String> = [(unpriced, "unpriced"), (simulated, "simulated")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| match count {
            count if count == requests => what.to_owned(),
            count => format!("{count} {what}"),
        })
        .collect();
    told.join(", ")
}
