//! All SQL of postings.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use permille_types::Currency;

use super::{AccountBalance, Drawdown, Posting};
use crate::{
    LedgerError, column,
    error::{During, changed_all},
    sql::{self, Connection},
};

/// What those of `accounts` that have accrued anything have, by account and currency.
pub(super) async fn drawdowns(
    connection: &mut Connection,
    accounts: impl Iterator<Item = (&str, Currency)>,
) -> Result<HashMap<(String, &'static str), Drawdown>, LedgerError> {
    let mut stored = sql::many(
        "with asked (account, currency) as (values ($1, $2))
         select
             drawdown.account,
             drawdown.currency,
             drawdown.exact,
             drawdown.posted_nano
         from asked
         cross join drawdown
         where drawdown.account = asked.account
           and drawdown.currency = asked.currency",
    );
    for (account, currency) in accounts {
        stored.row([account.into(), currency.code().into()]);
    }
    stored
        .fetch_all::<(String, String, String, i64)>(connection)
        .await
        .during("read drawdowns")?
        .into_iter()
        .map(|(account, currency, exact, posted_nano)| {
            let currency: Currency = column::parsed("drawdown.currency", &currency)?;
            let exact = column::decimal("drawdown.exact", &exact)?;
            Ok(((account, currency.code()), Drawdown { exact, posted_nano }))
        })
        .collect()
}

pub(super) async fn set_drawdowns(
    connection: &mut Connection,
    drawdowns: &[((&str, Currency), Drawdown)],
) -> Result<(), LedgerError> {
    const OPERATION: &str = "write drawdowns";
    let mut set = sql::many(
        "insert into drawdown (
             account,
             currency,
             exact,
             posted_nano
         ) values ($1, $2, $3, $4)
         on conflict (account, currency) do update
         set exact = excluded.exact,
             posted_nano = excluded.posted_nano",
    );
    for ((account, currency), drawdown) in drawdowns {
        set.row([
            (*account).into(),
            currency.code().into(),
            column::decimal_text(drawdown.exact).into(),
            drawdown.posted_nano.into(),
        ]);
    }
    let done = set.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, drawdowns.len(), done.rows_affected())
}

/// Writes postings with their entries.
pub(super) async fn insert(
    connection: &mut Connection,
    postings: &[Posting<'_>],
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert postings";
    let mut insert = sql::many(
        "insert into posting (
             id,
             customer,
             currency,
             subject,
             created_at
         ) values ($1, $2, $3, $4, $5)",
    );
    let mut insert_entries = sql::many(
        "insert into posting_entry (
             posting,
             account,
             amount_nano
         ) values ($1, $2, $3)",
    );
    let mut count = 0_usize;
    for Posting { id, books, entries } in postings {
        insert.row([
            id.into(),
            books.customer.as_str().into(),
            books.currency.code().into(),
            books.subject.into(),
            column::micros(books.at).into(),
        ]);
        for (account, amount_nano) in entries {
            insert_entries.row([id.into(), account.into(), (*amount_nano).into()]);
            count = count.saturating_add(1);
        }
    }
    let done = insert.execute(&mut *connection).await.during(OPERATION)?;
    changed_all(OPERATION, postings.len(), done.rows_affected())?;
    let done = insert_entries.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, count, done.rows_affected())
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
    moved_since(connection, account, currency, None).await
}

/// The sum of what moved an account from an instant on, or since the beginning.
pub(super) async fn moved_since(
    connection: &mut Connection,
    account: &str,
    currency: Currency,
    since: Option<DateTime<Utc>>,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select cast(coalesce(sum(posting_entry.amount_nano), 0) as bigint)
         from posting_entry
         join posting on posting.id = posting_entry.posting
         where posting_entry.account = $1
           and posting.currency = $2
           and posting.created_at >= $3",
    )
    .bind(account)
    .bind(currency.code())
    .bind(since.map_or(i64::MIN, column::micros))
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
