//! `permille price list|show|add|import`: the price book.

use clap::Subcommand;
use permille_types::{Band, Condition, Derived, Price, Rates, Relative, Side};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Context, moment, price_add, price_import, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with prices.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the prices, all or those that hold for a model, a currency or an instant.
    List {
        /// The model as a client names it.
        #[arg(long)]
        model: Option<String>,
        /// A currency code (ISO 4217), such as CNY.
        #[arg(long)]
        currency: Option<String>,
        /// Prices that hold at this instant (RFC 3339).
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Show one price version.
    Show {
        /// The version, as on a usage row.
        version: String,
    },
    /// Show what one more price would change; `--apply` changes it.
    Add(Box<price_add::Add>),
    /// Show what a price list would change; `--apply` changes it.
    Import(price_import::Import),
}

/// A price and where it stands in the book.
#[derive(Debug, Deserialize)]
struct Listed {
    price: Price,
    origin: String,
    superseded: bool,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::List { model, currency, at } => {
            let path = Path::of(&["prices"])
                .with("model", model.as_deref())
                .with("currency", currency.as_deref())
                .with("at", at.as_deref());
            let prices = api.list(&path).await?;
            context.output.list(&prices, table)
        }
        Command::Show { version } => {
            let price = api.get(&Path::of(&["prices", version])).await?;
            context.output.one(&price, text)
        }
        Command::Add(add) => price_add::run(context, &api, add).await,
        Command::Import(import) => price_import::run(context, &api, import).await,
    }
}

/// One row for each class of each price; bands are part of `show`.
fn table(prices: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("model", Align::Left),
        ("class", Align::Left),
        ("per 1k", Align::Right),
        ("currency", Align::Left),
        ("from (UTC)", Align::Left),
        ("until (UTC)", Align::Left),
        ("version", Align::Left),
    ]);
    for price in prices {
        let Listed { price, superseded, .. } = view(price)?;
        let from = moment(&price.from.to_rfc3339());
        let until = price.until.map_or_else(String::new, |until| moment(&until.to_rfc3339()));
        let banded = if price.bands.is_empty() { "" } else { " +bands" };
        let replaced = if superseded { " (superseded)" } else { "" };
        let whose = whose(&price);
        let mut lead =
            [format!("{}{whose}{banded}{replaced}", price.model), price.version.to_string()];
        for (class, amount) in rows(&price) {
            let [model, version] = &mut lead;
            grid.row([
                std::mem::take(model),
                class,
                amount,
                price.currency.code().to_owned(),
                from.clone(),
                until.clone(),
                std::mem::take(version),
            ]);
        }
    }
    Ok(grid.render("no price matches"))
}

fn text(price: &RawValue) -> Result<String, CliError> {
    let Listed { price, origin, superseded } = view(price)?;
    let until = price.until.map_or_else(|| "open".to_owned(), |until| until.to_rfc3339());
    let mut parts = vec![format!(
        "price {}{}\nmodel {}{}, {} for 1,000 tokens, from {} until {}\nsource: {} ({})\n",
        price.version,
        if superseded { " (superseded)" } else { "" },
        price.model,
        whose(&price),
        price.currency.code(),
        price.from.to_rfc3339(),
        until,
        price.source,
        origin.replace('_', "-"),
    )];
    if let Some(Derived { of, by }) = &price.derived {
        parts.push(format!("derived from {of} by {by}\n"));
    }
    parts.push(rates(rows(&price)));
    for band in &price.bands {
        parts.push(format!("\n{}:\n{}", condition(band), rates(amounts(&band.rates))));
    }
    Ok(parts.join("\n"))
}

fn condition(band: &Band) -> String {
    let when = &band.when;
    let over = when.input_total_over.map(|over| format!("more than {over} input tokens"));
    let tier = when.service_tier.as_ref().map(|tier| format!("service tier {tier}"));
    let batch = when.batch.map(|batch| if batch { "batch" } else { "no batch" }.to_owned());
    let region = when.region.as_ref().map(|region| format!("region {region}"));
    let parts: Vec<String> =
        [over, tier, batch, region, time(when)].into_iter().flatten().collect();
    format!("instead, with {}", parts.join(" and "))
}

/// When in the week; holidays are counted, there may be many.
fn time(when: &Condition) -> Option<String> {
    let list = |texts: Vec<String>| Some(texts.join(", ")).filter(|text| !text.is_empty());
    let hours = list(when.hours.iter().map(ToString::to_string).collect());
    let days = list(when.weekdays.iter().map(ToString::to_string).collect());
    let zone = when.time_zone.map_or("UTC", |zone| zone.name());
    let holidays = match when.except_holidays.len() {
        0 => String::new(),
        count => format!(" except {count} holidays"),
    };
    let parts: Vec<String> = hours.into_iter().chain(days).collect();
    (!parts.is_empty()).then(|| format!("{} ({zone}){holidays}", parts.join(" on ")))
}

/// Whose price it is, where it is not what everyone is charged.
fn whose(price: &Price) -> String {
    match (&price.customer, price.side) {
        (Some(customer), _) => format!(" (for {customer})"),
        (None, Side::Cost) => " (cost)".to_owned(),
        (None, Side::Sale) => String::new(),
    }
}

fn rates(rows: Vec<(String, String)>) -> String {
    let mut grid = Grid::new(&[("class", Align::Left), ("per 1k", Align::Right)]);
    for row in rows {
        grid.row([row.0, row.1]);
    }
    grid.render("no prices")
}

/// What a price says by class, or of another price.
fn rows(price: &Price) -> Vec<(String, String)> {
    match &price.relative {
        None => amounts(&price.rates),
        Some(Relative::DiscountPercent(percent)) => {
            vec![("every class".to_owned(), format!("list - {percent} %"))]
        }
        Some(Relative::MarkupPercent(percent)) => {
            vec![("every class".to_owned(), format!("cost + {percent} %"))]
        }
    }
}

fn amounts(rates: &Rates) -> Vec<(String, String)> {
    let tokens = rates
        .per_thousand
        .iter()
        .map(|(class, price)| (class.to_string(), price.amount().to_string()));
    let units = rates.per_unit.iter().map(|(unit, price)| {
        let unit = serde_json::to_value(unit).ok();
        let name = unit.as_ref().and_then(serde_json::Value::as_str).unwrap_or("unit").to_owned();
        (format!("{name} (each)"), price.to_string())
    });
    tokens.chain(units).collect()
}
