//! Why sums may differ, as far as the numbers of both sides tell.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use permille_rating::exact;
use rust_decimal::Decimal;

use super::{Comparison, Pair, Reason, Side, Status, Tolerance, names::Names, share};
use crate::class;

/// Every reason and what it means.
pub const REASONS: [(&str, &str); 18] = [
    ("rounding", "the difference is within the tolerance"),
    ("day_edge", "a neighbouring day differs by as much the other way: work at midnight"),
    ("class_mapping", "the input of that day and model agrees, its classes do not"),
    ("unit_trap", "one side is a power of ten of the other: a unit is misread"),
    ("batch_discount", "one side has the price of batches"),
    ("failed_calls_not_billed", "without the calls that failed both sides agree"),
    ("failed_calls_billed", "calls failed without telling usage, and the bill has more"),
    ("estimated_rows", "the difference is within what was counted here, not told by the provider"),
    ("no_cost_price", "some of it has no price of side cost"),
    ("price_difference", "the quantities agree, the prices do not"),
    ("unknown_model", "the bill has a model that no row has"),
    ("not_usage", "a charge that counts nothing we meter, such as storage or tax"),
    ("not_metered", "the bill has it and no row does: calls past the gateway"),
    ("not_billed", "rows have it and the bill does not"),
    ("model_not_billed", "rows have a model that the bill does not know"),
    ("free", "rows have it, and it costs nothing"),
    ("quantity_difference", "the bill has more or less of it"),
    ("unexplained", "nothing above"),
];

/// Factors between units that are taken for each other: cents, thousands, millions.
const TRAPS: [u64; 3] = [100, 1_000, 1_000_000];

pub(super) fn explain(
    pairs: Vec<Pair>,
    has_amounts: bool,
    tolerance: &Tolerance,
    names: &Names,
) -> Vec<Comparison> {
    let edges = day_edges(&pairs, has_amounts, tolerance);
    let mapped = class_mappings(&pairs, tolerance);
    let explained = pairs.into_iter().enumerate().map(|(place, pair)| {
        let mut reasons = Vec::new();
        if pair.status == Status::Matched {
            if pair.main_difference(has_amounts).is_some_and(|difference| !difference.is_zero()) {
                reasons.push(reason("rounding", String::new()));
            }
        } else {
            reasons.extend(
                edges.get(&place).map(|day| {
                    reason("day_edge", format!("the difference of {day} takes it back"))
                }),
            );
            if mapped.contains(&place) {
                reasons.push(reason("class_mapping", "the input of all classes agrees".to_owned()));
            }
            reasons.extend(of_pair(&pair, tolerance, names));
            if reasons.is_empty() {
                reasons.push(reason("unexplained", String::new()));
            }
        }
        let ours = pair.ours.as_ref().map(|ours| Side {
            quantity: Some(ours.quantity),
            amount: has_amounts.then_some(ours.amount),
        });
        Comparison {
            key: pair.key,
            status: pair.status,
            billed: pair.billed.unwrap_or_default(),
            ours: ours.unwrap_or_default(),
            difference: pair.difference,
            quantity_difference: pair.quantity_difference,
            reasons,
        }
    });
    explained.collect()
}

fn reason(code: &str, detail: String) -> Reason {
    Reason { code: code.to_owned(), detail }
}

impl Pair {
    /// What the status rests on.
    fn main_difference(&self, has_amounts: bool) -> Option<Decimal> {
        if has_amounts { self.difference } else { self.quantity_difference }
    }
}

/// Differences that the next day takes back: each of the two, with the other's day.
fn day_edges(
    pairs: &[Pair],
    has_amounts: bool,
    tolerance: &Tolerance,
) -> BTreeMap<usize, NaiveDate> {
    let mut series: BTreeMap<_, BTreeMap<NaiveDate, usize>> = BTreeMap::new();
    for (place, pair) in pairs.iter().enumerate() {
        let of = (&pair.key.model, &pair.key.class, &pair.key.project);
        series.entry(of).or_default().insert(pair.key.day, place);
    }
    let mut edges = BTreeMap::new();
    for days in series.values() {
        for (day, place) in days {
            let next = day.succ_opt().and_then(|next| Some((next, *days.get(&next)?)));
            let Some((next, other)) = next.filter(|_| !edges.contains_key(place)) else { continue };
            let (Some(pair), Some(after)) = (pairs.get(*place), pairs.get(other)) else { continue };
            if pair.status == Status::Matched || after.status == Status::Matched {
                continue;
            }
            // Tokens move whole; amounts to within the tolerance.
            let known = pair.quantity_difference.zip(after.quantity_difference);
            let known = known.filter(|_| pair.billed_quantity().is_some());
            let (sum, most) = if let Some((left, right)) = known {
                (exact::add(left, right).ok(), Decimal::ZERO)
            } else {
                let both =
                    pair.main_difference(has_amounts).zip(after.main_difference(has_amounts));
                (both.and_then(|(left, right)| exact::add(left, right).ok()), tolerance.amount)
            };
            let moved = pair.main_difference(has_amounts).is_some_and(|moved| !moved.is_zero());
            if moved && sum.is_some_and(|sum| sum.abs() <= most) {
                edges.insert(*place, next);
                edges.insert(other, *day);
            }
        }
    }
    edges
}

