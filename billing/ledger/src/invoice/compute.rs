//! The one way to an invoice: preview, draft and final share it (B11).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use permille_rating::{
    invoice::{
        InvoiceDocument, InvoiceError, InvoiceHead, InvoiceLine, InvoiceTerms, Month, MonthBill,
        Part, Prepaid, bill_interim, bill_month,
    },
    period::Period,
    plan::CreditTerms,
    round::round_money,
};
use permille_types::{Currency, InvoiceId, ProjectId};
use rust_decimal::Decimal;

use super::{
    INVOICE_VERSION, Invoice, InvoiceCustomer, InvoiceIssuer, InvoiceKind, InvoicePeriod,
    InvoiceProject, InvoiceState, InvoiceTexts, interim,
};
use crate::{
    Customer, LedgerError,
    catalogue::Catalogue,
    charge, close, column, grant,
    invoiced::{self, PartQuantities},
    plan, price, project, record,
    rollup::{self, RequestCounts, Scope, Simulated},
    store::Connection,
};

/// The month that `label` names by the customer's calendar.
pub(crate) fn month(label: &str, customer: &Customer) -> Result<Period, LedgerError> {
    Period::month(label, customer.time_zone)
        .map_err(|_| LedgerError::invalid("period", label, "a month such as 2026-11"))
}

/// What is to be billed with a month.
struct Billable {
    own: Billed,
    /// What is late of earlier months, by month.
    late: Vec<(String, Billed)>,
    requests: RequestCounts,
    simulated: bool,
}

/// What is billed of one month.
struct Billed {
    bill: MonthBill,
    estimated: u64,
    /// How credit pays, by the plan at the month's end.
    credit: CreditTerms,
    /// What it was billed by.
    terms: InvoiceTerms,
}

/// What is to be computed.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Of which month.
    pub(super) label: &'a str,
    pub(super) kind: InvoiceKind,
    /// With an id it is a draft, without one a preview.
    pub(super) id: Option<InvoiceId>,
    pub(super) texts: InvoiceTexts,
}

impl<'a> Wanted<'a> {
    pub(super) fn preview(label: &'a str, kind: InvoiceKind) -> Self {
        Self { label, kind, id: None, texts: InvoiceTexts::default() }
    }
}

/// The invoice over what is not billed yet of a month and, unless it is an interim one, of
/// invoiced months before it.
pub(super) async fn compute(
    connection: &mut Connection,
    (catalogue, issuer): (&Catalogue, Option<&InvoiceIssuer>),
    customer: &Customer,
    wanted: Wanted<'_>,
) -> Result<Invoice, LedgerError> {
    let Wanted { label, kind, id, texts } = wanted;
    let period = month(label, customer)?;
    let Billable { own, late, requests, simulated } =
        billable(connection, catalogue, customer, (label, kind), period).await?;
    let (mut bill, mut terms) = (own.bill, own.terms);
    let mut late_months = Vec::with_capacity(late.len());
    for (label, earlier) in late {
        late_months.push(label);
        bill.lines.extend(earlier.bill.lines);
        bill.charges.extend(earlier.bill.charges);
        terms.append(earlier.terms);
    }
    let head = InvoiceHead {
        id,
        customer: customer.id.clone(),
        period,
        time_zone: customer.time_zone,
        currency: customer.currency,
        tax_terms: customer.tax.clone(),
    };
    let grants = if simulated {
        Vec::new()
    } else {
        grant::usable(connection, &customer.id, period).await?
    };
    let prepaid = Prepaid { terms: own.credit, grants: &grants };
    let document = InvoiceDocument::with_credit(head, bill, prepaid)
        .map_err(|cause| refused(customer, cause))?;
    terms.grants = grants;
    let projects = projects(connection, customer, &document).await?;
    let mut records = vec![record::head(connection, &customer.id, label).await?];
    for earlier in late_months {
        records.push(record::head(connection, &customer.id, &earlier).await?);
    }
    let billed_before = interim::issued(connection, &customer.id, label, customer.currency).await?;
    let count = |value| column::number("request_hour", value);
    Ok(Invoice {
        version: INVOICE_VERSION,
        state: if document.id.is_some() { InvoiceState::Draft } else { InvoiceState::Preview },
        id: document.id,
        interim: kind == InvoiceKind::Interim,
        number: None,
        issued_at: None,
        standing: None,
        issuer: issuer.cloned(),
        customer: InvoiceCustomer {
            id: customer.id.clone(),
            name: customer.name.clone(),
            tax_id: customer.tax_id.clone(),
            billing_address: customer.billing_address.clone(),
        },
        period: InvoicePeriod {
            label: label.to_owned(),
            start: period.start,
            end: period.end,
            time_zone: customer.time_zone,
        },
        currency: document.currency,
        purchase_order: texts.purchase_order.or_else(|| customer.purchase_order.clone()),
        notes: texts.notes.or_else(|| customer.notes.clone()),
        projects,
        lines: document.lines,
        charges: document.charges,
        credits: document.credits,
        prepaid: document.prepaid,
        subtotal: document.subtotal,
        net: document.net,
        tax_terms: document.tax_terms,
        tax: document.tax,
        gross: document.gross,
        total: document.total,
        billed_before,
        terms: Some(terms).filter(|terms| !terms.is_empty()),
        records,
        requests: count(requests.all)?,
        unpriced_requests: count(requests.unpriced)?,
        estimated_requests: count(requests.estimated)?,
        estimated_quantity: own.estimated,
        simulated_requests: count(requests.simulated)?,
        simulated,
        seal: None,
    })
}

