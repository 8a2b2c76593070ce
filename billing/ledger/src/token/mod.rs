//! Tokens for the API and the console: who may do what. Only a digest of the secret is kept.

mod repo;

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use permille_types::{CustomerId, KeyHash};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use crate::{
    Instruction, Ledger, LedgerError, Listing, Page,
    audit::{self, Call, Subject},
    customer,
    secret::{StoredSecret, TOKEN_PREFIX, is_well_formed, mint, public_id},
    slug,
};

/// What the bearer of a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Everything, tokens included.
    Admin,
    /// Prices, usage, sessions, invoices; no keys.
    Finance,
    /// Customers, projects, keys, usage, quarantine; no invoices.
    Operator,
    /// Reads what belongs to this customer.
    Customer(CustomerId),
    /// A gateway process: intake and snapshot, nothing else.
    Gateway,
}

/// The names of the roles.
pub const ROLES: &str = "admin, finance, operator, customer, gateway";

impl Role {
    /// The role's name.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Finance => "finance",
            Self::Operator => "operator",
            Self::Customer(_) => "customer",
            Self::Gateway => "gateway",
        }
    }

    /// The role of that name, bound to `customer` where it is one that must be.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for an unknown role, a role `customer` without one, or a customer
    /// beside any other role.
    pub fn named(name: &str, customer: Option<CustomerId>) -> Result<Self, LedgerError> {
        match (name, customer) {
            ("customer", Some(customer)) => Ok(Self::Customer(customer)),
            ("customer", None) => Err(LedgerError::invalid(
                "customer",
                "",
                "the customer that a token of role customer is bound to",
            )),
            ("admin" | "finance" | "operator" | "gateway", Some(customer)) => {
                Err(LedgerError::invalid("customer", &customer, "only beside role customer"))
            }
            ("admin", None) => Ok(Self::Admin),
            ("finance", None) => Ok(Self::Finance),
            ("operator", None) => Ok(Self::Operator),
            ("gateway", None) => Ok(Self::Gateway),
            (other, _) => Err(LedgerError::invalid("role", other, ROLES)),
        }
    }

    /// The customer that a token of this role is bound to.
    #[must_use]
    pub fn customer(&self) -> Option<&CustomerId> {
        match self {
            Self::Customer(customer) => Some(customer),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JsonSchema for Role {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Role".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "enum": ["admin", "finance", "operator", "customer", "gateway"],
        })
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// A token's public id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TokenId(String);

impl TokenId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let reads_well = text.strip_prefix("tok_").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        if reads_well {
            Ok(Self(text.to_owned()))
        } else {
            Err(LedgerError::invalid("token id", text, "an id such as tok_0VsQ…"))
        }
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Token {
    /// Its public id.
    pub id: TokenId,
    /// What its bearer may do.
    pub role: Role,
    /// The customer it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// What its owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How the secret begins.
    pub prefix: String,
    /// How the secret ends.
    pub last4: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
    /// What it is recognised by.
    #[serde(skip)]
    pub digest: KeyHash,
}

/// A token that was just made, with the secret that is shown this once.
#[derive(Debug)]
pub struct CreatedToken {
    /// The token as lists show it.
    pub token: Token,
    /// The secret. Nobody can tell it again.
    pub secret: SecretString,
}

fn subject(id: &TokenId) -> Subject<'_> {
    Subject { noun: "token", id: id.as_str() }
}

impl Ledger {
    /// Makes a token of `role`.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] for an unknown customer, [`LedgerError::Invalid`] for a bad name,
    /// else the store's failure.
    pub async fn create_token(
        &self,
        role: Role,
        name: Option<&str>,
    ) -> Result<CreatedToken, LedgerError> {
        self.make_token(role, name, None).await
    }

    /// The same in somebody's name: under their idempotency key one is made, whose secret is not
    /// told again.
    ///
    /// # Errors
    /// As [`Ledger::create_token`]; [`LedgerError::Refused`] when the key was spent before.
    pub async fn create_token_by(
        &self,
        role: Role,
        name: Option<&str>,
        instruction: &Instruction,
    ) -> Result<CreatedToken, LedgerError> {
        self.make_token(role, name, Some(instruction)).await
    }

