//! `/api/v1/invoices/{id}/export` and `/api/v1/credit-notes/{id}/export`: documents as files.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use permille_documents::{Format, Grain, Language, UnknownName};
use serde::Deserialize;

use super::{credit_notes, invoices};
use crate::{
    access::{Action, Caller},
    billing::Billing,
    export::{Wanted, Written},
    input::{Params, Segment, id},
    problem::Problem,
};

/// How the document is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    format: String,
    lang: Option<String>,
    detail: Option<String>,
}

impl Query {
    fn wanted(&self) -> Result<Wanted, Problem> {
        let refused = |unknown: UnknownName| Problem::invalid(unknown.to_string());
        let format: Format = self.format.parse().map_err(refused)?;
        let grain = match self.detail.as_deref() {
            None => Grain::default(),
            Some(_) if format != Format::Csv => {
                let detail = "detail is of the format csv; accepted: the parameter left out";
                return Err(Problem::invalid(detail));
            }
            Some(name) => name.parse().map_err(refused)?,
        };
        let language = match self.lang.as_deref() {
            None => Language::default(),
            Some(name) => name.parse().map_err(refused)?,
        };
        Ok(Wanted { format, grain, language })
    }
}

pub(super) async fn invoice(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    Params(query): Params<Query>,
) -> Result<Response, Problem> {
    caller.may(Action::ReadInvoices)?;
    let wanted = query.wanted()?;
    invoices::visible(&billing, &caller, &text).await?;
    let id = id("invoice", &text)?;
    Ok(file(wanted.format, billing.exports.invoice(&billing.ledger, &id, wanted).await?))
}

pub(super) async fn credit_note(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    Params(query): Params<Query>,
) -> Result<Response, Problem> {
    caller.may(Action::ReadInvoices)?;
    let wanted = query.wanted()?;
    credit_notes::refuse_unseen(&billing, &caller, &text).await?;
    Ok(file(wanted.format, billing.exports.credit_note(&billing.ledger, &text, wanted).await?))
}

/// The answer: a file by its name, never guessed to be something else and never a page of ours.
fn file(format: Format, written: Written) -> Response {
    let disposition = format!("attachment; filename=\"{}\"", written.file_name);
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
    ];
    (headers, written.body).into_response()
}
