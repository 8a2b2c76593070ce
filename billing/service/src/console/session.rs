//! One session: what it cost and what of that is hidden, its turns, and a chart of them.

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;
use permille_ledger::{PAGE_ROWS_MAX, Session};

use super::{
    chart::Chart,
    page::{Frame, Visitor, shown},
    sessions::{outcome, percent, time},
    turns::{ShownTurn, shown_turns},
    words::Words,
};
use crate::{
    billing::Billing,
    input::{Params, Segment},
    problem::Problem,
    routes::{
        sessions::{Owner, detail},
        usage::{self, Query},
    },
};

#[derive(Template)]
#[template(path = "console/session.html")]
struct Page {
    frame: Frame,
    session: Session,
    figures: Vec<Figure>,
    turns: Vec<ShownTurn>,
    chart: Chart,
    /// What is not listed, if anything.
    cut: Option<&'static str>,
    zone: &'static str,
}

/// A figure of the session: its name here, in the API, and its value.
struct Figure {
    name: &'static str,
    field: &'static str,
    value: String,
}

/// The page.
pub(super) async fn show(
    State(billing): State<Billing>,
    Visitor { caller, frame }: Visitor,
    Segment(id): Segment,
    Params(owner): Params<Owner>,
) -> Result<Response, Problem> {
    let found = detail(&billing, &caller, &id, owner).await?;
    let session = found.session;
    let customer = billing.ledger.customer(&session.customer).await?;
    let query = Query {
        customer: Some(session.customer.clone()),
        session: Some(session.id.clone()),
        request: None,
        since: None,
        until: None,
        limit: Some(PAGE_ROWS_MAX),
        cursor: None,
    };
    let rows = usage::listing(&billing, &caller, query).await?;
    // Turns of so many requests are sums of some of them only.
    let (all, cut) = match (found.truncated, rows.next_cursor) {
        (true, _) => (Vec::new(), Some(frame.words.too_long)),
        (false, Some(_)) => (found.turns, Some(frame.words.cut)),
        (false, None) => (found.turns, None),
    };
    let turns = shown_turns(all, rows.items, frame.words);
    let [first_seen, last_seen] = [session.first_at, session.last_at].map(|at| time(at, &customer));
    let figures = figures(&session, frame.words, (first_seen, last_seen));
    let chart = Chart::of(&turns, session.currency, frame.words);
    let zone = customer.time_zone.name();
    let page = Page { frame, session, figures, turns, chart, cut, zone };
    Ok(shown(StatusCode::OK, &page))
}

/// The figures at the head; what is not known is left out.
fn figures(session: &Session, w: &'static Words, seen: (String, String)) -> Vec<Figure> {
    let hidden = &session.hidden;
    let currency = session.currency.code();
    let money = |amount: rust_decimal::Decimal| Some(format!("{} {currency}", amount.normalize()));
    let count = |count: u64| Some(count.to_string());
    let if_any = |count: u64| (count > 0).then(|| count.to_string());
    let all = [
        (w.total_cost, "cost", money(session.cost)),
        (w.turns, "turns", count(session.turns.into())),
        (w.cost_per_turn, "cost_per_turn", session.cost_per_turn().and_then(money)),
        (w.requests, "requests", count(session.requests)),
        (w.resent_tokens, "resent_tokens", hidden.resent_tokens.and_then(count)),
        (w.resent_share, "resent_share", hidden.resent_share_permille.map(percent)),
        (w.resent_cost, "resent_cost", money(hidden.resent_cost)),
        (w.cached_share, "cached_share", hidden.cached_share_permille.map(percent)),
        (w.cache_saving, "cache_saving", money(hidden.cache_saving)),
        (w.cache_missed, "cache_saving_missed", money(hidden.cache_saving_missed)),
        (w.regenerations, "regenerations", count(hidden.regenerations)),
        (w.retries, "retries", count(hidden.retries)),
        (w.failed_requests, "failed_requests", count(hidden.failed_requests)),
        (w.failed_attempts, "failed_attempts", count(hidden.failed_attempts)),
        (w.unpriced, "unpriced_requests", if_any(session.unpriced_requests)),
        (w.simulated, "simulated_requests", if_any(session.simulated_requests)),
        (w.outcome, "outcome", Some(outcome(session, w))),
        (w.first_seen, "first_at", Some(seen.0)),
        (w.last_seen, "last_at", Some(seen.1)),
    ];
    all.into_iter()
        .filter_map(|(name, field, value)| Some(Figure { name, field, value: value? }))
        .collect()
}
