//! What a start says: where the server is. A first one leaves a customer, a key and a token
//! behind, and says them and a line to try.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{Access, Running};
use crate::{
    api::{Api, Path, created_secret},
    error::CliError,
    output::Output,
    store::LOCAL_COMMANDS,
};

/// Says where the server is. On a store without customers it first makes a customer `default` with
/// a key, and an admin token; their secrets are printed this once. Billing alone makes only the
/// token, where nobody has one.
///
/// # Errors
/// [`CliError`] when the API refuses or nobody reads the output.
pub(crate) async fn greet(output: Output, running: &Running) -> Result<(), CliError> {
    let Some(api) = running.api() else { return Ok(()) };
    let has_customers = !api.list(&Path::of(&["customers"])).await?.is_empty();
    let Some(access) = running.access() else {
        let tokens = api.list(&Path::of(&["tokens"])).await?;
        if has_customers || tokens.iter().any(|token| is_somebodys_admin(token)) {
            return Ok(());
        }
        let token = admin_token(&api).await?;
        return output.line(&format!("first admin token, shown once: {}", token.expose_secret()));
    };
    let greeting = Greeting::of(&access);
    if has_customers {
        return if output.is_json() {
            output.document(&greeting)
        } else {
            output.line(&told(&access))
        };
    }
    let token = admin_token(&api).await?;
    let key = default_customer(&api).await?;
    if output.is_json() {
        return output.document(&Greeting {
            customer: Some("default"),
            key: Some(key.expose_secret()),
            admin_token: Some(token.expose_secret()),
            ..greeting
        });
    }
    let models = if running.is_simulated() {
        "no [[upstream]] is configured: a simulated provider answers, and its rows are marked"
    } else {
        "requests go to the configured upstreams"
    };
    output.line(&format!(
        "First start. These secrets are shown this once:\n\
         \n\
         key of customer `default`:  {key}\n\
         admin token for the API:    {token}\n\
         \n\
         Try it ({models}):\n\
         \n\
         curl http://{gateway}/v1/chat/completions \\\n  \
           -H 'authorization: Bearer {key}' \\\n  \
           -H 'content-type: application/json' \\\n  \
           -d '{body}'\n\
         \n\
         {places}",
        key = key.expose_secret(),
        token = token.expose_secret(),
        gateway = access.gateway,
        places = told(&access),
        body = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}]}"#,
    ))
}

/// What a start says as JSON; the last three fields on a first one.
#[derive(Serialize)]
struct Greeting<'a> {
    gateway: String,
    console: String,
    metrics: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_token: Option<&'a str>,
}

impl Greeting<'_> {
    fn of(access: &Access) -> Self {
        Self {
            gateway: format!("http://{}", access.gateway),
            console: format!("http://{}", access.console),
            metrics: format!("http://{}/metrics", access.metrics),
            customer: None,
            key: None,
            admin_token: None,
        }
    }
}

/// Where the server is, for people.
fn told(Access { gateway, console, metrics, .. }: &Access) -> String {
    format!(
        "gateway  http://{gateway}/v1 (OpenAI), http://{gateway}/anthropic (Anthropic)\n\
         console  http://{console}, in a browser, with an admin token \
         (`permille token create --role admin` makes one)\n\
         api      http://{console}/api/v1\n\
         metrics  http://{metrics}/metrics"
    )
}

/// Whether `token`, as the API lists it, is an admin's that somebody was given.
fn is_somebodys_admin(token: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Listed {
        role: String,
        name: Option<String>,
    }
    serde_json::from_str::<Listed>(token.get())
        .is_ok_and(|token| token.role == "admin" && token.name.as_deref() != Some(LOCAL_COMMANDS))
}

async fn admin_token(api: &Api) -> Result<SecretString, CliError> {
    let made = api.post(&Path::of(&["tokens"]), &json!({"role": "admin"})).await?;
    Ok(created_secret(&made)?)
}

async fn default_customer(api: &Api) -> Result<SecretString, CliError> {
    let customer = json!({"id": "default", "name": "default", "currency": "USD",
                          "time_zone": "UTC"});
    api.post(&Path::of(&["customers"]), &customer).await?;
    let key = json!({"customer": "default", "project": "default"});
    Ok(created_secret(&api.post(&Path::of(&["keys"]), &key).await?)?)
}
