//! Month close: checks, drafts, the signatures of two roles, the lock, and how it is taken back.
//!
//! A month is closed for all customers at once. From then on its invoices stand: nothing of it is
//! drafted, approved, issued or made void; what arrives late for it is on later invoices, and what
//! was wrong is credited. Every step is one transaction, so that a close that was killed is simply
//! run again.

mod checks;
mod repo;

use chrono::{DateTime, Utc};
use permille_rating::period::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use repo::{closed_before, is_closed};

pub use crate::invoice::{SignedAmounts, SignedSum};
use crate::{
    AuditEntry, Instruction, Ledger, LedgerError, Role,
    audit::{self, Author, Change, Subject},
    customer,
    error::During,
    grant, invoice,
    invoiced::AFTER_ALL_MONTHS,
    step::{Progress, Step, Walk},
    store::Connection,
    text,
    webhook::{self, Event, EventKind},
};
use checks::Survey;

/// Longest reason, in bytes: a paragraph.
const REASON_BYTES_MAX: usize = 1_000;
/// Drafts were made.
const PREPARE: &str = "prepare";
/// Changes that spend the caller's key: each may be possible again later, and a call that comes
/// twice is meant once.
const SIGN: &str = "sign";
const REOPEN: &str = "reopen";

/// Whether a month is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloseState {
    /// It can be changed.
    Open,
    /// It is locked.
    Closed,
}

impl CloseState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// Something that must be in order before a month is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Whether it is in order.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// Somebody who has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signature {
    /// In which role: `operator` for engineering, `finance`.
    pub role: String,
    /// Their token.
    pub token: String,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
    /// Why they signed although a check was not in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// The invoices and credit notes of the month that they signed over; absent before this was
    /// kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amounts: Option<SignedAmounts>,
}

/// How far the close of a month is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Close {
    /// The month, such as `2026-11`.
    pub period: String,
    /// Whether it is closed.
    pub state: CloseState,
    /// What must be in order.
    pub checks: Vec<Check>,
    /// Who has signed since it was last opened.
    pub signatures: Vec<Signature>,
    /// Everything that was done, oldest first.
    pub history: Vec<AuditEntry>,
}

/// How far the drafts of a close are, after a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CloseStep {
    /// The month, such as `2026-11`.
    pub period: String,
    /// Customers whose draft is made, is as it should be, or is not needed.
    pub progress: Progress,
    /// What is left to do; absent before the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<Close>,
}

impl Ledger {
    /// How far the close of a month is. Changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a text that is no month, else the store's failure.
    pub async fn close_report(&self, period: &str) -> Result<Close, LedgerError> {
        checked(period)?;
        self.report(period).await
    }

    /// Drafts what is missing of an ended month, renews drafts that are not true any more and tells
    /// what is left to do. Each draft is a transaction of its own; what was done before stays when
    /// it is run again.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a text that is no month; [`LedgerError::Refused`] when it has
    /// not ended or is closed; else the store's failure.
    pub async fn prepare_close(
        &self,
        period: &str,
        instruction: &Instruction,
    ) -> Result<Close, LedgerError> {
        self.draft_customers(period, None, instruction).await?;
        self.prepared(period, instruction).await
    }

    /// The same in steps: drafts for the customers of one of them. The last step tells what is left
    /// to do. A close that stopped after some is taken up by steps from the first one on: they find
    /// its drafts true and leave them.
    ///
    /// # Errors
    /// As [`Ledger::prepare_close`].
    pub async fn prepare_close_step(
        &self,
        period: &str,
        step: &Step,
        instruction: &Instruction,
    ) -> Result<CloseStep, LedgerError> {
        let progress = self.draft_customers(period, Some(step), instruction).await?;
        let close = match progress.next_cursor {
            Some(_) => None,
            None => Some(self.prepared(period, instruction).await?),
        };
        Ok(CloseStep { period: period.to_owned(), progress, close })
    }

    async fn draft_customers(
        &self,
        period: &str,
        step: Option<&Step>,
        instruction: &Instruction,
    ) -> Result<Progress, LedgerError> {
        checked(period)?;
        let mut reader = self.store.read().await?;
        refuse_running(&mut reader, period, self.now()).await?;
        refuse_closed(&mut reader, period).await?;
        let mut walk = Walk::of(customer::all(&mut reader).await?, step);
        drop(reader);
        while let Some(customer) = walk.next_customer() {
            self.draft_for_close(&customer.id, period, instruction).await?;
        }
        Ok(walk.progress())
    }

