//! Prepaid credit: grants that pay invoices in a stated order, posted double entry, never below
//! zero.
//!
//! | step | debit | credit |
//! |---|---|---|
//! | grant | `cash` what was paid, `expense:promotion` the rest | `credit:prepaid:C` amount |
//! | finalize | `credit:prepaid:C` what is drawn | (part of the invoice's posting) |
//! | void | | `credit:prepaid:C` what was drawn |
//! | expiry | `credit:prepaid:C` what is left | `revenue:breakage` |
//!
//! A grant pays for months of which any instant lies in its `[from, expires_at)`.

mod repo;

use chrono::{DateTime, Utc};
use permille_rating::{
    balance::Held,
    grant::Grant as Payer,
    invoice::AppliedCredit,
    period::{Period, day_of},
    round::{from_nano, minor_places, to_nano},
};
use permille_types::{Currency, CustomerId, InvoiceId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Customer, Instruction, Ledger, LedgerError, Listing, Page,
    audit::{self, Change, Subject},
    column::negated,
    customer,
    posting::{self, Books},
    secret::public_id,
    spending,
    stated::refuse_other_currency,
    store::Connection,
    text,
};

/// Longest reason, in bytes: a paragraph.
const REASON_BYTES_MAX: usize = 1_000;
/// Most patterns of models of a grant.
const MODELS_MAX: usize = 64;
/// Highest priority number: the last to pay.
const PRIORITY_MAX: u32 = 100;
const BREAKAGE: &str = "revenue:breakage";
const PROMOTION: &str = "expense:promotion";
const CASH: &str = "cash";

/// The account of what a customer has in prepaid credit.
pub(crate) fn account(customer: &CustomerId) -> String {
    format!("credit:prepaid:{customer}")
}

/// Credit to grant.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// How much it pays in all.
    pub amount: Decimal,
    /// Currency that both amounts are meant in; the customer's when absent.
    pub currency: Option<Currency>,
    /// What was paid for it, at most `amount`: nothing for a promotion.
    pub paid: Decimal,
    /// Lower pays first, 0 to 100.
    pub priority: u32,
    /// First instant at which it pays; now when absent.
    pub from: Option<DateTime<Utc>>,
    /// First instant at which it pays no more; absent: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Models that it pays for, exact names or globs; everything when there are none.
    pub models: Vec<String>,
    /// What it is for.
    pub reason: String,
}

/// Prepaid credit of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Grant {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub customer: CustomerId,
    /// Currency of its amounts.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// How much it pays in all.
    pub amount: Decimal,
    /// What was paid for it.
    pub paid: Decimal,
    /// What is left.
    pub left: Decimal,
    /// Lower pays first.
    pub priority: u32,
    /// First instant at which it pays.
    pub from: DateTime<Utc>,
    /// First instant at which it pays no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Models that it pays for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// What it is for.
    pub reason: String,
    /// When it was granted.
    pub created_at: DateTime<Utc>,
}

/// A grant as it is stored.
#[derive(Debug, Clone)]
struct StoredGrant {
    id: String,
    customer: CustomerId,
    currency: Currency,
    amount_nano: i64,
    paid_nano: i64,
    left_nano: i64,
    priority: u32,
    from: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    models: Vec<String>,
    origin: String,
    reason: String,
    created_at: DateTime<Utc>,
}

impl From<StoredGrant> for Grant {
    fn from(stored: StoredGrant) -> Self {
        let amount = |nano| permille_rating::round::round_money(from_nano(nano), stored.currency);
        Self {
            amount: amount(stored.amount_nano),
            paid: amount(stored.paid_nano),
            left: amount(stored.left_nano),
            id: stored.id,
            customer: stored.customer,
            currency: stored.currency,
            priority: stored.priority,
            from: stored.from,
            expires_at: stored.expires_at,
            models: stored.models,
            reason: stored.reason,
            created_at: stored.created_at,
        }
    }
}

impl From<StoredGrant> for Payer {
    fn from(stored: StoredGrant) -> Self {
        Self {
            amount: from_nano(stored.amount_nano),
            paid: from_nano(stored.paid_nano),
            left: from_nano(stored.left_nano),
            id: stored.id,
            priority: stored.priority,
            expires_at: stored.expires_at,
            models: stored.models,
            granted_at: stored.created_at,
        }
    }
}