    async fn make_token(
        &self,
        role: Role,
        name: Option<&str>,
        instruction: Option<&Instruction>,
    ) -> Result<CreatedToken, LedgerError> {
        let request = audit::digest(&(&role, name));
        let name = name.map(slug::checked_name).transpose()?.map(str::to_owned);
        let created_at = self.now();
        let minted = mint(TOKEN_PREFIX, &self.pepper)?;
        let StoredSecret { digest, prefix, last4 } = minted.stored;
        let token = Token {
            id: TokenId(public_id("tok_", created_at)?),
            customer: role.customer().cloned(),
            role,
            name,
            prefix,
            last4,
            created_at,
            revoked_at: None,
            digest,
        };

        let mut tx = self.store.write().await?;
        if let Some(customer) = &token.customer {
            customer::find(&mut tx, customer)
                .await?
                .ok_or_else(|| LedgerError::not_found("customer", customer))?;
        }
        if let Some(instruction) = instruction {
            let of_role = Subject { noun: "tokens of", id: token.role.as_str() };
            audit::refuse_made(&mut tx, of_role, &request, instruction).await?;
            let made = token.id.as_str();
            audit::note_made(&mut tx, of_role, &request, made, instruction, created_at).await?;
            let subject = subject(&token.id);
            audit::note(&mut tx, subject, audit::CREATE, None, instruction, created_at).await?;
        }
        repo::insert(&mut tx, &token).await?;
        self.commit(tx).await?;
        Ok(CreatedToken { token, secret: minted.secret })
    }

    /// Tokens in the order they were made, revoked ones too.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn tokens(&self, page: &Page) -> Result<Listing<Token>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, page.after(), page.rows()).await?;
        Ok(Listing::cut(page, rows, |token| token.id.to_string()))
    }

    /// Revokes a token. Revoking again changes nothing, not even the time.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when the idempotency key was spent on
    /// another call; else the store's failure.
    pub async fn revoke_token(
        &self,
        id: &TokenId,
        instruction: &Instruction,
    ) -> Result<Token, LedgerError> {
        let now = self.now();
        let of_it = Subject { noun: "rights of", id: id.as_str() };
        let call = Call { subject: of_it, action: audit::REVOKE, request: "" };
        let mut tx = self.store.write().await?;
        let is_new = call.before(&mut tx, instruction).await?.is_none();
        let revoked = is_new && repo::revoke(&mut tx, id, now).await?;
        let token =
            repo::find(&mut tx, id).await?.ok_or_else(|| LedgerError::not_found("token", id))?;
        if is_new {
            call.spend(&mut tx, None, instruction, now).await?;
        }
        if revoked {
            audit::note(&mut tx, subject(id), audit::REVOKE, None, instruction, now).await?;
        }
        self.commit(tx).await?;
        Ok(token)
    }

    /// The token of that id; `None` when there is none or it is revoked.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn token_in_force(&self, id: &TokenId) -> Result<Option<Token>, LedgerError> {
        let mut reader = self.store.read().await?;
        let token = repo::find(&mut reader, id).await?;
        Ok(token.filter(|token| token.revoked_at.is_none()))
    }

    /// The token whose secret this is; `None` when there is none or it is revoked.
    ///
    /// The store is asked for the secret's digest, so the time that the answer takes tells nothing
    /// about any secret.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn authenticate(&self, secret: &SecretString) -> Result<Option<Token>, LedgerError> {
        if !is_well_formed(TOKEN_PREFIX, secret) {
            return Ok(None);
        }
        let digest = self.pepper.digest(secret.expose_secret());
        let mut reader = self.store.read().await?;
        let token = repo::find_by_digest(&mut reader, &digest).await?;
        Ok(token.filter(|token| token.revoked_at.is_none()))
    }
}
