//! What a signature of a month's close is over: its invoices, what is credited of them, and their
//! amounts.

use permille_types::Currency;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::repo;
use crate::{
    LedgerError, column,
    credit_note::{self, CreditOfPeriod},
    store::Connection,
};

/// The invoices of a month that are not void and their credit notes, as whoever signed saw them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedAmounts {
    /// One entry for each currency.
    pub sums: Vec<SignedSum>,
    /// SHA-256 over number (or id), state, total and currency of each invoice, a line each, by
    /// customer, then number, invoice, amount and currency of each credit note, by number: it tells
    /// of other documents over the same sum.
    pub digest: String,
}

/// What invoices in one currency add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedSum {
    /// The currency.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// How many invoices.
    pub invoices: u64,
    /// Sum of their totals.
    pub total: Decimal,
    /// What credit notes have taken back of them in money; absent where there are none, and before
    /// this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credited: Option<Decimal>,
}

impl SignedAmounts {
    /// The sums in words.
    pub(crate) fn told(&self) -> String {
        if self.sums.is_empty() {
            return "no invoices".to_owned();
        }
        let told = |sum: &SignedSum| {
            let currency = sum.currency.code();
            let credited =
                sum.credited.map(|credited| format!(" less {credited} {currency} credited"));
            let credited = credited.unwrap_or_default();
            format!("{} {currency} in {} invoices{credited}", sum.total, sum.invoices)
        };
        self.sums.iter().map(told).collect::<Vec<_>>().join(", ")
    }
}

/// The invoices of the month `period` and their credit notes as they are now.
pub(crate) async fn amounts_of(
    connection: &mut Connection,
    period: &str,
) -> Result<SignedAmounts, LedgerError> {
    let mut digest = Sha256::new();
    let mut sums: Vec<SignedSum> = Vec::new();
    for invoice in repo::not_void(connection, period).await? {
        let repo::NotVoid { shown, is_issued, currency, total } = invoice;
        let state = if is_issued { "issued" } else { "not issued" };
        digest.update(format!("{shown} {state} {total} {}\n", currency.code()));
        match sums.iter_mut().find(|sum| sum.currency == currency) {
            None => sums.push(SignedSum { currency, invoices: 1, total, credited: None }),
            Some(sum) => {
                sum.invoices = sum.invoices.saturating_add(1);
                sum.total = column::exact_add("totals of a month", sum.total, total)?;
            }
        }
    }
    for note in credit_note::of_period(connection, period).await? {
        let CreditOfPeriod { number, invoice, currency, amount } = note;
        digest.update(format!("{number} credits {invoice} {amount} {}\n", currency.code()));
        let sum = sums.iter_mut().find(|sum| sum.currency == currency);
        let sum =
            sum.ok_or_else(|| LedgerError::corrupt("credit_note.currency", currency.code()))?;
        let before = sum.credited.unwrap_or_default();
        sum.credited = Some(column::exact_add("credits of a month", before, amount)?);
    }
    sums.sort_by_key(|sum| sum.currency.code());
    Ok(SignedAmounts { sums, digest: hex::encode(digest.finalize()) })
}