    /// Notes that drafts were made since the last such note, by whichever runs, and tells what is
    /// left to do.
    async fn prepared(
        &self,
        period: &str,
        instruction: &Instruction,
    ) -> Result<Close, LedgerError> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        refuse_closed(&mut tx, period).await?;
        repo::open(&mut tx, period, now).await?;
        let noted = audit::entries(&mut tx, subject(period)).await?;
        let noted = noted.iter().rev().find(|entry| entry.action == PREPARE).map(|entry| entry.at);
        let drafts = repo::drafts_since(&mut tx, period, noted).await?;
        if drafts > 0 {
            let detail = format!("{drafts} drafts made or renewed");
            note(&mut tx, period, (PREPARE, None, None), Some(&detail), instruction, now).await?;
        }
        tx.commit().await.during("commit preparation of a close")?;
        self.report(period).await
    }

    /// Signs a month in the caller's role. With the signatures of engineering (role operator) and
    /// finance it is closed. `accepted` says why although a check is not in order.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a text that is no month or a bad reason;
    /// [`LedgerError::Refused`] when the month has not ended, is closed or was signed in that role,
    /// when a check is not in order and nothing was said of it, or the role is another one; else
    /// the store's failure.
    pub async fn sign_close(
        &self,
        period: &str,
        accepted: Option<&str>,
        instruction: &Instruction,
    ) -> Result<Close, LedgerError> {
        checked(period)?;
        let accepted =
            accepted.map(|text| text::line("accept", text, REASON_BYTES_MAX)).transpose()?;
        let role = instruction.by().role();
        if !matches!(role, Role::Operator | Role::Finance) {
            let reason = format!(
                "is signed by two roles, not by {role}; accepted: a token of role operator \
                 (engineering) and one of role finance"
            );
            return Err(LedgerError::refused("period", period, reason));
        }
        let mut view = self.store.view().await?;
        let catalogue = self.current(&mut view).await?;
        let mut survey = Survey::of(&mut view, &catalogue, period).await?;
        drop(view);

        let now = self.now();
        let mut tx = self.store.write().await?;
        let request = accepted.unwrap_or_default();
        if audit::repeated(&mut tx, subject(period), SIGN, request, instruction).await?.is_some() {
            drop(tx);
            return self.report(period).await;
        }
        refuse_running(&mut tx, period, now).await?;
        refuse_closed(&mut tx, period).await?;
        let seen = invoice::amounts_of(&mut tx, period).await?;
        let (round, before) = signing_round(&mut tx, period, role, &seen, now).await?;
        let catalogue = self.current(&mut tx).await?;
        survey.renew(&mut tx, &catalogue, period).await?;
        let checks = survey.checks(&mut tx, period, now).await?;
        let failed: Vec<String> = checks
            .iter()
            .filter(|check| !check.ok)
            .map(|check| format!("{}: {}", check.name, check.detail))
            .collect();
        if !failed.is_empty() && accepted.is_none() {
            let reason = format!(
                "is not in order ({}); accepted: to put it in order, or to say why it is signed all \
                 the same",
                failed.join("; ")
            );
            return Err(LedgerError::refused("period", period, reason));
        }
        let accepted = accepted.filter(|_| !failed.is_empty());
        repo::sign(&mut tx, (period, round), instruction.by(), (accepted, &seen), now).await?;
        let why = accepted.map(|why| format!(": {why} ({})", failed.join("; ")));
        let detail = format!("over {}{}", seen.told(), why.unwrap_or_default());
        let open = CloseState::Open;
        let change = Change {
            action: SIGN,
            from: Some(open.as_str()),
            to: Some(open.as_str()),
            detail: Some(&detail),
            request,
            result: None,
        };
        audit::insert(&mut tx, subject(period), change, instruction, now).await?;
        tell(&mut tx, period, SIGN, instruction, now).await?;
        if !before.is_empty() {
            repo::set_state(&mut tx, period, CloseState::Open, CloseState::Closed, now).await?;
            for customer in customer::all(&mut tx).await? {
                let month = invoice::month(period, &customer)?;
                grant::expire(&mut tx, &customer, (period, month), now).await?;
            }
            let closed = ("close", Some(open), Some(CloseState::Closed));
            note(&mut tx, period, closed, None, instruction, now).await?;
        }
        let close = close(&mut tx, period, checks).await?;
        tx.commit().await.during("commit signature of a close")?;
        Ok(close)
    }

    /// Opens a closed month again, by a decision that stays on its history. All signatures have to
    /// be given anew.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a text that is no month or without a reason;
    /// [`LedgerError::Refused`] when it is not closed; else the store's failure.
    pub async fn reopen_period(
        &self,
        period: &str,
        reason: &str,
        instruction: &Instruction,
    ) -> Result<Close, LedgerError> {
        checked(period)?;
        let reason = text::line("reason", reason, REASON_BYTES_MAX)?;
        let now = self.now();
        let mut tx = self.store.write().await?;
        if audit::repeated(&mut tx, subject(period), REOPEN, reason, instruction).await?.is_some() {
            drop(tx);
            return self.report(period).await;
        }
        if !repo::is_closed(&mut tx, period).await? {
            let reason = "is not closed; accepted: a closed month";
            return Err(LedgerError::refused("period", period, reason));
        }
        repo::set_state(&mut tx, period, CloseState::Closed, CloseState::Open, now).await?;
        let change = Change {
            action: REOPEN,
            from: Some(CloseState::Closed.as_str()),
            to: Some(CloseState::Open.as_str()),
            detail: Some(reason),
            request: reason,
            result: None,
        };
        audit::insert(&mut tx, subject(period), change, instruction, now).await?;
        tell(&mut tx, period, REOPEN, instruction, now).await?;
        tx.commit().await.during("commit reopening of a month")?;
        self.report(period).await
    }

    async fn report(&self, period: &str) -> Result<Close, LedgerError> {
        let mut view = self.store.view().await?;
        let catalogue = self.current(&mut view).await?;
        let survey = Survey::of(&mut view, &catalogue, period).await?;
        let checks = survey.checks(&mut view, period, self.now()).await?;
        close(&mut view, period, checks).await
    }
}

