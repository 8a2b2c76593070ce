//! The lines and taxes of a document as CSV, and the shares of sessions or requests in the lines.
//!
//! The amounts of lines, taxes and prepaid credit add up to the document's total. The shares add up
//! to its lines.

use permille_rating::Meter;
use permille_types::TurnKind;

use crate::{
    Document, DocumentError, Line,
    detail::{Part, Request},
    table::{or_empty, row, told},
};

const LINES: [&str; 21] = [
    "document",
    "credits",
    "row",
    "line",
    "corrects",
    "project",
    "project_name",
    "model",
    "class",
    "band",
    "price_version",
    "quantity",
    "priced_per",
    "price",
    "exact",
    "amount",
    "currency",
    "tax_percent",
    "part_from",
    "part_until",
    "charge",
];

/// The lines, then the taxes, then prepaid credit.
pub(crate) fn write(document: &Document, out: &mut Vec<u8>) -> Result<(), DocumentError> {
    row(out, LINES)?;
    let credits = credits(document);
    for line in &document.lines {
        let usage = line.usage.as_ref();
        row(
            out,
            [
                told(document.shown_number()),
                credits.clone(),
                "usage".to_owned(),
                line.number.to_string(),
                or_empty(line.corrects.as_ref()),
                told(line.project.as_str()),
                told(document.project_name(&line.project)),
                told(line.model.as_str()),
                told(line.meter.as_str()),
                or_empty(usage.map(|usage| usage.band)),
                or_empty(usage.map(|usage| told(usage.price_version.as_str()))),
                or_empty(usage.map(|usage| usage.quantity)),
                usage.map(|_| priced_per(line)).unwrap_or_default().to_owned(),
                or_empty(usage.map(|usage| usage.price.normalize())),
                or_empty(usage.map(|usage| usage.exact.normalize())),
                document.signed(line.amount).to_string(),
                document.currency.code().to_owned(),
                String::new(),
                or_empty(line.part.map(|part| instant(part.start))),
                or_empty(line.part.map(|part| instant(part.end))),
                or_empty(line.charge.as_ref().map(|charge| told(charge.as_str()))),
            ],
        )?;
    }
    for tax in &document.taxes {
        let mut cells = vec![String::new(); LINES.len()];
        for (column, cell) in [
            ("document", told(document.shown_number())),
            ("credits", credits.clone()),
            ("row", "tax".to_owned()),
            ("class", told(&tax.name)),
            ("amount", document.signed(tax.amount).to_string()),
            ("currency", document.currency.code().to_owned()),
            ("tax_percent", tax.percent.normalize().to_string()),
        ] {
            let place = LINES.iter().position(|name| *name == column).unwrap_or_default();
            if let Some(empty) = cells.get_mut(place) {
                *empty = cell;
            }
        }
        row(out, cells)?;
    }
    prepaid(document, out)
}

/// What prepaid credit pays.
fn prepaid(document: &Document, out: &mut Vec<u8>) -> Result<(), DocumentError> {
    let paid = document.prepaid();
    if paid.is_zero() {
        return Ok(());
    }
    // It lowers what is to be paid, and what a note pays back in money.
    let paid = document.signed(rust_decimal::Decimal::ZERO.saturating_sub(paid));
    let cell = |name: &&str| match *name {
        "document" => told(document.shown_number()),
        "credits" => credits(document),
        "row" => "prepaid".to_owned(),
        "amount" => paid.to_string(),
        "currency" => document.currency.code().to_owned(),
        _ => String::new(),
    };
    row(out, LINES.iter().map(cell))
}

fn credits(document: &Document) -> String {
    match &document.kind {
        crate::Kind::Invoice(_) => String::new(),
        crate::Kind::CreditNote { invoice, .. } => told(invoice.as_str()),
    }
}

/// What the price of a line is for.
fn priced_per(line: &Line) -> &'static str {
    match line.meter {
        Meter::Tokens(_) => "1000 tokens",
        Meter::Units(_) | Meter::Term(_) => "unit",
    }
}

/// Names of the columns that tell what is billed, after those that tell of whom.
const BILLED: [&str; 15] = [
    "corrects",
    "project",
    "model",
    "class",
    "band",
    "price_version",
    "quantity",
    "priced_per",
    "price",
    "exact",
    "billed",
    "currency",
    "part_from",
    "part_until",
    "charge",
];

