//! The command line: what `permille` understands. What a command does lives in its own file.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    command::{
        audit, backup, charge, close, customer, dispute, fx, grant, health, invoice, journal, key,
        margin, migrate, plan, price, project, quote, reconcile, session, simulate, token, usage,
        verify, webhook,
    },
    config::Overrides,
};

/// Token metering and billing gateway for model APIs.
#[derive(Debug, Parser)]
#[command(name = "permille", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// Configuration file [default: permille.toml, if there is one].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Data folder.
    #[arg(long, global = true, value_name = "DIR", default_value = "./permille-data")]
    pub(crate) data: PathBuf,
    /// Print JSON: one document, or one line for each item of a list.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Make the change of this command at most once, however often it is run with this key.
    #[arg(long, global = true, value_name = "KEY", value_parser = idempotency_key)]
    pub(crate) idempotency_key: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the API accepts, with room for a number behind it.
fn idempotency_key(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > 240 || !printable {
        return Err("accepted: 1 to 240 printable characters of ASCII without blanks".to_owned());
    }
    Ok(text.to_owned())
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process.
    Serve(Listeners),
    /// Run `serve` on free ports with a throwaway folder and scripted traffic.
    Demo(Demo),
    /// Run the data plane alone; billing is another process.
    Gateway(GatewayHalf),
    /// Run billing alone: API, intake and jobs.
    Billing(BillingHalf),
    /// The effective configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Customers: who is billed.
    #[command(subcommand)]
    Customer(customer::Command),
    /// Projects: cost centres of a customer.
    #[command(subcommand)]
    Project(project::Command),
    /// Virtual API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Tokens for the API and the console.
    #[command(subcommand)]
    Token(token::Command),
    /// The price book.
    #[command(subcommand)]
    Price(price::Command),
    /// Charges: prices of the sum of a month, such as tiers and packages.
    #[command(subcommand)]
    Charge(charge::Command),
    /// Plans: fees, allowances, commitments, trials.
    #[command(subcommand)]
    Plan(plan::Command),
    /// Prepaid credit.
    #[command(subcommand)]
    Grant(grant::Command),
    /// What a charge would cost, line by line.
    Quote(quote::Quote),
    /// What a plan would have billed of a month's real usage.
    Simulate(simulate::Simulate),
    /// Settled usage.
    #[command(subcommand)]
    Usage(usage::Command),
    /// Multi-turn sessions.
    #[command(subcommand)]
    Session(session::Command),
    /// Invoices.
    #[command(subcommand)]
    Invoice(invoice::Command),
    /// Compute an invoice again from its records and prices, offline, and compare byte for byte.
    Verify(verify::Verify),
    /// Close a month: checks, drafts, signatures, lock.
    Close(close::Close),
    /// Exchange rates by day, for margins and reconciliation. They price no request.
    #[command(subcommand)]
    Fx(fx::Command),
    /// What was billed less what providers took, in one currency.
    Margin(margin::Margin),
    /// Compare a provider's bill or usage export with our side; list, show and sign reports.
    Reconcile(reconcile::Reconcile),
    /// Whether the server of this data folder would serve, for supervisors.
    Health(health::Health),
    /// Journals that were left behind.
    #[command(subcommand)]
    Journal(journal::Command),
    /// Endpoints that are told of changes.
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// What somebody holds against an issued invoice, with its evidence, and the answer.
    #[command(subcommand)]
    Dispute(dispute::Command),
    /// Who changed what of a thing, when.
    Audit(audit::Audit),
    /// Copy the data folder, its store in a file and the configuration, also while a server runs.
    Backup(backup::Backup),
    /// Put a backup into a new data folder.
    Restore(backup::Restore),
    /// Bring the tables of the store up to date.
    Migrate(migrate::Migrate),
    /// Look for what keeps this installation from running well. Changes nothing.
    Doctor,
    /// Print the description of the billing API, an `OpenAPI` 3.1 document.
    #[command(about = "Print the description of the billing API, an OpenAPI 3.1 document")]
    Openapi,
    /// The built-in simulated provider alone.
    #[command(hide = true)]
    Simulator(Simulator),
}

/// `permille config …`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration and print it, secrets masked.
    Check,
}

/// Where to listen, over the configuration. Port 0 takes a free one.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_field_names, reason = "the names are those of the flags")]
pub(crate) struct Listeners {
    /// Data plane, over `gateway.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway_listen: Option<SocketAddr>,
    /// API and console, over `console.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) console_listen: Option<SocketAddr>,
    /// Metrics and health, over `metrics.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

/// `permille demo`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Demo {
    /// End after the report instead of staying up.
    #[arg(long)]
    pub(crate) exit: bool,
}

/// `permille gateway`.
#[derive(Debug, Clone, Args)]
pub(crate) struct GatewayHalf {
    /// Base URL of the billing half, over `billing.url`.
    #[arg(long, value_name = "URL")]
    pub(crate) billing: Option<String>,
    /// Data plane, over `gateway.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway_listen: Option<SocketAddr>,
    /// Metrics and health, over `metrics.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

/// `permille billing`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BillingHalf {
    /// API and console, over `console.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) console_listen: Option<SocketAddr>,
    /// Metrics and health, over `metrics.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

/// `permille simulator`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Simulator {
    /// Where to listen; port 0 takes a free one. The address goes to standard output as JSON.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Its own books: one line of JSON for each request it served.
    #[arg(long, value_name = "FILE")]
    pub(crate) books: PathBuf,
    /// Milliseconds from a request to the first piece of its reply.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) first_token_ms: u64,
    /// Milliseconds between two pieces of a stream.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) chunk_ms: u64,
    /// Replies follow from this number, the model and the messages.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Keep running when standard input ends.
    #[arg(long)]
    pub(crate) detached: bool,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Invoices, prices and customers.
    Finance,
    /// Keys and usage.
    Operator,
    /// One customer's own rows.
    Customer,
    /// What `permille gateway` needs of the other half, and nothing else.
    Gateway,
}

impl Role {
    /// The role's name in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Finance => "finance",
            Self::Operator => "operator",
            Self::Customer => "customer",
            Self::Gateway => "gateway",
        }
    }
}

impl Cli {
    /// What the command line says about the configuration.
    pub(crate) fn overrides(&self) -> Overrides {
        let mut overrides = Overrides { file: self.config.clone(), ..Overrides::default() };
        match &self.command {
            Command::Serve(listeners) => {
                overrides.gateway_listen = listeners.gateway_listen;
                overrides.console_listen = listeners.console_listen;
                overrides.metrics_listen = listeners.metrics_listen;
            }
            Command::Gateway(half) => {
                overrides.gateway_listen = half.gateway_listen;
                overrides.metrics_listen = half.metrics_listen;
                overrides.billing_url.clone_from(&half.billing);
            }
            Command::Billing(half) => {
                overrides.console_listen = half.console_listen;
                overrides.metrics_listen = half.metrics_listen;
            }
            Command::Journal(command) => {
                overrides.billing_url = command.billing().cloned();
            }
            _ => {}
        }
        overrides
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }
}
