//! Reconciliations with providers' bills: our side of them, and the reports that are kept and
//! signed. What differs and why is the arithmetic of `permille-reconcile`.

mod ours;
mod repo;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

pub use ours::{PROVIDER_REQUESTS_MAX, ProviderCell, ProviderScope};

use crate::{
    AuditEntry, Instruction, Ledger, LedgerError, Listing, Page,
    audit::{self, Author, Change, Subject},
    column,
    error::During,
    secret::public_id,
    session::some_decimal_string,
    store::Connection,
    text,
};

/// Longest note of a signature, in bytes: a paragraph.
const NOTE_BYTES_MAX: usize = 1_000;
/// Largest report, in bytes: five thousand differences with their reasons.
const REPORT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A report that was made.
#[derive(Debug, Clone)]
pub struct NewReconciliation {
    /// Its id, from [`Ledger::reconciliation_id`].
    pub id: String,
    /// Whose bill.
    pub provider: String,
    /// Its first day.
    pub first: NaiveDate,
    /// Its last day.
    pub last: NaiveDate,
    /// Digest of what was asked for: the same call again is told by it.
    pub asked: String,
    /// Digest of all that it says but its id, time and author.
    pub fingerprint: String,
    /// What does not agree, in thousandths of the bill.
    pub drift_permille: Option<Decimal>,
    /// The report.
    pub report: Box<RawValue>,
    /// What it comes to, for the audit trail.
    pub detail: String,
}

/// A reconciliation as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReconciliationSummary {
    /// Its id.
    pub id: String,
    /// Whose bill.
    pub provider: String,
    /// Its first day.
    pub first: NaiveDate,
    /// Its last day.
    pub last: NaiveDate,
    /// What does not agree, in thousandths of the bill; absent where the bill is nothing.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_decimal_string")]
    pub drift_permille: Option<Decimal>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The signature; absent until somebody signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<ReconciliationSignature>,
}

/// Who signed a reconciliation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReconciliationSignature {
    /// When.
    pub at: DateTime<Utc>,
    /// The name of the token, or its id, and its role.
    pub by: String,
    /// What they say.
    pub note: String,
}

/// A reconciliation whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Reconciliation {
    /// What lists show.
    pub summary: ReconciliationSummary,
    /// The report as it was made.
    #[schemars(with = "serde_json::Value")]
    pub report: Box<RawValue>,
    /// Who did what with it.
    pub history: Vec<AuditEntry>,
}

impl Ledger {
    /// An id for a new report, and the time that it bears.
    ///
    /// # Errors
    /// [`LedgerError::Random`].
    pub fn reconciliation_id(&self) -> Result<(String, DateTime<Utc>), LedgerError> {
        let now = self.now();
        Ok((public_id("rec_", now)?, now))
    }

    /// Keeps a report, or answers the one that this very call made before, or the one of the same
    /// content.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a report that is too long; [`LedgerError::Refused`] when the
    /// key was spent on another call; else the store's failure.
    pub async fn keep_reconciliation(
        &self,
        new: &NewReconciliation,
        instruction: &Instruction,
    ) -> Result<Reconciliation, LedgerError> {
        let bytes = new.report.get().len();
        if bytes > REPORT_BYTES_MAX {
            let accepted = format!("at most {REPORT_BYTES_MAX} bytes: fewer days");
            return Err(LedgerError::invalid("report", &format!("of {bytes} bytes"), accepted));
        }
        let now = self.now();
        let mut tx = self.store.write().await?;
        // Our side may have grown since: the same call again gets the report of its first time.
        let made = subject(&new.provider);
        let before = audit::repeated(&mut tx, made, audit::CREATE, &new.asked, instruction).await?;
        if let Some(id) = before.and_then(|before| before.result) {
            return whole(&mut tx, &id).await;
        }
        if let Some(known) = repo::same(&mut tx, &new.fingerprint).await? {
            let known = whole(&mut tx, &known).await?;
            if instruction.key().is_some() {
                let id = &known.summary.id;
                audit::note_made(&mut tx, made, &new.asked, id, instruction, now).await?;
                tx.commit().await.during("note a report that was there")?;
            }
            return Ok(known);
        }
        repo::insert(&mut tx, new, now).await?;
        let change = Change {
            action: "compare",
            from: None,
            to: Some("open"),
            detail: Some(&new.detail),
            request: &new.fingerprint,
            result: Some(&new.id),
        };
        let unkeyed = Author::from(instruction).unkeyed();
        audit::insert(&mut tx, subject(&new.id), change, unkeyed, now).await?;
        if instruction.key().is_some() {
            audit::note_made(&mut tx, made, &new.asked, &new.id, instruction, now).await?;
        }
        let kept = whole(&mut tx, &new.id).await?;
        tx.commit().await.during("commit reconciliation")?;
        Ok(kept)
    }

    /// Signs a report, once.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] where it is signed already;
    /// [`LedgerError::Invalid`] for a note that is none, else the store's failure.
    pub async fn sign_reconciliation(
        &self,
        id: &str,
        note: &str,
        instruction: &Instruction,
    ) -> Result<Reconciliation, LedgerError> {
        const ACTION: &str = "sign";
        let note = text::line("note", note, NOTE_BYTES_MAX)?;
        let now = self.now();
        let mut tx = self.store.write().await?;
        let before = whole(&mut tx, id).await?;
        if audit::repeated(&mut tx, subject(id), ACTION, note, instruction).await?.is_some() {
            return Ok(before);
        }
        if let Some(signed) = &before.summary.signed {
            let reason = format!("is signed already, by {}", signed.by);
            return Err(LedgerError::refused("reconciliation", id, reason));
        }
        let by = instruction.by();
        let name = by.name().unwrap_or(by.token().as_str());
        let by = format!("{name} ({})", by.role().as_str());
        repo::sign(&mut tx, id, &by, note, now).await?;
        let change = Change {
            action: ACTION,
            from: Some("open"),
            to: Some("signed"),
            detail: Some(note),
            request: note,
            result: None,
        };
        audit::insert(&mut tx, subject(id), change, instruction, now).await?;
        let signed = whole(&mut tx, id).await?;
        tx.commit().await.during("commit a signature")?;
        Ok(signed)
    }

    /// One reconciliation.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn reconciliation(&self, id: &str) -> Result<Reconciliation, LedgerError> {
        let mut reader = self.store.read().await?;
        whole(&mut reader, id).await
    }

    /// Reconciliations in the order they were made, of one provider or of all.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn reconciliations(
        &self,
        provider: Option<&str>,
        page: &Page,
    ) -> Result<Listing<ReconciliationSummary>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, provider, page.after(), page.rows()).await?;
        Ok(Listing::cut(page, rows, |row| row.id.clone()))
    }

    /// The last reconciliation of each provider.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn last_reconciliations(&self) -> Result<Vec<ReconciliationSummary>, LedgerError> {
        let mut reader = self.store.read().await?;
        repo::last(&mut reader).await
    }
}

fn subject(id: &str) -> Subject<'_> {
    Subject { noun: "reconciliation", id }
}

async fn whole(connection: &mut Connection, id: &str) -> Result<Reconciliation, LedgerError> {
    let found = repo::find(connection, id).await?;
    let (summary, report) = found.ok_or_else(|| LedgerError::not_found("reconciliation", id))?;
    let report = column::json("reconciliation.report", &report)?;
    let history = audit::entries(connection, subject(id)).await?;
    Ok(Reconciliation { summary, report, history })
}
