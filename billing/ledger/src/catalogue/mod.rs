//! What rating and the gateway need of the store, in memory, at one version.
//!
//! Read whole and replaced whole whenever customers, projects, keys or prices change, so that
//! intake asks the store nothing per event. The stored version decides whether it is current.

mod repo;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use permille_rating::price_book::PriceBook;
use permille_types::{
    CustomerId, KeyId, KeyPolicy, Level, Limit, PrepaidCredit, Price, PriceVersion, ProjectId,
    Snapshot,
};
use tokio::sync::watch;

pub(crate) use repo::bump;

use crate::{
    Customer, Key, Ledger, LedgerError, Limits, column, customer, key,
    limit::{self, Owner},
    prepaid::{self, Ceiling},
    price::{self, ListedPrice},
    project,
    store::Connection,
};

pub(crate) struct Catalogue {
    version: u64,
    customers: HashMap<CustomerId, Customer>,
    projects: HashSet<(CustomerId, ProjectId)>,
    keys: Vec<Key>,
    key_owners: HashMap<KeyId, (CustomerId, ProjectId)>,
    prices: Vec<ListedPrice>,
    contents: HashMap<PriceVersion, Price>,
    limits: HashMap<Owner, Limits>,
    balances: HashMap<CustomerId, Ceiling>,
    book: PriceBook,
}

impl Catalogue {
    pub(crate) async fn load(connection: &mut Connection) -> Result<Self, LedgerError> {
        let version = repo::version(connection).await?;
        let customers = customer::all(connection).await?;
        let projects = project::all(connection).await?;
        let keys = key::all(connection).await?;
        let limits = limit::all(connection).await?.into_iter().collect();
        let balances = prepaid::all(connection).await?.into_iter().collect();
        let stored = price::all(connection).await?;
        let contents =
            stored.iter().map(|price| (price.version().clone(), price.price.clone())).collect();
        let prices = price::effective(stored);
        let book = PriceBook::new(price::holding(&prices))?;
        Ok(Self {
            version: column::number("snapshot_state.version", version)?,
            customers: customers.into_iter().map(|found| (found.id.clone(), found)).collect(),
            projects: projects.into_iter().map(|found| (found.customer, found.id)).collect(),
            key_owners: keys
                .iter()
                .map(|key| (key.id.clone(), (key.customer.clone(), key.project.clone())))
                .collect(),
            keys,
            prices,
            contents,
            limits,
            balances,
            book,
        })
    }

    pub(crate) fn book(&self) -> &PriceBook {
        &self.book
    }

    pub(crate) fn prices(&self) -> &[ListedPrice] {
        &self.prices
    }

    /// The content of any version that was ever in the book.
    pub(crate) fn content(&self, version: &PriceVersion) -> Option<&Price> {
        self.contents.get(version)
    }

    pub(crate) fn customer(&self, id: &CustomerId) -> Option<&Customer> {
        self.customers.get(id)
    }

    pub(crate) fn has_project(&self, customer: &CustomerId, project: &ProjectId) -> bool {
        // The set is keyed by owned ids; two clones of `Arc<str>` cost less than another index.
        self.projects.contains(&(customer.clone(), project.clone()))
    }

    /// The limits of one owner.
    pub(crate) fn limits_of(&self, owner: &Owner) -> Limits {
        self.limits.get(owner).cloned().unwrap_or_default()
    }

    /// Every limit that a request with `key` meets, from the customer down; of two that count the
    /// same the lower.
    fn limits_of_key(&self, key: &Key) -> Vec<Limit> {
        let balance = self.balances.get(&key.customer);
        if self.limits.is_empty() && balance.is_none() && key.rpm.is_none() {
            return Vec::new();
        }
        let owners = [
            (Level::Customer, Owner::of_customer(&key.customer)),
            (Level::Project, Owner::of_project(&key.customer, &key.project)),
            (Level::Key, Owner::of_key(&key.customer, &key.id)),
        ];
        let mut limits = Vec::new();
        for (level, owner) in owners {
            let mut own = self.limits_of(&owner);
            if level == Level::Key {
                // They stand in the key's own row.
                own.rpm = key.rpm;
            }
            limits.extend(own.enforced(level));
        }
        limits.extend(balance.map(|balance| balance.limit(self.warn_percent(&key.customer))));
        limits.sort_by_key(|limit| (limit.level, limit.measure, limit.max));
        limits.dedup_by_key(|limit| (limit.level, limit.measure));
        limits
    }

