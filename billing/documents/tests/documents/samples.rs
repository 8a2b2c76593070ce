//! Documents as the ledger makes them, from the same arithmetic, and the requests behind them.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use permille_documents::{
    BilledPeriod, Buyer, Document, Export, Exporter, Format, Grain, IssuedText, Issuer, Kind,
    Language, Line, LineUsage, ProjectAmount, Records, Request, RequestCounts, Status,
};
use permille_rating::{
    Meter,
    charge::{LineKind, Per, QuoteLine},
    invoice::{
        AppliedCharge, CreditError, CreditScope, Creditable, Credited, InvoiceDocument,
        InvoiceHead, TaxRate, TaxTerms, UsageSum,
    },
    invoice::{credit, invoice_lines},
    period::Period,
    price_book::{PriceBook, parse_price_book},
};
use permille_types::{Currency, Ended, PriceVersion, Source, TurnKind};
use rust_decimal::Decimal;

const PRICES: &str = r#"
[[price]]
model = "ERNIE-Bot"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.012"
output = "0.012"

[[price]]
model = "qwen-*"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.0003"
cache_read = "0.00007"
output = "0.0006"
"#;

/// The root over the records of the month.
pub(crate) const ROOT: &str = "8d3f0a5b7c61e924fd08b3a6c2917e54d0bb4f82693a1c5e7f90d6124ae385bc";

/// The version of the charge of [`applied`].
pub(crate) const CHARGE: &str = "input-tiers@0a1b2c3d4e5f";

/// A charge over the first line of [`november`] that bills 0.90 of it.
pub(crate) fn applied() -> AppliedCharge {
    let step = |kind, tier, [quantity, unit_price, flat, amount]: [&str; 4]| QuoteLine {
        kind,
        tier,
        quantity: decimal(quantity),
        unit_price: decimal(unit_price),
        flat: decimal(flat),
        amount: decimal(amount),
    };
    AppliedCharge {
        charge: version(CHARGE),
        name: "input-tiers".to_owned(),
        corrects: None,
        part: None,
        per: Some(Per::ThousandTokens),
        quantity: decimal("41.667"),
        steps: vec![
            step(LineKind::Usage, Some(1), ["41.667", "0.03", "0.05", "1.30001"]),
            step(LineKind::Discount, None, ["0", "0", "-0.10", "-0.10"]),
        ],
        exact: decimal("1.20001"),
        amount: decimal("1.20"),
        billed_before: Some(decimal("0.30")),
        billed: decimal("0.90"),
        terms: String::new(),
    }
}

pub(crate) fn version(text: &str) -> PriceVersion {
    text.parse().unwrap()
}

pub(crate) fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Request `number` of a session in November.
pub(crate) fn request(number: u32, session: &str, model: &str, tokens: &[(&str, u64)]) -> Request {
    let input = tokens.iter().filter(|(class, _)| *class != "output_text").map(|(_, n)| n).sum();
    Request {
        id: format!("019a0000-0000-7000-8000-{number:012x}").parse().unwrap(),
        at: at("2026-11-10T08:00:00Z") + TimeDelta::seconds(number.into()),
        session: session.parse().unwrap(),
        turn: number,
        turn_kind: Some(TurnKind::Continue),
        project: "default".parse().unwrap(),
        model: model.parse().unwrap(),
        price_version: version_of(model),
        band: 0,
        quantities: tokens.iter().map(|(class, n)| (Meter::named(class), *n)).collect(),
        input_tokens: Some(input),
        resent_tokens: Some(input / 2),
        ended: Ended::Complete,
        source: Source::Reported,
    }
}

fn book() -> Vec<permille_types::Price> {
    parse_price_book(PRICES, "a test").unwrap()
}

fn version_of(model: &str) -> permille_types::PriceVersion {
    let book = PriceBook::new(book()).unwrap();
    let found = book.resolve(model, None, Currency::CNY, at("2026-11-10T00:00:00Z"));
    found.unwrap().version.clone()
}

