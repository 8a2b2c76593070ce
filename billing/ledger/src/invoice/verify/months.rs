//! The months of an invoice billed again: what was used of each part, less what earlier invoices
//! had billed, under the terms that held.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_rating::{
    invoice::{
        AppliedCharge, BilledLine, HeldTerms, InvoiceLine, Month, Part, UsageSum, bill_interim,
        bill_month,
    },
    period::Period,
    plan::CreditTerms,
    verify::{CountedMonth, Recount},
};
use permille_types::DocumentNumber;

use super::{INVOICE_VERSION, InterimInvoice, Invoice, InvoiceKind, NotVerifiable};
use crate::{
    RecordHead,
    invoice::compute::default_project,
    invoiced::{LineKey, key_of, key_of_line},
};

/// What follows from records, prices and terms.
pub(super) struct Again {
    pub(super) lines: Vec<InvoiceLine>,
    pub(super) charges: Vec<AppliedCharge>,
    pub(super) records: Vec<RecordHead>,
    /// What interim invoices had billed of its own month.
    pub(super) billed_before: Vec<InterimInvoice>,
    /// How credit pays, by the plan at the month's end.
    pub(super) credit: CreditTerms,
    /// The invoice's own month.
    pub(super) period: Period,
}

/// What an earlier invoice had billed of a part of a month.
struct Taken {
    /// Where the part begins; absent where it is the whole month.
    part: Option<DateTime<Utc>>,
    key: LineKey,
    quantity: u64,
    billed: BilledLine,
}

/// Months that an invoice bills something of.
pub(super) fn billed_by(invoice: &Invoice) -> Vec<&str> {
    let own = &invoice.period.label;
    let mut months: Vec<&str> =
        invoice.lines.iter().map(|line| line.corrects.as_ref().unwrap_or(own).as_str()).collect();
    months.sort_unstable();
    months.dedup();
    months
}

/// Bills every month of `invoice` again. What does not fit goes to `differences`.
pub(super) fn bill_again(
    invoice: &Invoice,
    recount: &Recount,
    earlier: &[Invoice],
    differences: &mut Vec<String>,
) -> Result<Again, NotVerifiable> {
    let terms = invoice.terms.clone().unwrap_or_default();
    let (customer, zone) = (&invoice.customer.id, invoice.period.time_zone);
    let held = |month: &str| terms.held(month, customer, zone).map_err(NotVerifiable::Terms);
    let own = held(&invoice.period.label)?;
    let mut again = Again {
        lines: Vec::new(),
        charges: Vec::new(),
        records: Vec::new(),
        billed_before: Vec::new(),
        credit: own.credit(),
        period: own.period,
    };
    for month in &terms.months {
        if invoice.records.iter().all(|head| head.period != month.period) {
            let label = &month.period;
            differences.push(format!("terms of {label}: the invoice bills nothing of that month"));
        }
    }
    for head in &invoice.records {
        let counted = recount.month(&head.period);
        again.records.push(compare_records(head, &counted, differences));
        let terms = held(&head.period)?;
        let taken = billed_before(invoice, head, earlier, differences)?;
        let parts = parts(&terms, (head, &counted), taken, invoice.simulated, differences);
        let own = head.period == invoice.period.label;
        let month = Month {
            corrects: (!own).then(|| head.period.clone()),
            period: terms.period,
            project: default_project().map_err(NotVerifiable::Compute)?,
            parts,
            charges: terms.charges,
        };
        let price = |version: &_| recount.price_of(version);
        let bill = match invoice.kind() {
            InvoiceKind::Month => bill_month(&month, price, invoice.currency),
            InvoiceKind::Interim => bill_interim(&month, price, invoice.currency),
        };
        let bill = bill.map_err(NotVerifiable::Lines)?;
        if own {
            again.billed_before = interims(head, earlier);
        }
        again.lines.extend(bill.lines);
        again.charges.extend(bill.charges);
    }
    Ok(again)
}

/// Compares the records of a month with what the invoice printed of them. What it should have.
fn compare_records(
    head: &RecordHead,
    month: &CountedMonth,
    differences: &mut Vec<String>,
) -> RecordHead {
    let size = month.counts().requests;
    let of = &head.period;
    if size != head.size {
        let printed = head.size;
        differences.push(format!("records of {of}: {size} are here, the invoice has {printed}"));
    }
    let Some(root) = month.root() else {
        differences.push(format!("records of {of}: one is missing between the others"));
        return head.clone();
    };
    if root != head.root {
        let printed = head.root;
        differences.push(format!("root of {of}: {root} from the records, {printed} printed"));
    }
    RecordHead { size, root, ..head.clone() }
}

