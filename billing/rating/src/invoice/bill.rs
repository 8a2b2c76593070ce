//! What a month owes: usage at its own prices, and what charges make of its sums.
//!
//! A charge is over *everything* that it covers of the month; what earlier invoices have billed of
//! that is taken off. So the first invoice of a month, one over late usage and a preview follow one
//! rule, and however usage is cut into invoices, they add up to the charge over all of it.

use std::collections::BTreeSet;

use permille_types::{Currency, ModelName, Price, PriceVersion, ProjectId};
use rust_decimal::Decimal;

use super::{AppliedCharge, InvoiceError, InvoiceLine, UsageSum, invoice_lines};
use crate::{
    Meter, Term,
    allocate::allocate,
    charge::{PeriodCharge, quote},
    exact,
    period::Period,
    round::{minor_places, round_money},
};

/// What one invoice line bills by: project, model, class or unit, price version, band.
type Key = (ProjectId, ModelName, Meter, PriceVersion, u32);

/// What an earlier invoice has billed of a part of a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledLine {
    /// The class, unit or term.
    pub meter: Meter,
    /// The charge that made the amount, or the version of the term itself.
    pub charge: Option<PriceVersion>,
    /// The line's amount.
    pub amount: Decimal,
}

impl BilledLine {
    /// What a line bills.
    #[must_use]
    pub fn of(line: &InvoiceLine) -> Self {
        let term = (!line.meter.is_usage()).then_some(&line.price_version);
        Self {
            meter: line.meter.clone(),
            charge: line.charge.as_ref().or(term).cloned(),
            amount: line.amount,
        }
    }
}

/// A stretch of a month under one set of terms.
#[derive(Debug, Clone)]
pub struct Part {
    /// From when to when.
    pub period: Period,
    /// Everything that was used in it.
    pub all: Vec<UsageSum>,
    /// Of that, what no invoice has billed.
    pub left: Vec<UsageSum>,
    /// What invoices have billed of it.
    pub billed: Vec<BilledLine>,
}

/// A customer's month.
#[derive(Debug, Clone)]
pub struct Month {
    /// Its label, such as `2026-10`, where it is an earlier one than the invoice's own.
    pub corrects: Option<String>,
    /// From when to when.
    pub period: Period,
    /// The cost centre that bears what no usage bears.
    pub project: ProjectId,
    /// Parts that together are the month, in order. One, unless terms change in it.
    pub parts: Vec<Part>,
    /// Charges that hold for the month: the customer's own and everyone's.
    pub charges: Vec<PeriodCharge>,
}

/// What an invoice says of a month.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MonthBill {
    /// Usage by part, then terms that no usage bears.
    pub lines: Vec<InvoiceLine>,
    /// Charges that made amounts of those lines.
    pub charges: Vec<AppliedCharge>,
}

/// What is still to be billed of `month`, in `currency`. `price` finds a price version.
///
/// # Errors
/// [`InvoiceError`] as [`invoice_lines`], and when a charge has no amount.
pub fn bill_month<'p>(
    month: &Month,
    price: impl Fn(&PriceVersion) -> Option<&'p Price>,
    currency: Currency,
) -> Result<MonthBill, InvoiceError> {
    let mut usage = Vec::new();
    for (place, part) in month.parts.iter().enumerate() {
        let of = |sums: &[UsageSum]| invoice_lines(sums.iter().cloned(), &price, currency);
        let whole = month.parts.len() == 1;
        let told = |line: InvoiceLine| InvoiceLine {
            corrects: month.corrects.clone(),
            part: (!whole).then_some(part.period),
            ..line
        };
        let left = of(&part.left)?.into_iter().map(told).collect();
        usage.push(PartLines { place, all: of(&part.all)?, left });
    }
    let mut bill = MonthBill::default();
    let mut terms = Vec::new();
    for group in groups(month, &usage) {
        if let Some(applied) = apply(month, &group, &mut usage, &mut terms, currency)? {
            bill.charges.push(applied);
        }
    }
    bill.lines = usage.into_iter().flat_map(|part| part.left).chain(terms).collect();
    Ok(bill)
}

/// The lines of a part: over everything, and over what is left to bill.
struct PartLines {
    place: usize,
    all: Vec<InvoiceLine>,
    left: Vec<InvoiceLine>,
}

/// A charge and the quantities that it covers.
struct Group<'a> {
    charge: &'a PeriodCharge,
    /// Part and key of each.
    covered: BTreeSet<(usize, Key)>,
}

