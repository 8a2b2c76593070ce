//! `/api/v1/tokens`: credentials for this API.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{Listing, Role, Token, TokenId};
use permille_types::CustomerId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, PageParams, Params, Segment, id},
    problem::Problem,
};

/// A token to make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    role: String,
    customer: Option<CustomerId>,
    name: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<Token>>, Problem> {
    caller.may(Action::ManageTokens)?;
    Ok(Json(billing.ledger.tokens(&params.page()?).await?))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.may(Action::ManageTokens)?;
    let new: New = body.read().await?;
    let role = Role::named(&new.role, new.customer)?;
    let created = billing.ledger.create_token(role, new.name.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(with_secret(&created.token, &created.secret)?)))
}

pub(super) async fn revoke(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<Token>, Problem> {
    caller.may(Action::ManageTokens)?;
    let token: TokenId = id("token", &text)?;
    Ok(Json(billing.ledger.revoke_token(&token).await?))
}

/// What was made, with the secret that is shown this once.
pub(super) fn with_secret(made: &impl Serialize, secret: &SecretString) -> Result<Value, Problem> {
    let mut document = serde_json::to_value(made)
        .map_err(|cause| Problem::invalid(format!("the answer cannot be written: {cause}")))?;
    if let Some(fields) = document.as_object_mut() {
        fields.insert("secret".to_owned(), Value::from(secret.expose_secret()));
    }
    Ok(document)
}
