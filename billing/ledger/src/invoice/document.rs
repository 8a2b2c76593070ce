//! An invoice as the API and the command line show it.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use permille_rating::{
    invoice::{AppliedCharge, AppliedCredit, InvoiceLine, InvoiceTerms, TaxLine, TaxTerms},
    proof::Hash,
};
use permille_types::{Currency, CustomerId, DocumentNumber, InvoiceId, ProjectId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{InvoiceKind, InvoiceState};
use crate::RecordHead;

/// The shape of invoice that this build writes.
pub const INVOICE_VERSION: u16 = 3;

/// Who pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoiceCustomer {
    /// Their id.
    pub id: CustomerId,
    /// Their name.
    pub name: String,
    /// Their tax id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_id: Option<String>,
    /// Where the invoice is sent, in lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<String>,
}

/// Who issues, as it read when the invoice was drafted: later changes of the configuration leave
/// what was issued as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoiceIssuer {
    /// The legal name.
    pub name: String,
    /// The address, in lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub address: Vec<String>,
    /// The country of the address, an ISO 3166-1 alpha-2 code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The tax id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_id: Option<String>,
    /// The number in a register of companies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
    /// Where questions go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// How to pay, in lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payment: Vec<String>,
    /// The account that is paid to, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iban: Option<String>,
    /// Days from issue until it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_days: Option<u32>,
}

/// What one cost centre owes of an invoice, before tax.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoiceProject {
    /// Its id, as lines name it.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// Sum of its lines' amounts.
    pub amount: Decimal,
}

/// An interim invoice, as later invoices of its month tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InterimInvoice {
    /// Its number.
    pub number: DocumentNumber,
    /// Sum of its lines' amounts.
    pub subtotal: Decimal,
}

/// What one invoice says instead of its customer's own texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InvoiceTexts {
    /// The purchase order.
    pub purchase_order: Option<String>,
    /// The notes, in lines.
    pub notes: Option<String>,
}

/// The billed month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoicePeriod {
    /// The month, such as `2026-11`.
    pub label: String,
    /// First instant inside.
    pub start: DateTime<Utc>,
    /// First instant after.
    pub end: DateTime<Utc>,
    /// Whose wall clock bounds it.
    #[schemars(with = "permille_types::schema::TimeZone")]
    pub time_zone: Tz,
}

/// What has become of the amount of an issued invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// What was paid.
    pub paid: Decimal,
    /// What credit notes have taken back in money, with tax.
    pub credited: Decimal,
    /// What was paid back of it; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refunded: Option<Decimal>,
    /// What is still to be paid; below zero it is to be paid back.
    pub due: Decimal,
}

/// An invoice: what is billed, and what a reader must know about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Invoice {
    /// Shape of this document: [`INVOICE_VERSION`].
    pub version: u16,
    /// The invoice's id; absent on a preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<InvoiceId>,
    /// Its number in the series of its year; given when it becomes final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<DocumentNumber>,
    /// How far it is.
    pub state: InvoiceState,
    /// Whether it is over the usage of its month so far, and leaves what is owed at the month's end
    /// to the month's own invoice; absent on that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interim: bool,
    /// When it became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<DateTime<Utc>>,
    /// What has become of its amount by now; no part of the document that was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Who issues it; absent where the configuration named nobody, and before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<InvoiceIssuer>,
    /// Who pays.
    pub customer: InvoiceCustomer,
    /// The billed month.
    pub period: InvoicePeriod,
    /// Currency of every amount.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// The customer's purchase order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchase_order: Option<String>,
    /// What else there is to say, in lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Cost centres that have lines, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<InvoiceProject>,
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
    /// What issued interim invoices have billed of the month before this one, which bills the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub billed_before: Vec<InterimInvoice>,
    /// What it bills by beside prices, as that was when it was drafted; absent where prices are
    /// all, and before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<InvoiceTerms>,
    /// The records behind the lines, one entry for each month; absent on what was drafted before
    /// records were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordHead>,
    /// Requests of the month, unpriced ones too.
    pub requests: u64,
    /// Requests that are held for want of a price and not in any line.
    pub unpriced_requests: u64,
    /// Requests whose counts were estimated, in whole or in part.
    pub estimated_requests: u64,
    /// Tokens and units of those requests that are in the lines.
    pub estimated_quantity: u64,
    /// Requests that the built-in simulated provider served.
    pub simulated_requests: u64,
    /// Whether the lines are theirs, because nothing else was used: then this never becomes final.
    /// Beside real usage, simulated usage is on no line.
    pub simulated: bool,
    /// SHA-256 of the document without this field, from when it was issued; absent before version
    /// 3. It shows a change of what does not follow from records, such as a name or a date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Hash>,
}

impl Invoice {
    /// What of its month it bills.
    pub(crate) fn kind(&self) -> InvoiceKind {
        if self.interim { InvoiceKind::Interim } else { InvoiceKind::Month }
    }

    /// The seal that its content has; nothing where the content cannot be written.
    #[must_use]
    pub fn seal_of_content(&self) -> Option<Hash> {
        let content = Self { seal: None, standing: None, ..self.clone() };
        let text = serde_json::to_vec(&content).ok()?;
        Some(Hash::from_bytes(Sha256::digest(text).into()))
    }
}
