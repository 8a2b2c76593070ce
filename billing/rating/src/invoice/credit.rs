//! What a credit note takes back of an invoice: amounts before tax, line by line, with the tax
//! that they carried.
//!
//! Taxes are those of everything credited so far, less what earlier notes gave back: however an
//! invoice is credited in parts, the parts add up, and the last one leaves nothing.

use permille_types::{Currency, MoneyError};
use rust_decimal::Decimal;

use super::TaxLine;
use crate::{
    allocate::{AllocateError, allocate},
    exact,
    round::{minor_places, round_money},
};

/// What of an invoice is to be credited. Amounts are before tax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreditScope {
    /// Everything that is left of it.
    Rest,
    /// An amount, spread over its lines in proportion to what is left of each.
    Amount(Decimal),
    /// One line, the first is 1: an amount of it, or what is left of it.
    Line {
        /// Which.
        number: usize,
        /// How much.
        amount: Option<Decimal>,
    },
}

/// What earlier notes have credited of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credited {
    /// Of each line, before tax; a line that is not there has none.
    pub lines: Vec<Decimal>,
    /// Of each tax.
    pub taxes: Vec<Decimal>,
}

/// What one note credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    /// Number of a line, from 1, and the amount of it; none is zero.
    pub lines: Vec<(usize, Decimal)>,
    /// Their sum.
    pub net: Decimal,
    /// The taxes on them, each with the part of its base.
    pub taxes: Vec<TaxLine>,
    /// `net` and all taxes.
    pub gross: Decimal,
}

/// Why an invoice is not credited so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreditError {
    /// The invoice has no such line.
    #[error("line `{number}` is not accepted; accepted: 1 to {lines}")]
    NoLine {
        /// Which was asked for.
        number: usize,
        /// How many there are.
        lines: usize,
    },
    /// More than is left.
    #[error("amount `{asked}` is not accepted; accepted: up to {left}, which is left before tax")]
    Above {
        /// What was asked for.
        asked: Decimal,
        /// What is left of the line or of the invoice.
        left: Decimal,
    },
    /// Not an amount of money that can be paid.
    #[error(
        "amount `{asked}` is not accepted; accepted: above 0 with at most {places} decimal places"
    )]
    NoAmount {
        /// What was asked for.
        asked: Decimal,
        /// Decimal places of the currency.
        places: u32,
    },
    /// Everything was credited before.
    #[error("nothing is left to credit")]
    NothingLeft,
    /// An amount has too many digits.
    #[error("add up credits")]
    Amount(#[from] MoneyError),
    /// An amount cannot be divided.
    #[error("divide a credit among lines")]
    Divide(#[from] AllocateError),
}

/// What a note over `scope` credits of an invoice with these line amounts and taxes.
///
/// # Errors
/// [`CreditError`] says what is accepted instead.
pub fn credit(
    lines: &[Decimal],
    taxes: &[TaxLine],
    before: &Credited,
    scope: CreditScope,
    currency: Currency,
) -> Result<Credit, CreditError> {
    let places = minor_places(currency);
    let left = lines
        .iter()
        .enumerate()
        .map(|(place, amount)| exact::sub(*amount, part(&before.lines, place)))
        .collect::<Result<Vec<_>, _>>()?;
    let left_in_all = exact::sum(left.iter().copied())?;
    if left_in_all <= Decimal::ZERO {
        return Err(CreditError::NothingLeft);
    }
    let asked = |asked: Decimal, left: Decimal| {
        if asked <= Decimal::ZERO || asked.normalize().scale() > places {
            return Err(CreditError::NoAmount { asked, places });
        }
        if asked > left {
            return Err(CreditError::Above { asked, left: round_money(left, currency) });
        }
        Ok(asked)
    };
    let amounts = match scope {
        CreditScope::Rest => left,
        CreditScope::Amount(amount) => allocate(asked(amount, left_in_all)?, &left, places)?,
        CreditScope::Line { number, amount } => {
            let place = number.checked_sub(1).filter(|place| *place < left.len());
            let place = place.ok_or(CreditError::NoLine { number, lines: left.len() })?;
            let left_of_line = part(&left, place);
            if left_of_line.is_zero() {
                return Err(CreditError::NothingLeft);
            }
            let amount = asked(amount.unwrap_or(left_of_line), left_of_line)?;
            let of = |other| if other == place { amount } else { Decimal::ZERO };
            (0..left.len()).map(of).collect()
        }
    };
    let net = round_money(exact::sum(amounts.iter().copied())?, currency);
    let credited_before = exact::sum(before.lines.iter().copied())?;
    let whole = exact::sum(lines.iter().copied())?;
    let credited = exact::add(credited_before, net)?;
    let taxes = taxes
        .iter()
        .enumerate()
        .map(|(place, tax)| mirrored(tax, part(&before.taxes, place), net, credited, whole, places))
        .collect::<Result<Vec<_>, _>>()?;
    let gross = exact::sum([net].into_iter().chain(taxes.iter().map(|tax| tax.amount)))?;
    let lines = (1..).zip(amounts).filter(|(_, amount)| !amount.is_zero());
    let lines = lines.map(|(number, amount)| (number, round_money(amount, currency)));
    Ok(Credit { lines: lines.collect(), net, taxes, gross: round_money(gross, currency) })
}

/// The tax of everything that is `credited` of the `whole`, less what earlier notes gave back.
fn mirrored(
    tax: &TaxLine,
    before: Decimal,
    net: Decimal,
    credited: Decimal,
    whole: Decimal,
    places: u32,
) -> Result<TaxLine, CreditError> {
    let rest = exact::sub(whole, credited)?;
    let due = allocate(tax.amount, &[credited, rest], places)?;
    let mut amount = exact::sub(part(&due, 0), before)?;
    amount.rescale(places);
    Ok(TaxLine { base: net, amount, ..tax.clone() })
}

fn part(amounts: &[Decimal], place: usize) -> Decimal {
    amounts.get(place).copied().unwrap_or_default()
}
