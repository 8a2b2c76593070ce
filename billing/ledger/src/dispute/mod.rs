//! Disputes: what somebody holds against an issued invoice, of the whole, a line or a request.
//!
//! The evidence is frozen when the dispute is opened: the digest of the document as it was issued,
//! the roots that it printed, the line, and the record of the request with its place in the tree. A
//! dispute changes no invoice; what it comes to is a credit note of its own, or nothing.

mod repo;

use chrono::{DateTime, Utc};
use permille_rating::invoice::InvoiceLine;
use permille_types::{CustomerId, DocumentNumber, InvoiceId, PriceVersion, RequestId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use repo::open_of_period;

use crate::{
    Instruction, Invoice, Ledger, LedgerError, Listing, Page, RecordHead,
    audit::{self, Change, Subject},
    credit_note, customer,
    error::During,
    invoice::{self, month},
    record,
    secret::public_id,
    store::Connection,
    text, usage,
};

/// Longest reason or resolution, in bytes: a paragraph.
const NOTE_BYTES_MAX: usize = 1_000;
/// Most open disputes over one invoice: more than that is a conversation, not a list of lines.
const OPEN_MAX: i64 = 20;
const OPEN: &str = "open";
const RESOLVE: &str = "resolve";

/// How far a dispute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisputeState {
    /// Nobody has answered it.
    Open,
    /// Whoever opened it was right.
    Accepted,
    /// The invoice stands.
    Rejected,
}

impl DisputeState {
    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

/// What is held against an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDispute {
    /// Place of a line on the invoice, from 1; the whole when absent.
    pub line: Option<usize>,
    /// A request that the invoice bills.
    pub request: Option<RequestId>,
    /// What is wrong.
    pub reason: String,
}

/// The answer to a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Whether it is right.
    pub is_accepted: bool,
    /// Why.
    pub note: String,
    /// The credit note that takes back what was wrong; of an accepted one only.
    pub credit_note: Option<DocumentNumber>,
}

/// What somebody holds against an issued invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Dispute {
    /// Its id.
    pub id: String,
    /// The invoice.
    pub invoice: InvoiceId,
    /// Its number.
    pub number: DocumentNumber,
    /// Whose invoice it is.
    pub customer: CustomerId,
    /// The line, from 1; absent: the whole invoice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// What is wrong.
    pub reason: String,
    /// How far it is.
    pub state: DisputeState,
    /// What was found when it was opened.
    pub evidence: Evidence,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// The credit note that followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credit_note: Option<DocumentNumber>,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
}

/// What stood when a dispute was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// SHA-256 of the document as it was issued.
    pub document_sha256: String,
    /// The roots over the records that the invoice printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordHead>,
    /// The line in question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<InvoiceLine>,
    /// The request in question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<DisputedRequest>,
}

/// The record of a request, as the invoice counted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisputedRequest {
    /// The month in whose tree it is.
    pub period: String,
    /// Its place there, from 0.
    pub index: u64,
    /// The price that was applied; absent where it was held, or needed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceVersion>,
    /// The record, byte for byte as it was hashed.
    pub record: String,
}

impl Ledger {
    /// Notes what somebody holds against an issued invoice, with what there is to be seen of it.
    /// Under one idempotency key it is noted once.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when the invoice was never issued, is
    /// void, or has an open dispute over the same; [`LedgerError::Invalid`] for a line that it does
    /// not have, a request that it does not bill or no reason; else the store's failure.
    pub async fn open_dispute(
        &self,
        id: &InvoiceId,
        new: &NewDispute,
        instruction: &Instruction,
    ) -> Result<Dispute, LedgerError> {
        let reason = text::line("reason", &new.reason, NOTE_BYTES_MAX)?;
        let now = self.now();
        let mut tx = self.store.write().await?;
        let (invoice, document) = invoice::with_document(&mut tx, id).await?;
        let (Some(id), Some(number)) = (invoice.id.clone(), invoice.number.clone()) else {
            let reason = "was never issued: nothing is owed by it yet; accepted: a final invoice";
            return Err(LedgerError::refused("invoice", id, reason));
        };
        let request = format!("{:?} {:?} {reason}", new.line, new.request);
        let subject = Subject { noun: "invoice", id: id.as_str() };
        if let Some(repeated) =
            audit::repeated(&mut tx, subject, "dispute", &request, instruction).await?
        {
            return found(&mut tx, &repeated.result.unwrap_or_default()).await;
        }
        if !invoice.state.is_issued() {
            let reason =
                format!("is {}; accepted: a final or paid invoice", invoice.state.as_str());
            return Err(LedgerError::refused("invoice", &number, reason));
        }
        if let Some(open) = repo::open_over(&mut tx, &id, new).await? {
            let reason =
                format!("is open over the same of {number}; accepted: to resolve it first");
            return Err(LedgerError::refused("dispute", &open, reason));
        }
        if repo::count_open(&mut tx, &id).await? >= OPEN_MAX {
            let reason = format!("has {OPEN_MAX} open disputes; accepted: to resolve some first");
            return Err(LedgerError::refused("invoice", &number, reason));
        }
        let dispute = Dispute {
            id: public_id("dsp_", now)?,
            evidence: evidence(&mut tx, &invoice, &document, new).await?,
            invoice: id.clone(),
            number,
            customer: invoice.customer.id.clone(),
            line: new.line,
            request: new.request,
            reason: reason.to_owned(),
            state: DisputeState::Open,
            opened_at: now,
            resolution: None,
            credit_note: None,
            resolved_at: None,
        };
        repo::insert(&mut tx, &dispute).await?;
        let state = invoice.state.as_str();
        let detail = format!("{}: {reason}", dispute.id);
        let change = Change {
            action: "dispute",
            from: Some(state),
            to: Some(state),
            detail: Some(&detail),
            request: &request,
            result: Some(&dispute.id),
        };
        audit::insert(&mut tx, subject, change, instruction, now).await?;
        tx.commit().await.during("commit dispute")?;
        Ok(dispute)
    }

