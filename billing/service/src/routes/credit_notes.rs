//! `/api/v1/credit-notes`, and the credit of an invoice.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{CreditNote, CreditNoteSummary, CreditScope, Listing, NewCredit};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Bearer, Caller, ReadInvoices, WriteInvoices},
    billing::Billing,
    input::{Body, ListParams, Params, Segment, amount, currency, id},
    output::Issued,
    problem::Problem,
};

/// What to credit of an invoice: all that is left, an amount of it, or of one line.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"amount": "12.50", "line": 1, "reason": "wrong model"}]))]
pub(super) struct New {
    /// Before tax, a decimal.
    #[schemars(regex(pattern = r"^-?[0-9]+(\.[0-9]+)?$"))]
    amount: Option<String>,
    /// Currency that the amount is meant in (ISO 4217): another one than the invoice's is refused.
    #[schemars(regex(pattern = r"^[A-Za-z]{3}$"))]
    currency: Option<String>,
    /// Place of a line on the invoice, from 1.
    #[schemars(range(min = 1))]
    line: Option<usize>,
    /// Why.
    #[schemars(length(min = 1, max = 1000))]
    reason: String,
}

impl New {
    fn scope(&self) -> Result<CreditScope, Problem> {
        let amount = self.amount.as_deref().map(|text| amount("amount", text)).transpose()?;
        Ok(match (self.line, amount) {
            (Some(number), amount) => CreditScope::Line { number, amount },
            (None, Some(amount)) => CreditScope::Amount(amount),
            (None, None) => CreditScope::Rest,
        })
    }
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(text): Segment,
    body: Body<New>,
) -> Result<(StatusCode, Json<CreditNote>), Problem> {
    let new = body.read().await?;
    let currency = new.currency.as_deref().map(currency).transpose()?;
    let new = NewCredit { scope: new.scope()?, currency, reason: new.reason };
    let invoice = id("invoice", &text)?;
    let instruction = caller.instruction()?;
    let note = billing.ledger.credit_invoice(&invoice, &new, &instruction).await?;
    Ok((StatusCode::CREATED, Json(note)))
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<CreditNoteSummary>>, Problem> {
    let page = params.page()?;
    let customer = caller.scope(&billing, params.customer).await?;
    Ok(Json(billing.ledger.credit_notes(customer.as_ref(), &page).await?))
}

/// The document as it was made: the stored bytes themselves.
pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Segment(text): Segment,
) -> Result<Issued<CreditNote>, Problem> {
    refuse_unseen(&billing, &caller, &text).await?;
    let document = billing.ledger.credit_note_document(&text).await?;
    Ok(Issued::new(document))
}

/// Refuses a note that the caller may not see.
pub(super) async fn refuse_unseen(
    billing: &Billing,
    caller: &Bearer,
    text: &str,
) -> Result<(), Problem> {
    let note = billing.ledger.credit_note(text).await?;
    if caller.owns(&note.customer.id).is_err() {
        // Not even whose it is may show.
        return Err(Problem::not_found(format!("credit note `{text}` is unknown")));
    }
    Ok(())
}
