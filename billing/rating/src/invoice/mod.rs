//! Invoice arithmetic: summed quantities and prices in, lines and totals out.
//!
//! The ledger sums token quantities in SQL, over integers only; this module multiplies each sum
//! with its price once and rounds it once (B2). The order and the grouping of what comes in change
//! nothing (B5), so a preview, a draft, a final invoice and `permille verify` agree to the byte.
//!
//! What a charge prices by the sum of a month replaces the amounts of the lines that it covers
//! ([`bill_month`]); their exact costs stay.
//!
//! It does not know invoice numbers and states.

mod allowance;
mod applied;
mod bill;
mod credit;
mod document;
mod frozen;
mod prepaid;
mod tax;
mod terms;

use std::collections::BTreeMap;

use permille_types::{Currency, ModelName, MoneyError, Price, PriceVersion, ProjectId};
use rust_decimal::Decimal;

pub use applied::AppliedCharge;
pub use bill::{BilledLine, Month, MonthBill, Part, PartPlan, bill_interim, bill_month};
pub use credit::{Credit, CreditError, CreditScope, Creditable, Credited, credit, credit_of_lines};
pub use document::{INVOICE_VERSION, InvoiceDocument, InvoiceHead, InvoiceLine, TaxLine};
pub use frozen::{HeldTerms, InvoiceTerms, MonthTerms, PartTerms, TermsError};
pub use prepaid::{AppliedCredit, Prepaid};
pub use tax::{TAX_RATES_MAX, TaxError, TaxRate, TaxTerms};

use crate::{
    Meter,
    allocate::AllocateError,
    charge::QuoteError,
    exact,
    price_book::{price_of, rates_of_band},
    rate,
    round::round_money,
};