/// The names of the columns of shares of sessions.
pub(crate) fn session_head(out: &mut Vec<u8>) -> Result<(), DocumentError> {
    let own = [
        "document",
        "line",
        "session",
        "first_at",
        "last_at",
        "first_turn",
        "last_turn",
        "requests",
        "estimated_requests",
    ];
    row(out, own.iter().chain(&BILLED))
}

/// The share of a session in a line, or a line that no session has a share in.
pub(crate) fn session_share(
    document: &Document,
    line: &Line,
    part: Option<&Part>,
    billed: rust_decimal::Decimal,
    out: &mut Vec<u8>,
) -> Result<(), DocumentError> {
    let mut cells = vec![
        told(document.shown_number()),
        line.number.to_string(),
        or_empty(part.map(|part| told(part.session.as_str()))),
        or_empty(part.map(|part| instant(part.first_at))),
        or_empty(part.map(|part| instant(part.last_at))),
        or_empty(part.map(|part| part.turn_first)),
        or_empty(part.map(|part| part.turn_last)),
        or_empty(part.map(|part| part.requests)),
        or_empty(part.map(|part| part.estimated)),
    ];
    cells.extend(billed_cells(document, line, part.map(|part| part.quantity), billed)?);
    row(out, cells)
}

/// The names of the columns of shares of requests.
pub(crate) fn request_head(out: &mut Vec<u8>) -> Result<(), DocumentError> {
    let own = [
        "document",
        "line",
        "request",
        "at",
        "session",
        "turn",
        "turn_kind",
        "ended",
        "source",
        "resent_tokens",
    ];
    row(out, own.iter().chain(&BILLED))
}

/// The share of a request in a line, or a line that no request has a share in.
pub(crate) fn request_share(
    document: &Document,
    line: &Line,
    request: Option<(&Request, u64)>,
    billed: rust_decimal::Decimal,
    out: &mut Vec<u8>,
) -> Result<(), DocumentError> {
    let quantity = request.map(|(_, quantity)| quantity);
    let request = request.map(|(request, _)| request);
    let mut cells = vec![
        told(document.shown_number()),
        line.number.to_string(),
        or_empty(request.map(|request| request.id)),
        or_empty(request.map(|request| instant(request.at))),
        or_empty(request.map(|request| told(request.session.as_str()))),
        or_empty(request.map(|request| request.turn)),
        or_empty(request.and_then(|request| request.turn_kind).map(TurnKind::as_str)),
        or_empty(request.map(|request| request.ended.as_str())),
        or_empty(request.map(|request| request.source.as_str())),
        or_empty(request.and_then(|request| request.resent_tokens)),
    ];
    cells.extend(billed_cells(document, line, quantity, billed)?);
    row(out, cells)
}

fn billed_cells(
    document: &Document,
    line: &Line,
    quantity: Option<u64>,
    billed: rust_decimal::Decimal,
) -> Result<[String; BILLED.len()], DocumentError> {
    let usage = line.usage.as_ref();
    let exact = usage
        .map(|usage| {
            let quantity = quantity.unwrap_or(usage.quantity);
            permille_rating::rate::cost(&line.meter, usage.price, quantity)
        })
        .transpose()
        .map_err(|cause| DocumentError::Amount {
            document: document.shown_number().to_owned(),
            cause,
        })?;
    Ok([
        or_empty(line.corrects.as_ref()),
        told(line.project.as_str()),
        told(line.model.as_str()),
        told(line.meter.as_str()),
        or_empty(usage.map(|usage| usage.band)),
        or_empty(usage.map(|usage| told(usage.price_version.as_str()))),
        or_empty(quantity.or(usage.map(|usage| usage.quantity))),
        usage.map(|_| priced_per(line)).unwrap_or_default().to_owned(),
        or_empty(usage.map(|usage| usage.price.normalize())),
        or_empty(exact.map(|exact| exact.normalize())),
        document.signed(billed).normalize().to_string(),
        document.currency.code().to_owned(),
        or_empty(line.part.map(|part| instant(part.start))),
        or_empty(line.part.map(|part| instant(part.end))),
        or_empty(line.charge.as_ref().map(|charge| told(charge.as_str()))),
    ])
}

/// An instant in UTC, to the microsecond where it has one.
fn instant(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}
