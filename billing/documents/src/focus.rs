//! FinOps FOCUS 1.4 cost and usage rows: one for each share of a session in a line, one for each
//! line that is not broken down, one for each tax.
//!
//! The `BilledCost` of a document's rows adds up to what it asks to be paid. Columns that start
//! with `x_` are ours: FOCUS 1.4 has none for sessions, turns and where a count comes from.
//!
//! Source: FinOps Open Cost and Usage Specification 1.4, dataset Cost and Usage; units by its
//! attribute Unit Format.

use std::{collections::HashMap, sync::LazyLock};

use chrono::{DateTime, SecondsFormat, Utc};
use permille_rating::{Meter, invoice::TaxLine, rate};
use permille_types::TokenClass;
use rust_decimal::Decimal;
use serde_json::json;

use crate::{
    Document, DocumentError, Format, Issuer, Kind, Line,
    detail::Part,
    issuer::NAME_ACCEPTED,
    table::{or_empty, row, told},
    words::Words,
};

/// The columns that the specification demands, then others of its own, then ours.
pub const COLUMNS: [&str; 46] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ChargeFrequency",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedUnitPrice",
    "InvoiceDetailId",
    "InvoiceId",
    "ListUnitPrice",
    "PricingCategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_SessionId",
    "x_FirstTurn",
    "x_LastTurn",
    "x_RequestCount",
    "x_EstimatedRequestCount",
    "x_PriceVersion",
    "x_PriceBand",
    "x_CorrectsPeriod",
    "x_ExactCost",
    "x_InvoiceKind",
];

/// How many of [`COLUMNS`] the specification demands.
pub const MANDATORY: usize = 21;

/// What the rows of a document share.
#[derive(Debug)]
pub(crate) struct Focus {
    issuer: String,
}

/// A row in the order of [`COLUMNS`]; what is not told is null.
struct Cells(Vec<String>);

/// Where each column stands.
static PLACES: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| COLUMNS.iter().enumerate().map(|(place, name)| (*name, place)).collect());

impl Focus {
    /// # Errors
    /// [`DocumentError::NotExpressible`] when the issuer has no name, or the document is not
    /// issued.
    pub(crate) fn new(document: &Document, issuer: &Issuer) -> Result<Self, DocumentError> {
        let Some(name) = &issuer.name else {
            return Err(refused(document, "the issuer has no name", NAME_ACCEPTED));
        };
        let void = matches!(document.kind, Kind::Invoice(crate::Status::Void));
        if document.number.is_none() || void {
            let accepted = "an invoice that is final or paid, or a credit note";
            return Err(refused(document, "it is not issued", accepted));
        }
        Ok(Self { issuer: told(name) })
    }

    pub(crate) fn head(out: &mut Vec<u8>) -> Result<(), DocumentError> {
        row(out, COLUMNS)
    }

