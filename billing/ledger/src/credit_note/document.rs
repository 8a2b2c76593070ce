//! A credit note as the API and the command line show it.

use chrono::{DateTime, Utc};
use permille_rating::{
    Meter,
    invoice::{AppliedCredit, Credit, TaxLine},
};
use permille_types::{Currency, DocumentNumber, InvoiceId, ModelName, ProjectId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Invoice, InvoiceCustomer, InvoiceIssuer};

/// The shape of credit note that this build writes.
pub const CREDIT_NOTE_VERSION: u16 = 2;

/// The invoice that a note credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditedInvoice {
    /// Its id.
    pub id: InvoiceId,
    /// Its number.
    pub number: DocumentNumber,
}

/// What is taken back of one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditNoteLine {
    /// Place of the line on the invoice, from 1.
    pub line: usize,
    /// The line's cost centre.
    pub project: ProjectId,
    /// Its model.
    pub model: ModelName,
    /// Its token class or unit.
    #[serde(rename = "class")]
    pub meter: Meter,
    /// What is taken back, before tax.
    pub amount: Decimal,
}

/// A credit note. Amounts are above zero: they lower what is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditNote {
    /// Shape of this document: [`CREDIT_NOTE_VERSION`].
    pub version: u16,
    /// Its id.
    pub id: InvoiceId,
    /// Its number in the series of its year.
    pub number: DocumentNumber,
    /// When it was made.
    pub issued_at: DateTime<Utc>,
    /// The invoice.
    pub invoice: CreditedInvoice,
    /// Who issues it; absent where the configuration named nobody, and before version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<InvoiceIssuer>,
    /// Who gets it, as the invoice says it.
    pub customer: InvoiceCustomer,
    /// The billed month of the invoice.
    pub period: String,
    /// Currency of every amount.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// Why.
    pub reason: String,
    /// In the order of the invoice.
    pub lines: Vec<CreditNoteLine>,
    /// Sum of the lines' amounts; absent before version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtotal: Option<Decimal>,
    /// Prepaid credit that had paid, and gets back so much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credits: Vec<AppliedCredit>,
    /// Sum of `credits`; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepaid: Option<Decimal>,
    /// The lines less credit that was taken before tax.
    pub net: Decimal,
    /// The taxes that go with it.
    pub tax: Vec<TaxLine>,
    /// `net` and all taxes.
    pub gross: Decimal,
    /// What is taken back in money: `gross` less what goes back to credit that had paid after tax;
    /// absent before version 2, when all was money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Decimal>,
}

impl CreditNote {
    /// What is taken back in money.
    #[must_use]
    pub fn in_money(&self) -> Decimal {
        self.total.unwrap_or(self.gross)
    }

    /// Sum of the lines.
    #[must_use]
    pub fn of_lines(&self) -> Decimal {
        self.subtotal.unwrap_or(self.net)
    }

    /// The note over `credit`, still under the names of its invoice.
    pub(super) fn new(
        of: &Invoice,
        invoice: CreditedInvoice,
        (credit, credits): (Credit, Vec<AppliedCredit>),
        reason: &str,
        issued_at: DateTime<Utc>,
    ) -> Self {
        let lines = credit.lines.into_iter().filter_map(|(line, amount)| {
            let billed = of.lines.get(line.checked_sub(1)?)?;
            Some(CreditNoteLine {
                line,
                project: billed.project.clone(),
                model: billed.model.clone(),
                meter: billed.meter.clone(),
                amount,
            })
        });
        Self {
            version: CREDIT_NOTE_VERSION,
            id: invoice.id.clone(),
            number: invoice.number.clone(),
            issued_at,
            issuer: None,
            customer: of.customer.clone(),
            period: of.period.label.clone(),
            currency: of.currency,
            reason: reason.to_owned(),
            lines: lines.collect(),
            subtotal: Some(credit.subtotal),
            prepaid: (!credits.is_empty()).then_some(credit.prepaid),
            credits,
            net: credit.net,
            tax: credit.taxes,
            gross: credit.gross,
            total: Some(credit.total),
            invoice,
        }
    }
}