impl Ledger {
    /// Grants prepaid credit to a customer. Under one idempotency key it is granted once.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] for an unknown customer; [`LedgerError::Invalid`] names the part
    /// that is not accepted; [`LedgerError::Refused`] for a key that was spent on something else;
    /// else the store's failure.
    pub async fn add_grant(
        &self,
        id: &CustomerId,
        new: &NewGrant,
        instruction: &Instruction,
    ) -> Result<Grant, LedgerError> {
        const ACTION: &str = "grant";
        let now = self.now();
        let mut tx = self.store.write().await?;
        let customer = customer::find(&mut tx, id)
            .await?
            .ok_or_else(|| LedgerError::not_found("customer", id))?;
        let whose = || format!("which {id} pays");
        refuse_other_currency(new.currency, customer.currency, whose)?;
        let subject = Subject { noun: "customer", id: id.as_str() };
        let request = format!("{new:?}");
        if let Some(repeated) =
            audit::repeated(&mut tx, subject, ACTION, &request, instruction).await?
        {
            let id = repeated.result.unwrap_or_default();
            let found = repo::find(&mut tx, &id).await?;
            return found.map(Into::into).ok_or_else(|| LedgerError::not_found("grant", &id));
        }
        let grant = add(&mut tx, &customer, new, "operator", now).await?;
        let detail =
            format!("{} {} {}: {}", grant.id, grant.amount, grant.currency.code(), grant.reason);
        let change = Change {
            action: ACTION,
            from: None,
            to: None,
            detail: Some(&detail),
            request: &request,
            result: Some(&grant.id),
        };
        audit::insert(&mut tx, subject, change, instruction, now).await?;
        self.commit_followed(tx, &customer).await?;
        Ok(grant)
    }

    /// Grants in the order in which they were made, of one customer or of all.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn grants(
        &self,
        customer: Option<&CustomerId>,
        page: &Page,
    ) -> Result<Listing<Grant>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, customer, page.after(), page.rows()).await?;
        let grants = rows.into_iter().map(Grant::from).collect();
        Ok(Listing::cut(page, grants, |grant| grant.id.clone()))
    }
}

/// Grants credit and books it. `origin` tells who did: the operator, or a plan's trial.
pub(crate) async fn add(
    connection: &mut Connection,
    customer: &Customer,
    new: &NewGrant,
    origin: &str,
    at: DateTime<Utc>,
) -> Result<Grant, LedgerError> {
    let reason = text::line("reason", &new.reason, REASON_BYTES_MAX)?.to_owned();
    check(new, customer.currency)?;
    let from = new.from.unwrap_or(at);
    if let Some(expires) = new.expires_at.filter(|expires| *expires <= from) {
        let accepted = format!("an instant after {}", from.to_rfc3339());
        return Err(LedgerError::invalid("expires_at", &expires.to_rfc3339(), accepted));
    }
    let amount_nano = to_nano(new.amount)?;
    let stored = StoredGrant {
        id: public_id("grt_", at)?,
        customer: customer.id.clone(),
        currency: customer.currency,
        amount_nano,
        paid_nano: to_nano(new.paid)?,
        left_nano: amount_nano,
        priority: new.priority,
        from,
        expires_at: new.expires_at,
        models: new.models.clone(),
        origin: origin.to_owned(),
        reason,
        created_at: at,
    };
    repo::insert(connection, &stored).await?;
    let subject = format!("grant {}", stored.id);
    let books =
        Books { customer: &customer.id, currency: customer.currency, subject: &subject, at };
    let promotion = crate::column::exact_sub("promotion of a grant", new.amount, new.paid)?;
    let amounts = [
        (CASH.to_owned(), new.paid),
        (PROMOTION.to_owned(), promotion),
        (account(&customer.id), negated(new.amount)),
    ];
    posting::book(connection, books, &amounts).await?;
    Ok(stored.into())
}

fn check(new: &NewGrant, currency: Currency) -> Result<(), LedgerError> {
    let places = minor_places(currency);
    let reads = |amount: Decimal| amount.normalize().scale() <= places;
    if new.amount <= Decimal::ZERO || !reads(new.amount) {
        let accepted = format!("above 0 with at most {places} decimal places");
        return Err(LedgerError::invalid("amount", &new.amount, accepted));
    }
    if new.paid < Decimal::ZERO || new.paid > new.amount || !reads(new.paid) {
        let accepted = format!("0 to {} with at most {places} decimal places", new.amount);
        return Err(LedgerError::invalid("paid", &new.paid, accepted));
    }
    if new.priority > PRIORITY_MAX {
        let accepted = format!("0 to {PRIORITY_MAX}");
        return Err(LedgerError::invalid("priority", &new.priority, accepted));
    }
    if new.models.len() > MODELS_MAX || new.models.iter().any(|model| model.trim().is_empty()) {
        let accepted = format!("at most {MODELS_MAX} names or globs");
        return Err(LedgerError::invalid("models", &new.models.join(", "), accepted));
    }
    Ok(())
}

/// Whether a customer has a grant of that origin.
pub(crate) async fn has_origin(
    connection: &mut Connection,
    customer: &CustomerId,
    origin: &str,
) -> Result<bool, LedgerError> {
    repo::has_origin(connection, customer, origin).await
}

/// The grants that may pay for a month.
pub(crate) async fn usable(
    connection: &mut Connection,
    customer: &CustomerId,
    month: Period,
) -> Result<Vec<Payer>, LedgerError> {
    let found = repo::usable(connection, customer, month.start, month.end).await?;
    Ok(found.into_iter().map(Payer::from).collect())
}

