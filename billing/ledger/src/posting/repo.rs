//! All SQL of postings.

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId};
use rust_decimal::Decimal;

use super::{AccountBalance, Drawdown};
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// What an account has accrued; nothing when it has no row yet.
pub(super) async fn drawdown(
    connection: &mut Connection,
    account: &str,
    currency: Currency,
) -> Result<Drawdown, LedgerError> {
    let row = sql::query_as::<(String, i64)>(
        "select
             exact,
             posted_nano
         from drawdown
         where account = $1
           and currency = $2",
    )
    .bind(account)
    .bind(currency.code())
    .fetch_optional(connection)
    .await
    .during("read drawdown")?;
    match row {
        None => Ok(Drawdown { exact: Decimal::ZERO, posted_nano: 0 }),
        Some((exact, posted_nano)) => {
            Ok(Drawdown { exact: column::decimal("drawdown.exact", &exact)?, posted_nano })
        }
    }
}

pub(super) async fn set_drawdown(
    connection: &mut Connection,
    account: &str,
    currency: Currency,
    drawdown: &Drawdown,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "write drawdown";
    let done = sql::query(
        "insert into drawdown (
             account,
             currency,
             exact,
             posted_nano
         ) values ($1, $2, $3, $4)
         on conflict (account, currency) do update
         set exact = excluded.exact,
             posted_nano = excluded.posted_nano",
    )
    .bind(account)
    .bind(currency.code())
    .bind(column::decimal_text(drawdown.exact))
    .bind(drawdown.posted_nano)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn insert(
    connection: &mut Connection,
    id: &str,
    customer: &CustomerId,
    currency: Currency,
    subject: &str,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert posting";
    let done = sql::query(
        "insert into posting (
             id,
             customer,
             currency,
             subject,
             created_at
         ) values ($1, $2, $3, $4, $5)",
    )
    .bind(id)
    .bind(customer.as_str())
    .bind(currency.code())
    .bind(subject)
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn insert_entry(
    connection: &mut Connection,
    posting: &str,
    account: &str,
    amount_nano: i64,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert posting entry";
    let done = sql::query(
        "insert into posting_entry (
             posting,
             account,
             amount_nano
         ) values ($1, $2, $3)",
    )
    .bind(posting)
    .bind(account)
    .bind(amount_nano)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn balances(
    connection: &mut Connection,
) -> Result<Vec<AccountBalance>, LedgerError> {
    sql::query_as::<(String, String, i64)>(
        "select
             posting_entry.account,
             posting.currency,
             cast(sum(posting_entry.amount_nano) as bigint)
         from posting_entry
         join posting on posting.id = posting_entry.posting
         group by
             posting_entry.account,
             posting.currency
         order by
             posting_entry.account,
             posting.currency",
    )
    .fetch_all(connection)
    .await
    .during("add up accounts")?
    .into_iter()
    .map(|(account, currency, amount_nano)| {
        let currency = column::parsed("posting.currency", &currency)?;
        Ok(AccountBalance { account, currency, amount_nano })
    })
    .collect()
}

/// What the entries of an account add up to in a currency.
pub(crate) async fn balance(
    connection: &mut Connection,
    account: &str,
    currency: Currency,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select cast(coalesce(sum(posting_entry.amount_nano), 0) as bigint)
         from posting_entry
         join posting on posting.id = posting_entry.posting
         where posting_entry.account = $1
           and posting.currency = $2",
    )
    .bind(account)
    .bind(currency.code())
    .fetch_one(connection)
    .await
    .during("add up an account")
}

/// Postings whose entries do not sum to zero, with the sum.
pub(super) async fn unbalanced(
    connection: &mut Connection,
) -> Result<Vec<(String, i64)>, LedgerError> {
    sql::query_as::<(String, i64)>(
        "select
             posting,
             cast(sum(amount_nano) as bigint)
         from posting_entry
         group by posting
         having sum(amount_nano) <> 0
         order by posting",
    )
    .fetch_all(connection)
    .await
    .during("look for unbalanced postings")
}

/// Accounts whose entries are not what their drawdown has posted: account, posted, sum.
pub(super) async fn drifted(
    connection: &mut Connection,
) -> Result<Vec<(String, i64, i64)>, LedgerError> {
    sql::query_as::<(String, i64, i64)>(
        "select
             drawdown.account,
             drawdown.posted_nano,
             cast(coalesce(sum(entry.amount_nano), 0) as bigint)
         from drawdown
         left join (
             select
                 posting_entry.account,
                 posting.currency,
                 posting_entry.amount_nano
             from posting_entry
             join posting on posting.id = posting_entry.posting
         ) as entry on entry.account = drawdown.account
             and entry.currency = drawdown.currency
         group by
             drawdown.account,
             drawdown.currency,
             drawdown.posted_nano
         having drawdown.posted_nano <> coalesce(sum(entry.amount_nano), 0)
         order by drawdown.account",
    )
    .fetch_all(connection)
    .await
    .during("compare drawdowns with postings")
}