/// The interim invoices among those that had billed some of an invoice's own month.
fn interims(head: &RecordHead, earlier: &[Invoice]) -> Vec<InterimInvoice> {
    let of = |number: &DocumentNumber| {
        let other = earlier.iter().find(|other| other.number.as_ref() == Some(number))?;
        let (number, subtotal) = (number.clone(), other.subtotal);
        (other.interim && other.period.label == head.period)
            .then_some(InterimInvoice { number, subtotal })
    };
    head.billed_by.iter().filter_map(of).collect()
}

/// What earlier invoices had billed of a month.
fn billed_before(
    invoice: &Invoice,
    head: &RecordHead,
    earlier: &[Invoice],
    differences: &mut Vec<String>,
) -> Result<Vec<Taken>, NotVerifiable> {
    let mut taken = Vec::new();
    for number in &head.billed_by {
        let missing =
            || NotVerifiable::EarlierMissing { number: number.clone(), month: head.period.clone() };
        let other = earlier
            .iter()
            .find(|other| other.number.as_ref() == Some(number))
            .ok_or_else(missing)?;
        if other.customer.id != invoice.customer.id || other.currency != invoice.currency {
            let (whose, of) = (&other.customer.id, &invoice.customer.id);
            differences.push(format!("invoice {number} is of customer `{whose}`, not of `{of}`"));
        }
        if other.version >= INVOICE_VERSION && other.seal != other.seal_of_content() {
            differences.push(format!("invoice {number}: its seal is not that of its content"));
        }
        let of_month = |line: &&InvoiceLine| {
            line.corrects.as_ref().unwrap_or(&other.period.label) == &head.period
        };
        taken.extend(other.lines.iter().filter(of_month).map(|line| Taken {
            part: line.part.map(|part| part.start),
            key: key_of_line(line),
            quantity: line.quantity,
            billed: BilledLine::of(line),
        }));
    }
    Ok(taken)
}

/// The parts of a month, with what was used in each and what is left of that.
fn parts(
    terms: &HeldTerms,
    (head, counted): (&RecordHead, &CountedMonth),
    mut taken: Vec<Taken>,
    simulated: bool,
    differences: &mut Vec<String>,
) -> Vec<Part> {
    let mut parts = Vec::with_capacity(terms.parts.len());
    let is_whole = terms.parts.len() == 1;
    for (place, (period, plan)) in terms.parts.iter().enumerate() {
        // As the ledger has it: what was billed before terms of parts came is of the first.
        let is_of = |taken: &Taken| match taken.part {
            Some(at) => is_whole || at == period.start,
            None => place == 0,
        };
        let (of_part, others): (Vec<_>, Vec<_>) = taken.into_iter().partition(is_of);
        taken = others;
        let all = counted.sums(place, simulated);
        let mut left = all.clone();
        if let Some(why) = take_away(&mut left, &of_part) {
            differences.push(format!("records of {}: {why}", head.period));
        }
        left.retain(|sum| sum.quantity > 0);
        let billed = of_part.into_iter().map(|taken| taken.billed).collect();
        parts.push(Part { period: *period, plan: plan.clone(), all, left, billed });
    }
    if let Some(Taken { part: Some(at), .. }) = taken.first() {
        let month = &head.period;
        let at = at.to_rfc3339();
        differences.push(format!("terms of {month}: a part was billed from {at} on, none begins"));
    }
    parts
}

/// Takes what was billed from the sums. What does not fit.
fn take_away(sums: &mut [UsageSum], taken: &[Taken]) -> Option<String> {
    let mut billed: BTreeMap<&LineKey, u64> = BTreeMap::new();
    for taken in taken.iter().filter(|taken| taken.key.2.is_usage()) {
        let sum = billed.entry(&taken.key).or_default();
        *sum = sum.saturating_add(taken.quantity);
    }
    let mut unfit = None;
    for sum in sums.iter_mut() {
        let before = billed.remove(&key_of(sum)).unwrap_or_default();
        if before > sum.quantity {
            let (model, used) = (&sum.model, sum.quantity);
            unfit = Some(format!("{before} of `{model}` were billed before, {used} were used"));
        }
        sum.quantity = sum.quantity.saturating_sub(before);
    }
    let never_used = billed.into_iter().find(|(_, quantity)| *quantity > 0);
    let never_used = never_used.map(|((_, model, ..), quantity)| {
        format!("{quantity} of `{model}` were billed before and never used")
    });
    unfit.or(never_used)
}
