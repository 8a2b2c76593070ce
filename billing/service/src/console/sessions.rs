//! The list of sessions, newest first.

use std::collections::{BTreeMap, btree_map::Entry};

use askama::Template;
use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use permille_ledger::{Customer, Session};
use permille_types::CustomerId;
use rust_decimal::Decimal;

use super::{
    HOME,
    page::{Frame, Visitor, shown},
    turns::noted,
    words::Words,
};
use crate::{
    billing::Billing,
    input::Params,
    problem::Problem,
    routes::sessions::{Listed, listing},
};

/// Sessions of a page when the address says nothing of it: some screens.
const PAGE_ROWS: u32 = 50;

struct Row {
    session: Session,
    resent_share: Option<String>,
    outcome: String,
    last_seen: String,
    zone: &'static str,
    /// What keeps its cost from being one.
    notes: String,
}

#[derive(Template)]
#[template(path = "console/sessions.html")]
struct Page {
    frame: Frame,
    rows: Vec<Row>,
    /// The filter as it is; the caller may see other customers than its own.
    customer: String,
    turns_min: String,
    is_free: bool,
    first: Option<String>,
    next: Option<String>,
}

/// A page of them.
pub(super) async fn list(
    State(billing): State<Billing>,
    Visitor { caller, frame }: Visitor,
    Params(mut listed): Params<Listed>,
) -> Result<Response, Problem> {
    listed.limit = listed.limit.or(Some(PAGE_ROWS));
    let filter = [
        ("customer", listed.customer.as_ref().map(ToString::to_string)),
        ("turns_min", listed.turns_min.map(|turns| turns.to_string())),
    ];
    let is_first = listed.cursor.is_none();
    let found = listing(&billing, &caller, listed).await?;
    let mut customers = Customers::default();
    let mut rows = Vec::with_capacity(found.items.len());
    for session in found.items {
        let customer = customers.of(&billing, &session.customer).await?;
        rows.push(Row::of(session, customer, frame.words));
    }
    let next = found.next_cursor.map(|cursor| page_at(&filter, Some(cursor)));
    let first = (!is_first).then(|| page_at(&filter, None));
    let [customer, turns_min] = filter.map(|(_, value)| value.unwrap_or_default());
    let is_free = caller.bound_to().is_none();
    let page = Page { frame, rows, customer, turns_min, is_free, first, next };
    Ok(shown(StatusCode::OK, &page))
}

/// Where the page of a cursor is, with the same filter.
fn page_at(filter: &[(&str, Option<String>)], cursor: Option<String>) -> String {
    let all = filter.iter().cloned().chain([("cursor", cursor)]);
    let pairs: Vec<(&str, String)> = all.filter_map(|(name, value)| Some((name, value?))).collect();
    format!("{HOME}?{}", serde_urlencoded::to_string(pairs).unwrap_or_default())
}

impl Row {
    fn of(session: Session, customer: &Customer, words: &Words) -> Self {
        Self {
            resent_share: session.hidden.resent_share_permille.map(percent),
            outcome: outcome(&session, words),
            last_seen: time(session.last_at, customer),
            zone: customer.time_zone.name(),
            notes: notes(&session, words),
            session,
        }
    }
}

/// Requests that have no price, or that a simulated provider answered.
fn notes(session: &Session, words: &Words) -> String {
    let all = [
        noted(session.unpriced_requests, words.unpriced),
        noted(session.simulated_requests, words.simulated),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The customers of a page, each read once.
#[derive(Default)]
struct Customers(BTreeMap<CustomerId, Customer>);

impl Customers {
    async fn of(&mut self, billing: &Billing, id: &CustomerId) -> Result<&Customer, Problem> {
        Ok(match self.0.entry(id.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(billing.ledger.customer(id).await?),
        })
    }
}

/// What was said of the session, else what is inferred, which is marked as such.
pub(super) fn outcome(session: &Session, words: &Words) -> String {
    match &session.outcome {
        Some(told) => words.told(told.outcome).to_owned(),
        None => format!("{} ({})", words.inferred_as(session.inferred_outcome), words.inferred),
    }
}

/// An instant by the customer's clock, which shows some hours twice a year.
pub(super) fn time(at: DateTime<Utc>, customer: &Customer) -> String {
    at.with_timezone(&customer.time_zone).format("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// Thousandths as hundredths with a place.
pub(super) fn percent(permille: u64) -> String {
    format!("{} %", Decimal::new(i64::try_from(permille).unwrap_or(i64::MAX), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_shown_as_a_percentage_with_one_place() {
        for (permille, shown) in [(0, "0.0 %"), (7, "0.7 %"), (912, "91.2 %"), (1_000, "100.0 %")] {
            assert_eq!(percent(permille), shown);
        }
    }
}