/// Pairs of input whose classes differ while the input of all classes agrees.
fn class_mappings(pairs: &[Pair], tolerance: &Tolerance) -> Vec<usize> {
    let mut inputs: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, pair) in pairs.iter().enumerate() {
        if class::is_input(&pair.key.class) {
            let of = (pair.key.day, &pair.key.model, &pair.key.project);
            inputs.entry(of).or_default().push(place);
        }
    }
    let mut mapped = Vec::new();
    for places in inputs.into_values() {
        let of = || places.iter().filter_map(|place| pairs.get(*place));
        let sum = |side: fn(&Pair) -> Decimal| {
            of().try_fold(Decimal::ZERO, |sum, pair| exact::add(sum, side(pair)).ok())
        };
        let billed = sum(|pair| pair.billed_quantity().unwrap_or_default());
        let ours = sum(|pair| pair.ours.as_ref().map_or(Decimal::ZERO, |ours| ours.quantity));
        let (Some(billed), Some(ours)) = (billed, ours) else { continue };
        let most = share(billed, tolerance.quantity_permille);
        let agree = exact::sub(billed, ours).is_ok_and(|left| left.abs() <= most);
        let told = of().all(|pair| pair.billed.is_none() || pair.billed_quantity().is_some());
        let open: Vec<usize> = places
            .iter()
            .copied()
            .filter(|place| pairs.get(*place).is_some_and(|pair| pair.status != Status::Matched))
            .collect();
        let differ = of().filter(|pair| pair.quantities_agree(tolerance) == Some(false)).count();
        if agree && told && differ > 1 && !billed.is_zero() {
            mapped.extend(open);
        }
    }
    mapped
}

impl Pair {
    fn billed_quantity(&self) -> Option<Decimal> {
        self.billed.as_ref().and_then(|side| side.quantity)
    }
}

/// What one pair alone tells.
fn of_pair(pair: &Pair, tolerance: &Tolerance, names: &Names) -> Vec<Reason> {
    match (&pair.billed, &pair.ours) {
        (Some(_), None) => vec![only_billed(pair, names)],
        (None, Some(ours)) => {
            let code = match () {
                () if ours.amount.is_zero() && ours.unpriced.is_zero() => "free",
                () if ours.quantity == ours.failed => "failed_calls_not_billed",
                () if ours.quantity == ours.estimated => "estimated_rows",
                () if !ours.unpriced.is_zero() => "no_cost_price",
                () if !names.is_billed(&pair.key) => "model_not_billed",
                () => "not_billed",
            };
            vec![reason(code, format!("{} of it on our side", ours.quantity))]
        }
        (Some(_), Some(_)) => both(pair, tolerance),
        (None, None) => Vec::new(),
    }
}

fn only_billed(pair: &Pair, names: &Names) -> Reason {
    let key = &pair.key;
    match &key.model {
        _ if class::is_other(&key.class) => reason("not_usage", key.class.clone()),
        Some(model) if names.is_unknown(model) => reason(
            "unknown_model",
            format!("no row names `{model}`; [models] of a mapping file may say which one it is"),
        ),
        _ => reason("not_metered", "no row of that day has it".to_owned()),
    }
}

fn both(pair: &Pair, tolerance: &Tolerance) -> Vec<Reason> {
    let (Some(billed), Some(ours)) = (&pair.billed, &pair.ours) else { return Vec::new() };
    let mut reasons = Vec::new();
    let quantities = billed.quantity.map(|quantity| (quantity, ours.quantity));
    let amounts = billed.amount.map(|amount| (amount, ours.amount));
    for (what, sides) in [("quantity", quantities), ("amount", amounts)] {
        let factor = sides.and_then(|(billed, ours)| trap(billed, ours));
        reasons.extend(factor.map(|factor| {
            reason("unit_trap", format!("the {what} of one side is {factor} times the other's"))
        }));
    }
    if !ours.unpriced.is_zero() {
        let detail = format!("{} of {} have no price", ours.unpriced, ours.quantity);
        reasons.push(reason("no_cost_price", detail));
    }
    let is_batch = pair.batch || !ours.batch.is_zero();
    if is_batch && amounts.is_some_and(|(billed, ours)| is_half(billed, ours)) {
        reasons.push(reason("batch_discount", "one side is half of the other".to_owned()));
    }
    match pair.quantities_agree(tolerance) {
        Some(true) if pair.billed_quantity().is_some() => reasons.extend(price(pair)),
        Some(_) => reasons.extend(quantity(pair, tolerance)),
        None => reasons.extend(amount_alone(pair, tolerance)),
    }
    reasons
}

