//! All SQL of month closes.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use permille_rating::period::Period;
use permille_types::CustomerId;

use super::{CloseState, Signature, SignedAmounts};
use crate::{
    Actor, InvoiceState, LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// A month's state and which round of signatures it is in; nothing when nobody has touched it.
pub(super) async fn find(
    connection: &mut Connection,
    period: &str,
) -> Result<Option<(CloseState, i64)>, LedgerError> {
    sql::query_as::<(String, i64)>(
        "select
             state,
             round
         from period_close
         where period = $1",
    )
    .bind(period)
    .fetch_optional(connection)
    .await
    .during("find close of a month")?
    .map(|(state, round)| Ok((column::word("period_close.state", &state)?, round)))
    .transpose()
}

pub(crate) async fn is_closed(
    connection: &mut Connection,
    period: &str,
) -> Result<bool, LedgerError> {
    let found = find(connection, period).await?;
    Ok(found.is_some_and(|(state, _)| state == CloseState::Closed))
}

/// Makes the row of a month that has none. Answers the round it is in.
pub(super) async fn open(
    connection: &mut Connection,
    period: &str,
    at: DateTime<Utc>,
) -> Result<i64, LedgerError> {
    sql::query(
        "insert into period_close (
             period,
             state,
             round,
             updated_at
         ) values ($1, 'open', 1, $2)
         on conflict (period) do nothing",
    )
    .bind(period)
    .bind(column::micros(at))
    .execute(&mut *connection)
    .await
    .during("begin close of a month")?;
    let (_, round) = find(connection, period)
        .await?
        .ok_or_else(|| LedgerError::corrupt("period_close.period", period))?;
    Ok(round)
}

/// Closes a month, or opens it again and with that another round of signatures.
pub(super) async fn set_state(
    connection: &mut Connection,
    period: &str,
    from: CloseState,
    to: CloseState,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "change state of a month";
    let done = sql::query(
        "update period_close
         set state = $3,
             round = round + $4,
             updated_at = $5
         where period = $1
           and state = $2",
    )
    .bind(period)
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(i64::from(to == CloseState::Open))
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Signs a month in a round, in the role of whoever signs.
pub(super) async fn sign(
    connection: &mut Connection,
    (period, round): (&str, i64),
    by: &Actor,
    (accepted, amounts): (Option<&str>, &SignedAmounts),
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "sign a month";
    let done = sql::query(
        "insert into period_signature (
             period,
             round,
             role,
             token,
             name,
             accepted,
             at,
             amounts
         ) values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(period)
    .bind(round)
    .bind(by.role().as_str())
    .bind(by.token().as_str())
    .bind(by.name())
    .bind(accepted)
    .bind(column::micros(at))
    .bind(column::to_json("amounts of a signature", amounts)?)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

sql::row! {
    struct SignatureRow {
        role: String,
        token: String,
        name: Option<String>,
        accepted: Option<String>,
        at: i64,
        amounts: Option<String>,
    }
}

impl TryFrom<SignatureRow> for Signature {
    type Error = LedgerError;

    fn try_from(row: SignatureRow) -> Result<Self, LedgerError> {
        Ok(Self {
            role: row.role,
            token: row.token,
            name: row.name,
            at: column::instant("period_signature.at", row.at)?,
            accepted: row.accepted,
            amounts: row
                .amounts
                .map(|text| column::json("period_signature.amounts", &text))
                .transpose()?,
        })
    }
}

/// Who has signed in a round, in order.
pub(super) async fn signatures(
    connection: &mut Connection,
    period: &str,
    round: i64,
) -> Result<Vec<Signature>, LedgerError> {
    sql::query_as::<SignatureRow>(
        "select
             role,
             token,
             name,
             accepted,
             at,
             amounts
         from period_signature
         where period = $1
           and round = $2
         order by
             at,
             role",
    )
    .bind(period)
    .bind(round)
    .fetch_all(connection)
    .await
    .during("read signatures of a month")?
    .into_iter()
    .map(Signature::try_from)
    .collect()
}

/// Closed months before `period`, oldest first.
pub(crate) async fn closed_before(
    connection: &mut Connection,
    period: &str,
) -> Result<Vec<String>, LedgerError> {
    sql::query_scalar::<String>(
        "select period
         from period_close
         where period < $1
           and state = 'closed'
         order by period",
    )
    .bind(period)
    .fetch_all(connection)
    .await
    .during("list closed months")
}

/// Payloads that were quarantined at `since` or later and that nobody has settled.
pub(super) async fn quarantined_since(
    connection: &mut Connection,
    since: DateTime<Utc>,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select count(*)
         from quarantine
         where state = 'open'
           and created_at >= $1",
    )
    .bind(column::micros(since))
    .fetch_one(connection)
    .await
    .during("count quarantined payloads")
}

/// Drafts of a month's own invoices that were made or renewed after `since`, or ever.
pub(super) async fn drafts_since(
    connection: &mut Connection,
    period: &str,
    since: Option<DateTime<Utc>>,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select count(*)
         from invoice
         where period = $1
           and interim = 0
           and state = 'draft'
           and updated_at > $2",
    )
    .bind(period)
    .bind(since.map_or(i64::MIN, column::micros))
    .fetch_one(connection)
    .await
    .during("count drafts of a month")
}

