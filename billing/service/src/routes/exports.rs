//! `/api/v1/invoices/{id}/export` and `/api/v1/credit-notes/{id}/export`: documents as files.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use permille_documents::{Format, Grain, Language, UnknownName};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{credit_notes, invoices};
use crate::{
    access::{Caller, ReadInvoices},
    billing::Billing,
    export::{Wanted, Written},
    input::{Params, Segment, id},
    openapi::{Output, Sketch},
    problem::Problem,
};

/// How the document is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The form.
    #[schemars(extend("enum" = Format::ALL.map(Format::as_str)))]
    format: String,
    /// The language of what people read, `en` when absent.
    #[schemars(extend("enum" = ["en", "zh"]))]
    lang: Option<String>,
    /// What a row of a CSV is, `lines` when absent; only beside `format=csv`.
    #[schemars(extend("enum" = ["lines", "sessions", "requests"]))]
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
    caller: Caller<ReadInvoices>,
    Segment(text): Segment,
    Params(query): Params<Query>,
) -> Result<File, Problem> {
    let wanted = query.wanted()?;
    invoices::visible(&billing, &caller, &text).await?;
    let id = id("invoice", &text)?;
    let written = billing.exports.invoice(&billing.ledger, &id, wanted).await?;
    Ok(File { format: wanted.format, written })
}

pub(super) async fn credit_note(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Segment(text): Segment,
    Params(query): Params<Query>,
) -> Result<File, Problem> {
    let wanted = query.wanted()?;
    credit_notes::refuse_unseen(&billing, &caller, &text).await?;
    let written = billing.exports.credit_note(&billing.ledger, &text, wanted).await?;
    Ok(File { format: wanted.format, written })
}

/// A file by its name, never guessed to be something else and never a page of ours.
pub(super) struct File {
    format: Format,
    written: Written,
}

impl IntoResponse for File {
    fn into_response(self) -> Response {
        let disposition = format!("attachment; filename=\"{}\"", self.written.file_name);
        let headers = [
            (header::CONTENT_TYPE, self.format.media_type().to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (header::CACHE_CONTROL, "private, no-store".to_owned()),
        ];
        (headers, self.written.body).into_response()
    }
}

impl Output for File {
    fn describe(sketch: &mut Sketch) {
        sketch.gives_file(Format::ALL.iter().map(|format| format.media_type()));
    }
}
