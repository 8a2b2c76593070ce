//! What a month owes: usage at its own prices, and what charges make of its sums.
//!
//! A charge is over *everything* that it covers of the month; what earlier invoices have billed of
//! that is taken off. So the first invoice of a month, one over late usage and a preview follow one
//! rule, and however usage is cut into invoices, they add up to the charge over all of it.

use std::collections::BTreeSet;

use permille_types::{Currency, ModelName, MoneyError, Price, PriceVersion, ProjectId};
use rust_decimal::Decimal;

use super::{
    AppliedCharge, InvoiceError, InvoiceLine, UsageSum,
    allowance::above,
    invoice_lines,
    terms::{bill_terms, term_line, version_of},
};
use crate::{
    Meter, Term,
    allocate::allocate,
    charge::{Charge, LineKind, Per, PeriodCharge, QuoteLine, adjustment, quote},
    exact,
    period::Period,
    plan::{Allowance, Plan},
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
    /// The plan in it, if there is one.
    pub plan: Option<PartPlan>,
    /// Everything that was used in it.
    pub all: Vec<UsageSum>,
    /// Of that, what no invoice has billed.
    pub left: Vec<UsageSum>,
    /// What invoices have billed of it.
    pub billed: Vec<BilledLine>,
}

/// A plan in a part of a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPlan {
    /// The plan.
    pub plan: Plan,
    /// Whether the part is a trial for which nothing is owed.
    pub is_trial: bool,
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
    bill(month, Extent::Whole, price, currency)
}

/// What an interim invoice bills of `month`: its usage that is not billed yet, and nothing that is
/// owed at the month's end (fees, commitments, minimums, charges for nothing used).
///
/// # Errors
/// As [`bill_month`].
pub fn bill_interim<'p>(
    month: &Month,
    price: impl Fn(&PriceVersion) -> Option<&'p Price>,
    currency: Currency,
) -> Result<MonthBill, InvoiceError> {
    bill(month, Extent::Usage, price, currency)
}

/// How much of a month is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All that is owed for it.
    Whole,
    /// What its usage so far has made.
    Usage,
}

