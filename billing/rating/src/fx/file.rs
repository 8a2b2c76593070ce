//! Files of exchange rates, line by line: so many days need not be held at once.
//!
//! Two forms, told apart by the first line:
//! - wide, `Date,USD,JPY,…` as the European Central Bank publishes it: a line for each day, a
//!   column for each currency, units for one of a base currency; `N/A` and nothing are no rate;
//! - long, `day,base,quote,rate` and perhaps `source`: a line for each rate.
//!
//! Source: European Central Bank, "Euro foreign exchange reference rates", files `eurofxref.csv`
//! and `eurofxref-hist.csv`.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use permille_types::Currency;
use rust_decimal::Decimal;

use super::FxRate;

/// Why a line is refused. Columns are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FxFileError {
    /// The first line names no form.
    #[error(
        "`{found}` is no head of a file of rates; accepted: `Date` and currencies, or \
         `day,base,quote,rate` and perhaps `source`"
    )]
    Head {
        /// What it says.
        found: String,
    },
    /// A line has another number of fields than the first.
    #[error("has {found} fields; accepted: {accepted}, as the first line")]
    Fields {
        /// How many.
        found: usize,
        /// How many the first line has.
        accepted: usize,
    },
    /// A field does not read.
    #[error("column {column} `{name}`: `{value}` is not accepted; accepted: {accepted}")]
    Field {
        /// Its place.
        column: usize,
        /// What the first line calls it.
        name: String,
        /// What it says.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
}

/// A file of rates whose first line was read.
#[derive(Debug, Clone)]
pub struct FxFile {
    columns: Vec<String>,
    /// Of a wide file: what the columns are valued against.
    base: Option<Currency>,
    source: String,
    skipped: BTreeSet<String>,
}

impl FxFile {
    /// A file with this first line. `base` is the currency of a wide file of which one unit is
    /// valued, `source` who published it, where the file does not say.
    ///
    /// # Errors
    /// [`FxFileError::Head`].
    pub fn new(head: &str, base: Currency, source: &str) -> Result<Self, FxFileError> {
        let columns = fields(head.trim_start_matches('\u{feff}'));
        let has = |name: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        let is_long = ["day", "base", "quote", "rate"].into_iter().all(has);
        let is_wide = columns.first().is_some_and(|first| first.eq_ignore_ascii_case("date"))
            && columns.len() > 1;
        if !is_long && !is_wide {
            return Err(FxFileError::Head { found: head.to_owned() });
        }
        let base = (!is_long).then_some(base);
        Ok(Self { columns, base, source: source.to_owned(), skipped: BTreeSet::new() })
    }

    /// The rates of a line; none where it is empty.
    ///
    /// # Errors
    /// [`FxFileError`] names the column.
    pub fn read(&mut self, line: &str) -> Result<Vec<FxRate>, FxFileError> {
        if line.trim().is_empty() {
            return Ok(Vec::new());
        }
        let values = fields(line);
        if values.len() != self.columns.len() {
            let accepted = self.columns.len();
            return Err(FxFileError::Fields { found: values.len(), accepted });
        }
        match self.base {
            Some(base) => self.wide(base, &values),
            None => self.long(&values).map(|rate| vec![rate]),
        }
    }

    /// Columns of currencies that no longer exist, or never did: they were left out.
    #[must_use]
    pub fn skipped(&self) -> &BTreeSet<String> {
        &self.skipped
    }

    fn wide(&mut self, base: Currency, values: &[String]) -> Result<Vec<FxRate>, FxFileError> {
        let day = self.day(0, values)?;
        let mut rates = Vec::new();
        for place in 1..values.len() {
            let (Some(code), Some(value)) = (self.columns.get(place), values.get(place)) else {
                continue;
            };
            if code.is_empty() || value.is_empty() || value.eq_ignore_ascii_case("n/a") {
                continue;
            }
            let Some(quote) = Currency::from_code(code) else {
                self.skipped.insert(code.clone());
                continue;
            };
            let (rate, source) = (self.rate(place, values)?, self.source.clone());
            rates.push(FxRate { base, quote, day, rate, source });
        }
        Ok(rates)
    }

    fn long(&self, values: &[String]) -> Result<FxRate, FxFileError> {
        let place = |name: &str| {
            let found = self.columns.iter().position(|column| column.eq_ignore_ascii_case(name));
            found.unwrap_or(usize::MAX)
        };
        let currency = |name: &str| {
            let place = place(name);
            let found = values.get(place).and_then(|code| Currency::from_code(code));
            found.ok_or_else(|| self.refused(place, values, "an ISO 4217 code such as CNY"))
        };
        let source = values.get(place("source")).filter(|source| !source.is_empty());
        Ok(FxRate {
            base: currency("base")?,
            quote: currency("quote")?,
            day: self.day(place("day"), values)?,
            rate: self.rate(place("rate"), values)?,
            source: source.unwrap_or(&self.source).clone(),
        })
    }

    fn day(&self, place: usize, values: &[String]) -> Result<NaiveDate, FxFileError> {
        let text = values.get(place).map_or("", String::as_str);
        let forms = ["%Y-%m-%d", "%d %B %Y"];
        let day = forms.into_iter().find_map(|form| NaiveDate::parse_from_str(text, form).ok());
        day.ok_or_else(|| self.refused(place, values, "a day such as 2026-11-20"))
    }

    fn rate(&self, place: usize, values: &[String]) -> Result<Decimal, FxFileError> {
        let text = values.get(place).map_or("", String::as_str);
        let rate = Decimal::from_str_exact(text).ok().filter(|rate| *rate > Decimal::ZERO);
        rate.map(|rate| rate.normalize())
            .ok_or_else(|| self.refused(place, values, "a decimal above 0 such as 7.1045"))
    }

    fn refused(&self, place: usize, values: &[String], accepted: &'static str) -> FxFileError {
        FxFileError::Field {
            column: place.saturating_add(1),
            name: self.columns.get(place).cloned().unwrap_or_default(),
            value: values.get(place).cloned().unwrap_or_default(),
            accepted,
        }
    }
}

/// The fields of a line; neither codes nor numbers nor days hold commas or quotes.
fn fields(line: &str) -> Vec<String> {
    line.split(',').map(|field| field.trim().trim_matches('"').to_owned()).collect()
}
