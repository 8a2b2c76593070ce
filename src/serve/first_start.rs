//! What a first start leaves behind and says: a customer, a key, a token, and a line to try.

use serde_json::json;

use super::Running;
use crate::{
    api::{Api, Path, created_secret},
    error::CliError,
    output::Output,
};
use secrecy::ExposeSecret;

/// Says where the server is. On an empty store it first makes a customer `default` with a key,
/// and an admin token; their secrets are printed this once.
///
/// # Errors
/// [`CliError`] when the API refuses or nobody reads the output.
pub(crate) async fn greet(output: Output, running: &Running) -> Result<(), CliError> {
    let Some(api) = running.api() else { return Ok(()) };
    let customers = api.list(&Path::of(&["customers"])).await?;
    if !customers.is_empty() {
        return Ok(());
    }
    let token = api.post(&Path::of(&["tokens"]), &json!({"role": "admin"})).await?;
    let token = created_secret(&token)?;
    let Some(access) = running.access() else {
        return output.line(&format!("first admin token, shown once: {}", token.expose_secret()));
    };
    let key = default_customer(&api).await?;
    if output.is_json() {
        return output.document(&json!({
            "gateway": format!("http://{}", access.gateway),
            "console": format!("http://{}", access.console),
            "metrics": format!("http://{}/metrics", access.metrics),
            "customer": "default",
            "key": key.expose_secret(),
            "admin_token": token.expose_secret(),
        }));
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
         gateway  http://{gateway}/v1 (OpenAI), http://{gateway}/anthropic (Anthropic)\n\
         console  http://{console}, in a browser, with the admin token\n\
         api      http://{console}/api/v1\n\
         metrics  http://{metrics}/metrics",
        key = key.expose_secret(),
        token = token.expose_secret(),
        gateway = access.gateway,
        console = access.console,
        metrics = access.metrics,
        body = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}]}"#,
    ))
}

async fn default_customer(api: &Api) -> Result<secrecy::SecretString, CliError> {
    let customer = json!({"id": "default", "name": "default", "currency": "USD",
                          "time_zone": "UTC"});
    api.post(&Path::of(&["customers"]), &customer).await?;
    let key = json!({"customer": "default", "project": "default"});
    Ok(created_secret(&api.post(&Path::of(&["keys"]), &key).await?)?)
}