/// A grant with something left.
pub(crate) struct Rest {
    grant: Payer,
    /// First instant at which it pays.
    pub(crate) from: DateTime<Utc>,
    /// Of one that has ended: what the customer had spent by then, since the beginning.
    spent_at_end: Option<i64>,
}

impl Rest {
    /// First instant at which it pays no more.
    pub(crate) fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.grant.expires_at
    }

    /// As a balance counts it where of what the customer has spent `settled` is behind it for good.
    pub(crate) fn held(&self, settled: i64) -> Held {
        let unbilled_at_end = self.spent_at_end.map(|spent| spent.saturating_sub(settled).max(0));
        Held { grant: self.grant.clone(), from: self.from, unbilled_at_end }
    }
}

/// Grants of a customer with something left.
pub(crate) async fn with_rest(
    connection: &mut Connection,
    customer: &Customer,
    now: DateTime<Utc>,
) -> Result<Vec<Rest>, LedgerError> {
    let mut rests = Vec::new();
    for (stored, noted) in repo::with_rest(connection, &customer.id).await? {
        let spent_at_end = match stored.expires_at.filter(|end| *end <= now) {
            None => None,
            Some(end) => Some(spent_by(connection, customer, (&stored.id, end), noted).await?),
        };
        rests.push(Rest { from: stored.from, grant: stored.into(), spent_at_end });
    }
    Ok(rests)
}

/// What a customer had spent when a grant ended. Of the end's own day it is noted at the first look
/// what was booked by then; the days before are added up anew, with what is booked late of them.
async fn spent_by(
    connection: &mut Connection,
    customer: &Customer,
    (grant, end): (&str, DateTime<Utc>),
    noted: Option<i64>,
) -> Result<i64, LedgerError> {
    let day = day_of(end, customer.time_zone)
        .map_err(|_| LedgerError::corrupt("credit_grant.expires_at", &end))?;
    let before = spending::before(connection, &customer.id, Some(day.start)).await?;
    if day.start == end {
        return Ok(before);
    }
    let with_its_day = spending::before(connection, &customer.id, Some(end)).await?;
    let part = noted.unwrap_or(with_its_day.saturating_sub(before));
    if noted.is_none() {
        repo::set_spent_at_end(connection, grant, part).await?;
    }
    // Earlier builds noted all that was spent by then: that is the whole of the day.
    Ok(before.saturating_add(part).min(with_its_day))
}

/// Takes from each grant what an invoice draws. Refuses where another one has drawn it meanwhile.
pub(crate) async fn take(
    connection: &mut Connection,
    invoice: &InvoiceId,
    credits: &[AppliedCredit],
) -> Result<(), LedgerError> {
    for credit in credits {
        if !repo::move_left(connection, &credit.grant, to_nano(negated(credit.amount))?).await? {
            let reason = format!(
                "draws {} from grant `{}`, which has less left meanwhile; draft it again",
                credit.amount, credit.grant
            );
            return Err(LedgerError::refused("invoice", invoice, reason));
        }
    }
    Ok(())
}

/// Gives back what a voided invoice had drawn.
pub(crate) async fn give_back(
    connection: &mut Connection,
    credits: &[AppliedCredit],
) -> Result<(), LedgerError> {
    for credit in credits {
        if !repo::move_left(connection, &credit.grant, to_nano(credit.amount)?).await? {
            return Err(LedgerError::corrupt("credit_grant.left_nano", &credit.grant));
        }
    }
    Ok(())
}

/// Books what is left of grants that have expired when a customer's month `period` ends. While an
/// invoice up to it is not out yet they wait for a later close.
pub(crate) async fn expire(
    connection: &mut Connection,
    customer: &Customer,
    (period, month): (&str, Period),
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    for grant in repo::expired(connection, &customer.id, month.end, period).await? {
        let left = from_nano(grant.left_nano);
        let subject = format!("grant {} expired", grant.id);
        let currency = grant.currency;
        let books = Books { customer: &customer.id, currency, subject: &subject, at };
        let amounts = [(account(&customer.id), left), (BREAKAGE.to_owned(), negated(left))];
        posting::book(connection, books, &amounts).await?;
        if !repo::move_left(connection, &grant.id, grant.left_nano.saturating_neg()).await? {
            return Err(LedgerError::corrupt("credit_grant.left_nano", &grant.id));
        }
    }
    Ok(())
}

/// What grants and accounts say differently, in words.
pub(crate) async fn discrepancies(connection: &mut Connection) -> Result<Vec<String>, LedgerError> {
    let mut found = Vec::new();
    for (customer, currency, left) in repo::left(connection).await? {
        let account = account(&customer);
        let balance = posting::balance(connection, &account, currency).await?;
        if balance != left.saturating_neg() {
            found.push(format!("account {account} says {balance} nano-units, grants have {left}"));
        }
    }
    Ok(found)
}
