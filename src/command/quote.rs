//! `permille quote`: what a charge would cost, line by line. Pure: it needs no data folder.

use std::path::PathBuf;

use clap::Args;
use permille_rating::charge::{self, LineKind, parse_charge};
use rust_decimal::Decimal;

use super::Context;
use crate::{
    error::{CliError, chain},
    table::{Align, Grid, grouped},
};

/// Largest accepted charge file, in bytes: thousands of tiers.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Which charge, and how much of it.
#[derive(Debug, Args)]
pub(crate) struct Quote {
    /// TOML file with one `[[charge]]`.
    #[arg(long, value_name = "FILE")]
    charge: PathBuf,
    /// A quantity of one period, a decimal; several give several quotes.
    #[arg(long = "quantity", value_name = "N", required = true, allow_hyphen_values = true)]
    quantities: Vec<String>,
}

/// Prints one quote for each quantity, in their order.
///
/// # Errors
/// [`CliError`] when the file or a quantity is refused.
pub(crate) fn run(context: &Context, quote: &Quote) -> Result<(), CliError> {
    let path = &quote.charge;
    let failed = |cause| CliError::ReadFile { path: path.clone(), cause };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(CliError::Refused(format!(
            "charge file `{}` has {bytes} bytes, accepted: at most {FILE_BYTES_MAX}",
            path.display()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let charge = parse_charge(&text, &path.display().to_string())
        .map_err(|error| CliError::Refused(chain(&error)))?;
    for (place, text) in quote.quantities.iter().enumerate() {
        let quantity = Decimal::from_str_exact(text).map_err(|_| {
            CliError::Usage(format!("`{text}` is no quantity, accepted: a decimal such as 20.5"))
        })?;
        let quoted =
            charge::quote(&charge, quantity).map_err(|error| CliError::Refused(chain(&error)))?;
        if context.output.is_json() {
            context.output.document(&quoted)?;
            continue;
        }
        if place > 0 {
            context.output.line("")?;
        }
        context.output.line(&table(text, &quoted))?;
    }
    Ok(())
}

fn table(quantity: &str, quote: &charge::Quote) -> String {
    let mut grid = Grid::new(&[
        ("tier", Align::Left),
        ("quantity", Align::Right),
        ("unit price", Align::Right),
        ("flat", Align::Right),
        ("amount", Align::Right),
    ]);
    let number = |decimal: &Decimal| grouped(&decimal.normalize().to_string());
    for line in &quote.lines {
        let tier = match (line.kind, line.tier) {
            (LineKind::Usage, Some(tier)) => tier.to_string(),
            (LineKind::Usage, None) => String::new(),
            (LineKind::Discount, _) => "discount".to_owned(),
            (LineKind::Maximum, _) => "maximum".to_owned(),
            (LineKind::Minimum, _) => "minimum".to_owned(),
            (LineKind::Included, _) => "included".to_owned(),
            (LineKind::Fee, _) => "fee".to_owned(),
        };
        grid.row([
            tier,
            number(&line.quantity),
            number(&line.unit_price),
            number(&line.flat),
            number(&line.amount),
        ]);
    }
    let amount = grouped(&quote.amount.to_string());
    format!(
        "{}\n\nquantity {quantity}: {amount} {}",
        grid.render("nothing is charged"),
        quote.currency.code()
    )
}