/// What a draft says of itself, as far as a close asks.
#[derive(serde::Deserialize)]
struct Simulated {
    simulated: bool,
}

/// What says that nothing has changed of a customer's usage and invoice of a month. Requests only
/// grow, and what is held falls only by getting a price.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MonthState {
    requests: i64,
    held: i64,
    /// The month's own live invoice, unless it is over simulated usage alone.
    pub(super) invoice: Option<String>,
    /// Interim invoices that stand.
    pub(super) interims: BTreeSet<String>,
}

/// Of each customer with usage or an invoice.
pub(super) async fn month_states(
    connection: &mut Connection,
    period: &str,
    span: Period,
) -> Result<HashMap<CustomerId, MonthState>, LedgerError> {
    // By customer, so that the key of the table finds the month's hours.
    let usage = sql::query_as::<(String, i64, i64)>(
        "select
             customer.id,
             cast(sum(request_hour.requests) as bigint),
             cast(sum(request_hour.unpriced) as bigint)
         from customer
         join request_hour on request_hour.customer = customer.id
         where request_hour.hour >= $1
           and request_hour.hour < $2
         group by customer.id",
    )
    .bind(column::micros(span.start))
    .bind(column::micros(span.end))
    .fetch_all(connection)
    .await
    .during("sum requests of a month")?;
    let invoices = sql::query_as::<(String, String, i64, String, String)>(
        "select
             customer,
             id,
             interim,
             state,
             case
                 when state = 'draft' then document
                 else ''
             end
         from invoice
         where period = $1
           and state <> 'void'",
    )
    .bind(period)
    .fetch_all(connection)
    .await
    .during("find invoices of a month")?;
    let mut states: HashMap<CustomerId, MonthState> = HashMap::new();
    for (customer, requests, held) in usage {
        let customer = column::parsed("request_hour.customer", &customer)?;
        states.insert(customer, MonthState { requests, held, ..MonthState::default() });
    }
    for (customer, invoice, interim, state, draft) in invoices {
        // A draft over simulated usage is never issued: what is owed beside it has no invoice.
        let is_simulated =
            !draft.is_empty() && column::json::<Simulated>("invoice.document", &draft)?.simulated;
        if is_simulated {
            continue;
        }
        let customer = column::parsed("invoice.customer", &customer)?;
        let known = states.entry(customer).or_default();
        if interim == 0 {
            known.invoice = Some(invoice);
        } else if column::word::<InvoiceState>("invoice.state", &state)?.is_issued() {
            known.interims.insert(invoice);
        }
    }
    Ok(states)
}
