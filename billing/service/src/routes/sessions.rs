//! `/api/v1/sessions`: multi-turn conversations, what each turn cost and what became of them.

use axum::{Json, extract::State};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use permille_ledger::{
    Listing, OUTCOMES, Outcome, Page, Session, SessionDetail, Summary, SummaryFilter,
};
use permille_types::{CustomerId, Money, SessionId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Bearer, Caller, ReadMargins, ReadUsage, WriteOutcomes},
    billing::Billing,
    input::{Body, Params, Segment, id},
    problem::Problem,
};

/// Longest stretch of time of a summary, in days: a year and what a comparison with the month
/// before it needs.
const SUMMARY_DAYS_MAX: i64 = 400;
/// Most requests of one summary that somebody asks for by name: some minutes of reading, and 320 MB
/// of costs to be ranked where each is a session of its own.
const REQUESTS_MAX: u32 = 20_000_000;

/// Whose session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owner {
    pub(crate) customer: Option<CustomerId>,
}

/// What became of a session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"outcome": "accepted", "customer": "acme"}]))]
pub(super) struct Telling {
    /// What became of it.
    #[schemars(extend("enum" = ["accepted", "rejected", "resolved", "abandoned"]))]
    outcome: String,
    /// Whose session; needed where there are several customers.
    customer: Option<CustomerId>,
}

/// Which sessions are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    pub(crate) customer: Option<CustomerId>,
    /// Only sessions of at least so many turns.
    pub(crate) turns_min: Option<u32>,
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// Which requests are summed up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Whose; everyone's when absent.
    customer: Option<CustomerId>,
    /// Requests from then on, at most 400 days before `until`; when absent, from the first midnight
    /// (UTC) of these days.
    since: Option<DateTime<Utc>>,
    /// Requests before; now when absent.
    until: Option<DateTime<Utc>>,
    /// A fee for any number of sessions, such as `99 CNY`, to compare with.
    flat_fee: Option<String>,
    /// Of more requests nothing is summed up; 1,000,000 when absent. Roles `admin` and `finance`
    /// may ask for up to 20,000,000, which takes minutes.
    #[schemars(range(min = 1, max = 20_000_000))]
    requests_max: Option<u32>,
}

/// What sessions cost over a stretch of time.
pub(super) async fn summary(
    State(billing): State<Billing>,
    caller: Caller<ReadUsage>,
    Params(asked): Params<Asked>,
) -> Result<Json<Summary>, Problem> {
    let since = since(&asked, billing.ledger.time())?;
    let filter = SummaryFilter {
        flat_fee: asked.flat_fee.as_deref().map(fee).transpose()?,
        requests_max: requests_max(asked.requests_max, caller.may::<ReadMargins>().is_ok())?,
        customer: caller.scope(&billing, asked.customer).await?,
        since: Some(since),
        until: asked.until,
        ..SummaryFilter::default()
    };
    let _turn = billing.turn_to_summarise().await.ok_or_else(|| {
        Problem::busy("another summary of sessions is being made; ask again in some seconds")
    })?;
    let mut summary = billing.ledger.summary(&filter).await?;
    if let Some(fee) = filter.flat_fee {
        is_comparable(fee, &summary)?;
    }
    if caller.may::<ReadMargins>().is_err() {
        summary.hide_margins();
    }
    Ok(Json(summary))
}

/// Where the stretch of time begins, which is bounded: every row of it is read.
fn since(asked: &Asked, now: DateTime<Utc>) -> Result<DateTime<Utc>, Problem> {
    let end = asked.until.unwrap_or(now);
    let longest = TimeDelta::days(SUMMARY_DAYS_MAX);
    let earliest = end.checked_sub_signed(longest).unwrap_or(DateTime::<Utc>::MIN_UTC);
    // The same for two who ask on one day.
    let midnight =
        earliest.date_naive().succ_opt().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    match asked.since {
        None => Ok(midnight.unwrap_or(earliest)),
        Some(since) if since >= earliest => Ok(since),
        Some(since) => Err(Problem::invalid(format!(
            "since `{since}` is not accepted; accepted: at most {SUMMARY_DAYS_MAX} days before \
             until, which is now when absent"
        ))),
    }
}