/// What the requests of a month come to, as the ledger sums it.
pub(crate) fn sums(requests: &[Request]) -> Vec<UsageSum> {
    let mut sums: BTreeMap<_, u64> = BTreeMap::new();
    for request in requests {
        for (meter, quantity) in &request.quantities {
            let key = (
                request.project.clone(),
                request.model.clone(),
                meter.clone(),
                request.price_version.clone(),
                request.band,
            );
            *sums.entry(key).or_default() += quantity;
        }
    }
    sums.into_iter()
        .map(|((project, model, meter, price_version, band), quantity)| UsageSum {
            project,
            model,
            meter,
            price_version,
            band,
            quantity,
        })
        .collect()
}

pub(crate) fn vat(percent: &str) -> TaxTerms {
    let rates = vec![TaxRate { name: "VAT".to_owned(), percent: decimal(percent) }];
    TaxTerms::Standard { rates }
}

/// The final invoice over `requests`.
pub(crate) fn invoice(requests: &[Request], tax_terms: TaxTerms) -> Document {
    let book = book();
    let price = |version: &_| book.iter().find(|price| price.version == *version);
    let lines = invoice_lines(sums(requests), price, Currency::CNY).unwrap();
    let (start, end) = (at("2026-10-31T16:00:00Z"), at("2026-11-30T16:00:00Z"));
    let head = InvoiceHead {
        id: None,
        customer: "acme".parse().unwrap(),
        period: Period { start, end },
        time_zone: chrono_tz::Asia::Shanghai,
        currency: Currency::CNY,
        tax_terms,
    };
    let document = InvoiceDocument::new(head, lines).unwrap();
    let json = String::from_utf8(document.to_json().unwrap()).unwrap();
    let mut projects: Vec<ProjectAmount> = Vec::new();
    for line in &document.lines {
        match projects.iter_mut().find(|project| project.id == line.project) {
            Some(project) => project.amount += line.amount,
            None => projects.push(ProjectAmount {
                id: line.project.clone(),
                name: line.project.as_str().to_uppercase(),
                amount: line.amount,
            }),
        }
    }
    Document {
        kind: Kind::Invoice(Status::Final),
        id: Some("inv_1".parse().unwrap()),
        number: Some("INV-2026-000001".parse().unwrap()),
        issued_at: Some(at("2026-12-01T02:00:00Z")),
        buyer: Buyer {
            id: "acme".parse().unwrap(),
            name: "ACME 有限公司".to_owned(),
            tax_id: Some("DE123456789".to_owned()),
            address: Some("1 Main Street\n10115 Berlin\nDE".to_owned()),
        },
        period: BilledPeriod {
            label: "2026-11".to_owned(),
            start,
            end,
            time_zone: chrono_tz::Asia::Shanghai,
        },
        interim: false,
        billed_before: Vec::new(),
        currency: Currency::CNY,
        purchase_order: Some("PO-7".to_owned()),
        notes: Some("Thank you.".to_owned()),
        projects,
        lines: (1..)
            .zip(&document.lines)
            .map(|(number, line)| Line {
                number,
                corrects: None,
                part: line.part,
                project: line.project.clone(),
                model: line.model.clone(),
                meter: line.meter.clone(),
                charge: None,
                usage: Some(LineUsage {
                    quantity: line.quantity,
                    price: line.price_per_thousand.or(line.price_per_unit).unwrap(),
                    list_price: None,
                    exact: line.exact,
                    price_version: line.price_version.clone(),
                    band: line.band,
                }),
                amount: line.amount,
            })
            .collect(),
        charges: Vec::new(),
        net: document.net,
        tax_terms: document.tax_terms,
        taxes: document.tax,
        gross: document.gross,
        total: document.total,
        standing: None,
        records: vec![Records { period: "2026-11".to_owned(), size: 1_203, root: ROOT.to_owned() }],
        counts: Some(RequestCounts { all: 3, ..RequestCounts::default() }),
        issued: Some(IssuedText { json, sha256: "ab".repeat(32) }),
    }
}

