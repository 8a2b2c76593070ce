//! Who may do what. Every route asks here first; nothing is open to a caller without a token.

use std::{marker::PhantomData, ops::Deref};

use axum::extract::FromRequestParts;
use http::{HeaderMap, Method, header, request::Parts};
use permille_ledger::{Actor, Instruction, Role, Token, TokenId};
use permille_types::CustomerId;
use secrecy::SecretString;

use crate::{billing::Billing, console, problem::Problem};

/// Under one value of it a call changes things once.
///
/// Source: draft-ietf-httpapi-idempotency-key-header.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What a route does, and who may. The roles are checked where the caller is made, so a handler
/// that takes one cannot forget to ask, and the API's description reads them from its type.
pub(crate) trait Action: Send + Sync + 'static {
    /// Names of the roles.
    const ROLES: &'static [&'static str];
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident: $($role:literal)+;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name;

        impl Action for $name {
            const ROLES: &'static [&'static str] = &[$($role),+];
        }
    )+};
}

actions! {
    /// Look at customers, projects and their limits.
    ReadCustomers: "admin" "finance" "operator" "customer";
    /// Add customers and projects, and limit them.
    WriteCustomers: "admin" "operator";
    /// Change what invoices of a customer say.
    WriteTerms: "admin" "finance";
    /// Look at keys.
    ReadKeys: "admin" "operator" "customer";
    /// Make, limit and revoke keys.
    WriteKeys: "admin" "operator";
    /// Make and revoke tokens.
    ManageTokens: "admin";
    /// Look at prices, charges and plans.
    ReadPrices: "admin" "finance" "operator" "customer";
    /// Change them.
    WritePrices: "admin" "finance";
    /// Look at usage and sessions.
    ReadUsage: "admin" "finance" "operator" "customer";
    /// Look at what providers take, and what is left.
    ReadMargins: "admin" "finance";
    /// Say what became of a session.
    WriteOutcomes: "admin" "operator" "customer";
    /// Look at invoices, credit notes and grants.
    ReadInvoices: "admin" "finance" "customer";
    /// Say what is wrong with an issued invoice.
    OpenDisputes: "admin" "finance" "customer";
    /// Take a step in the life of an invoice, grant credit.
    WriteInvoices: "admin" "finance";
    /// Look at balances and at who changed what.
    ReadAudit: "admin" "finance";
    /// Look at the close of a month and sign it.
    SignClose: "admin" "finance" "operator";
    /// Drop old days of usage.
    DropUsage: "admin";
    /// Look at what is in quarantine.
    ReadQuarantine: "admin" "operator";
    /// Have it booked, or dismiss it.
    SettleQuarantine: "admin" "operator";
    /// Add, look at and remove endpoints that are told of changes.
    ManageWebhooks: "admin" "operator";
    /// Read what this API is.
    ReadDescription: "admin" "finance" "operator" "customer" "gateway";
    /// Intake, snapshots and turns.
    ServeGateways: "gateway";
}

/// The bearer of a valid token.
#[derive(Debug)]
pub(crate) struct Bearer {
    role: Role,
    actor: Actor,
    /// The header `Idempotency-Key`.
    idempotency_key: Option<String>,
}

/// A bearer whose role may do `A`.
#[derive(Debug)]
pub(crate) struct Caller<A> {
    bearer: Bearer,
    action: PhantomData<A>,
}

impl<A> Deref for Caller<A> {
    type Target = Bearer;

    fn deref(&self) -> &Bearer {
        &self.bearer
    }
}

impl Bearer {
    /// Refuses the bearer unless its role may do this too.
    pub(crate) fn may<A: Action>(&self) -> Result<(), Problem> {
        self.may_for::<A>("do this")
    }

    /// The same, where only `what` of a call takes that.
    pub(crate) fn may_for<A: Action>(&self, what: &str) -> Result<(), Problem> {
        if A::ROLES.contains(&self.role.as_str()) {
            Ok(())
        } else {
            Err(Problem::forbidden(self.role.as_str(), what))
        }
    }

    /// Who asks, by role and token.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The name of the caller's role.
    pub(crate) fn role(&self) -> &'static str {
        self.role.as_str()
    }

    /// The customer that the caller is bound to.
    pub(crate) fn bound_to(&self) -> Option<&CustomerId> {
        self.role.customer()
    }

    /// Who is noted as the author of what the caller says.
    pub(crate) fn token(&self) -> &TokenId {
        self.actor.token()
    }

    /// What the caller asks for, in its own name and under its idempotency key.
    pub(crate) fn instruction(&self) -> Result<Instruction, Problem> {
        Ok(Instruction::new(self.actor.clone(), self.idempotency_key.as_deref())?)
    }

    /// The customer to restrict a list to: the one that was asked for, or the caller's own. A name
    /// that nobody has is refused: an empty list would read as a customer that used nothing.
    pub(crate) async fn scope(
        &self,
        billing: &Billing,
        asked: Option<CustomerId>,
    ) -> Result<Option<CustomerId>, Problem> {
        let Some(asked) = asked else { return Ok(self.bound_to().cloned()) };
        self.owns(&asked)?;
        Ok(Some(billing.ledger.customer(&asked).await?.id))
    }

    /// Refuses what belongs to another customer, as if it did not exist.
    pub(crate) fn owns(&self, customer: &CustomerId) -> Result<(), Problem> {
        match self.role.customer() {
            Some(own) if own != customer => Err(unknown(customer)),
            _ => Ok(()),
        }
    }
}

fn unknown(customer: &CustomerId) -> Problem {
    Problem::not_found(format!("customer `{customer}` is unknown"))
}

impl<A: Action> FromRequestParts<Billing> for Caller<A> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, billing: &Billing) -> Result<Self, Problem> {
        let idempotency_key = parts
            .headers
            .get(IDEMPOTENCY_KEY)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let token = match secret(&parts.headers) {
            Some(secret) => {
                let token = billing.ledger.authenticate(&secret).await?;
                Some(token.ok_or_else(Problem::unknown_token)?)
            }
            // The console's links to the API open in the browser that has signed in: what changes
            // something takes a token all the same.
            None if matches!(parts.method, Method::GET | Method::HEAD) => {
                console::token_of(&parts.headers, billing).await?
            }
            None => None,
        };
        let caller = Self::of(token.ok_or_else(Problem::unauthenticated)?, idempotency_key)?;
        if parts.method == Method::POST {
            // A key that could not be spent is refused where none is taken too: a client that sends
            // one with every call learns of it at the first.
            caller.instruction()?;
        }
        Ok(caller)
    }
}

impl<A: Action> Caller<A> {
    /// The bearer of `token`, if its role may do this.
    pub(crate) fn of(token: Token, idempotency_key: Option<String>) -> Result<Self, Problem> {
        let bearer = Bearer { actor: Actor::of(&token), role: token.role, idempotency_key };
        bearer.may::<A>()?;
        Ok(Self { bearer, action: PhantomData })
    }
}

/// What the caller says its token is.
fn secret(headers: &HeaderMap) -> Option<SecretString> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| SecretString::from(secret.trim()))
}
