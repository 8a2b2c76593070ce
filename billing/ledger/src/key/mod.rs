//! Virtual keys: what a client shows the gateway. Only a digest of the secret is kept.

mod repo;

use chrono::{DateTime, Utc};
use permille_types::{CustomerId, KeyHash, KeyId, ProjectId};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;

pub(crate) use repo::{all, find};

use crate::{
    Change, Instruction, Ledger, LedgerError, LimitChanges, Limits, Listing, Page,
    audit::{self, Call, Subject},
    customer,
    limit::{self, Owner},
    project,
    secret::{KEY_PREFIX, StoredSecret, mint, public_id},
    slug,
};

/// A virtual key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Key {
    /// Its public id, on every usage row.
    pub id: KeyId,
    /// Who is billed.
    pub customer: CustomerId,
    /// Their cost centre.
    pub project: ProjectId,
    /// What its owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How the secret begins.
    pub prefix: String,
    /// How the secret ends.
    pub last4: String,
    /// Requests per minute; absent is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u32>,
    /// Its other limits; those of its project and its customer hold beside them.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
    /// What the gateway recognises it by.
    #[serde(skip)]
    pub digest: KeyHash,
}

/// A key to make.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Who is billed.
    pub customer: CustomerId,
    /// Their cost centre.
    pub project: ProjectId,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Requests per minute; absent is unlimited.
    pub rpm: Option<u32>,
}

/// A key that was just made, with the secret that is shown this once.
#[derive(Debug)]
pub struct CreatedKey {
    /// The key as lists show it.
    pub key: Key,
    /// The secret. Nobody can tell it again.
    pub secret: SecretString,
}

fn subject(id: &KeyId) -> Subject<'_> {
    Subject { noun: "key", id: id.as_str() }
}

impl Ledger {
    /// Makes a key in a project.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] for an unknown customer or project, [`LedgerError::Invalid`] for
    /// a bad name or a limit of 0, else the store's failure.
    pub async fn create_key(&self, new: NewKey) -> Result<CreatedKey, LedgerError> {
        self.create_key_with(new, LimitChanges::default()).await
    }

    /// Makes a key with limits beside its requests per minute.
    ///
    /// # Errors
    /// As [`Ledger::create_key`].
    pub async fn create_key_with(
        &self,
        new: NewKey,
        limits: LimitChanges,
    ) -> Result<CreatedKey, LedgerError> {
        self.make_key(new, limits, None).await
    }

    /// The same in somebody's name: under their idempotency key one is made, whose secret is not
    /// told again.
    ///
    /// # Errors
    /// As [`Ledger::create_key`]; [`LedgerError::Refused`] when the key was spent before.
    pub async fn create_key_by(
        &self,
        new: NewKey,
        limits: LimitChanges,
        instruction: &Instruction,
    ) -> Result<CreatedKey, LedgerError> {
        self.make_key(new, limits, Some(instruction)).await
    }

    async fn make_key(
        &self,
        new: NewKey,
        mut limits: LimitChanges,
        instruction: Option<&Instruction>,
    ) -> Result<CreatedKey, LedgerError> {
        let request = audit::digest(&(&new, &limits));
        if let Some(rpm) = new.rpm {
            limits.rpm = Change::Set(rpm);
        }
        let name = new.name.as_deref().map(slug::checked_name).transpose()?.map(str::to_owned);
        let created_at = self.now();
        let minted = mint(KEY_PREFIX, &self.pepper)?;
        let StoredSecret { digest, prefix, last4 } = minted.stored;
        let id = public_id("key_", created_at)?;
        let mut key = Key {
            id: id.parse().map_err(|_| LedgerError::invalid("id", &id, "a key id"))?,
            customer: new.customer,
            project: new.project,
            name,
            prefix,
            last4,
            rpm: None,
            limits: Limits::default(),
            created_at,
            revoked_at: None,
            digest,
        };

        let mut tx = self.store.write().await?;
        let customer = customer::find(&mut tx, &key.customer)
            .await?
            .ok_or_else(|| LedgerError::not_found("customer", &key.customer))?;
        if !project::exists(&mut tx, &key.customer, &key.project).await? {
            return Err(LedgerError::not_found("project", &key.project));
        }
        let of_customer = Subject { noun: "keys of", id: key.customer.as_str() };
        if let Some(instruction) = instruction {
            audit::refuse_made(&mut tx, of_customer, &request, instruction).await?;
            let made = key.id.as_str();
            let noted =
                audit::note_made(&mut tx, of_customer, &request, made, instruction, created_at);
            noted.await?;
            let subject = subject(&key.id);
            audit::note(&mut tx, subject, audit::CREATE, None, instruction, created_at).await?;
        }
        let (limits, fields) = limits.of(&Limits::default(), customer.currency)?;
        key.rpm = limits.rpm;
        repo::insert(&mut tx, &key).await?;
        if !fields.is_empty() {
            let owner = Owner::of_key(&key.customer, &key.id);
            limit::write(&mut tx, &owner, &limits, created_at).await?;
            key.limits = Limits { rpm: None, ..limits };
        }
        self.commit_change(tx).await?;
        Ok(CreatedKey { key, secret: minted.secret })
    }

    /// The key of that id.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn key(&self, id: &KeyId) -> Result<Key, LedgerError> {
        let mut reader = self.store.read().await?;
        let key =
            repo::find(&mut reader, id).await?.ok_or_else(|| LedgerError::not_found("key", id))?;
        Ok(self.with_limits(key))
    }

    /// Keys in the order they were made, of one customer or of all, revoked ones too.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn keys(
        &self,
        customer: Option<&CustomerId>,
        page: &Page,
    ) -> Result<Listing<Key>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, customer, page.after(), page.rows()).await?;
        let rows = rows.into_iter().map(|key| self.with_limits(key)).collect();
        Ok(Listing::cut(page, rows, |key: &Key| key.id.to_string()))
    }

    /// Revokes a key: every gateway refuses it as soon as it has the next snapshot. Revoking again
    /// changes nothing, not even the time.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when the idempotency key was spent on
    /// another call; else the store's failure.
    pub async fn revoke_key(
        &self,
        id: &KeyId,
        instruction: &Instruction,
    ) -> Result<Key, LedgerError> {
        let now = self.now();
        let of_it = Subject { noun: "access by", id: id.as_str() };
        let call = Call { subject: of_it, action: audit::REVOKE, request: "" };
        let mut tx = self.store.write().await?;
        let is_new = call.before(&mut tx, instruction).await?.is_none();
        let revoked = is_new && repo::revoke(&mut tx, id, now).await?;
        let key =
            repo::find(&mut tx, id).await?.ok_or_else(|| LedgerError::not_found("key", id))?;
        if is_new {
            call.spend(&mut tx, None, instruction, now).await?;
        }
        if revoked {
            audit::note(&mut tx, subject(id), audit::REVOKE, None, instruction, now).await?;
            self.commit_change(tx).await?;
        } else {
            self.commit(tx).await?;
        }
        Ok(self.with_limits(key))
    }

    fn with_limits(&self, key: Key) -> Key {
        let owner = Owner::of_key(&key.customer, &key.id);
        Key { limits: self.catalogue.borrow().limits_of(&owner), ..key }
    }
}
