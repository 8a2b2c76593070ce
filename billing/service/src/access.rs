//! Who may do what. Every route asks here first; nothing is open to a caller without a token.

use axum::extract::FromRequestParts;
use http::{header, request::Parts};
use permille_ledger::{Actor, Instruction, Role, TokenId};
use permille_types::CustomerId;
use secrecy::SecretString;

use crate::{billing::Billing, problem::Problem};

/// Under one value of it a call changes things once.
///
/// Source: draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    ReadCustomers,
    WriteCustomers,
    /// What invoices of a customer say.
    WriteTerms,
    ReadKeys,
    WriteKeys,
    ManageTokens,
    ReadPrices,
    WritePrices,
    ReadUsage,
    /// What providers take, and what is left.
    ReadMargins,
    /// Saying what became of a session.
    WriteOutcomes,
    ReadInvoices,
    WriteInvoices,
    ReadAudit,
    /// Look at the close of a month and sign it.
    SignClose,
    ReadQuarantine,
    /// Intake, snapshots and turns.
    ServeGateways,
}

/// The bearer of a valid token.
#[derive(Debug)]
pub(crate) struct Caller {
    role: Role,
    actor: Actor,
    /// The header `Idempotency-Key`.
    idempotency_key: Option<String>,
}

impl Caller {
    /// Refuses the caller unless its role may do this.
    pub(crate) fn may(&self, action: Action) -> Result<(), Problem> {
        if allows(&self.role, action) {
            Ok(())
        } else {
            Err(Problem::forbidden(self.role.as_str()))
        }
    }

    /// Who is noted as the author of what the caller says.
    pub(crate) fn token(&self) -> &TokenId {
        self.actor.token()
    }

    /// What the caller asks for, in its own name and under its idempotency key.
    pub(crate) fn instruction(&self) -> Result<Instruction, Problem> {
        Ok(Instruction::new(self.actor.clone(), self.idempotency_key.as_deref())?)
    }

    /// The customer to restrict a list to: the one that was asked for, or the caller's own.
    pub(crate) fn scope(&self, asked: Option<CustomerId>) -> Result<Option<CustomerId>, Problem> {
        match (self.role.customer(), asked) {
            (None, asked) => Ok(asked),
            (Some(own), None) => Ok(Some(own.clone())),
            (Some(own), Some(asked)) if *own == asked => Ok(Some(asked)),
            (Some(_), Some(asked)) => Err(unknown(&asked)),
        }
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

fn allows(role: &Role, action: Action) -> bool {
    use Action::{
        ReadAudit, ReadCustomers, ReadInvoices, ReadKeys, ReadMargins, ReadPrices, ReadQuarantine,
        ReadUsage, ServeGateways, SignClose, WriteCustomers, WriteInvoices, WriteKeys,
        WriteOutcomes, WritePrices, WriteTerms,
    };
    match role {
        Role::Admin => action != ServeGateways,
        Role::Gateway => action == ServeGateways,
        Role::Finance => {
            matches!(
                action,
                ReadCustomers
                    | ReadPrices
                    | WritePrices
                    | ReadUsage
                    | ReadMargins
                    | ReadInvoices
                    | WriteInvoices
                    | WriteTerms
                    | ReadAudit
                    | SignClose
            )
        }
        Role::Operator => matches!(
            action,
            ReadCustomers
                | WriteCustomers
                | ReadKeys
                | WriteKeys
                | ReadPrices
                | ReadUsage
                | WriteOutcomes
                | ReadQuarantine
                | SignClose
        ),
        Role::Customer(_) => {
            matches!(
                action,
                ReadCustomers | ReadKeys | ReadPrices | ReadUsage | WriteOutcomes | ReadInvoices
            )
        }
    }
}

impl FromRequestParts<Billing> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, billing: &Billing) -> Result<Self, Problem> {
        let idempotency_key = parts
            .headers
            .get(IDEMPOTENCY_KEY)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let secret = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| SecretString::from(secret.trim()))
            .ok_or_else(Problem::unauthenticated)?;
        let token = billing.ledger.authenticate(&secret).await?;
        let token = token.ok_or_else(Problem::unauthenticated)?;
        Ok(Self { actor: Actor::of(&token), role: token.role, idempotency_key })
    }
}
