//! The invoice as a document: what is printed, exported and verified byte for byte (B10).

use chrono_tz::Tz;
use permille_types::{Currency, CustomerId, InvoiceId, ModelName, PriceVersion, ProjectId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppliedCharge, AppliedCredit, InvoiceError, MonthBill, Prepaid, TaxTerms};
use crate::{
    Meter, exact,
    period::Period,
    plan::CreditTaken,
    round::round_money,
    written::{normalized, normalized_option},
};

/// The shape of document that this build writes.
pub const INVOICE_VERSION: u16 = 1;

/// Whom and what an invoice is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceHead {
    /// The invoice's id; absent on a preview.
    pub id: Option<InvoiceId>,
    /// Who pays.
    pub customer: CustomerId,
    /// The billed period.
    pub period: Period,
    /// The time zone whose wall clock bounds the period.
    pub time_zone: Tz,
    /// Currency of every amount.
    pub currency: Currency,
    /// How the customer is taxed.
    pub tax_terms: TaxTerms,
}

/// An invoice: lines that add up to `subtotal`, taxes, and what is to be paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoiceDocument {
    /// Shape of this document: [`INVOICE_VERSION`].
    pub version: u16,
    /// The invoice's id; absent on a preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<InvoiceId>,
    /// Who pays.
    pub customer: CustomerId,
    /// The billed period.
    pub period: Period,
    /// The time zone whose wall clock bounds the period.
    #[schemars(with = "permille_types::schema::TimeZone")]
    pub time_zone: Tz,
    /// Currency of every amount.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// Sorted by project, model, class or unit, price version, band; then late usage of earlier
    /// months, by month.
    pub lines: Vec<InvoiceLine>,
    /// How the amounts of lines that name a charge came about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<AppliedCharge>,
    /// Prepaid credit that pays of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credits: Vec<AppliedCredit>,
    /// Sum of `credits`; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepaid: Option<Decimal>,
    /// Sum of the lines' amounts.
    pub subtotal: Decimal,
    /// `subtotal` after discounts and credit that is taken before tax.
    pub net: Decimal,
    /// How the customer is taxed; absent where nothing is said of it.
    #[serde(default, skip_serializing_if = "TaxTerms::is_none")]
    pub tax_terms: TaxTerms,
    /// One entry per tax rate.
    pub tax: Vec<TaxLine>,
    /// `net` and all taxes.
    pub gross: Decimal,
    /// What is to be paid: `gross` less credit that is taken after tax.
    pub total: Decimal,
}

/// One line: one project, model, class or unit, price version and band; or a term of a contract,
/// whose `model` is what the term is called and whose `price_version` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoiceLine {
    /// The month, such as `2026-10`, whose late usage this line bills; absent on a line of the
    /// invoice's own period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<String>,
    /// The part of the month that this line bills, where another part is billed by other terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Period>,
    /// The charge that made the amount of this and other lines; absent where the amount is
    /// quantity × price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<PriceVersion>,
    /// The cost centre.
    pub project: ProjectId,
    /// The model.
    pub model: ModelName,
    /// The token class or unit.
    #[serde(rename = "class")]
    pub meter: Meter,
    /// Tokens or units.
    pub quantity: u64,
    /// The quantity in thousands, exact; absent for units.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "normalized_option"
    )]
    pub quantity_thousand: Option<Decimal>,
    /// Price per thousand tokens; absent for units.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "normalized_option"
    )]
    pub price_per_thousand: Option<Decimal>,
    /// Price of one unit; absent for tokens.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "normalized_option"
    )]
    pub price_per_unit: Option<Decimal>,
    /// Quantity × price, exact.
    #[serde(serialize_with = "normalized")]
    pub exact: Decimal,
    /// What is billed: `exact`, rounded once to the currency's minor unit; where the line names a
    /// charge, its share of the charge's rounded amount.
    pub amount: Decimal,
    /// The price applied.
    pub price_version: PriceVersion,
    /// Its band: 0 is outside every band.
    pub band: u32,
}

