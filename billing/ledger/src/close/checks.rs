//! What must be in order before a month is closed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_rating::period::Period;
use permille_types::CustomerId;

use super::{
    Check,
    repo::{self, MonthState},
};
use crate::{
    Customer, LedgerError,
    catalogue::Catalogue,
    charge, checkpoint, customer, dispute, invoice,
    invoiced::remaining,
    plan,
    rollup::{self, Scope, Simulated},
    store::Connection,
};

/// Names that a check lists before it only counts.
const NAMES_MAX: usize = 10;

/// From the first instant to the last that the month has for any customer.
pub(super) async fn span(connection: &mut Connection, period: &str) -> Result<Period, LedgerError> {
    let mut span = Period::month(period, chrono_tz::UTC)
        .map_err(|_| LedgerError::invalid("period", period, "a month such as 2026-11"))?;
    for customer in customer::all(connection).await? {
        let own = invoice::month(period, &customer)?;
        span = Period { start: span.start.min(own.start), end: span.end.max(own.end) };
    }
    Ok(span)
}

/// What takes long to find out, as one view of the store shows it.
///
/// It is looked at before the transaction that writes, for which everybody else waits. Of it,
/// that transaction looks again at the customers whose month has changed since; see
/// [`Survey::renew`].
pub(super) struct Survey {
    customers: BTreeMap<CustomerId, Surveyed>,
    books: Check,
}

struct Surveyed {
    month: MonthState,
    /// Requests that are held for want of a price.
    held: i64,
    /// Usage that no invoice bills or will bill.
    without_invoice: bool,
    /// No invoice, and a plan or a charge of their own that is to be paid whatever was used.
    owes_unused: bool,
}

impl Survey {
    pub(super) async fn of(
        connection: &mut Connection,
        catalogue: &Catalogue,
        period: &str,
    ) -> Result<Self, LedgerError> {
        let books = books(connection).await?;
        let mut survey = Self { customers: BTreeMap::new(), books };
        survey.renew(connection, catalogue, period).await?;
        Ok(survey)
    }

    /// Looks again at what may be otherwise since.
    ///
    /// A customer's month: usage of it arrives, is priced or billed, and with each of them
    /// something of its [`MonthState`] changes. Not the books: each transaction of the ledger
    /// leaves them as much in order as it found them (an unbalanced posting is refused), so what
    /// this check finds was done by something else, at any time.
    pub(super) async fn renew(
        &mut self,
        connection: &mut Connection,
        catalogue: &Catalogue,
        period: &str,
    ) -> Result<(), LedgerError> {
        let span = span(connection, period).await?;
        let mut months = repo::month_states(connection, period, span).await?;
        let charges = charge::all(connection).await?;
        for customer in customer::all(connection).await? {
            let month = months.remove(&customer.id).unwrap_or_default();
            // What a plan asks for is read in no time, so it is no part of what is compared.
            let span = invoice::month(period, &customer)?;
            let owes_unused = month.invoice.is_none()
                && (charge::owes_unused(&charges, &customer, span.start)?
                    || plan::owes_unused(connection, &customer, span).await?);
            match self.customers.get_mut(&customer.id) {
                Some(known) if known.month == month => known.owes_unused = owes_unused,
                _ => {
                    let found = surveyed(connection, catalogue, (&customer, period), month).await?;
                    self.customers.insert(customer.id, Surveyed { owes_unused, ..found });
                }
            }
        }
        Ok(())
    }

