//! What prepaid credit pays of an invoice.

use permille_types::Currency;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{InvoiceError, InvoiceLine};
use crate::{
    allocate::allocate,
    grant::{Grant, Need, draw},
    plan::CreditTerms,
    round::{minor_places, round_money},
};

/// The grants that may pay, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prepaid<'a> {
    /// Before or after tax, and in which order.
    pub terms: CreditTerms,
    /// With what is left of each.
    pub grants: &'a [Grant],
}

/// What a grant pays of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppliedCredit {
    /// The grant.
    pub grant: String,
    /// How much.
    pub amount: Decimal,
}

impl Prepaid<'_> {
    /// What each grant pays of `amount`, which the lines owe in proportion to their amounts.
    pub(super) fn pays(
        &self,
        lines: &[InvoiceLine],
        amount: Decimal,
        currency: Currency,
    ) -> Result<Vec<AppliedCredit>, InvoiceError> {
        if self.grants.is_empty() {
            return Ok(Vec::new());
        }
        let amounts: Vec<Decimal> = lines.iter().map(|line| line.amount).collect();
        let shares =
            allocate(amount, &amounts, minor_places(currency)).map_err(InvoiceError::Share)?;
        let needs: Vec<Need> = lines
            .iter()
            .zip(shares)
            .map(|(line, amount)| Need { model: line.model.clone(), amount })
            .collect();
        let draws = draw(self.grants, &needs, self.terms.order).map_err(InvoiceError::Amount)?;
        let of = |(place, amount): (usize, Decimal)| {
            let grant = self.grants.get(place)?.id.clone();
            Some(AppliedCredit { grant, amount: round_money(amount, currency) })
        };
        Ok(draws.into_iter().filter_map(of).collect())
    }
}