/// The credit note over a part of `invoice`.
pub(crate) fn credit_note(invoice: &Document, scope: CreditScope) -> Document {
    try_credit_note(invoice, scope).unwrap()
}

/// The same, where anything of it can be credited.
pub(crate) fn try_credit_note(
    invoice: &Document,
    scope: CreditScope,
) -> Result<Document, CreditError> {
    let amounts: Vec<Decimal> = invoice.lines.iter().map(|line| line.amount).collect();
    let of = Creditable {
        lines: &amounts,
        taxes: &invoice.taxes,
        net: invoice.net,
        total: invoice.total,
        currency: invoice.currency,
    };
    let part = credit(of, &Credited::default(), scope)?;
    let lines = part.lines.iter().map(|(number, amount)| Line {
        usage: None,
        charge: None,
        amount: *amount,
        ..invoice.lines[number - 1].clone()
    });
    Ok(Document {
        kind: Kind::CreditNote {
            invoice: invoice.number.clone().unwrap(),
            reason: "wrong price".to_owned(),
        },
        number: Some("CN-2026-000001".parse().unwrap()),
        lines: lines.collect(),
        charges: Vec::new(),
        net: part.net,
        taxes: part.taxes,
        gross: part.gross,
        total: part.total,
        notes: None,
        records: Vec::new(),
        counts: None,
        ..invoice.clone()
    })
}

/// Three requests in two sessions, with a line that the rounding moves.
pub(crate) fn november() -> Vec<Request> {
    vec![
        request(1, "s-1", "ERNIE-Bot", &[("input_uncached", 41_666), ("output_text", 10)]),
        request(2, "s-1", "qwen-max", &[("input_uncached", 100_003), ("cache_read", 7)]),
        request(3, "s-2", "ERNIE-Bot", &[("input_uncached", 1), ("output_text", 333)]),
    ]
}

pub(crate) fn issuer() -> Issuer {
    Issuer {
        name: Some("Permille GmbH".to_owned()),
        address: vec!["2 Side Street".to_owned(), "10117 Berlin".to_owned()],
        country: Some("DE".to_owned()),
        tax_id: Some("DE987654321".to_owned()),
        registration: Some("HRB 12345".to_owned()),
        payment: vec!["Bank of Test".to_owned()],
        iban: Some("DE02120300000000202051".to_owned()),
        payment_days: Some(14),
        ..Issuer::default()
    }
}

pub(crate) fn export(document: &Document, format: Format) -> Export {
    Export {
        document: document.clone(),
        issuer: issuer(),
        fonts: permille_documents::Fonts::default(),
        format,
        grain: Grain::Lines,
        language: Language::English,
    }
}

/// The whole file, from requests in pieces of `piece`.
pub(crate) fn written(export: Export, requests: &[Request], piece: usize) -> Vec<u8> {
    try_written(export, requests, &sums(requests), piece).unwrap()
}

pub(crate) fn try_written(
    export: Export,
    requests: &[Request],
    sums: &[UsageSum],
    piece: usize,
) -> Result<Vec<u8>, permille_documents::DocumentError> {
    let mut exporter = Exporter::new(export, sums)?;
    let mut out = Vec::new();
    if exporter.wants_requests() {
        for piece in requests.chunks(piece) {
            exporter.take(piece, &mut out)?;
        }
    }
    exporter.finish(&mut out)?;
    Ok(out)
}

pub(crate) fn text(document: &Document, format: Format, requests: &[Request]) -> String {
    String::from_utf8(written(export(document, format), requests, 2)).unwrap()
}

/// Rows of a CSV by the names of their columns.
pub(crate) fn rows(csv: &[u8]) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(csv);
    reader.deserialize().map(Result::unwrap).collect()
}

pub(crate) fn sum(rows: &[BTreeMap<String, String>], column: &str) -> Decimal {
    rows.iter().map(|row| decimal(&row[column])).sum()
}
