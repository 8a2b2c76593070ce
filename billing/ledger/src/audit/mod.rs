//! Audit: who changed what, when, from which state to which. Rows are added, never changed.
//!
//! A row of the change's own transaction also spends the caller's idempotency key: the same call
//! again finds it and changes nothing, the same key for another call is refused. It is the row in
//! the trail where a call always changes just that, else one beside it ([`Call`]).

mod repo;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use repo::{entries, insert};

use crate::{Ledger, LedgerError, Role, Token, TokenId, store::Connection};

/// Longest idempotency key, in bytes: a UUID has 36, and what people use is near it.
const KEY_BYTES_MAX: usize = 255;
/// What is noted when something is made.
pub(crate) const CREATE: &str = "create";
/// What is noted when a key or a token is revoked.
pub(crate) const REVOKE: &str = "revoke";

/// Who changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    token: TokenId,
    role: Role,
    name: Option<String>,
}

impl Actor {
    /// The bearer of `token`.
    #[must_use]
    pub fn of(token: &Token) -> Self {
        Self { token: token.id.clone(), role: token.role.clone(), name: token.name.clone() }
    }

    /// What they may do.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// What its owner calls the token.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Their token.
    #[must_use]
    pub fn token(&self) -> &TokenId {
        &self.token
    }
}

/// Who asks for a change, and the key under which the same call may come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    by: Actor,
    key: Option<String>,
}

impl Instruction {
    /// A change by `by`; under `key` it is made once, however often it is asked for.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a key that is empty, too long or not printable ASCII.
    pub fn new(by: Actor, key: Option<&str>) -> Result<Self, LedgerError> {
        if let Some(key) = key {
            let printable = key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if key.is_empty() || key.len() > KEY_BYTES_MAX || !printable {
                let accepted = format!("1 to {KEY_BYTES_MAX} printable characters of ASCII");
                return Err(LedgerError::invalid("idempotency-key", key, accepted));
            }
        }
        Ok(Self { by, key: key.map(str::to_owned) })
    }

    /// Who asks.
    #[must_use]
    pub fn by(&self) -> &Actor {
        &self.by
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

/// Who a change is noted of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author<'a> {
    token: &'a str,
    role: &'a str,
    name: Option<&'a str>,
    key: Option<&'a str>,
}

impl Author<'_> {
    /// The same, spending no key.
    pub(crate) fn unkeyed(self) -> Self {
        Self { key: None, ..self }
    }

    /// Billing itself, because a plan's threshold was reached.
    pub(crate) const THRESHOLD: Self =
        Self { token: "threshold", role: "billing", name: None, key: None };
}

impl<'a> From<&'a Instruction> for Author<'a> {
    fn from(instruction: &'a Instruction) -> Self {
        let Instruction { by, key } = instruction;
        Self {
            token: by.token.as_str(),
            role: by.role.as_str(),
            name: by.name.as_deref(),
            key: key.as_deref(),
        }
    }
}

/// One change, as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// What was done.
    pub action: String,
    /// The state before; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The state after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The token of whoever did it; `threshold` where a plan's threshold was reached.
    pub token: String,
    /// Its role.
    pub role: String,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What else there is to say: a number, a reason, a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Things whose trail can be asked for by their kind.
const NOUNS: [&str; 13] = [
    "charge",
    "customer",
    "fx",
    "invoice",
    "key",
    "period",
    "plan",
    "prices",
    "project",
    "quarantine",
    "reconciliation",
    "token",
    "webhook",
];

impl Ledger {
    /// Everything that was done to one thing, oldest first; nothing of what was never changed.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a kind of thing that has no trail, else the store's failure.
    pub async fn trail(&self, noun: &str, id: &str) -> Result<Vec<AuditEntry>, LedgerError> {
        let Some(noun) = NOUNS.into_iter().find(|known| *known == noun) else {
            return Err(LedgerError::invalid("noun", noun, NOUNS.join(", ")));
        };
        let mut reader = self.store.read().await?;
        entries(&mut reader, Subject { noun, id }).await
    }
}

/// What a change is of: one invoice, one month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject<'a> {
    pub(crate) noun: &'static str,
    pub(crate) id: &'a str,
}