fn bill<'p>(
    month: &Month,
    extent: Extent,
    price: impl Fn(&PriceVersion) -> Option<&'p Price>,
    currency: Currency,
) -> Result<MonthBill, InvoiceError> {
    let told_part = |part: &Part| (month.parts.len() > 1).then_some(part.period);
    let mut usage = Vec::new();
    for (place, part) in month.parts.iter().enumerate() {
        let of = |sums: &[UsageSum]| invoice_lines(sums.iter().cloned(), &price, currency);
        let told = |line: InvoiceLine| InvoiceLine {
            corrects: month.corrects.clone(),
            part: told_part(part),
            ..line
        };
        let left = of(&part.left)?.into_iter().map(told).collect();
        usage.push(PartLines { place, all: of(&part.all)?, left });
    }
    let mut bill = MonthBill::default();
    let mut terms = Vec::new();
    for group in groups(month, extent, &usage)? {
        if let Some(applied) = apply(month, extent, &group, &mut usage, &mut terms, currency)? {
            bill.charges.push(applied);
        }
    }
    let owing = if extent == Extent::Whole { month.parts.as_slice() } else { &[] };
    for (part, lines) in owing.iter().zip(&usage) {
        let Some(PartPlan { plan, is_trial: false }) = &part.plan else { continue };
        let place = told_part(part);
        // A charge over the whole month counts for its first part, as it does once it was billed.
        let is_own =
            |line: &&InvoiceLine| line.part == place || (lines.place == 0 && line.part.is_none());
        let own = terms.iter().filter(is_own);
        let amounts = lines.left.iter().chain(own).map(|line| line.amount);
        let now = exact::sum(amounts).map_err(InvoiceError::Amount)?;
        let (lines, charges) = bill_terms(month, part, plan, place, now, currency)?;
        terms.extend(lines);
        bill.charges.extend(charges);
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

/// What makes one amount of the quantities that it covers.
#[derive(Clone, Copy)]
enum Rule<'a> {
    /// Nothing is owed.
    Trial(&'a Plan),
    /// A charge of a plan.
    Planned(&'a PeriodCharge),
    /// What a plan's fee includes.
    Allowance(&'a Plan, &'a Allowance),
    /// A charge of the customer's own or everyone's.
    Charge(&'a PeriodCharge),
}

impl Rule<'_> {
    /// Which of several rules a quantity falls under: the lower one.
    fn rank(self) -> u8 {
        match self {
            Self::Trial(_) => 0,
            Self::Planned(_) => 1,
            Self::Allowance(..) => 2,
            Self::Charge(charge) if charge.customer.is_some() => 3,
            Self::Charge(_) => 4,
        }
    }

    /// How special its models are, if it covers the line.
    fn covers(self, line: &InvoiceLine) -> Option<(bool, usize)> {
        let cover = match self {
            Self::Trial(_) => return Some((true, 0)),
            Self::Planned(charge) | Self::Charge(charge) => &charge.cover,
            Self::Allowance(_, allowance) => &allowance.cover,
        };
        cover.covers(&line.model, &line.meter).then(|| cover.rank(&line.model))
    }

    /// Whether it may be owed where nothing of it was used: a charge for everyone is not,
    /// somebody's own may have a minimum or a flat fee.
    fn is_owed_unused(self) -> bool {
        matches!(self, Self::Planned(_)) || self.rank() == 3
    }
}

/// A rule and the quantities that it covers.
struct Group<'a> {
    rule: Rule<'a>,
    version: PriceVersion,
    name: &'a ModelName,
    terms: &'a str,
    /// The part that it is over; absent for the whole month.
    part: Option<usize>,
    /// Part and key of each.
    covered: BTreeSet<(usize, Key)>,
}

impl<'a> Group<'a> {
    fn new(rule: Rule<'a>, part: Option<usize>) -> Result<Self, InvoiceError> {
        let (version, name, terms) = match rule {
            Rule::Trial(plan) => (version_of(plan, "trial")?, &plan.name, &plan.content),
            Rule::Allowance(plan, _) => (version_of(plan, "allowance")?, &plan.name, &plan.content),
            Rule::Planned(charge) | Rule::Charge(charge) => {
                (charge.version.clone(), &charge.name, &charge.content)
            }
        };
        Ok(Self { rule, version, name, terms, part, covered: BTreeSet::new() })
    }
}

/// Every rule that makes an amount, in the order in which they are told. Each quantity is covered
/// once, by the first of these: a trial, the plan's charges, its allowance, the customer's own
/// charges, everyone's; among several of one kind an exact model before a glob, more literal
/// characters, the name that sorts first.
fn groups<'a>(
    month: &'a Month,
    extent: Extent,
    usage: &[PartLines],
) -> Result<Vec<Group<'a>>, InvoiceError> {
    let mut groups = Vec::new();
    for (place, part) in month.parts.iter().enumerate() {
        let Some(PartPlan { plan, is_trial }) = &part.plan else { continue };
        if *is_trial {
            groups.push(Group::new(Rule::Trial(plan), Some(place))?);
            continue;
        }
        for charge in &plan.charges {
            groups.push(Group::new(Rule::Planned(charge), Some(place))?);
        }
        if let Some(allowance) = &plan.allowance {
            groups.push(Group::new(Rule::Allowance(plan, allowance), Some(place))?);
        }
    }
    for charge in &month.charges {
        groups.push(Group::new(Rule::Charge(charge), None)?);
    }
    groups.sort_by(|a, b| {
        (a.rule.rank(), a.part, a.name, &a.version).cmp(&(
            b.rule.rank(),
            b.part,
            b.name,
            &b.version,
        ))
    });
    for part in usage {
        for line in &part.all {
            let here = |group: &&mut Group<'_>| group.part.is_none_or(|place| place == part.place);
            let best = groups
                .iter_mut()
                .filter(here)
                .filter_map(|group| {
                    let (exact, literal) = group.rule.covers(line)?;
                    Some(((group.rule.rank(), !exact, std::cmp::Reverse(literal)), group))
                })
                .min_by_key(|(special, _)| *special);
            if let Some((_, group)) = best {
                group.covered.insert((part.place, key_of(line)));
            }
        }
    }
    let is_owed_unused = |group: &Group<'_>| extent == Extent::Whole && group.rule.is_owed_unused();
    groups.retain(|group| is_owed_unused(group) || !group.covered.is_empty());
    Ok(groups)
}

/// What a rule makes of everything that it covers.
struct Made {
    per: Option<Per>,
    quantity: Decimal,
    steps: Vec<QuoteLine>,
    exact: Decimal,
}

