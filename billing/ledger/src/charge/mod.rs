//! Charges over the sums of months: terms of everyone or of one customer.
//!
//! A charge prices whole months, those that begin at its `from` or later. Of one customer's
//! charges, or of everyone's, the latest of a name holds. A month that somebody has an invoice of
//! keeps the charges that it had: none is added or ended that would hold for it otherwise.

mod repo;

use chrono::{DateTime, Days, Utc};
use permille_rating::{
    charge::{Charge, ChargeError, PeriodCharge, parse_period_charges, quote},
    round::round_money,
};
use permille_types::{Currency, CustomerId, ModelName, PriceVersion};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Customer, Instruction, Ledger, LedgerError,
    audit::{self, Call, Subject},
    close, customer,
    error::{Chain, During},
    invoice, invoiced,
    stated::refuse_other_currency,
    store::Connection,
};

/// Largest text of charges, in bytes: thousands of tiers.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// A charge, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListedCharge {
    /// Its version, as invoices name it.
    pub version: PriceVersion,
    /// What it is called.
    pub name: ModelName,
    /// Whose it is; absent: everyone's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Currency of its amounts.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// It prices months that begin then or later.
    pub from: DateTime<Utc>,
    /// It prices months that begin before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// The models that it covers.
    pub models: Vec<String>,
    /// What one of its quantity is.
    pub per: &'static str,
    /// When it was added.
    pub added_at: DateTime<Utc>,
    /// The charge itself, in TOML.
    pub terms: String,
    #[serde(skip)]
    charge: PeriodCharge,
}

impl ListedCharge {
    fn new(charge: PeriodCharge, added_at: DateTime<Utc>) -> Self {
        Self {
            version: charge.version.clone(),
            name: charge.name.clone(),
            customer: charge.customer.clone(),
            currency: charge.charge.currency,
            from: charge.from,
            until: charge.until,
            models: charge.cover.models.clone(),
            per: charge.cover.per.as_str(),
            added_at,
            terms: charge.content.clone(),
            charge,
        }
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &Charge {
        &self.charge.charge
    }
}

impl Ledger {
    /// Adds the `[[charge]]` entries of a text in TOML, all or none.
    ///
    /// # Errors
    /// [`LedgerError::Entries`] when the text is refused or one holds for a month that is invoiced;
    /// [`LedgerError::NotFound`] for a customer that is unknown; [`LedgerError::AlreadyExists`]
    /// when one is there; else the store's failure.
    pub async fn add_charges(
        &self,
        text: &str,
        instruction: &Instruction,
    ) -> Result<Vec<ListedCharge>, LedgerError> {
        if text.len() > TEXT_BYTES_MAX {
            let (bytes, accepted) = (text.len(), format!("at most {TEXT_BYTES_MAX} bytes"));
            return Err(LedgerError::invalid("charges", &format!("{bytes} bytes"), accepted));
        }
        let charges = parse_period_charges(text, "charges").map_err(|error| {
            let reason = match &error {
                ChargeError::Entry { entry, cause, .. } => format!("{entry}: {}", Chain(cause)),
                _ => Chain(&error).to_string(),
            };
            LedgerError::Entries { reason }
        })?;
        let now = self.now();
        let request = audit::digest(&text);
        let subject = Subject { noun: "terms", id: "charges" };
        let call = Call { subject, action: "add", request: &request };
        let mut tx = self.store.write().await?;
        if call.before(&mut tx, instruction).await?.is_some() {
            let mut added = Vec::with_capacity(charges.len());
            for charge in &charges {
                added.push(found(&mut tx, &charge.version).await?);
            }
            return Ok(added);
        }
        for charge in &charges {
            if let Some(customer) = &charge.customer {
                let customer = customer::find(&mut tx, customer)
                    .await?
                    .ok_or_else(|| LedgerError::not_found("customer", customer))?;
                let whose = || format!("which {} pays", customer.id);
                refuse_other_currency(Some(charge.charge.currency), customer.currency, whose)?;
            }
            let affected = charge.customer.as_ref();
            make_way(&mut tx, affected, "from", charge.from, Reach::Months).await?;
            repo::insert(&mut tx, charge, now).await?;
            let added = subject_of(&charge.version);
            audit::note(&mut tx, added, call.action, None, instruction, now).await?;
        }
        call.spend(&mut tx, None, instruction, now).await?;
        tx.commit().await.during("commit charges")?;
        Ok(charges.into_iter().map(|charge| ListedCharge::new(charge, now)).collect())
    }