/// The round in which `role` signs over `seen`, and who has signed in it. A signature is over the
/// amounts that it saw: who signed over others signs again, and until then nobody else does.
async fn signing_round(
    connection: &mut Connection,
    period: &str,
    role: &Role,
    seen: &SignedAmounts,
    now: DateTime<Utc>,
) -> Result<(i64, Vec<Signature>), LedgerError> {
    let round = repo::open(connection, period, now).await?;
    let before = repo::signatures(connection, period, round).await?;
    let is_other =
        |signature: &Signature| signature.amounts.as_ref().is_some_and(|amounts| amounts != seen);
    let refused = |reason: String| Err(LedgerError::refused("period", period, reason));
    if let Some(own) = before.iter().find(|signature| signature.role == role.as_str()) {
        if !is_other(own) {
            return refused(format!("was signed by {role} already; accepted: the other role"));
        }
        let open = CloseState::Open;
        repo::set_state(connection, period, open, open, now).await?;
        return Ok((repo::open(connection, period, now).await?, Vec::new()));
    }
    if let Some(other) = before.iter().find(|signature| is_other(signature)) {
        let by = &other.role;
        let before = other.amounts.as_ref().map(SignedAmounts::told).unwrap_or_default();
        let now = seen.told();
        return refused(format!(
            "was signed by {by} over {before}; now it is {now} (other invoices, credit notes or \
             amounts); accepted: that {by} signs again"
        ));
    }
    Ok((round, before))
}

/// Refuses to change invoices of a month that is closed.
pub(crate) async fn refuse_closed(
    connection: &mut Connection,
    period: &str,
) -> Result<(), LedgerError> {
    if !repo::is_closed(connection, period).await? {
        return Ok(());
    }
    let reason = "is closed; accepted: a credit note, or a decision to open it again";
    Err(LedgerError::refused("period", period, reason))
}

/// Closed months, oldest first.
pub(crate) async fn closed(connection: &mut Connection) -> Result<Vec<String>, LedgerError> {
    closed_before(connection, AFTER_ALL_MONTHS).await
}

/// Refuses a month that has not ended for every customer.
async fn refuse_running(
    connection: &mut Connection,
    period: &str,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let end = checks::span(connection, period).await?.end;
    if now >= end {
        return Ok(());
    }
    let end = end.format("%Y-%m-%dT%H:%M:%SZ");
    let reason = format!("has not ended for every customer; accepted: a close from {end} on");
    Err(LedgerError::refused("period", period, reason))
}

/// Refuses what is no month.
pub(crate) fn checked(period: &str) -> Result<(), LedgerError> {
    Period::month(period, chrono_tz::UTC)
        .map(drop)
        .map_err(|_| LedgerError::invalid("period", period, "a month such as 2026-11"))
}

/// The close as it stands, with what was found of it.
async fn close(
    connection: &mut Connection,
    period: &str,
    checks: Vec<Check>,
) -> Result<Close, LedgerError> {
    let found = repo::find(connection, period).await?;
    let (state, round) = found.unwrap_or((CloseState::Open, 1));
    Ok(Close {
        period: period.to_owned(),
        state,
        checks,
        signatures: repo::signatures(connection, period, round).await?,
        history: audit::entries(connection, subject(period)).await?,
    })
}

async fn note(
    connection: &mut Connection,
    period: &str,
    (action, from, to): (&'static str, Option<CloseState>, Option<CloseState>),
    detail: Option<&str>,
    instruction: &Instruction,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let change = Change {
        action,
        from: from.map(CloseState::as_str),
        to: to.map(CloseState::as_str),
        detail,
        request: "",
        result: None,
    };
    // A close that is repeated changes nothing or is refused by its state: no key is spent.
    let by = Author::from(instruction).unkeyed();
    audit::insert(connection, subject(period), change, by, at).await?;
    tell(connection, period, action, instruction, at).await
}

/// Lets webhooks know of a step of a close.
async fn tell(
    connection: &mut Connection,
    period: &str,
    action: &str,
    instruction: &Instruction,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    /// A step of a close, as events tell of it.
    #[derive(Serialize, JsonSchema)]
    struct News<'a> {
        period: &'a str,
        role: &'a str,
    }
    let kind = match action {
        PREPARE => EventKind::PeriodPrepared,
        "sign" => EventKind::PeriodSigned,
        "close" => EventKind::PeriodClosed,
        _ => EventKind::PeriodReopened,
    };
    let event = Event {
        kind,
        customer: None,
        subject: format!("period {period}"),
        once: None,
        data: &News { period, role: instruction.by().role().as_str() },
    };
    webhook::tell(connection, event, at).await
}

fn subject(period: &str) -> Subject<'_> {
    Subject { noun: "period", id: period }
}