    /// Answers an open dispute.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it is answered already;
    /// [`LedgerError::Invalid`] without a note, or for a credit note that is none of the invoice's
    /// or goes with a rejection; else the store's failure.
    pub async fn resolve_dispute(
        &self,
        id: &str,
        answer: &Resolution,
        instruction: &Instruction,
    ) -> Result<Dispute, LedgerError> {
        let note = text::line("note", &answer.note, NOTE_BYTES_MAX)?;
        let now = self.now();
        let mut tx = self.store.write().await?;
        let dispute = found(&mut tx, id).await?;
        let invoice = dispute.invoice.clone();
        let subject = Subject { noun: "invoice", id: invoice.as_str() };
        let request = format!("{id} {answer:?}");
        let repeated = audit::repeated(&mut tx, subject, RESOLVE, &request, instruction).await?;
        if repeated.is_some() {
            return Ok(dispute);
        }
        let state =
            if answer.is_accepted { DisputeState::Accepted } else { DisputeState::Rejected };
        if let Some(credit) = &answer.credit_note {
            let notes = credit_note::notes_of(&mut tx, &dispute.invoice).await?;
            if !answer.is_accepted || !notes.iter().any(|note| note.number == *credit) {
                let accepted = format!("a credit note of {}, of an accepted one", dispute.number);
                return Err(LedgerError::invalid("credit_note", credit, accepted));
            }
        }
        let resolved = Dispute {
            state,
            resolution: Some(note.to_owned()),
            credit_note: answer.credit_note.clone(),
            resolved_at: Some(now),
            ..dispute
        };
        if !repo::resolve(&mut tx, &resolved).await? {
            let reason = format!("is {} already; accepted: an open one", dispute.state.as_str());
            return Err(LedgerError::refused("dispute", id, reason));
        }
        let detail = format!("{id}: {note}");
        let change = Change {
            action: RESOLVE,
            from: Some(OPEN),
            to: Some(state.as_str()),
            detail: Some(&detail),
            request: &request,
            result: None,
        };
        audit::insert(&mut tx, subject, change, instruction, now).await?;
        tx.commit().await.during("commit answer to a dispute")?;
        Ok(resolved)
    }

    /// The dispute of that id.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn dispute(&self, id: &str) -> Result<Dispute, LedgerError> {
        let mut reader = self.store.read().await?;
        found(&mut reader, id).await
    }

    /// Disputes in the order in which they were opened, of one customer or of all.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn disputes(
        &self,
        customer: Option<&CustomerId>,
        page: &Page,
    ) -> Result<Listing<Dispute>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, customer, page.after(), page.rows()).await?;
        Ok(Listing::cut(page, rows, |dispute| dispute.id.clone()))
    }
}

async fn found(connection: &mut Connection, id: &str) -> Result<Dispute, LedgerError> {
    repo::find(connection, id).await?.ok_or_else(|| LedgerError::not_found("dispute", id))
}

/// What there is to be seen of what is in question.
async fn evidence(
    connection: &mut Connection,
    invoice: &Invoice,
    document: &str,
    new: &NewDispute,
) -> Result<Evidence, LedgerError> {
    let line = match new.line {
        None => None,
        Some(number) => {
            let line = number.checked_sub(1).and_then(|place| invoice.lines.get(place));
            let accepted = format!("1 to {}", invoice.lines.len());
            let line = line.ok_or_else(|| LedgerError::invalid("line", &number, accepted))?;
            Some(line.clone())
        }
    };
    let request = match &new.request {
        None => None,
        Some(request) => Some(counted(connection, invoice, request).await?),
    };
    Ok(Evidence {
        document_sha256: hex::encode(Sha256::digest(document)),
        records: invoice.records.clone(),
        line,
        request,
    })
}

/// The record of a request among those that the invoice printed the roots of.
async fn counted(
    connection: &mut Connection,
    invoice: &Invoice,
    request: &RequestId,
) -> Result<DisputedRequest, LedgerError> {
    let refused = || {
        LedgerError::invalid("request", request, "a request of the months that the invoice bills")
    };
    let customer = customer::find(connection, &invoice.customer.id).await?.ok_or_else(refused)?;
    let row = usage::of_request(connection, request).await?;
    let row = row.filter(|row| row.event.customer == customer.id).ok_or_else(refused)?;
    for head in &invoice.records {
        let period = month(&head.period, &customer)?;
        let is_in = period.start <= row.event.at && row.event.at < period.end;
        if is_in && row.leaf.is_some_and(|leaf| leaf < head.size) {
            let entry = record::entry(&row, head)?;
            return Ok(DisputedRequest {
                period: head.period.clone(),
                index: entry.index,
                price: entry.price,
                record: entry.record.get().to_owned(),
            });
        }
    }
    Err(refused())
}
