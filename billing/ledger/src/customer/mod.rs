//! Customers: who is billed, in which currency, by which calendar.
//!
//! Currency and time zone are fixed at creation: changing either would reprice history.

mod repo;
mod terms;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use permille_rating::invoice::TaxTerms;
use permille_types::{Currency, CustomerId};
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use repo::{all, find};
pub use terms::{CustomerChanges, CustomerTerms, TextChange};
pub(crate) use terms::{notes, purchase_order};

use crate::{
    AuditEntry, Instruction, Ledger, LedgerError, Limits, Listing, Page,
    audit::{self, Call, Subject},
    limit::Owner,
    prepaid, project, slug,
};

/// Who is billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Customer {
    /// Their id, a slug.
    pub id: CustomerId,
    /// Their name, as an invoice shows it.
    pub name: String,
    /// The one currency they are billed in: a price in another one does not apply.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// Whose months and hours their invoices follow.
    #[schemars(with = "permille_types::schema::TimeZone")]
    pub time_zone: Tz,
    /// How their invoices are taxed; absent where nothing is said of it.
    #[serde(skip_serializing_if = "TaxTerms::is_none")]
    pub tax: TaxTerms,
    /// Their tax id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax_id: Option<String>,
    /// Where an invoice is sent, in lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<String>,
    /// The purchase order that their invoices name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchase_order: Option<String>,
    /// What else stands on their invoices, in lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Their limits, over all their projects and keys.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
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
        self.create_customer_with(new, CustomerTerms::default()).await
    }

    /// Adds a customer whose invoices say what `terms` are.
    ///
    /// # Errors
    /// As [`Ledger::create_customer`]; [`LedgerError::Invalid`] for terms that no invoice can say.
    pub async fn create_customer_with(
        &self,
        new: NewCustomer,
        terms: CustomerTerms,
    ) -> Result<Customer, LedgerError> {
        self.make_customer(new, terms, None).await
    }

    /// The same in somebody's name: under their idempotency key it is added once.
    ///
    /// # Errors
    /// As [`Ledger::create_customer_with`]; [`LedgerError::Refused`] when the key was spent on
    /// another call.
    pub async fn create_customer_by(
        &self,
        new: NewCustomer,
        terms: CustomerTerms,
        instruction: &Instruction,
    ) -> Result<Customer, LedgerError> {
        self.make_customer(new, terms, Some(instruction)).await
    }

    async fn make_customer(
        &self,
        new: NewCustomer,
        terms: CustomerTerms,
        instruction: Option<&Instruction>,
    ) -> Result<Customer, LedgerError> {
        let request = audit::digest(&(&new, &terms));
        let CustomerTerms { tax, tax_id, billing_address, purchase_order, notes } =
            terms.checked()?;
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
            tax,
            tax_id,
            billing_address,
            purchase_order,
            notes,
            limits: Limits::default(),
            created_at: self.now(),
        };

        let mut tx = self.store.write().await?;
        if let Some(instruction) = instruction {
            let made = subject(&customer.id);
            let repeated = audit::repeated(&mut tx, made, audit::CREATE, &request, instruction);
            if repeated.await?.is_some() {
                return repo::find(&mut tx, &customer.id)
                    .await?
                    .ok_or_else(|| LedgerError::not_found("customer", &customer.id));
            }
        }
        repo::insert(&mut tx, &customer).await?;
        project::insert_default(&mut tx, &customer).await?;
        if let Some(instruction) = instruction {
            let (made, id) = (subject(&customer.id), customer.id.as_str());
            let at = customer.created_at;
            audit::note_made(&mut tx, made, &request, id, instruction, at).await?;
        }
        self.commit_change(tx).await?;
        Ok(customer)
    }

    /// Changes what the customer's next invoices say. Currency and time zone stay as they are.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Invalid`] names the field that no invoice can say,
    /// [`LedgerError::Refused`] when the key was spent on another call, else the store's failure.
    pub async fn change_customer(
        &self,
        id: &CustomerId,
        changes: CustomerChanges,
        instruction: &Instruction,
    ) -> Result<Customer, LedgerError> {
        const ACTION: &str = "change";
        let request = audit::digest(&changes);
        let terms = Subject { noun: "terms of", id: id.as_str() };
        let call = Call { subject: terms, action: ACTION, request: &request };
        let now = self.now();
        let mut tx = self.store.write().await?;
        let before =
            repo::find(&mut tx, id).await?.ok_or_else(|| LedgerError::not_found("customer", id))?;
        if call.before(&mut tx, instruction).await?.is_some() {
            return Ok(before);
        }
        let (customer, fields) = changes.of(&before)?;
        call.spend(&mut tx, None, instruction, now).await?;
        if fields.is_empty() {
            self.commit(tx).await?;
            return Ok(before);
        }
        repo::update(&mut tx, &customer).await?;
        let fields = fields.join(", ");
        audit::note(&mut tx, subject(id), ACTION, Some(&fields), instruction, now).await?;
        prepaid::follow(&mut tx, &customer, now).await?;
        self.commit_change(tx).await?;
        Ok(customer)
    }

    /// Who changed what a customer's invoices say, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn customer_history(&self, id: &CustomerId) -> Result<Vec<AuditEntry>, LedgerError> {
        let mut view = self.store.view().await?;
        repo::find(&mut view, id).await?.ok_or_else(|| LedgerError::not_found("customer", id))?;
        audit::entries(&mut view, subject(id)).await
    }

    /// The customer of that id.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn customer(&self, id: &CustomerId) -> Result<Customer, LedgerError> {
        let mut reader = self.store.read().await?;
        let customer = repo::find(&mut reader, id)
            .await?
            .ok_or_else(|| LedgerError::not_found("customer", id))?;
        Ok(self.limited(customer))
    }

    /// All customers, by id.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn customers(&self, page: &Page) -> Result<Listing<Customer>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, page.after(), page.rows()).await?;
        let rows = rows.into_iter().map(|customer| self.limited(customer)).collect();
        Ok(Listing::cut(page, rows, |customer: &Customer| customer.id.to_string()))
    }

    fn limited(&self, customer: Customer) -> Customer {
        let owner = Owner::of_customer(&customer.id);
        Customer { limits: self.catalogue.borrow().limits_of(&owner), ..customer }
    }
}

fn subject(id: &CustomerId) -> Subject<'_> {
    Subject { noun: "customer", id: id.as_str() }
}