/// Both counts agree: the price of a thousand on each side.
fn price(pair: &Pair) -> Option<Reason> {
    let (billed, ours) = (pair.billed.as_ref()?, pair.ours.as_ref()?);
    let per_thousand = |amount: Decimal, quantity: Decimal| {
        let price = amount.checked_mul(Decimal::ONE_THOUSAND)?.checked_div(quantity)?;
        price.round_sf(6).map(|price| price.normalize())
    };
    let theirs = per_thousand(billed.amount?, billed.quantity?)?;
    let own = per_thousand(ours.amount, ours.quantity)?;
    Some(reason("price_difference", format!("{theirs} of the bill per thousand, {own} of ours")))
}

/// The counts do not agree.
fn quantity(pair: &Pair, tolerance: &Tolerance) -> Vec<Reason> {
    let (Some(ours), Some(difference)) = (&pair.ours, pair.quantity_difference) else {
        return Vec::new();
    };
    let billed = pair.billed_quantity().unwrap_or_default();
    let most = share(billed, tolerance.quantity_permille);
    let mut reasons = Vec::new();
    let without = exact::add(difference, ours.failed);
    if !ours.failed.is_zero() && without.is_ok_and(|left| left.abs() <= most) {
        let detail = format!("calls that failed consumed {}", ours.failed);
        reasons.push(reason("failed_calls_not_billed", detail));
    }
    if ours.untold > 0 && difference > Decimal::ZERO {
        let detail = format!("{} calls failed without telling usage", ours.untold);
        reasons.push(reason("failed_calls_billed", detail));
    }
    if !ours.estimated.is_zero() && difference.abs() <= ours.estimated {
        let detail = format!("{} of {} were counted here", ours.estimated, ours.quantity);
        reasons.push(reason("estimated_rows", detail));
    }
    if reasons.is_empty() {
        let word = if difference.is_sign_negative() { "less" } else { "more" };
        let detail = format!("the bill has {} {word}", difference.abs());
        reasons.push(reason("quantity_difference", detail));
    }
    reasons
}

/// The bill tells no counts: what shares of our amount would explain.
fn amount_alone(pair: &Pair, tolerance: &Tolerance) -> Vec<Reason> {
    let (Some(ours), Some(difference)) = (&pair.ours, pair.difference) else { return Vec::new() };
    let part = |quantity: Decimal| {
        let part = ours.amount.checked_mul(quantity)?.checked_div(ours.quantity)?;
        (!quantity.is_zero()).then_some(part)
    };
    let mut reasons = Vec::new();
    let failed = part(ours.failed).and_then(|failed| difference.checked_add(failed));
    if failed.is_some_and(|left| left.abs() <= tolerance.amount) {
        let detail = format!("calls that failed consumed {}", ours.failed);
        reasons.push(reason("failed_calls_not_billed", detail));
    }
    if ours.untold > 0 && difference > Decimal::ZERO {
        let detail = format!("{} calls failed without telling usage", ours.untold);
        reasons.push(reason("failed_calls_billed", detail));
    }
    if part(ours.estimated).is_some_and(|estimated| difference.abs() <= estimated) {
        let detail = format!("{} of {} were counted here", ours.estimated, ours.quantity);
        reasons.push(reason("estimated_rows", detail));
    }
    reasons
}

/// The factor of a unit that lies between the sides, within a thousandth.
fn trap(left: Decimal, right: Decimal) -> Option<u64> {
    let (small, large) = if left.abs() < right.abs() { (left, right) } else { (right, left) };
    let ratio = large.checked_div(small)?;
    TRAPS.into_iter().find(|factor| {
        let factor = Decimal::from(*factor);
        let off = ratio.checked_sub(factor).map(|off| off.abs());
        off.is_some_and(|off| off <= share(factor, Decimal::ONE))
    })
}

/// Whether one side is half of the other, within a hundredth.
fn is_half(left: Decimal, right: Decimal) -> bool {
    let (small, large) = if left.abs() < right.abs() { (left, right) } else { (right, left) };
    let ratio = large.checked_div(small).and_then(|ratio| ratio.checked_sub(Decimal::TWO));
    ratio.is_some_and(|off| off.abs() <= Decimal::new(2, 2))
}
