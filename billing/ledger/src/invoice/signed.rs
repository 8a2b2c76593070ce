//! What a signature of a month's close is over: its invoices and their amounts.

use permille_types::Currency;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::repo;
use crate::{LedgerError, column, store::Connection};

/// The invoices of a month that are not void, as whoever signed saw them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedAmounts {
    /// One entry for each currency.
    pub sums: Vec<SignedSum>,
    /// SHA-256 over number (or id), state, total and currency of each invoice, a line each, by
    /// customer: it tells of other invoices over the same sum.
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
}

impl SignedAmounts {
    /// The sums in words.
    pub(crate) fn told(&self) -> String {
        if self.sums.is_empty() {
            return "no invoices".to_owned();
        }
        let told = |sum: &SignedSum| {
            format!("{} {} in {} invoices", sum.total, sum.currency.code(), sum.invoices)
        };
        self.sums.iter().map(told).collect::<Vec<_>>().join(", ")
    }
}

/// The invoices of the month `period` as they are now.
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
            None => sums.push(SignedSum { currency, invoices: 1, total }),
            Some(sum) => {
                sum.invoices = sum.invoices.saturating_add(1);
                sum.total = column::exact_add("totals of a month", sum.total, total)?;
            }
        }
    }
    sums.sort_by_key(|sum| sum.currency.code());
    Ok(SignedAmounts { sums, digest: hex::encode(digest.finalize()) })
}