    /// From which part of a customer's budgets and credit on answers warn, in percent.
    fn warn_percent(&self, customer: &CustomerId) -> u8 {
        self.limits_of(&Owner::of_customer(customer)).warn_percent()
    }

    /// The prepaid credit of a customer whose plan is prepaid.
    fn prepaid_of(&self, customer: &CustomerId) -> Option<PrepaidCredit> {
        let balance = self.balances.get(customer)?;
        Some(balance.credit(self.warn_percent(customer)))
    }

    pub(crate) fn key_owner(&self, key: &KeyId) -> Option<&(CustomerId, ProjectId)> {
        self.key_owners.get(key)
    }
}

impl Ledger {
    /// The version of what the gateway must know. Grows with every change of customers, projects,
    /// keys or prices.
    #[must_use]
    pub fn snapshot_version(&self) -> u64 {
        self.catalogue.borrow().version
    }

    /// Tells when a newer snapshot is there. The value itself is of no use to the caller.
    #[must_use]
    pub fn snapshot_changes(&self) -> SnapshotChanges {
        SnapshotChanges(self.catalogue.subscribe())
    }

    /// The newest snapshot, unless it is the one that the caller knows.
    ///
    /// A known version above the newest is answered too: the store was restored from a backup.
    /// Where other processes change the store, [`Self::ping`] first: this one may lag behind.
    #[must_use]
    pub fn snapshot(&self, known: Option<u64>) -> Option<Snapshot> {
        let catalogue = Arc::clone(&self.catalogue.borrow());
        if known == Some(catalogue.version) {
            return None;
        }
        let keys = catalogue.keys.iter().filter_map(|key| {
            let owner = catalogue.customers.get(&key.customer)?;
            Some(KeyPolicy {
                hash: key.digest,
                key: key.id.clone(),
                customer: key.customer.clone(),
                project: key.project.clone(),
                currency: owner.currency,
                // With the others, where they say from when on they warn.
                rpm: None,
                limits: catalogue.limits_of_key(key),
                prepaid: catalogue.prepaid_of(&key.customer),
                time_zone: Some(owner.time_zone),
                revoked: key.revoked_at.is_some(),
            })
        });
        Some(Snapshot {
            version: catalogue.version,
            pepper: self.pepper.to_hex(),
            keys: keys.collect(),
            prices: catalogue.book.prices().to_vec(),
        })
    }

    /// The catalogue as `connection` sees the store; read anew when another process changed it.
    pub(crate) async fn current(
        &self,
        connection: &mut Connection,
    ) -> Result<Arc<Catalogue>, LedgerError> {
        let known = Arc::clone(&self.catalogue.borrow());
        let stored: u64 =
            column::number("snapshot_state.version", repo::version(connection).await?)?;
        if known.version == stored {
            return Ok(known);
        }
        let fresh = Arc::new(Catalogue::load(connection).await?);
        self.publish(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Makes `fresh` the newest catalogue, unless a newer one came first: a slow reader of an older
    /// state must not bring a revoked key back into force.
    pub(crate) fn publish(&self, fresh: Arc<Catalogue>) {
        self.catalogue.send_if_modified(|known| {
            let newer = fresh.version > known.version;
            if newer {
                *known = fresh;
            }
            newer
        });
    }
}

/// Waits for newer snapshots.
pub struct SnapshotChanges(watch::Receiver<Arc<Catalogue>>);

impl SnapshotChanges {
    /// Waits until the snapshot is another than when this was made or last returned.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The ledger is gone: nothing will ever change again.
            std::future::pending::<()>().await;
        }
    }
}
