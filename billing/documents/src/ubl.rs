//! UBL 2.1 invoices and credit notes by EN 16931, the European semantic standard.
//!
//! A price stands per 1,000 tokens, as base quantity (BT-149): a price per token would lose its
//! digits in programs that cut it. What the standard cannot say is refused and never left out.
//!
//! Source: EN 16931-1:2017; CEN/TS 16931-3-2 (syntax binding to UBL 2.1); code lists of UNCL 1001,
//! 4461, 5305 and UN/ECE Recommendation 20. `docs/invoices.md` says what is taken from where.

use askama::Template;
use chrono::NaiveDate;
use iso_currency::Country;
use permille_rating::{Meter, invoice::TaxTerms};
use rust_decimal::Decimal;

use crate::{
    Document, DocumentError, Format, Issuer, Kind, Line, Status, issuer::NAME_ACCEPTED, text,
    words::Words,
};

/// Most decimal places of an amount (BR-DEC-01 and the following).
const AMOUNT_PLACES_MAX: u32 = 2;

#[derive(Template)]
#[template(path = "ubl.xml")]
struct Ubl<'d> {
    root: &'static str,
    line_element: &'static str,
    quantity_element: &'static str,
    document: &'d Document,
    number: String,
    issue_date: NaiveDate,
    due_date: Option<NaiveDate>,
    terms: Option<String>,
    notes: Vec<String>,
    currency: &'static str,
    first_day: NaiveDate,
    last_day: NaiveDate,
    order: Option<String>,
    /// The invoice that is credited, or the interim ones of the month.
    preceding: Vec<String>,
    /// Seller and buyer, each by the name of its element.
    parties: [(&'static str, Party); 2],
    iban: Option<String>,
    category: Category,
    tax_amount: Decimal,
    prepaid: Option<Decimal>,
    lines: Vec<UblLine>,
}

/// A seller or a buyer.
struct Party {
    name: String,
    street: Option<String>,
    second_street: Option<String>,
    more: Vec<String>,
    country: String,
    /// Each with its scheme: `VAT` where a country's code precedes it, else `TAX`.
    tax_ids: Vec<(String, &'static str)>,
    legal_id: Option<String>,
    email: Option<String>,
}

/// A category of VAT (UNCL 5305) with what it needs beside it.
struct Category {
    code: &'static str,
    percent: Option<Decimal>,
    exemption_code: Option<&'static str>,
    exemption: Option<String>,
}

struct UblLine {
    number: usize,
    note: Option<String>,
    /// Below zero on a line below zero: its price may not be (BR-27).
    quantity: i128,
    amount: Decimal,
    cost_centre: String,
    /// First and last day of its part of the document's month.
    days: Option<(NaiveDate, NaiveDate)>,
    name: String,
    properties: Vec<(&'static str, String)>,
    price: Decimal,
    base_quantity: u64,
}

/// Writes the document.
///
/// # Errors
/// [`DocumentError::NotExpressible`] names what the standard cannot say or what is missing.
pub(crate) fn write(
    document: &Document,
    issuer: &Issuer,
    out: &mut Vec<u8>,
) -> Result<(), DocumentError> {
    let refused = |problem: &str, accepted: &str| DocumentError::NotExpressible {
        document: document.shown_number().to_owned(),
        format: Format::Ubl,
        problem: problem.to_owned(),
        accepted: accepted.to_owned(),
    };
    let void = document.kind == Kind::Invoice(Status::Void);
    let (Some(issue_date), false) = (document.issue_date(), void) else {
        let accepted = "an invoice that is final or paid, or a credit note";
        return Err(refused("it is not issued", accepted));
    };
    if document.lines.is_empty() {
        return Err(refused("it has no lines", "a document with lines (EN 16931 BR-16)"));
    }
    if document.net.scale() > AMOUNT_PLACES_MAX {
        let problem = format!("{} has more than two decimal places", document.currency.code());
        return Err(refused(&problem, "a currency with at most two (EN 16931 BR-DEC)"));
    }
    if document.is_prepaid_before_tax() {
        let accepted = "credit that pays after tax (EN 16931 BT-113)";
        return Err(refused("prepaid credit pays of it before tax", accepted));
    }
    let category = category(document).map_err(|(problem, accepted)| refused(problem, accepted))?;
    let seller =
        seller(issuer, &category).map_err(|(problem, accepted)| refused(problem, accepted))?;
    let buyer =
        buyer(document, &category).map_err(|(problem, accepted)| refused(problem, accepted))?;
    let (first_day, last_day) = document.period.days();
    let due_date = issuer
        .payment_days
        .filter(|_| !document.is_credit())
        .and_then(|days| issue_date.checked_add_days(chrono::Days::new(days.into())));
    let (reason, credits) = match &document.kind {
        Kind::Invoice(_) => (None, None),
        Kind::CreditNote { invoice, reason } => {
            (Some(text::line(reason)), Some(text::line(invoice.as_str())))
        }
    };
    let terms = match (&credits, due_date) {
        (Some(invoice), _) => Some(format!("Credits invoice {invoice}.")),
        (None, None) => Some("Payable on receipt.".to_owned()),
        (None, Some(_)) => None,
    };
    let before = document.billed_before.iter().map(|before| text::line(before.number.as_str()));
    let notes = document.notes.iter().flat_map(|notes| text::lines(notes));
    let prepaid = document.prepaid();
    let is_credit = document.is_credit();
    let ubl = Ubl {
        root: if is_credit { "CreditNote" } else { "Invoice" },
        line_element: if is_credit { "CreditNoteLine" } else { "InvoiceLine" },
        quantity_element: if is_credit { "CreditedQuantity" } else { "InvoicedQuantity" },
        number: text::line(document.shown_number()),
        issue_date,
        due_date,
        terms,
        notes: reason.into_iter().chain(notes).collect(),
        currency: document.currency.code(),
        first_day,
        last_day,
        order: document.purchase_order.as_deref().map(text::line),
        preceding: credits.into_iter().chain(before).collect(),
        parties: [("AccountingSupplierParty", seller), ("AccountingCustomerParty", buyer)],
        iban: issuer.iban.as_deref().map(text::line).filter(|_| !is_credit),
        tax_amount: document.gross.saturating_sub(document.net),
        prepaid: (!prepaid.is_zero()).then_some(prepaid),
        lines: document.lines.iter().map(|billed| line(document, billed)).collect(),
        category,
        document,
    };
    ubl.write_into(out).map_err(DocumentError::Page)
}

/// What is in the way, and what would do.
type Problem = (&'static str, &'static str);

fn category(document: &Document) -> Result<Category, Problem> {
    let plain = |code, percent: Option<Decimal>| Category {
        code,
        percent: percent.map(|percent| percent.normalize()),
        exemption_code: None,
        exemption: None,
    };
    let exempt = |code, percent, exemption_code, exemption: &str| Category {
        exemption_code,
        exemption: Some(text::line(exemption)),
        ..plain(code, percent)
    };
    Ok(match &document.tax_terms {
        TaxTerms::Standard { rates } => match rates.as_slice() {
            [rate] if rate.percent.is_zero() => plain("Z", Some(Decimal::ZERO)),
            [rate] => plain("S", Some(rate.percent)),
            _ => {
                let problem = "it has several taxes on one base, and a line has one VAT category";
                return Err((problem, "one rate"));
            }
        },
        TaxTerms::ReverseCharge => {
            exempt("AE", Some(Decimal::ZERO), Some("VATEX-EU-AE"), "Reverse charge")
        }
        TaxTerms::Exempt { reason } => exempt("E", Some(Decimal::ZERO), None, reason),
        TaxTerms::None => exempt("O", None, Some("VATEX-EU-O"), "Not subject to VAT"),
    })
}

/// The tax id as VAT id or as another one: the former begins with a country (BR-CO-09).
fn tax_ids(id: Option<&str>) -> (Option<String>, Option<String>) {
    let Some(id) = id.map(text::line) else { return (None, None) };
    if country_of(&id).is_some() { (Some(id), None) } else { (None, Some(id)) }
}

/// The country that a VAT id begins with; Greece is `EL` there, and Northern Ireland `XI`.
fn country_of(vat_id: &str) -> Option<&str> {
    let code = vat_id.get(..2).filter(|_| vat_id.len() > 4)?;
    let has_digit = vat_id.get(2..)?.bytes().any(|byte| byte.is_ascii_digit());
    let country = match code {
        "EL" => "GR",
        "XI" => "GB",
        code => code,
    };
    (has_digit && is_country(country)).then_some(country)
}

/// Whether it is a country's code of ISO 3166-1 (BR-CL-14).
fn is_country(code: &str) -> bool {
    code.len() == 2 && code.parse::<Country>().is_ok()
}

fn seller(issuer: &Issuer, category: &Category) -> Result<Party, Problem> {
    let name = issuer.name.as_deref().ok_or(("the issuer has no name", NAME_ACCEPTED))?;
    let country = issuer.country.as_deref();
    let country = country.ok_or(("the issuer has no country", "`issuer.country`, such as DE"))?;
    if !is_country(country) {
        let accepted = "`issuer.country` of ISO 3166-1, such as DE (EN 16931 BR-CL-14)";
        return Err(("the country of the issuer is none", accepted));
    }
    // Who is not subject to VAT shows no VAT id (BR-O-02); else the seller has a tax id (BR-S-02).
    let taxed = category.code != "O";
    if taxed && issuer.tax_id.is_none() {
        return Err(("the issuer has no tax id", "`issuer.tax_id` beside terms of tax"));
    }
    let (vat_id, other_tax_id) = tax_ids(issuer.tax_id.as_deref());
    if issuer.registration.is_none() && !(taxed && vat_id.is_some()) {
        let problem = "nothing that it may show identifies the issuer";
        let accepted = if taxed {
            "`issuer.registration`, or an `issuer.tax_id` that begins with the code of a country, \
             such as DE (EN 16931 BR-CO-26)"
        } else {
            "`issuer.registration`, as a VAT id is not shown without VAT (EN 16931 BR-CO-26)"
        };
        return Err((problem, accepted));
    }
    let mut address = issuer.address.iter().map(|line| text::line(line));
    Ok(Party {
        name: text::line(name),
        street: address.next(),
        second_street: address.next(),
        more: address.collect(),
        country: country.to_owned(),
        tax_ids: vat_id
            .map(|id| (id, "VAT"))
            .into_iter()
            .chain(other_tax_id.map(|id| (id, "TAX")))
            .filter(|_| taxed)
            .collect(),
        legal_id: issuer.registration.as_deref().map(text::line),
        email: issuer.email.as_deref().map(text::line),
    })
}

fn buyer(document: &Document, category: &Category) -> Result<Party, Problem> {
    let buyer = &document.buyer;
    let mut address = text::lines(buyer.address.as_deref().unwrap_or_default());
    let tax_id = buyer.tax_id.as_deref().map(text::line);
    let country = match address.pop_if(|line| is_country(line)) {
        Some(country) => Some(country),
        None => tax_id.as_deref().and_then(country_of).map(str::to_owned),
    };
    let country = country.ok_or((
        "the country of the customer is not known",
        "a `billing_address` whose last line is a code such as DE, or a VAT id that begins with one",
    ))?;
    let taxed = category.code != "O";
    let (vat_id, other_id) = tax_ids(buyer.tax_id.as_deref());
    let mut address = address.into_iter();
    Ok(Party {
        name: text::line(&buyer.name),
        street: address.next(),
        second_street: address.next(),
        more: address.collect(),
        country,
        tax_ids: vat_id.map(|id| (id, "VAT")).into_iter().filter(|_| taxed).collect(),
        legal_id: other_id,
        email: None,
    })
}

fn line(document: &Document, line: &Line) -> UblLine {
    let words = Words::ENGLISH;
    let tokens = matches!(line.meter, Meter::Tokens(_));
    let usage = line.usage.as_ref();
    let is_below = line.amount.is_sign_negative() && !line.amount.is_zero();
    let priced = usage.filter(|_| line.charge.is_none() && !is_below);
    let mut properties = Vec::new();
    if let Some(usage) = usage {
        if priced.is_none() {
            properties.push(("Quantity", usage.quantity.to_string()));
        }
        properties.push(("Price version", text::line(usage.price_version.as_str())));
        properties.push(("Price band", usage.band.to_string()));
    }
    let late = line.corrects.as_ref().map(|month| format!("Late usage of {}", text::line(month)));
    let part = line.part.map(|part| words.part(part, document.period.time_zone));
    let notes: Vec<String> = late.into_iter().chain(part).collect();
    UblLine {
        number: line.number,
        note: (!notes.is_empty()).then(|| notes.join(", ")),
        // What follows from no quantity at its price is one of its amount, or one less.
        quantity: priced.map_or(if is_below { -1 } else { 1 }, |usage| usage.quantity.into()),
        amount: line.amount,
        cost_centre: text::line(line.project.as_str()),
        // A line's period is inside the document's (PEPPOL-EN16931-R110 and R111).
        days: line
            .part
            .filter(|part| document.period.holds(*part))
            .map(|part| document.period.days_of(part)),
        name: format!("{}: {}", text::line(line.model.as_str()), words.meter(&line.meter)),
        properties,
        price: priced.map_or(line.amount.abs(), |usage| usage.price.normalize()),
        base_quantity: if tokens && priced.is_some() { 1_000 } else { 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vat_id_begins_with_a_country_and_has_a_digit() {
        for (id, country) in [
            ("DE123", Some("DE")),
            ("EL123", Some("GR")),
            ("DE12", None),
            ("De123", None),
            ("DEabc", None),
            ("12345", None),
            ("XI123456789", Some("GB")),
            ("ABC680524P76", None),
            ("UK123456789", None),
        ] {
            assert_eq!(country_of(id), country, "{id}");
        }
    }
}
