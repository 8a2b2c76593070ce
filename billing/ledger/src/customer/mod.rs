//! Customers: who is billed, in which currency, by which calendar.
//!
//! Currency and time zone are fixed at creation: changing either would reprice history.

mod repo;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use permille_types::{Currency, CustomerId};
use serde::Serialize;

pub(crate) use repo::{all, find};

use crate::{Ledger, LedgerError, Listing, Page, project, slug};

/// Who is billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Customer {
    /// Their id, a slug.
    pub id: CustomerId,
    /// Their name, as an invoice shows it.
    pub name: String,
    /// The one currency they are billed in: a price in another one does not apply.
    pub currency: Currency,
    /// Whose months and hours their invoices follow.
    pub time_zone: Tz,
    /// When they were added.
    pub created_at: DateTime<Utc>,
}

/// A customer to add.
#[derive(Debug, Clone)]
pub struct NewCustomer {
    /// The id; derived from the name when absent.
    pub id: Option<String>,
    /// The name.
    pub name: String,
    /// The billing currency.
    pub currency: Currency,
    /// The billing time zone.
    pub time_zone: Tz,
}

impl Ledger {
    /// Adds a customer and its project `default`.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a bad id or name, [`LedgerError::AlreadyExists`] for a taken
    /// id, else the store's failure.
    pub async fn create_customer(&self, new: NewCustomer) -> Result<Customer, LedgerError> {
        let name = slug::checked_name(&new.name)?.to_owned();
        let id = match &new.id {
            Some(id) => slug::checked("id", id)?.to_owned(),
            None => slug::derived("id", &name)?,
        };
        let id = id.parse().map_err(|cause| LedgerError::invalid("id", &id, format!("{cause}")))?;
        let customer = Customer {
            id,
            name,
            currency: new.currency,
            time_zone: new.time_zone,
            created_at: self.now(),
        };

        let mut tx = self.store.write().await?;
        repo::insert(&mut tx, &customer).await?;
        project::insert_default(&mut tx, &customer).await?;
        self.commit_change(tx).await?;
        Ok(customer)
    }

    /// The customer of that id.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn customer(&self, id: &CustomerId) -> Result<Customer, LedgerError> {
        let mut reader = self.store.read().await?;
        repo::find(&mut reader, id).await?.ok_or_else(|| LedgerError::not_found("customer", id))
    }

    /// All customers, by id.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn customers(&self, page: &Page) -> Result<Listing<Customer>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, page.after(), page.rows()).await?;
        Ok(Listing::cut(page, rows, |customer| customer.id.to_string()))
    }
}
