//! What a plan bills of a part of a month beside usage: fee, commitment, minimum.

use permille_types::{Currency, ModelName, MoneyError, PriceVersion};
use rust_decimal::Decimal;

use super::{AppliedCharge, InvoiceError, InvoiceLine, Month, Part};
use crate::{
    Meter, Term,
    charge::{LineKind, QuoteLine, adjustment},
    exact,
    period::Period,
    plan::Plan,
    prorate::prorate,
    round::round_money,
};

/// The version of one term of a plan.
pub(super) fn version_of(plan: &Plan, term: &str) -> Result<PriceVersion, InvoiceError> {
    format!("{}/{term}", plan.version)
        .parse()
        .map_err(|_| InvoiceError::Term { term: format!("{}/{term}", plan.version) })
}

/// Bills the terms of a plan over a part whose usage has its amounts already: `now`, and what
/// earlier invoices have billed. `place` is the part as lines tell it.
pub(super) fn bill_terms(
    month: &Month,
    part: &Part,
    plan: &Plan,
    place: Option<Period>,
    now: Decimal,
    currency: Currency,
) -> Result<(Vec<InvoiceLine>, Vec<AppliedCharge>), InvoiceError> {
    if plan.currency != currency {
        let (version, found) = (plan.version.clone(), plan.currency);
        return Err(InvoiceError::OtherCurrency { version, found, currency });
    }
    let share = |amount: Decimal| {
        prorate(amount, part.period, month.period, currency).map_err(InvoiceError::Amount)
    };
    let billed = part
        .billed
        .iter()
        .filter(|line| line.meter.is_usage() || line.meter == Meter::Term(Term::Charge));
    let usage = exact::sum(billed.map(|line| line.amount).chain([now]));
    let usage = usage.map_err(InvoiceError::Amount)?;
    let mut owed = usage;
    let (mut lines, mut charges) = (Vec::new(), Vec::new());
    let mut bill = |term, amount: Decimal, steps: Vec<QuoteLine>| {
        let term = PlanTerm { plan, term, version: version_of(plan, Meter::Term(term).as_str())? };
        if let Some((line, applied)) = term.bill(month, part, place, amount, steps, currency)? {
            lines.push(line);
            charges.push(applied);
        }
        Ok::<(), InvoiceError>(())
    };
    if let Some(fee) = plan.fee {
        let fee = share(fee)?;
        bill(Term::Fee, fee, vec![adjustment(LineKind::Fee, fee)])?;
        owed = exact::add(owed, fee).map_err(InvoiceError::Amount)?;
    }
    if let Some(commitment) = plan.commitment {
        let (missing, steps) = missing(share(commitment)?, usage).map_err(InvoiceError::Amount)?;
        bill(Term::Commitment, missing, steps)?;
        owed = exact::add(owed, missing).map_err(InvoiceError::Amount)?;
    }
    if let Some(minimum) = plan.minimum {
        let (missing, steps) = missing(share(minimum)?, owed).map_err(InvoiceError::Amount)?;
        bill(Term::Minimum, missing, steps)?;
    }
    Ok((lines, charges))
}

/// What is missing from `is` to `least`.
fn missing(least: Decimal, is: Decimal) -> Result<(Decimal, Vec<QuoteLine>), MoneyError> {
    if is >= least {
        return Ok((Decimal::ZERO, Vec::new()));
    }
    let is = exact::sub(Decimal::ZERO, is)?;
    let steps = [(LineKind::Minimum, least), (LineKind::Usage, is)];
    let steps = steps.into_iter().filter(|(_, amount)| !amount.is_zero());
    Ok((exact::add(least, is)?, steps.map(|(kind, amount)| adjustment(kind, amount)).collect()))
}

/// One term of a plan.
struct PlanTerm<'a> {
    plan: &'a Plan,
    term: Term,
    version: PriceVersion,
}

impl PlanTerm<'_> {
    /// The line over what of `amount` is not billed yet.
    fn bill(
        self,
        month: &Month,
        part: &Part,
        place: Option<Period>,
        amount: Decimal,
        steps: Vec<QuoteLine>,
        currency: Currency,
    ) -> Result<Option<(InvoiceLine, AppliedCharge)>, InvoiceError> {
        let before: Vec<Decimal> = part
            .billed
            .iter()
            .filter(|line| line.charge.as_ref() == Some(&self.version))
            .map(|line| line.amount)
            .collect();
        let is_first = before.is_empty();
        let before = exact::sum(before).map_err(InvoiceError::Amount)?;
        let due = exact::sub(amount, before).map_err(InvoiceError::Amount)?;
        if due.is_zero() {
            return Ok(None);
        }
        let due = round_money(due, currency);
        let line = term_line(month, place, self.term, (&self.plan.name, &self.version), due);
        let applied = AppliedCharge {
            charge: self.version,
            name: format!("{} {}", self.plan.name, Meter::Term(self.term)),
            corrects: month.corrects.clone(),
            part: place,
            per: None,
            quantity: Decimal::ONE,
            steps,
            exact: amount,
            amount: round_money(amount, currency),
            billed_before: (!is_first).then(|| round_money(before, currency)),
            billed: due,
            terms: self.plan.content.clone(),
        };
        Ok(Some((line, applied)))
    }
}

/// The line of a term that no usage bears.
pub(super) fn term_line(
    month: &Month,
    part: Option<Period>,
    term: Term,
    (name, version): (&ModelName, &PriceVersion),
    amount: Decimal,
) -> InvoiceLine {
    InvoiceLine {
        corrects: month.corrects.clone(),
        part,
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
