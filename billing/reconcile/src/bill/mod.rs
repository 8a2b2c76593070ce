//! Bills and usage exports of providers, summed by day, model, class and project while they are
//! read: of a file only one line, or one day of a JSON page, is held.
//!
//! Every line is in a sum. One that counts nothing we know is a class `other: …` by its own name;
//! one that a mapping's `where` or the asked days leave out is counted beside them. So the sums of
//! a file add up to its total, exactly.

mod error;
mod file;
mod json;
mod mapping;
mod pattern;
mod table;
mod usage;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use chrono_tz::Tz;
use permille_rating::exact;
use permille_types::Currency;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{class, decimal};

pub use error::BillError;
pub use file::FileDigest;
pub use mapping::{BUILT_IN, Mapping};

/// Most sums of one bill: a month of 30 days, 100 models, 6 classes and 5 projects.
pub const BILL_CELLS_MAX: usize = 100_000;

/// What sums are by.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct CellKey {
    /// A day of the provider.
    pub day: NaiveDate,
    /// The model as the provider calls it; absent where the line names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What is counted.
    pub class: String,
    /// The provider's project, workspace or account; absent where the line names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// A sum of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BillCell {
    /// What it is of.
    pub key: CellKey,
    /// How much: tokens or units; absent where the bill does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Decimal>,
    /// What is charged; absent where it is a usage export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Decimal>,
    /// Whether some of it was of the tier `batch`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
}

/// What was read of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BillFile {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
    /// How it was read.
    pub format: String,
    /// Its lines, or results of JSON pages.
    pub lines: u64,
    /// Lines that are of something else, or of other days.
    pub left_out_lines: u64,
    /// What they charge.
    pub left_out_amount: Decimal,
    /// What all of its lines charge; absent where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Decimal>,
}

/// A bill in our words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bill {
    /// Of every amount; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<permille_types::schema::CurrencyCode>")]
    pub currency: Option<Currency>,
    /// Whose days.
    #[schemars(with = "permille_types::schema::TimeZone")]
    pub time_zone: Tz,
    /// The files.
    pub files: Vec<BillFile>,
    /// The sums, by key.
    pub cells: Vec<BillCell>,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Days {
    /// Of this day or later.
    pub since: Option<NaiveDate>,
    /// Of this day or before.
    pub until: Option<NaiveDate>,
}

/// One line in our words.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) key: CellKey,
    pub(crate) quantity: Option<Decimal>,
    pub(crate) amount: Option<Decimal>,
    pub(crate) currency: Option<Currency>,
    pub(crate) batch: bool,
}

/// Sums so far.
#[derive(Debug, Default)]
struct Sum {
    quantity: Option<Decimal>,
    amount: Option<Decimal>,
    batch: bool,
}

/// Reads files into one bill.
#[derive(Debug)]
pub struct BillReader {
    mapping: Mapping,
    days: Days,
    currency: Option<Currency>,
    sums: BTreeMap<CellKey, Sum>,
    files: Vec<BillFile>,
    /// Buckets of JSON pages that were read: kind and beginning.
    buckets: BTreeSet<(String, i64)>,
}

impl BillReader {
    /// A bill of this form.
    #[must_use]
    pub fn new(mapping: Mapping, days: Days) -> Self {
        Self {
            mapping,
            days,
            currency: None,
            sums: BTreeMap::new(),
            files: Vec::new(),
            buckets: BTreeSet::new(),
        }
    }

    /// Reads a file to its end: JSON pages where it begins with a brace or a bracket, else a table.
    ///
    /// # Errors
    /// [`BillError`] names the line and what is accepted; the bill is then of no use.
    pub fn read(&mut self, name: &str, file: impl std::io::Read) -> Result<(), BillError> {
        let mut file = file::Hashing::new(file);
        let is_json = file.begins_with_json()?;
        self.files.push(BillFile {
            name: name.to_owned(),
            sha256: String::new(),
            bytes: 0,
            format: if is_json { "json".to_owned() } else { self.mapping.name.clone() },
            lines: 0,
            left_out_lines: 0,
            left_out_amount: Decimal::ZERO,
            total: None,
        });
        if is_json {
            json::read(&mut file, self)?;
        } else {
            table::read(&mut file, self)?;
        }
        let FileDigest { sha256, bytes } = file.digest()?;
        if self.files.iter().any(|before| before.sha256 == sha256) {
            return Err(BillError::SameFile { name: name.to_owned(), sha256 });
        }
        if let Some(this) = self.files.last_mut() {
            (this.sha256, this.bytes) = (sha256, bytes);
        }
        Ok(())
    }

    /// The bill of all files.
    ///
    /// # Errors
    /// [`BillError::Empty`] where no line is left.
    pub fn finish(self) -> Result<Bill, BillError> {
        if self.sums.is_empty() {
            return Err(BillError::Empty);
        }
        let cells = self.sums.into_iter().map(|(key, sum)| {
            let Sum { quantity, amount, batch } = sum;
            BillCell { key, quantity, amount, batch }
        });
        Ok(Bill {
            currency: self.currency,
            time_zone: self.mapping.time_zone,
            files: self.files,
            cells: cells.collect(),
        })
    }

    /// Counts a line that is left out by the mapping.
    fn leave_out(&mut self, amount: Option<Decimal>) -> Result<(), BillError> {
        self.count(amount)?;
        let Some(file) = self.files.last_mut() else { return Ok(()) };
        file.left_out_lines = file.left_out_lines.saturating_add(1);
        let more = amount.unwrap_or_default();
        let sum = exact::add(file.left_out_amount, more).map_err(|_| BillError::Overflow)?;
        file.left_out_amount = sum;
        Ok(())
    }

    fn count(&mut self, amount: Option<Decimal>) -> Result<(), BillError> {
        let Some(file) = self.files.last_mut() else { return Ok(()) };
        file.lines = file.lines.saturating_add(1);
        decimal::add_known(&mut file.total, amount).ok_or(BillError::Overflow)
    }

    /// Adds what one line of the file says: several counts of one line are several of these, of
    /// which `first` is one.
    fn add(&mut self, line: Line, first: bool) -> Result<(), BillError> {
        if let (Some(own), Some(other)) = (self.currency, line.currency)
            && own != other
        {
            return Err(BillError::Currencies { own, other });
        }
        self.currency = self.currency.or(line.currency);
        let day = line.key.day;
        let wanted = self.days.since.is_none_or(|since| since <= day)
            && self.days.until.is_none_or(|until| day <= until);
        if !wanted {
            return if first { self.leave_out(line.amount) } else { Ok(()) };
        }
        if first {
            self.count(line.amount)?;
        }
        let full = self.sums.len() >= BILL_CELLS_MAX;
        if full && !self.sums.contains_key(&line.key) {
            return Err(BillError::TooManySums);
        }
        let sum = self.sums.entry(line.key).or_default();
        decimal::add_known(&mut sum.quantity, line.quantity)
            .and_then(|()| decimal::add_known(&mut sum.amount, line.amount))
            .ok_or(BillError::Overflow)?;
        sum.batch = sum.batch || line.batch;
        Ok(())
    }

    /// The model by the name that our rows have for it, where the mapping says so.
    fn model(&self, model: &str) -> Option<String> {
        let model = model.trim();
        let known = self.mapping.models.get(model).map_or(model, String::as_str);
        (!known.is_empty()).then(|| known.to_owned())
    }
}

/// The class of a line that counts nothing we know, by its own name.
fn other(label: &str) -> String {
    format!("{}{}", class::OTHER, label.trim())
}