/// Why quantities do not become an invoice.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    /// A price version is not among the prices given.
    #[error("price version `{version}` of model `{model}` is unknown")]
    UnknownVersion {
        /// The version.
        version: PriceVersion,
        /// The model it priced.
        model: ModelName,
    },
    /// The price has no such band, or the band has no price for the class or unit.
    #[error("price version `{version}` has no price for `{meter}` in band {band}")]
    NoPrice {
        /// The version.
        version: PriceVersion,
        /// The band.
        band: u32,
        /// The class or unit.
        meter: Meter,
    },
    /// A price is in another currency than the invoice.
    #[error("price version `{version}` is in {found}, the invoice is in {currency}")]
    OtherCurrency {
        /// The version.
        version: PriceVersion,
        /// Its currency.
        found: Currency,
        /// The invoice's currency.
        currency: Currency,
    },
    /// A sum of quantities exceeds 64 bits.
    #[error("the quantity of `{meter}` of model `{model}` exceeds 64 bits")]
    QuantityOverflow {
        /// The model.
        model: ModelName,
        /// The class or unit.
        meter: Meter,
    },
    /// An exact amount has too many digits.
    #[error("compute invoice amounts")]
    Amount(#[source] MoneyError),
    /// A charge has no amount for the quantity of a month.
    #[error("charge `{charge}`")]
    Charge {
        /// Which.
        charge: PriceVersion,
        /// The cause.
        #[source]
        cause: QuoteError,
    },
    /// The amount of a charge cannot be divided among its lines.
    #[error("divide charge `{charge}`")]
    Divide {
        /// Which.
        charge: PriceVersion,
        /// The cause.
        #[source]
        cause: AllocateError,
    },
    /// What is due cannot be divided among the lines.
    #[error("divide what is due among the lines")]
    Share(#[source] AllocateError),
    /// A term of a plan has no version that reads: its plan's name is too long.
    #[error("term `{term}` has no version")]
    Term {
        /// Which.
        term: String,
    },
    /// The document cannot be written as JSON.
    #[error("write invoice")]
    Write(#[source] serde_json::Error),
    /// The text is not an invoice document.
    #[error("read invoice")]
    Read(#[source] serde_json::Error),
    /// The document was written by a build whose documents this one does not know.
    #[error("invoice document has version {version}, this build reads version {INVOICE_VERSION}")]
    UnknownDocument {
        /// The version found.
        version: u16,
    },
}

/// A quantity, as the ledger sums it: one per project, model, class or unit, price version, band.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UsageSum {
    /// Whose cost centre.
    pub project: ProjectId,
    /// The model as rows name it.
    pub model: ModelName,
    /// The class or unit.
    pub meter: Meter,
    /// The price that rated the rows.
    pub price_version: PriceVersion,
    /// Its band: 0 is outside every band.
    pub band: u32,
    /// Tokens or units. Sums of the same key are added, zero ones dropped.
    pub quantity: u64,
}

/// The lines of an invoice in `currency` and nothing else: quantity × price, rounded once each.
///
/// Lines are sorted by project, model, class or unit, price version and band. `price` finds a
/// version, in a [`crate::price_book::PriceBook`] or in the prices that a document came with.
///
/// # Errors
/// [`InvoiceError`] when a version is unknown, has no such price or another currency, or a number
/// has too many digits.
pub fn invoice_lines<'p>(
    sums: impl IntoIterator<Item = UsageSum>,
    price: impl Fn(&PriceVersion) -> Option<&'p Price>,
    currency: Currency,
) -> Result<Vec<InvoiceLine>, InvoiceError> {
    type Key = (ProjectId, ModelName, Meter, PriceVersion, u32);
    let mut totals: BTreeMap<Key, u64> = BTreeMap::new();
    for sum in sums {
        let key = (sum.project, sum.model, sum.meter, sum.price_version, sum.band);
        let overflow =
            || InvoiceError::QuantityOverflow { model: key.1.clone(), meter: key.2.clone() };
        let before = totals.get(&key).copied().unwrap_or_default();
        let total = before.checked_add(sum.quantity).ok_or_else(overflow)?;
        totals.insert(key, total);
    }
    totals
        .into_iter()
        .filter(|(_, quantity)| *quantity > 0)
        .map(|((project, model, meter, version, band), quantity)| {
            let amount = price_per(&price, &model, &meter, &version, band, currency)?;
            let exact = rate::cost(&meter, amount, quantity).map_err(InvoiceError::Amount)?;
            Ok(InvoiceLine {
                corrects: None,
                part: None,
                charge: None,
                project,
                model,
                quantity,
                quantity_thousand: thousands(&meter, quantity)?,
                price_per_thousand: matches!(meter, Meter::Tokens(_)).then_some(amount),
                price_per_unit: matches!(meter, Meter::Units(_)).then_some(amount),
                exact,
                amount: round_money(exact, currency),
                price_version: version,
                band,
                meter,
            })
        })
        .collect()
}

fn price_per<'p>(
    price: &impl Fn(&PriceVersion) -> Option<&'p Price>,
    model: &ModelName,
    meter: &Meter,
    version: &PriceVersion,
    band: u32,
    currency: Currency,
) -> Result<Decimal, InvoiceError> {
    let price = price(version).ok_or_else(|| InvoiceError::UnknownVersion {
        version: version.clone(),
        model: model.clone(),
    })?;
    if price.currency != currency {
        let (version, found) = (version.clone(), price.currency);
        return Err(InvoiceError::OtherCurrency { version, found, currency });
    }
    rates_of_band(price, band).and_then(|rates| price_of(rates, meter)).ok_or_else(|| {
        InvoiceError::NoPrice { version: version.clone(), band, meter: meter.clone() }
    })
}

fn thousands(meter: &Meter, quantity: u64) -> Result<Option<Decimal>, InvoiceError> {
    match meter {
        Meter::Tokens(_) => exact::shift_right(quantity.into(), 3).map(Some),
        Meter::Units(_) | Meter::Term(_) => Ok(None),
    }
    .map_err(InvoiceError::Amount)
}