/// How many requests are summed up at most. A long summary holds up those of others: whoever sees
/// margins may ask for it.
fn requests_max(asked: Option<u32>, may_wait: bool) -> Result<u32, Problem> {
    let default = SummaryFilter::default().requests_max;
    let most = if may_wait { REQUESTS_MAX } else { default };
    match asked {
        None => Ok(default),
        Some(asked) if (1..=most).contains(&asked) => Ok(asked),
        Some(asked) => Err(Problem::invalid(format!(
            "requests_max `{asked}` is not accepted; accepted: 1 to {most}"
        ))),
    }
}

/// Refuses a fee in a currency that no session has: there would be nothing about it in the answer.
fn is_comparable(fee: Money, summary: &Summary) -> Result<(), Problem> {
    let currencies = || summary.currencies.iter().map(|of| of.currency);
    if summary.currencies.is_empty() || currencies().any(|currency| currency == fee.currency()) {
        return Ok(());
    }
    let accepted: Vec<&str> = currencies().map(|currency| currency.code()).collect();
    Err(Problem::invalid(format!(
        "flat_fee is in {}, and no session is; accepted: a fee in {}",
        fee.currency().code(),
        accepted.join(" or ")
    )))
}

/// An amount and its currency.
fn fee(text: &str) -> Result<Money, Problem> {
    let fee = text.parse::<Money>().ok().filter(|fee| fee.amount().is_sign_positive());
    fee.ok_or_else(|| {
        let accepted = "an amount and a currency such as `99 CNY`";
        Problem::invalid(format!("flat_fee `{text}` is not accepted; accepted: {accepted}"))
    })
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadUsage>,
    Params(listed): Params<Listed>,
) -> Result<Json<Listing<Session>>, Problem> {
    listing(&billing, &caller, listed).await.map(Json)
}

/// Those of `listed` that the caller may see.
pub(crate) async fn listing(
    billing: &Billing,
    caller: &Bearer,
    listed: Listed,
) -> Result<Listing<Session>, Problem> {
    let page = Page::new(listed.cursor, listed.limit)?;
    let customer = caller.scope(billing, listed.customer).await?;
    let turns_min = listed.turns_min.unwrap_or_default();
    Ok(billing.ledger.long_sessions(customer.as_ref(), turns_min, &page).await?)
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller<ReadUsage>,
    Segment(text): Segment,
    Params(owner): Params<Owner>,
) -> Result<Json<SessionDetail>, Problem> {
    detail(&billing, &caller, &text, owner).await.map(Json)
}

/// The session of id `text`, if the caller may see it.
pub(crate) async fn detail(
    billing: &Billing,
    caller: &Bearer,
    text: &str,
    owner: Owner,
) -> Result<SessionDetail, Problem> {
    let session: SessionId = id("session", text)?;
    let customer = owner_of(billing, caller, owner.customer).await?;
    Ok(billing.ledger.session(&customer, &session).await?)
}

/// Keeps what the caller says of a session's result. The same again changes nothing.
pub(super) async fn tell(
    State(billing): State<Billing>,
    caller: Caller<WriteOutcomes>,
    Segment(text): Segment,
    body: Body<Telling>,
) -> Result<Json<Session>, Problem> {
    let session: SessionId = id("session", &text)?;
    let telling = body.read().await?;
    let outcome = outcome(&telling.outcome)?;
    let customer = owner_of(&billing, &caller, telling.customer).await?;
    let instruction = caller.instruction()?;
    let told = billing.ledger.tell_outcome(&customer, &session, outcome, &instruction).await?;
    billing.count_told(&told);
    Ok(Json(told.session))
}

fn outcome(text: &str) -> Result<Outcome, Problem> {
    serde_json::from_value(text.into()).map_err(|_| {
        Problem::invalid(format!("outcome `{text}` is not accepted; accepted: {OUTCOMES}"))
    })
}

/// Whose session is meant.
async fn owner_of(
    billing: &Billing,
    caller: &Bearer,
    asked: Option<CustomerId>,
) -> Result<CustomerId, Problem> {
    match caller.scope(billing, asked).await? {
        Some(customer) => Ok(customer),
        None => only_customer(billing).await,
    }
}

/// The customer of an installation that has just one; else a session's id is not enough.
async fn only_customer(billing: &Billing) -> Result<CustomerId, Problem> {
    let two = Page::new(None, Some(2))?;
    let mut customers = billing.ledger.customers(&two).await?.items;
    match (customers.pop(), customers.pop()) {
        (Some(only), None) => Ok(only.id),
        _ => Err(Problem::invalid(
            "customer is missing: two customers may use the same session id, name one",
        )),
    }
}
