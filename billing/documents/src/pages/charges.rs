//! How the amounts of charges, allowances and terms of a plan came about, step by step.

use permille_rating::{
    charge::{LineKind, QuoteLine},
    invoice::AppliedCharge,
};

use crate::{
    Document,
    text::{grouped, line},
    words::Words,
};

/// A step of a charge; the first of a charge names it, the last is what is billed.
#[derive(Debug, Default)]
pub(crate) struct ChargeRow {
    pub(crate) name: String,
    pub(crate) step: String,
    pub(crate) quantity: String,
    pub(crate) price: String,
    pub(crate) amount: String,
}

/// The rows of every charge, in the order of the document.
pub(super) fn rows(document: &Document, words: &Words) -> Vec<ChargeRow> {
    document.charges.iter().flat_map(|charge| of_charge(document, charge, words)).collect()
}

fn of_charge(document: &Document, charge: &AppliedCharge, words: &Words) -> Vec<ChargeRow> {
    let label = |step: &str, amount| ChargeRow {
        step: step.to_owned(),
        amount: grouped(amount),
        ..ChargeRow::default()
    };
    let mut rows = vec![ChargeRow {
        name: line(&charge.name),
        step: of(document, charge, words),
        quantity: grouped(charge.quantity.normalize()),
        ..ChargeRow::default()
    }];
    rows.extend(charge.steps.iter().map(|step| of_step(step, words)));
    rows.push(label(words.charge_amount, charge.amount));
    if let Some(mut before) = charge.billed_before {
        before.set_sign_negative(before.is_sign_positive() && !before.is_zero());
        rows.push(label(words.billed_before, before));
    }
    rows.push(label(words.billed, charge.billed));
    rows
}

/// Which month or part of it the charge is over, and what its quantity counts.
fn of(document: &Document, charge: &AppliedCharge, words: &Words) -> String {
    let month = charge.corrects.as_deref().unwrap_or(&document.period.label);
    let part = charge.part.map(|part| words.part(part, document.period.time_zone));
    let counted = charge.per.map(|per| words.per(per).to_owned());
    [Some(line(month)), part, counted].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn of_step(step: &QuoteLine, words: &Words) -> ChargeRow {
    let named = match step.kind {
        LineKind::Usage => words.usage,
        LineKind::Discount => words.discount,
        LineKind::Maximum => words.maximum,
        LineKind::Minimum => words.minimum,
        LineKind::Included => words.included,
        LineKind::Fee => words.fee,
    };
    // What changes the amount as a whole has neither a quantity nor a price.
    let has_quantity = step.tier.is_some() || !step.quantity.is_zero();
    let unit = (has_quantity && step.kind == LineKind::Usage)
        .then(|| grouped(step.unit_price.normalize()));
    let flat = (has_quantity && !step.flat.is_zero()).then(|| grouped(step.flat.normalize()));
    ChargeRow {
        name: String::new(),
        step: match step.tier {
            Some(tier) => format!("{named}, {} {tier}", words.tier),
            None => named.to_owned(),
        },
        quantity: if has_quantity { grouped(step.quantity.normalize()) } else { String::new() },
        price: unit.into_iter().chain(flat).collect::<Vec<_>>().join(" + "),
        amount: grouped(step.amount.normalize()),
    }
}
