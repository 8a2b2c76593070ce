//! `permille price add`: one entry for the price book, on the command line.

use chrono::{DateTime, Utc};
use clap::Args;
use permille_rating::{import::Imported, price_book::parse_price_book};
use toml::{Table, Value};

use super::{Context, price_import};
use crate::{
    api::Api,
    error::{CliError, chain},
};

/// The new entry. Without `--apply` it is shown and nothing is changed.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Model, or a glob.
    #[arg(long)]
    model: String,
    /// A currency code (ISO 4217), such as CNY.
    #[arg(long)]
    currency: String,
    /// From when on it holds (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: DateTime<Utc>,
    /// Until when (RFC 3339); open without it.
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// The amount of a class: `input=0.012`. May be repeated; as keys of a price file.
    #[arg(long = "rate", value_name = "CLASS=AMOUNT", required = true, value_parser = rate)]
    rates: Vec<(String, String)>,
    /// What the amounts are for, as in a price file.
    #[arg(long, value_name = "UNIT", default_value = "1k_tokens")]
    per: String,
    /// Whose model it is.
    #[arg(long)]
    provider: Option<String>,
    /// Where it was read, with its date.
    #[arg(long)]
    source: String,
    /// What the provider takes, not what is charged.
    #[arg(long)]
    cost: bool,
    /// Change the price book.
    #[arg(long)]
    apply: bool,
    /// Apply amounts that change a hundredfold, too.
    #[arg(long, requires = "apply")]
    accept_jumps: bool,
}

fn rate(text: &str) -> Result<(String, String), String> {
    let (class, amount) = text.split_once('=').ok_or("accepted: CLASS=AMOUNT")?;
    Ok((class.trim().to_owned(), amount.trim().to_owned()))
}

/// Shows what the entry changes, or has changed.
///
/// # Errors
/// [`CliError`] when the entry is refused, or the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, api: &Api, add: &Add) -> Result<(), CliError> {
    let mut entry = Table::new();
    let optional = [("provider", &add.provider)];
    let texts = [
        ("model", &add.model),
        ("currency", &add.currency),
        ("per", &add.per),
        ("source", &add.source),
    ];
    let given = optional.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
    for (key, text) in texts.into_iter().chain(given) {
        entry.insert(key.to_owned(), Value::String(text.clone()));
    }
    for (key, at) in [("from", Some(add.from)), ("until", add.until)] {
        let Some(at) = at else { continue };
        let text = at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        let at =
            text.parse().map_err(|_| CliError::Usage(format!("--{key} `{text}` is no instant")))?;
        entry.insert(key.to_owned(), Value::Datetime(at));
    }
    if add.cost {
        entry.insert("side".to_owned(), Value::String("cost".to_owned()));
    }
    for (class, amount) in &add.rates {
        if entry.insert(class.clone(), Value::String(amount.clone())).is_some() {
            return Err(CliError::Usage(format!("--rate `{class}` is given twice or has a flag")));
        }
    }
    let book = Table::from_iter([("price".to_owned(), Value::Array(vec![Value::Table(entry)]))]);
    let text = toml::to_string(&book).map_err(|error| CliError::Refused(error.to_string()))?;
    let prices = parse_price_book(&text, "command line")
        .map_err(|error| CliError::Refused(chain(&error)))?;
    let imported = Imported { prices, ..Imported::default() };
    price_import::send(context, api, imported, (add.apply, add.accept_jumps)).await
}
