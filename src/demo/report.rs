//! What the demonstration prints: each step as it happens, then sessions, invoices, addresses.

use permille_types::{Clock, SystemClock};
use serde_json::json;

use super::{
    client::Outcome,
    script::{BUYERS, CONVERSATIONS, Conversation, Step},
};
use crate::{
    api::{Api, Path},
    command::{invoice, session, session_summary},
    data_folder::DataFolder,
    error::CliError,
    output::Output,
    serve::Access,
};

/// Says what is about to happen.
pub(super) fn opening(output: Output) -> Result<(), CliError> {
    text(
        output,
        "Three customers talk to simulated models through the gateway. Each turn sends the whole \
         conversation again; some answers are regenerated, some readers leave early.\n",
    )
}

/// One request has been made.
pub(super) fn step(
    output: Output,
    conversation: &Conversation,
    step: &Step,
    outcome: Outcome,
) -> Result<(), CliError> {
    let Outcome { chunks, left } = outcome;
    let what = match step {
        Step::Ask { stream: false, .. } => "asked, answered in one piece".to_owned(),
        Step::Ask { .. } => format!("asked, {chunks} chunks streamed"),
        Step::Regenerate { .. } => format!("asked the same again, {chunks} chunks streamed"),
        Step::Abort { .. } if left => format!("asked, left after {chunks} chunks"),
        Step::Abort { .. } => format!("asked, meant to leave but had it all: {chunks} chunks"),
    };
    text(output, &format!("  {:<20} {:<18} {what}", conversation.session, conversation.model))
}

/// What each turn of each session cost.
pub(super) async fn sessions(output: Output, api: &Api) -> Result<(), CliError> {
    text(output, "\nWhat each turn cost\n===================")?;
    for conversation in &CONVERSATIONS {
        let path = Path::of(&["sessions", conversation.session])
            .with("customer", Some(conversation.buyer));
        let document = api.get(&path).await?;
        text(output, "")?;
        output.one(&document, session::text)?;
    }
    Ok(())
}

/// What all sessions cost, and what of it is hidden.
pub(super) async fn summary(output: Output, api: &Api) -> Result<(), CliError> {
    text(output, "\nWhat all sessions cost\n======================\n")?;
    let document = api.get(&Path::of(&["session-summary"])).await?;
    output.one(&document, session_summary::text)
}

/// What each customer would be billed for this month.
pub(super) async fn invoices(output: Output, api: &Api) -> Result<(), CliError> {
    text(output, "\nDraft invoices\n==============")?;
    for buyer in &BUYERS {
        // A month ends where the customer lives; the traffic was a moment ago.
        let zone: chrono_tz::Tz = buyer.time_zone.parse().unwrap_or(chrono_tz::UTC);
        let period = SystemClock.now().with_timezone(&zone).format("%Y-%m").to_string();
        let body = json!({"customer": buyer.id, "period": period});
        let document = api.post(&Path::of(&["invoices", "draft"]), &body).await?;
        text(output, "")?;
        output.one(&document, invoice::text)?;
    }
    Ok(())
}

/// Where the server listens, and what to try.
pub(super) fn where_to_look(
    output: Output,
    access: &Access,
    folder: &DataFolder,
) -> Result<(), CliError> {
    if output.is_json() {
        return output.document(&json!({
            "gateway": format!("http://{}", access.gateway),
            "console": format!("http://{}", access.console),
            "metrics": format!("http://{}/metrics", access.metrics),
            "data": folder.path(),
        }));
    }
    let data = folder.path().display();
    output.line(&format!(
        "\nWhere to look\n=============\n\n\
         gateway  http://{gateway}/v1 (OpenAI), http://{gateway}/anthropic (Anthropic)\n\
         console  http://{console}, in a browser, with a token of the next command\n\
         api      http://{console}/api/v1\n\
         metrics  http://{metrics}/metrics\n\n\
         permille --data {data} token create --role admin\n\
         permille --data {data} usage list\n\
         permille --data {data} session show acme-ticket-4711 --customer acme\n\
         permille --data {data} session summary --flat-fee \"1 CNY\"\n\
         permille --data {data} price list --model claude-sonnet-4-5\n\n\
         The server stays up; Ctrl-C ends it and removes the folder.",
        gateway = access.gateway,
        console = access.console,
        metrics = access.metrics,
    ))
}

/// Prose is for people only.
fn text(output: Output, line: &str) -> Result<(), CliError> {
    if output.is_json() { Ok(()) } else { output.line(line) }
}