    /// The share of a session in a line, or a line that no session has a share in.
    pub(crate) fn share(
        &self,
        document: &Document,
        line: &Line,
        part: Option<&Part>,
        billed: Decimal,
        out: &mut Vec<u8>,
    ) -> Result<(), DocumentError> {
        let words = Words::ENGLISH;
        let mut cells = self.cells(document, billed);
        let is_correction = line.corrects.is_some() || document.is_credit();
        let is_usage = line.meter.is_usage();
        let category = if is_usage { "Usage" } else { "Purchase" };
        cells.set("ChargeCategory", category.to_owned());
        if is_correction {
            cells.set("ChargeClass", "Correction".to_owned());
        }
        let model = told(line.model.as_str());
        cells.set("ChargeDescription", format!("{model}: {}", words.meter(&line.meter)));
        cells.set("ServiceCategory", "AI and Machine Learning".to_owned());
        cells.set("InvoiceDetailId", format!("{}-{}", document.shown_number(), line.number));
        cells.set("SubAccountId", told(line.project.as_str()));
        cells.set("SubAccountName", told(document.project_name(&line.project)));
        cells.set("SkuId", format!("{model}/{}", told(line.meter.as_str())));
        cells.set("SkuMeter", sku_meter(&line.meter).to_owned());
        let frequency = if is_usage { "Usage-Based" } else { "Recurring" };
        cells.set("ChargeFrequency", frequency.to_owned());
        cells.set("x_CorrectsPeriod", or_empty(line.corrects.as_ref()));
        if let Some(of_month) = line.part {
            cells.set("ChargePeriodStart", instant(of_month.start));
            cells.set("ChargePeriodEnd", instant(of_month.end));
        }
        if let Some(part) = part {
            cells.set("ChargePeriodStart", instant(part.first_at));
            // The end of a charge period is outside of it.
            let after = part.last_at.checked_add_signed(chrono::TimeDelta::seconds(1));
            cells.set("ChargePeriodEnd", instant(after.unwrap_or(part.last_at)));
            cells.set("x_SessionId", told(part.session.as_str()));
            cells.set("x_FirstTurn", part.turn_first.to_string());
            cells.set("x_LastTurn", part.turn_last.to_string());
            cells.set("x_RequestCount", part.requests.to_string());
            cells.set("x_EstimatedRequestCount", part.estimated.to_string());
        }
        if let Some(usage) = &line.usage {
            let quantity = part.map_or(usage.quantity, |part| part.quantity);
            let cost = |price: Decimal| {
                rate::cost(&line.meter, price, quantity).map_err(|cause| DocumentError::Amount {
                    document: document.shown_number().to_owned(),
                    cause,
                })
            };
            let list_price = usage.list_price.unwrap_or(usage.price);
            let (list, exact) = (cost(list_price)?, cost(usage.price)?);
            let is_taken_back = is_correction && line.amount < Decimal::ZERO;
            let (pricing_unit, unit, pricing_quantity) = match &line.meter {
                Meter::Tokens(_) => ("1000 Tokens", "Tokens", thousands(quantity)),
                Meter::Units(_) | Meter::Term(_) => {
                    (unit(&line.meter), unit(&line.meter), quantity.to_string())
                }
            };
            // A correction below zero takes back at every price; only of corrections may a cost
            // be another one than quantity × price.
            for (column, mut cost) in [("ListCost", list), ("ContractedCost", exact)] {
                cost.set_sign_negative(is_taken_back && !cost.is_zero());
                cells.set(column, cost.normalize().to_string());
            }
            cells.set("x_ExactCost", exact.normalize().to_string());
            for (column, price) in
                [("ListUnitPrice", list_price), ("ContractedUnitPrice", usage.price)]
            {
                cells.set(column, price.normalize().to_string());
            }
            cells.set("PricingCategory", "Standard".to_owned());
            cells.set("PricingQuantity", pricing_quantity);
            cells.set("PricingUnit", pricing_unit.to_owned());
            cells.set("ConsumedQuantity", quantity.to_string());
            cells.set("ConsumedUnit", unit.to_owned());
            let version = told(usage.price_version.as_str());
            cells.set("SkuPriceId", format!("{version}/{}/{}", usage.band, line.meter));
            let class = told(line.meter.as_str());
            let details = json!({"x_TokenClass": class, "x_PriceBand": usage.band});
            cells.set("SkuPriceDetails", details.to_string());
            cells.set("x_PriceVersion", version);
            cells.set("x_PriceBand", usage.band.to_string());
        }
        cells.write(out)
    }

    /// A tax of the whole document.
    pub(crate) fn tax(
        &self,
        document: &Document,
        tax: &TaxLine,
        out: &mut Vec<u8>,
    ) -> Result<(), DocumentError> {
        let mut cells = self.cells(document, tax.amount);
        cells.set("ChargeCategory", "Tax".to_owned());
        if document.is_credit() {
            cells.set("ChargeClass", "Correction".to_owned());
        }
        let name = told(&tax.name);
        cells.set("ChargeDescription", format!("{name} {} %", tax.percent.normalize()));
        cells.set("ServiceCategory", "Other".to_owned());
        cells.set("ChargeFrequency", "Recurring".to_owned());
        cells.write(out)
    }

    /// What is paid otherwise than by this document, such as out of prepaid credit.
    pub(crate) fn paid_otherwise(
        &self,
        document: &Document,
        out: &mut Vec<u8>,
    ) -> Result<(), DocumentError> {
        let mut rest = document.prepaid();
        rest.set_sign_negative(true);
        if rest.is_zero() {
            return Ok(());
        }
        let mut cells = self.cells(document, rest);
        cells.set("ChargeCategory", "Credit".to_owned());
        cells.set("ChargeDescription", "Prepaid credit".to_owned());
        cells.set("ServiceCategory", "Other".to_owned());
        cells.set("ChargeFrequency", "One-Time".to_owned());
        cells.write(out)
    }

