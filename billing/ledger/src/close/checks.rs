//! What must be in order before a month is closed.

use chrono::{DateTime, Utc};
use permille_rating::period::Period;

use super::{Check, repo};
use crate::{
    Customer, LedgerError, checkpoint, customer, invoice,
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

/// Every check, in the order in which they are worked off.
pub(super) async fn checks(
    connection: &mut Connection,
    period: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Check>, LedgerError> {
    let span = span(connection, period).await?;
    let mut customers = customer::all(connection).await?;
    customers.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(vec![
        ended(span, now),
        intake(connection, span).await?,
        quarantine(connection, span).await?,
        unpriced(connection, period, &customers).await?,
        drafts(connection, period, &customers).await?,
        issued(connection, period).await?,
        books(connection).await?,
    ])
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
        detail: format!("{count} payloads since the month began"),
    })
}

async fn unpriced(
    connection: &mut Connection,
    period: &str,
    customers: &[Customer],
) -> Result<Check, LedgerError> {
    let mut found = Vec::new();
    for customer in customers {
        let scope = Scope { customer: &customer.id, period: invoice::month(period, customer)? };
        let held = rollup::requests(connection, scope).await?.unpriced;
        if held > 0 {
            found.push(format!("{} ({held} requests)", customer.id));
        }
    }
    Ok(check("unpriced_usage", found, "held for want of a price", "every request has a price"))
}

async fn drafts(
    connection: &mut Connection,
    period: &str,
    customers: &[Customer],
) -> Result<Check, LedgerError> {
    let mut found = Vec::new();
    for customer in customers {
        if invoice::has_live(connection, &customer.id, period).await? {
            continue;
        }
        let scope = Scope { customer: &customer.id, period: invoice::month(period, customer)? };
        let left = remaining(connection, scope, period, Simulated::LeftOut).await?;
        if !left.sums.is_empty() || plan::owes_unused(connection, customer, scope.period).await? {
            found.push(customer.id.to_string());
        }
    }
    Ok(check("drafts", found, "without an invoice", "everyone who owes something has an invoice"))
}

async fn issued(connection: &mut Connection, period: &str) -> Result<Check, LedgerError> {
    let found = invoice::not_issued(connection, period).await?;
    Ok(check("issued", found, "not issued", "every invoice is issued or void"))
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