async fn billable(
    connection: &mut Connection,
    catalogue: &Catalogue,
    customer: &Customer,
    (label, kind): (&str, InvoiceKind),
    period: Period,
) -> Result<Billable, LedgerError> {
    let scope = Scope { customer: &customer.id, period };
    let requests = rollup::requests(connection, scope).await?;
    let whose = (catalogue, customer);
    let mut own = month_bill(connection, whose, (label, kind), None, Simulated::LeftOut).await?;
    let mut late = Vec::new();
    let mut earlier = BTreeSet::new();
    if kind == InvoiceKind::Month {
        earlier.extend(invoiced::months_before(connection, &customer.id, label).await?);
        earlier.extend(close::closed_before(connection, label).await?);
    }
    for earlier in earlier {
        let corrects = Some(earlier.clone());
        let month = (&*earlier, InvoiceKind::Month);
        let found = month_bill(connection, whose, month, corrects, Simulated::LeftOut).await?;
        if !found.bill.lines.is_empty() {
            late.push((earlier, found));
        }
    }
    // Who has tried nothing but the built-in provider sees what it would have cost. Beside real
    // usage it is not money and stands on no line.
    let only_simulated = requests.simulated > 0 && requests.simulated == requests.all;
    let simulated = only_simulated && own.bill.lines.is_empty() && late.is_empty();
    if simulated {
        own = month_bill(connection, whose, (label, kind), None, Simulated::Counted).await?;
    }
    Ok(Billable { own, late, requests, simulated })
}

/// What is left to bill of the month `label`, by its prices and charges.
async fn month_bill(
    connection: &mut Connection,
    (catalogue, customer): (&Catalogue, &Customer),
    (label, kind): (&str, InvoiceKind),
    corrects: Option<String>,
    simulated: Simulated,
) -> Result<Billed, LedgerError> {
    let period = month(label, customer)?;
    let charges = charge::holding(connection, customer, period.start).await?;
    let planned = plan::parts(connection, customer, period).await?;
    let periods: Vec<Period> = planned.iter().map(|(period, _)| *period).collect();
    let found = invoiced::parts(connection, &customer.id, label, &periods, simulated).await?;
    let mut estimated = 0_u64;
    let mut credit = CreditTerms::default();
    let mut parts = Vec::with_capacity(found.len());
    for (PartQuantities { part, estimated: of_part }, (_, plan)) in found.into_iter().zip(planned) {
        estimated = estimated.saturating_add(of_part);
        credit = plan.as_ref().map_or_else(CreditTerms::default, |plan| plan.plan.credit);
        parts.push(Part { plan, ..part });
    }
    let month = Month { corrects, period, project: default_project()?, parts, charges };
    let mut terms = InvoiceTerms::default();
    terms.hold(label, &month);
    let versions = month.parts.iter().flat_map(|part| &part.all).map(|sum| &sum.price_version);
    let derived = price::derived_since(connection, catalogue, versions).await?;
    let price = |version: &_| catalogue.content(version).or_else(|| derived.get(version));
    let bill = match kind {
        InvoiceKind::Month => bill_month(&month, price, customer.currency),
        InvoiceKind::Interim => bill_interim(&month, price, customer.currency),
    };
    let bill = bill.map_err(|cause| refused(customer, cause))?;
    Ok(Billed { bill, estimated, credit, terms })
}

/// The cost centre of what no usage bears.
pub(super) fn default_project() -> Result<ProjectId, LedgerError> {
    column::parsed("project.id", project::DEFAULT_PROJECT)
}

/// What each cost centre owes, by its name.
async fn projects(
    connection: &mut Connection,
    customer: &Customer,
    document: &InvoiceDocument,
) -> Result<Vec<InvoiceProject>, LedgerError> {
    let mut names: HashMap<ProjectId, String> =
        project::names(connection, &customer.id).await?.into_iter().collect();
    let shown = |id: &ProjectId| names.remove(id).unwrap_or_else(|| id.to_string());
    projects_of(&document.lines, document.currency, shown)
}

/// What each cost centre owes: the sum of its lines.
pub(super) fn projects_of(
    lines: &[InvoiceLine],
    currency: Currency,
    mut named: impl FnMut(&ProjectId) -> String,
) -> Result<Vec<InvoiceProject>, LedgerError> {
    let mut amounts: BTreeMap<ProjectId, Decimal> = BTreeMap::new();
    for line in lines {
        let sum = amounts.entry(line.project.clone()).or_default();
        *sum = column::exact_add("amount of a project", *sum, line.amount)?;
    }
    let projects = amounts.into_iter().map(|(id, amount)| InvoiceProject {
        name: named(&id),
        amount: round_money(amount, currency),
        id,
    });
    Ok(projects.collect())
}

fn refused(customer: &Customer, cause: InvoiceError) -> LedgerError {
    LedgerError::Invoice { customer: customer.id.clone(), cause: Box::new(cause) }
}