    /// What every row says. Without a price of its own, a charge costs what is billed.
    fn cells(&self, document: &Document, billed: Decimal) -> Cells {
        let billed = document.signed(billed).normalize().to_string();
        let period = &document.period;
        let mut cells = Cells(vec![String::new(); COLUMNS.len()]);
        for column in ["BilledCost", "EffectiveCost", "ListCost", "ContractedCost"] {
            cells.set(column, billed.clone());
        }
        cells.set("BillingAccountId", told(document.buyer.id.as_str()));
        cells.set("BillingAccountName", told(&document.buyer.name));
        cells.set("BillingCurrency", document.currency.code().to_owned());
        for column in ["BillingPeriodStart", "ChargePeriodStart"] {
            cells.set(column, instant(period.start));
        }
        for column in ["BillingPeriodEnd", "ChargePeriodEnd"] {
            cells.set(column, instant(period.end));
        }
        for column in ["InvoiceIssuerName", "ServiceProviderName", "HostProviderName"] {
            cells.set(column, self.issuer.clone());
        }
        cells.set("ServiceName", "Permille".to_owned());
        cells.set("InvoiceId", told(document.shown_number()));
        let kind = match (&document.kind, document.interim) {
            (Kind::CreditNote { .. }, _) => "credit_note",
            (Kind::Invoice(_), true) => "interim",
            (Kind::Invoice(_), false) => "month",
        };
        cells.set("x_InvoiceKind", kind.to_owned());
        let order = document.purchase_order.as_deref().map(told);
        cells.set("Tags", order.map_or_else(String::new, |order| tags(&order)));
        cells
    }
}

fn tags(order: &str) -> String {
    json!({"x_PurchaseOrder": order}).to_string()
}

impl Cells {
    fn set(&mut self, column: &'static str, cell: String) {
        let place = PLACES.get(column).and_then(|place| self.0.get_mut(*place));
        debug_assert!(place.is_some(), "{column} is no column");
        if let Some(empty) = place {
            *empty = cell;
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), DocumentError> {
        row(out, &self.0)
    }
}

/// Source: FOCUS 1.4, Date/Time Format: UTC, to the second.
fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Tokens in thousands, exact.
fn thousands(quantity: u64) -> String {
    let exact = Decimal::try_from_i128_with_scale(quantity.into(), 3);
    exact.map(|thousands| thousands.normalize().to_string()).unwrap_or_default()
}

/// What is measured: direction alone, since the state of a cache is no meter.
fn sku_meter(meter: &Meter) -> &'static str {
    let Meter::Tokens(class) = meter else { return unit(meter) };
    let output = [
        TokenClass::OUTPUT_TEXT,
        TokenClass::REASONING,
        TokenClass::AUDIO_OUT,
        TokenClass::IMAGE_OUT,
    ];
    if output.contains(class) || class.as_str().ends_with("_out") {
        "Output Tokens"
    } else {
        "Input Tokens"
    }
}

fn unit(meter: &Meter) -> &'static str {
    match meter.as_str() {
        "requests" => "Requests",
        "seconds" => "Seconds",
        "images" => "Images",
        "searches" => "Searches",
        "characters" => "Characters",
        _ => "Units",
    }
}

fn refused(document: &Document, problem: &str, accepted: &str) -> DocumentError {
    DocumentError::NotExpressible {
        document: document.shown_number().to_owned(),
        format: Format::Focus,
        problem: problem.to_owned(),
        accepted: accepted.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_named_by_its_direction_or_its_unit() {
        for (meter, named) in [
            ("input_uncached", "Input Tokens"),
            ("cache_read", "Input Tokens"),
            ("output_text", "Output Tokens"),
            ("reasoning", "Output Tokens"),
            ("smell_out", "Output Tokens"),
            ("requests", "Requests"),
            ("seconds", "Seconds"),
            ("images", "Images"),
            ("searches", "Searches"),
            ("characters", "Characters"),
            ("fee", "Units"),
        ] {
            assert_eq!(sku_meter(&Meter::named(meter)), named, "{meter}");
        }
    }

    #[test]
    fn an_order_is_a_tag_in_json() {
        assert_eq!(tags("PO \"7\""), r#"{"x_PurchaseOrder":"PO \"7\""}"#);
    }
}