fn make(
    month: &Month,
    extent: Extent,
    group: &Group<'_>,
    lines: &[&InvoiceLine],
    currency: Currency,
) -> Result<Made, InvoiceError> {
    let amount = InvoiceError::Amount;
    let count =
        exact::sum(lines.iter().map(|line| Decimal::from(line.quantity))).map_err(amount)?;
    match group.rule {
        Rule::Planned(charge) | Rule::Charge(charge) => {
            if charge.charge.currency != currency {
                let (version, found) = (charge.version.clone(), charge.charge.currency);
                return Err(InvoiceError::OtherCurrency { version, found, currency });
            }
            let per = charge.cover.per;
            let quantity = per.of(count).map_err(amount)?;
            // What is missing to a minimum is owed at the month's end.
            let minimum = charge.charge.minimum.filter(|_| extent == Extent::Whole);
            let quoted = quote(&Charge { minimum, ..charge.charge.clone() }, quantity)
                .map_err(|cause| InvoiceError::Charge { charge: charge.version.clone(), cause })?;
            Ok(Made { per: Some(per), quantity, steps: quoted.lines, exact: quoted.exact })
        }
        Rule::Allowance(_, allowance) => {
            let part = group.part.and_then(|place| month.parts.get(place));
            let part = part.map_or(month.period, |part| part.period);
            let (exact, steps) =
                above(allowance, lines, currency, part, month.period).map_err(amount)?;
            let per = allowance.cover.per;
            Ok(Made { per: Some(per), quantity: per.of(count).map_err(amount)?, steps, exact })
        }
        Rule::Trial(_) => {
            let steps = free(lines).map_err(amount)?;
            Ok(Made { per: None, quantity: count, steps, exact: Decimal::ZERO })
        }
    }
}

/// What usage costs, and that none of it is owed.
fn free(lines: &[&InvoiceLine]) -> Result<Vec<QuoteLine>, MoneyError> {
    let cost = exact::sum(lines.iter().map(|line| line.exact))?;
    let less = exact::sub(Decimal::ZERO, cost)?;
    Ok(vec![adjustment(LineKind::Usage, cost), adjustment(LineKind::Included, less)])
}

/// Gives the lines that `group` covers their share of its amount.
fn apply(
    month: &Month,
    extent: Extent,
    group: &Group<'_>,
    usage: &mut [PartLines],
    terms: &mut Vec<InvoiceLine>,
    currency: Currency,
) -> Result<Option<AppliedCharge>, InvoiceError> {
    let all: Vec<&InvoiceLine> = usage
        .iter()
        .flat_map(|part| part.all.iter().map(|line| (part.place, line)))
        .filter(|(place, line)| group.covered.contains(&(*place, key_of(line))))
        .map(|(_, line)| line)
        .collect();
    let Made { per, quantity, steps, exact } = make(month, extent, group, &all, currency)?;
    let amount = round_money(exact, currency);
    let before = billed_before(month, group)?;
    let due = exact::sub(amount, before.unwrap_or_default()).map_err(InvoiceError::Amount)?;
    let due = round_money(due, currency);
    let part = group.part.filter(|_| month.parts.len() > 1);
    let part = part.and_then(|place| month.parts.get(place)).map(|part| part.period);

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
        terms.push(term_line(month, part, Term::Charge, (group.name, &group.version), due));
    } else {
        let costs: Vec<Decimal> = lines.iter().map(|line| line.exact).collect();
        let shares = allocate(due, &costs, minor_places(currency))
            .map_err(|cause| InvoiceError::Divide { charge: group.version.clone(), cause })?;
        for (line, share) in lines.iter_mut().zip(shares) {
            line.amount = round_money(share, currency);
            line.charge = Some(group.version.clone());
        }
    }
    let name = match group.rule {
        Rule::Trial(plan) => format!("{} trial", plan.name),
        Rule::Allowance(plan, _) => format!("{} allowance", plan.name),
        Rule::Planned(charge) | Rule::Charge(charge) => charge.name.to_string(),
    };
    Ok(Some(AppliedCharge {
        charge: group.version.clone(),
        name,
        corrects: month.corrects.clone(),
        part,
        per,
        quantity,
        steps,
        exact,
        amount,
        billed_before: before.map(|before| round_money(before, currency)),
        billed: due,
        terms: group.terms.to_owned(),
    }))
}

/// What invoices have billed of a rule; nothing where none has.
fn billed_before(month: &Month, group: &Group<'_>) -> Result<Option<Decimal>, InvoiceError> {
    let amounts: Vec<Decimal> = month
        .parts
        .iter()
        .enumerate()
        .filter(|(place, _)| group.part.is_none_or(|part| part == *place))
        .flat_map(|(_, part)| &part.billed)
        .filter(|line| line.charge.as_ref() == Some(&group.version))
        .map(|line| line.amount)
        .collect();
    if amounts.is_empty() {
        return Ok(None);
    }
    exact::sum(amounts).map(Some).map_err(InvoiceError::Amount)
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