    /// Gives an open charge its end: months that begin at `until` or later are not priced by it.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it has an end;
    /// [`LedgerError::Invalid`] when it would end before a month that is invoiced or before it
    /// begins; else the store's failure.
    pub async fn end_charge(
        &self,
        version: &PriceVersion,
        until: DateTime<Utc>,
        instruction: &Instruction,
    ) -> Result<ListedCharge, LedgerError> {
        let now = self.now();
        let detail = until.to_rfc3339();
        let subject = Subject { noun: "terms of charge", id: version.as_str() };
        let call = Call { subject, action: "end", request: &detail };
        let mut tx = self.store.write().await?;
        let found = found(&mut tx, version).await?;
        if call.before(&mut tx, instruction).await?.is_some() {
            return Ok(found);
        }
        if until <= found.from {
            let accepted = format!("an instant after {}", found.from);
            return Err(LedgerError::invalid("until", &until, accepted));
        }
        let affected = found.customer.as_ref();
        make_way(&mut tx, affected, "until", until, Reach::Months).await?;
        if !repo::end(&mut tx, version, until).await? {
            return Err(LedgerError::refused("charge", version, "has an end already"));
        }
        let ended = subject_of(version);
        audit::note(&mut tx, ended, call.action, Some(&detail), instruction, now).await?;
        call.spend(&mut tx, None, instruction, now).await?;
        let ended = self::found(&mut tx, version).await?;
        tx.commit().await.during("commit end of a charge")?;
        Ok(ended)
    }

    /// Every charge that `reader` may see, or all, in the order in which they came.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn charges(
        &self,
        reader: Option<&CustomerId>,
    ) -> Result<Vec<ListedCharge>, LedgerError> {
        let mut connection = self.store.read().await?;
        let mut charges = repo::all(&mut connection).await?;
        let sees = |charge: &ListedCharge| {
            reader.is_none() || charge.customer.is_none() || charge.customer.as_ref() == reader
        };
        charges.retain(sees);
        Ok(charges)
    }

    /// The charge of that version.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn charge(&self, version: &PriceVersion) -> Result<ListedCharge, LedgerError> {
        let mut connection = self.store.read().await?;
        found(&mut connection, version).await
    }
}

/// The charges that hold for a customer's month: of each name, of theirs and of everyone's, the
/// latest that had begun, if it has not ended.
pub(crate) async fn holding(
    connection: &mut Connection,
    customer: &Customer,
    start: DateTime<Utc>,
) -> Result<Vec<PeriodCharge>, LedgerError> {
    Ok(held(&repo::all(connection).await?, customer, start).into_iter().cloned().collect())
}

/// Every charge there is.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<ListedCharge>, LedgerError> {
    repo::all(connection).await
}