    /// Every check, in the order in which they are worked off.
    pub(super) async fn checks(
        &self,
        connection: &mut Connection,
        period: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<Check>, LedgerError> {
        let span = span(connection, period).await?;
        Ok(vec![
            ended(span, now),
            intake(connection, span).await?,
            quarantine(connection, span).await?,
            self.unpriced(),
            self.drafts(),
            issued(connection, period).await?,
            self.books.clone(),
            disputes(connection, period).await?,
        ])
    }

    fn unpriced(&self) -> Check {
        let held = self.customers.iter().filter(|(_, surveyed)| surveyed.held > 0);
        let found = held.map(|(customer, found)| format!("{customer} ({} requests)", found.held));
        let in_order = "every request has a price";
        check("unpriced_usage", found.collect(), "held for want of a price", in_order)
    }

    fn drafts(&self) -> Check {
        let owes = |found: &Surveyed| found.without_invoice || found.owes_unused;
        let found = self.customers.iter().filter(|(_, surveyed)| owes(surveyed));
        let found = found.map(|(customer, _)| customer.to_string());
        let in_order = "everyone who owes something has an invoice";
        check("drafts", found.collect(), "without an invoice", in_order)
    }
}

async fn surveyed(
    connection: &mut Connection,
    catalogue: &Catalogue,
    (customer, period): (&Customer, &str),
    month: MonthState,
) -> Result<Surveyed, LedgerError> {
    let scope = Scope { customer: &customer.id, period: invoice::month(period, customer)? };
    let held = rollup::requests(connection, scope).await?.unpriced;
    let without_invoice = if month.invoice.is_some() {
        false
    } else if month.interims.is_empty() {
        !remaining(connection, scope, period, Simulated::LeftOut).await?.sums.is_empty()
    } else {
        // Charges may owe something at the end of a month whose usage is billed.
        invoice::owes_rest(connection, catalogue, customer, period).await?
    };
    Ok(Surveyed { month, held, without_invoice, owes_unused: false })
}

fn ended(span: Period, now: DateTime<Utc>) -> Check {
    let end = span.end.format("%Y-%m-%dT%H:%M:%SZ");
    let ok = now >= span.end;
    let detail = if ok { format!("at {end}") } else { format!("not before {end}") };
    Check { name: "month_ended".to_owned(), ok, detail }
}

/// A node that has sent nothing since the month ended may still hold usage of it.
async fn intake(connection: &mut Connection, span: Period) -> Result<Check, LedgerError> {
    let nodes = checkpoint::all(connection).await?;
    let silent = nodes.iter().filter(|node| node.updated_at < span.end).map(|node| {
        format!("{} (last {})", node.node, node.updated_at.format("%Y-%m-%dT%H:%M:%SZ"))
    });
    let all = format!("{} nodes have sent since the month ended", nodes.len());
    Ok(check("intake", silent.collect(), "silent since the month ended", &all))
}

async fn quarantine(connection: &mut Connection, span: Period) -> Result<Check, LedgerError> {
    let count = repo::quarantined_since(connection, span.start).await?;
    Ok(Check {
        name: "quarantine".to_owned(),
        ok: count == 0,
        detail: format!("{count} open payloads since the month began"),
    })
}

async fn issued(connection: &mut Connection, period: &str) -> Result<Check, LedgerError> {
    let found = invoice::not_issued(connection, period).await?;
    Ok(check("issued", found, "not issued", "every invoice is issued or void"))
}

/// What somebody holds against an invoice of the month and nobody has answered.
async fn disputes(connection: &mut Connection, period: &str) -> Result<Check, LedgerError> {
    let found = dispute::open_of_period(connection, period).await?;
    Ok(check("disputes", found, "open", "every dispute is answered"))
}

async fn books(connection: &mut Connection) -> Result<Check, LedgerError> {
    let found = invoice::discrepancies(connection).await?;
    Ok(check("books", found, "", "postings sum to zero and agree with the invoices"))
}

/// A check that is in order when nothing was found.
fn check(name: &str, found: Vec<String>, what: &str, in_order: &str) -> Check {
    let ok = found.is_empty();
    let detail = if ok {
        in_order.to_owned()
    } else {
        let more = found.len().saturating_sub(NAMES_MAX);
        let mut names: Vec<String> = found.into_iter().take(NAMES_MAX).collect();
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        format!("{what}: {}", names.join(", ")).trim_start_matches(": ").to_owned()
    };
    Check { name: name.to_owned(), ok, detail }
}
