//! What a credit note takes back of an invoice: amounts before tax, line by line, with the tax
//! that they carried and the prepaid credit that had paid for them.
//!
//! Taxes and credit are those of everything credited so far, less what earlier notes gave back:
//! however an invoice is credited in parts, the parts add up, and the last one leaves nothing.
//!
//! Credit that was taken before tax had lowered the base of the taxes; it goes back in proportion,
//! so that a note has the rate of its invoice. Credit that has paid after tax is a payment: what is
//! to be paid in money is taken back first, and what is above goes back to where it came from.

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
    /// One line, the first is 1: an amount of it, or what is left of it; never more than is left of
    /// the invoice.
    Line {
        /// Which.
        number: usize,
        /// How much.
        amount: Option<Decimal>,
    },
}

/// What is credited: an issued invoice, as far as credits ask.
#[derive(Debug, Clone, Copy)]
pub struct Creditable<'a> {
    /// Amounts of its lines.
    pub lines: &'a [Decimal],
    /// Its taxes.
    pub taxes: &'a [TaxLine],
    /// What taxes are on: the lines less credit that was taken before tax.
    pub net: Decimal,
    /// What was to be paid in money.
    pub total: Decimal,
    /// Currency of every amount.
    pub currency: Currency,
}

/// What earlier notes have credited of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credited {
    /// Of each line, before tax; a line that is not there has none.
    pub lines: Vec<Decimal>,
    /// Of each tax.
    pub taxes: Vec<Decimal>,
    /// What went back to prepaid credit.
    pub prepaid: Decimal,
    /// What was taken back in money.
    pub total: Decimal,
}

/// What one note credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    /// Number of a line, from 1, and the amount of it; none is zero.
    pub lines: Vec<(usize, Decimal)>,
    /// Their sum.
    pub subtotal: Decimal,
    /// What of it, or of `gross`, goes back to prepaid credit.
    pub prepaid: Decimal,
    /// `subtotal` less credit that was taken before tax.
    pub net: Decimal,
    /// The taxes on `net`.
    pub taxes: Vec<TaxLine>,
    /// `net` and all taxes.
    pub gross: Decimal,
    /// What is taken back in money: `gross` less credit that had paid after tax.
    pub total: Decimal,
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

/// What a note over `scope` credits of an invoice.
///
/// # Errors
/// [`CreditError`] says what is accepted instead.
pub fn credit(
    of: Creditable<'_>,
    before: &Credited,
    scope: CreditScope,
) -> Result<Credit, CreditError> {
    let Creditable { lines, currency, .. } = of;
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
        CreditScope::Amount(amount) => {
            // Lines below zero have taken something off already; nothing is taken back of that
            // before the rest of the invoice is.
            let above: Vec<Decimal> = left.iter().map(|left| (*left).max(Decimal::ZERO)).collect();
            allocate(asked(amount, left_in_all)?, &above, places)?
        }
        CreditScope::Line { number, amount } => {
            let place = number.checked_sub(1).filter(|place| *place < left.len());
            let place = place.ok_or(CreditError::NoLine { number, lines: left.len() })?;
            let left_of_line = part(&left, place);
            if left_of_line.is_zero() {
                return Err(CreditError::NothingLeft);
            }
            // What lines below zero have taken off was never to be paid.
            let most = left_of_line.min(left_in_all);
            let amount = asked(amount.unwrap_or(most), most)?;
            let of = |other| if other == place { amount } else { Decimal::ZERO };
            (0..left.len()).map(of).collect()
        }
    };
    let lines = (1..).zip(amounts).filter(|(_, amount)| !amount.is_zero());
    let lines: Vec<(usize, Decimal)> =
        lines.map(|(number, amount)| (number, round_money(amount, currency))).collect();
    credit_of_lines(of, before, lines)
}

/// What a note over these amounts of lines credits: their numbers, from 1, and amounts before tax.
///
/// # Errors
/// [`CreditError`] when there is no such line or a number has too many digits.
pub fn credit_of_lines(
    of: Creditable<'_>,
    before: &Credited,
    lines: Vec<(usize, Decimal)>,
) -> Result<Credit, CreditError> {
    let Creditable { taxes, currency, .. } = of;
    let places = minor_places(currency);
    let is_line = |number: usize| number.checked_sub(1).is_some_and(|at| at < of.lines.len());
    if let Some((number, _)) = lines.iter().find(|(number, _)| !is_line(*number)) {
        return Err(CreditError::NoLine { number: *number, lines: of.lines.len() });
    }
    let rounded = |amount| round_money(amount, currency);
    let subtotal = rounded(exact::sum(lines.iter().map(|(_, amount)| *amount))?);
    let whole = exact::sum(of.lines.iter().copied())?;
    let credited = exact::add(exact::sum(before.lines.iter().copied())?, subtotal)?;
    let share = Share { credited, rest: exact::sub(whole, credited)?, places };

    let taken_before_tax = exact::sub(whole, of.net)?;
    let is_before_tax = !taken_before_tax.is_zero();
    // Notes of an earlier build gave no credit back: one that makes up for them stays above zero.
    let back_before_tax = if is_before_tax {
        share.of(taken_before_tax, before.prepaid)?.min(subtotal)
    } else {
        Decimal::ZERO
    };
    let net = rounded(exact::sub(subtotal, back_before_tax)?);
    let tax_of = |(place, tax): (usize, &TaxLine)| {
        let mut amount = share.of(tax.amount, part(&before.taxes, place))?;
        amount.rescale(places);
        Ok::<_, CreditError>(TaxLine { base: net, amount, ..tax.clone() })
    };
    let taxes = taxes.iter().enumerate().map(tax_of).collect::<Result<Vec<_>, _>>()?;
    let gross = exact::sum([net].into_iter().chain(taxes.iter().map(|tax| tax.amount)))?;
    let left_in_money = exact::sub(of.total, before.total)?.max(Decimal::ZERO);
    let total = if is_before_tax { gross } else { gross.min(left_in_money) };
    let back_after_tax = exact::sub(gross, total)?;
    Ok(Credit {
        lines,
        subtotal,
        prepaid: rounded(exact::add(back_before_tax, back_after_tax)?),
        net,
        taxes,
        gross: rounded(gross),
        total: rounded(total),
    })
}

/// How much of an invoice is credited by now, and how much is not.
struct Share {
    credited: Decimal,
    rest: Decimal,
    places: u32,
}

impl Share {
    /// The share of `amount` that goes with what is credited, less what earlier notes gave back.
    fn of(&self, amount: Decimal, before: Decimal) -> Result<Decimal, CreditError> {
        let due = allocate(amount, &[self.credited, self.rest], self.places)?;
        Ok(exact::sub(part(&due, 0), before)?)
    }
}

fn part(amounts: &[Decimal], place: usize) -> Decimal {
    amounts.get(place).copied().unwrap_or_default()
}