/// Every charge that makes an amount, in the order in which they are told. Each quantity is covered
/// once, by the first of these: the customer's own charges, everyone's; among either an exact model
/// before a glob, more literal characters, the name that sorts first.
fn groups<'a>(month: &'a Month, usage: &[PartLines]) -> Vec<Group<'a>> {
    let mut charges: Vec<&PeriodCharge> = month.charges.iter().collect();
    charges.sort_by(|a, b| {
        (a.customer.is_none(), &a.name, &a.version).cmp(&(
            b.customer.is_none(),
            &b.name,
            &b.version,
        ))
    });
    let mut groups: Vec<Group<'a>> =
        charges.into_iter().map(|charge| Group { charge, covered: BTreeSet::new() }).collect();
    for part in usage {
        for line in &part.all {
            let best = groups
                .iter_mut()
                .filter(|group| group.charge.cover.covers(&line.model, &line.meter))
                .min_by_key(|group| {
                    let (exact, literal) = group.charge.cover.rank(&line.model);
                    (group.charge.customer.is_none(), !exact, std::cmp::Reverse(literal))
                });
            if let Some(group) = best {
                group.covered.insert((part.place, key_of(line)));
            }
        }
    }
    // A charge for everyone costs nothing where nothing of it was used; somebody's own may have a
    // minimum or a flat fee.
    groups.retain(|group| group.charge.customer.is_some() || !group.covered.is_empty());
    groups
}

/// Gives the lines that `group` covers their share of its amount.
fn apply(
    month: &Month,
    group: &Group<'_>,
    usage: &mut [PartLines],
    terms: &mut Vec<InvoiceLine>,
    currency: Currency,
) -> Result<Option<AppliedCharge>, InvoiceError> {
    let charge = group.charge;
    if charge.charge.currency != currency {
        let (version, found) = (charge.version.clone(), charge.charge.currency);
        return Err(InvoiceError::OtherCurrency { version, found, currency });
    }
    let of_charge = |cause| InvoiceError::Charge { charge: charge.version.clone(), cause };
    let counted = usage
        .iter()
        .flat_map(|part| part.all.iter().map(|line| (part.place, line)))
        .filter(|(place, line)| group.covered.contains(&(*place, key_of(line))))
        .map(|(_, line)| Decimal::from(line.quantity));
    let count = exact::sum(counted).map_err(InvoiceError::Amount)?;
    let quantity = charge.cover.per.of(count).map_err(InvoiceError::Amount)?;
    let quoted = quote(&charge.charge, quantity).map_err(of_charge)?;
    let before = billed_before(month, &charge.version)?;
    let due = exact::sub(quoted.amount, before.unwrap_or_default());
    let due = round_money(due.map_err(InvoiceError::Amount)?, currency);

    let mut lines: Vec<&mut InvoiceLine> = usage
        .iter_mut()
        .flat_map(|part| {
            let place = part.place;
            part.left.iter_mut().map(move |line| (place, line))
        })
        .filter(|(place, line)| group.covered.contains(&(*place, key_of(line))))
        .map(|(_, line)| line)
        .collect();
    if lines.is_empty() && due.is_zero() {
        return Ok(None);
    }
    if lines.is_empty() {
        terms.push(term_line(month, Term::Charge, (&charge.name, &charge.version), due));
    } else {
        let costs: Vec<Decimal> = lines.iter().map(|line| line.exact).collect();
        let shares = allocate(due, &costs, minor_places(currency))
            .map_err(|cause| InvoiceError::Divide { charge: charge.version.clone(), cause })?;
        for (line, share) in lines.iter_mut().zip(shares) {
            line.amount = round_money(share, currency);
            line.charge = Some(charge.version.clone());
        }
    }
    Ok(Some(AppliedCharge {
        charge: charge.version.clone(),
        name: charge.name.to_string(),
        corrects: month.corrects.clone(),
        part: None,
        per: Some(charge.cover.per),
        quantity,
        steps: quoted.lines,
        exact: quoted.exact,
        amount: quoted.amount,
        billed_before: before.map(|before| round_money(before, currency)),
        billed: due,
        terms: charge.content.clone(),
    }))
}

/// What invoices have billed of a charge; nothing where none has.
fn billed_before(month: &Month, charge: &PriceVersion) -> Result<Option<Decimal>, InvoiceError> {
    let amounts: Vec<Decimal> = month
        .parts
        .iter()
        .flat_map(|part| &part.billed)
        .filter(|line| line.charge.as_ref() == Some(charge))
        .map(|line| line.amount)
        .collect();
    if amounts.is_empty() {
        return Ok(None);
    }
    exact::sum(amounts).map(Some).map_err(InvoiceError::Amount)
}

/// The line of a term that no usage bears.
fn term_line(
    month: &Month,
    term: Term,
    (name, version): (&ModelName, &PriceVersion),
    amount: Decimal,
) -> InvoiceLine {
    InvoiceLine {
        corrects: month.corrects.clone(),
        part: None,
        charge: None,
        project: month.project.clone(),
        model: name.clone(),
        meter: Meter::Term(term),
        quantity: 1,
        quantity_thousand: None,
        price_per_thousand: None,
        price_per_unit: Some(amount),
        exact: amount,
        amount,
        price_version: version.clone(),
        band: 0,
    }
}

fn key_of(line: &InvoiceLine) -> Key {
    (
        line.project.clone(),
        line.model.clone(),
        line.meter.clone(),
        line.price_version.clone(),
        line.band,
    )
}