/// Whether a customer owes something by a charge of their own for the month that begins at
/// `start`, also when nothing was used.
pub(crate) fn owes_unused(
    charges: &[ListedCharge],
    customer: &Customer,
    start: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    for charge in held(charges, customer, start) {
        if charge.customer.is_some() && owes_nothing_used(charge)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a charge has an amount where nothing was used: a minimum, or the flat fee of a tier.
pub(crate) fn owes_nothing_used(charge: &PeriodCharge) -> Result<bool, LedgerError> {
    let corrupt = |_| LedgerError::corrupt("charge.content", &charge.content);
    let quoted = quote(&charge.charge, Decimal::ZERO).map_err(corrupt)?;
    Ok(!round_money(quoted.exact, charge.charge.currency).is_zero())
}

/// Of `charges` those that hold for a customer's month.
fn held<'c>(
    charges: &'c [ListedCharge],
    customer: &Customer,
    start: DateTime<Utc>,
) -> Vec<&'c PeriodCharge> {
    let mut latest: Vec<&PeriodCharge> = Vec::new();
    for ListedCharge { charge, .. } in charges {
        let theirs = charge.customer.as_ref().is_none_or(|whose| *whose == customer.id);
        if !theirs || charge.charge.currency != customer.currency || start < charge.from {
            continue;
        }
        let of_name = |other: &&mut &PeriodCharge| {
            other.name == charge.name && other.customer == charge.customer
        };
        match latest.iter_mut().find(of_name) {
            Some(other) if other.from <= charge.from => *other = charge,
            Some(_) => {}
            None => latest.push(charge),
        }
    }
    latest.retain(|charge| charge.holds_for(start));
    latest
}

/// What a change of terms from an instant on changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Months that begin then or later.
    Months,
    /// Everything from then on.
    Instants,
}

/// Makes way for a change of terms from `at` on: refuses one that would reach a month that somebody
/// has an invoice of or that is closed, and has drafts that it may reach drafted again.
pub(crate) async fn make_way(
    connection: &mut Connection,
    affected: Option<&CustomerId>,
    field: &'static str,
    at: DateTime<Utc>,
    reach: Reach,
) -> Result<(), LedgerError> {
    refuse_invoiced(connection, affected, field, at, reach).await?;
    // The month of that instant is by each customer's calendar: a day covers every zone.
    let earliest = at.checked_sub_days(Days::new(1)).unwrap_or(at);
    let label = earliest.format("%Y-%m").to_string();
    invoice::make_stale(connection, affected, &label, earliest).await
}

async fn refuse_invoiced(
    connection: &mut Connection,
    affected: Option<&CustomerId>,
    field: &'static str,
    at: DateTime<Utc>,
    reach: Reach,
) -> Result<(), LedgerError> {
    let customers = match affected {
        Some(id) => customer::find(connection, id).await?.into_iter().collect(),
        None => customer::all(connection).await?,
    };
    let closed = close::closed(connection).await?;
    for customer in customers {
        let issued = invoiced::billed_months(connection, &customer.id).await?;
        for label in issued.iter().chain(&closed) {
            let month = invoice::month(label, &customer)?;
            let (reached, from) = match reach {
                Reach::Months => (at <= month.start, format!("after {}", written(month.start))),
                Reach::Instants => (at < month.end, format!("from {} on", written(month.end))),
            };
            if reached {
                let accepted =
                    format!("an instant {from}: {label} of `{}` is invoiced", customer.id);
                return Err(LedgerError::invalid(field, &at.to_rfc3339(), accepted));
            }
        }
    }
    Ok(())
}

fn written(at: DateTime<Utc>) -> impl std::fmt::Display {
    at.format("%Y-%m-%dT%H:%M:%SZ")
}

/// A stored text as the charge that it is.
fn read(content: &str) -> Result<PeriodCharge, LedgerError> {
    let corrupt = || LedgerError::corrupt("charge.content", content);
    let mut charges = parse_period_charges(content, "store").map_err(|_| corrupt())?;
    charges.pop().ok_or_else(corrupt)
}

async fn found(
    connection: &mut Connection,
    version: &PriceVersion,
) -> Result<ListedCharge, LedgerError> {
    let charges = repo::all(connection).await?;
    charges
        .into_iter()
        .find(|charge| charge.version == *version)
        .ok_or_else(|| LedgerError::not_found("charge", version))
}

fn subject_of(version: &PriceVersion) -> Subject<'_> {
    Subject { noun: "charge", id: version.as_str() }
}