/// A change to note.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) action: &'static str,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
    pub(crate) detail: Option<&'a str>,
    /// What was asked for, so that a repeated call is told from another one.
    pub(crate) request: &'a str,
    /// The id of what the change made.
    pub(crate) result: Option<&'a str>,
}

/// A call that was made before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// The id of what it made, where it made something new.
    pub(crate) result: Option<String>,
}

/// What was asked for, as a digest: what a repeated call is told by, where the text is long or not
/// for every reader of the trail.
pub(crate) fn digest(asked: &impl std::fmt::Debug) -> String {
    hex::encode(Sha256::digest(format!("{asked:?}")))
}

/// Notes that something was made, so that the same call makes it once.
pub(crate) async fn note_made(
    connection: &mut Connection,
    subject: Subject<'_>,
    request: &str,
    result: &str,
    instruction: &Instruction,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let change = Change {
        action: CREATE,
        from: None,
        to: None,
        detail: None,
        request,
        result: Some(result),
    };
    insert(connection, subject, change, instruction, at).await
}

/// Notes a change in the trail of a thing. The key is spent on the call that made it ([`Call`]).
pub(crate) async fn note(
    connection: &mut Connection,
    subject: Subject<'_>,
    action: &'static str,
    detail: Option<&str>,
    instruction: &Instruction,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let change = Change { action, from: None, to: None, detail, request: "", result: None };
    insert(connection, subject, change, Author::from(instruction).unkeyed(), at).await
}

/// A call as its idempotency key remembers it: for what its row in the trail does not tell it by,
/// because it may change nothing, or makes what nobody knows the id of before. The noun of such a
/// subject is none that has a trail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) subject: Subject<'a>,
    pub(crate) action: &'static str,
    /// What was asked for, so that a repeated call is told from another one.
    pub(crate) request: &'a str,
}

impl Call<'_> {
    /// This very call, if it was made before under its key.
    ///
    /// # Errors
    /// As [`repeated`].
    pub(crate) async fn before(
        self,
        connection: &mut Connection,
        instruction: &Instruction,
    ) -> Result<Option<Repeated>, LedgerError> {
        let Self { subject, action, request } = self;
        repeated(connection, subject, action, request, instruction).await
    }

    /// Spends the key, where there is one, in the transaction of what the call changes; also where
    /// that is nothing. `result` is what tells the first answer.
    pub(crate) async fn spend(
        self,
        connection: &mut Connection,
        result: Option<&str>,
        instruction: &Instruction,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        if instruction.key().is_none() {
            return Ok(());
        }
        let Self { subject, action, request } = self;
        let change = Change { action, from: None, to: None, detail: None, request, result };
        insert(connection, subject, change, instruction, at).await
    }
}

/// Refuses to make something again whose secret was shown once.
pub(crate) async fn refuse_made(
    connection: &mut Connection,
    subject: Subject<'_>,
    request: &str,
    instruction: &Instruction,
) -> Result<(), LedgerError> {
    let Some(made) = repeated(connection, subject, CREATE, request, instruction).await? else {
        return Ok(());
    };
    let made = made.result.unwrap_or_default();
    let key = instruction.key().unwrap_or_default();
    let reason = format!(
        "made `{made}`, whose secret was shown then and cannot be shown again; accepted: to revoke \
         it and to make another under another Idempotency-Key"
    );
    Err(LedgerError::refused("idempotency key", key, reason))
}

/// This very call, if it was made before under its key.
///
/// # Errors
/// [`LedgerError::Refused`] when the key was spent on another call, else the store's failure.
pub(crate) async fn repeated(
    connection: &mut Connection,
    subject: Subject<'_>,
    action: &'static str,
    request: &str,
    instruction: &Instruction,
) -> Result<Option<Repeated>, LedgerError> {
    let Some(key) = instruction.key() else { return Ok(None) };
    let Some(spent) = repo::spent_on(connection, instruction.by(), key).await? else {
        return Ok(None);
    };
    let this = (subject.noun, subject.id, action, Some(request));
    let before = (&*spent.noun, &*spent.subject, &*spent.action, spent.request.as_deref());
    if before == this {
        return Ok(Some(Repeated { result: spent.result }));
    }
    Err(LedgerError::refused(
        "idempotency key",
        key,
        format!(
            "was used to {} {} `{}`; use another one in Idempotency-Key for another call",
            before.2, before.0, before.1
        ),
    ))
}
