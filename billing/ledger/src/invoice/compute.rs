//! The one way to an invoice: preview, draft and final share it (B11).

use permille_rating::{
    invoice::{InvoiceDocument, InvoiceError, InvoiceHead, InvoiceLine, UsageSum, invoice_lines},
    period::Period,
};
use permille_types::InvoiceId;

use super::{INVOICE_VERSION, Invoice, InvoiceCustomer, InvoicePeriod, InvoiceState};
use crate::{
    Customer, LedgerError,
    catalogue::Catalogue,
    column, invoiced, price,
    rollup::{self, PeriodQuantities, RequestCounts, Scope, Simulated},
    store::Connection,
};

/// The month that `label` names by the customer's calendar.
pub(super) fn month(label: &str, customer: &Customer) -> Result<Period, LedgerError> {
    Period::month(label, customer.time_zone)
        .map_err(|_| LedgerError::invalid("period", label, "a month such as 2026-11"))
}

/// What is to be billed with a month.
struct Billable {
    own: PeriodQuantities,
    /// Late usage by its month.
    late: Vec<(String, Vec<UsageSum>)>,
    requests: RequestCounts,
    simulated: bool,
}

/// The invoice over what is not billed yet of the month `label` and of invoiced months before it:
/// with an id it is a draft, without one a preview.
pub(super) async fn compute(
    connection: &mut Connection,
    catalogue: &Catalogue,
    customer: &Customer,
    label: &str,
    id: Option<InvoiceId>,
) -> Result<Invoice, LedgerError> {
    let period = month(label, customer)?;
    let billable = billable(connection, customer, label, period).await?;
    let lines = lines(connection, catalogue, customer, &billable).await?;
    let head = InvoiceHead {
        id,
        customer: customer.id.clone(),
        period,
        time_zone: customer.time_zone,
        currency: customer.currency,
    };
    let document = InvoiceDocument::new(head, lines).map_err(|cause| refused(customer, cause))?;
    let requests = billable.requests;
    let count = |value| column::number("request_hour", value);
    Ok(Invoice {
        version: INVOICE_VERSION,
        state: if document.id.is_some() { InvoiceState::Draft } else { InvoiceState::Preview },
        id: document.id,
        number: None,
        issued_at: None,
        standing: None,
        customer: InvoiceCustomer { id: customer.id.clone(), name: customer.name.clone() },
        period: InvoicePeriod {
            label: label.to_owned(),
            start: period.start,
            end: period.end,
            time_zone: customer.time_zone,
        },
        currency: document.currency,
        lines: document.lines,
        subtotal: document.subtotal,
        net: document.net,
        tax: document.tax,
        gross: document.gross,
        total: document.total,
        requests: count(requests.all)?,
        unpriced_requests: count(requests.unpriced)?,
        estimated_requests: count(requests.estimated)?,
        estimated_quantity: billable.own.estimated,
        simulated_requests: count(requests.simulated)?,
        simulated: billable.simulated,
    })
}

async fn billable(
    connection: &mut Connection,
    customer: &Customer,
    label: &str,
    period: Period,
) -> Result<Billable, LedgerError> {
    let scope = Scope { customer: &customer.id, period };
    let requests = rollup::requests(connection, scope).await?;
    let mut own = invoiced::remaining(connection, scope, label, Simulated::LeftOut).await?;
    let mut late = Vec::new();
    for earlier in invoiced::months_before(connection, &customer.id, label).await? {
        let scope = Scope { customer: &customer.id, period: month(&earlier, customer)? };
        let left = invoiced::remaining(connection, scope, &earlier, Simulated::LeftOut).await?;
        if !left.sums.is_empty() {
            late.push((earlier, left.sums));
        }
    }
    // Who has tried nothing but the built-in provider sees what it would have cost. Beside real
    // usage it is not money and stands on no line.
    let only_simulated = requests.simulated > 0 && requests.simulated == requests.all;
    let simulated = only_simulated && own.sums.is_empty() && late.is_empty();
    if simulated {
        own = invoiced::remaining(connection, scope, label, Simulated::Counted).await?;
    }
    Ok(Billable { own, late, requests, simulated })
}

async fn lines(
    connection: &mut Connection,
    catalogue: &Catalogue,
    customer: &Customer,
    billable: &Billable,
) -> Result<Vec<InvoiceLine>, LedgerError> {
    let late_sums = billable.late.iter().flat_map(|(_, sums)| sums);
    let versions = billable.own.sums.iter().chain(late_sums).map(|sum| &sum.price_version);
    let derived = price::derived_since(connection, catalogue, versions).await?;
    let price = |version: &_| catalogue.content(version).or_else(|| derived.get(version));
    let of = |sums: &[UsageSum]| {
        invoice_lines(sums.iter().cloned(), price, customer.currency)
            .map_err(|cause| refused(customer, cause))
    };
    let mut lines = of(&billable.own.sums)?;
    for (label, sums) in &billable.late {
        let corrects = Some(label.clone());
        lines.extend(
            of(sums)?.into_iter().map(|line| InvoiceLine { corrects: corrects.clone(), ..line }),
        );
    }
    Ok(lines)
}

fn refused(customer: &Customer, cause: InvoiceError) -> LedgerError {
    LedgerError::Invoice { customer: customer.id.clone(), cause: Box::new(cause) }
}
