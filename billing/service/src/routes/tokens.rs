//! `/api/v1/tokens`: credentials for this API.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{Listing, Role, Token, TokenId};
use permille_types::CustomerId;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ManageTokens},
    billing::Billing,
    input::{Body, PageParams, Params, Segment, id},
    output::WithSecret,
    problem::Problem,
};

/// A token to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"role": "finance", "name": "month close"}]))]
pub(super) struct New {
    /// What it may do.
    #[schemars(extend("enum" = ["admin", "finance", "operator", "customer", "gateway"]))]
    role: String,
    /// Whose rows a token of role customer sees; only beside that role.
    customer: Option<CustomerId>,
    /// Who or what uses it.
    #[schemars(length(min = 1, max = 256))]
    name: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    _: Caller<ManageTokens>,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<Token>>, Problem> {
    Ok(Json(billing.ledger.tokens(&params.page()?).await?))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller<ManageTokens>,
    body: Body<New>,
) -> Result<(StatusCode, Json<WithSecret<Token>>), Problem> {
    let new = body.read().await?;
    let role = Role::named(&new.role, new.customer)?;
    let created =
        billing.ledger.create_token_by(role, new.name.as_deref(), &caller.instruction()?).await?;
    Ok((StatusCode::CREATED, Json(WithSecret { made: created.token, secret: created.secret })))
}

pub(super) async fn revoke(
    State(billing): State<Billing>,
    caller: Caller<ManageTokens>,
    Segment(text): Segment,
) -> Result<Json<Token>, Problem> {
    let token: TokenId = id("token", &text)?;
    if token == *caller.token() {
        let detail = format!(
            "token `{token}` is the one that asks, which would lock its owner out; accepted: to \
             revoke it with another token of role admin"
        );
        return Err(Problem::conflict(detail));
    }
    Ok(Json(billing.ledger.revoke_token(&token, &caller.instruction()?).await?))
}