/// One tax rate on the document's net.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaxLine {
    /// The tax as it reads on the invoice.
    pub name: String,
    /// Its rate in percent.
    pub percent: Decimal,
    /// What it applies to.
    pub base: Decimal,
    /// `base × percent`, rounded once.
    pub amount: Decimal,
}

impl InvoiceDocument {
    /// The document of `lines`, which are those of [`super::invoice_lines`] in `head.currency`.
    ///
    /// # Errors
    /// [`InvoiceError::Amount`] when a total has more than 28 digits.
    pub fn new(head: InvoiceHead, lines: Vec<InvoiceLine>) -> Result<Self, InvoiceError> {
        Self::with_credit(head, MonthBill { lines, charges: Vec::new() }, Prepaid::default())
    }

    /// The document of what [`super::bill_month`] made of a month and of earlier ones, of which
    /// `prepaid` pays what it can.
    ///
    /// # Errors
    /// As [`InvoiceDocument::new`]; [`InvoiceError::Share`] when a total cannot be divided.
    pub fn with_credit(
        head: InvoiceHead,
        bill: MonthBill,
        prepaid: Prepaid<'_>,
    ) -> Result<Self, InvoiceError> {
        let MonthBill { lines, charges } = bill;
        let sum = exact::sum(lines.iter().map(|line| line.amount)).map_err(InvoiceError::Amount)?;
        // The lines are rounded already; this only gives the sum its decimal places.
        let subtotal = round_money(sum, head.currency);
        let less = |from, drawn| {
            let left = exact::sub(from, drawn).map_err(InvoiceError::Amount)?;
            Ok::<_, InvoiceError>(round_money(left, head.currency))
        };
        let (mut credits, mut net) = (Vec::new(), subtotal);
        if prepaid.terms.taken == CreditTaken::BeforeTax {
            credits = prepaid.pays(&lines, subtotal, head.currency)?;
            net = less(subtotal, drawn(&credits)?)?;
        }
        let tax = head.tax_terms.levy(net, head.currency).map_err(InvoiceError::Amount)?;
        let taxes = tax.iter().map(|tax| tax.amount);
        let gross = exact::sum([net].into_iter().chain(taxes)).map_err(InvoiceError::Amount)?;
        let gross = round_money(gross, head.currency);
        let mut total = gross;
        if prepaid.terms.taken == CreditTaken::AfterTax {
            credits = prepaid.pays(&lines, gross, head.currency)?;
            total = less(gross, drawn(&credits)?)?;
        }
        let paid = round_money(drawn(&credits)?, head.currency);
        Ok(Self {
            version: INVOICE_VERSION,
            id: head.id,
            customer: head.customer,
            period: head.period,
            time_zone: head.time_zone,
            currency: head.currency,
            lines,
            charges,
            prepaid: (!credits.is_empty()).then_some(paid),
            credits,
            subtotal,
            net,
            tax_terms: head.tax_terms,
            tax,
            gross,
            total,
        })
    }

    /// The document's one canonical text: JSON, two spaces, keys in the order of the fields, one
    /// line feed at the end.
    ///
    /// # Errors
    /// [`InvoiceError::Write`] when a value cannot be written.
    pub fn to_json(&self) -> Result<Vec<u8>, InvoiceError> {
        let mut json = serde_json::to_vec_pretty(self).map_err(InvoiceError::Write)?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`InvoiceError::Read`] when the bytes are no document, [`InvoiceError::UnknownDocument`]
    /// when another build wrote it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, InvoiceError> {
        /// The one field that every version shares.
        #[derive(Deserialize, JsonSchema)]
        struct Versioned {
            version: u16,
        }
        let Versioned { version } = serde_json::from_slice(bytes).map_err(InvoiceError::Read)?;
        if version != INVOICE_VERSION {
            return Err(InvoiceError::UnknownDocument { version });
        }
        serde_json::from_slice(bytes).map_err(InvoiceError::Read)
    }
}

fn drawn(credits: &[AppliedCredit]) -> Result<Decimal, InvoiceError> {
    exact::sum(credits.iter().map(|credit| credit.amount)).map_err(InvoiceError::Amount)
}
