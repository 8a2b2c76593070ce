//! Tables: a first line with the names of columns, then lines, read one at a time.

use std::{collections::HashMap, io::Read, str::FromStr};

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use permille_rating::exact;
use permille_types::Currency;
use rust_decimal::Decimal;

use super::{
    BillError, BillReader, CellKey, Line,
    file::Hashing,
    mapping::{Mapping, Names, is_batch},
    pattern,
};
use crate::decimal;

/// The first second since 1970 that is read as one: of the year 2001.
const SECONDS_MIN: i64 = 1_000_000_000;

/// A line and what the first line calls its fields.
struct Row<'r> {
    mapping: &'r Mapping,
    places: &'r HashMap<String, usize>,
    fields: &'r csv::StringRecord,
    line: u64,
}

pub(super) fn read<R: Read>(file: &mut Hashing<R>, bill: &mut BillReader) -> Result<(), BillError> {
    let mapping = bill.mapping.clone();
    let delimiter = u8::try_from(mapping.delimiter).unwrap_or(b',');
    let mut lines = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(file);
    let head = lines.headers().map_err(refused)?.clone();
    let places: HashMap<String, usize> = head
        .iter()
        .enumerate()
        .map(|(place, name)| (name.trim_start_matches('\u{feff}').trim().to_owned(), place))
        .collect();
    check(&mapping, &places)?;
    let mut fields = csv::StringRecord::new();
    while lines.read_record(&mut fields).map_err(refused)? {
        let line = fields.position().map_or(0, csv::Position::line);
        let row = Row { mapping: &mapping, places: &places, fields: &fields, line };
        take(&row, bill).map_err(|error| error.at_line(line))?;
    }
    Ok(())
}

fn refused(cause: csv::Error) -> BillError {
    let line = cause.position().map_or(1, csv::Position::line);
    let reason = match cause.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} fields; accepted: {expected_len}, as the first line")
        }
        csv::ErrorKind::Utf8 { .. } => "is no UTF-8".to_owned(),
        _ => cause.to_string(),
    };
    match cause.into_kind() {
        csv::ErrorKind::Io(cause) => BillError::Io(cause),
        _ => BillError::Line { line, reason },
    }
}

/// Refuses a table without a day, or without anything to add up.
fn check(mapping: &Mapping, places: &HashMap<String, usize>) -> Result<(), BillError> {
    let columns = &mapping.columns;
    let has = |names: &Names| names.0.iter().any(|name| places.contains_key(name));
    let listed = |names: &[&Names]| {
        let names = names.iter().flat_map(|names| &names.0);
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    if !has(&columns.day) {
        let (what, accepted) = ("day".to_owned(), listed(&[&columns.day]));
        return Err(BillError::NoColumn { what, accepted });
    }
    if has(&columns.amount) && !has(&columns.currency) && mapping.currency.is_none() {
        let what = "currency (a column, or `currency` of the mapping)".to_owned();
        return Err(BillError::NoColumn { what, accepted: listed(&[&columns.currency]) });
    }
    let counted = mapping.quantities.iter().any(|of| has(&of.column));
    if !has(&columns.amount) && !has(&columns.quantity) && !counted {
        let (what, accepted) =
            ("amount or quantity".to_owned(), listed(&[&columns.amount, &columns.quantity]));
        return Err(BillError::NoColumn { what, accepted });
    }
    Ok(())
}

fn take(row: &Row<'_>, bill: &mut BillReader) -> Result<(), BillError> {
    let columns = &row.mapping.columns;
    let amount = row.amount()?;
    if !row.is_wanted() {
        return bill.leave_out(amount);
    }
    let day = row.day()?;
    let currency = match row.text(&columns.currency) {
        Some(code) if amount.is_some() => Some(row.currency(code)?),
        _ => amount.and(row.mapping.currency),
    };
    let text = row.text(&columns.text).unwrap_or_default();
    let said = row.mapping.said(text);
    let named = said.model.as_deref().or_else(|| row.text(&columns.model));
    let model = named.and_then(|model| bill.model(model));
    let project = row.text(&columns.project).map(str::to_owned);
    let batch = said.batch || row.text(&columns.tier).is_some_and(is_batch);
    let key =
        |class: String| CellKey { day, model: model.clone(), class, project: project.clone() };
    let counts = row.counts()?;
    let quantity = row.quantity()?;
    let is_empty = counts.as_ref().map_or(quantity.is_none(), Vec::is_empty);
    if is_empty && amount.is_none() {
        // A line of nothing is a line all the same: OpenAI writes one for a day without costs.
        return bill.count(None);
    }
    let counts = counts.unwrap_or_default();
    if counts.is_empty() {
        let line = Line { key: key(said.class), quantity, amount, currency, batch };
        return bill.add(line, true);
    }
    for (place, (class, count)) in counts.into_iter().enumerate() {
        let amount = amount.filter(|_| place == 0);
        let line = Line { key: key(class), quantity: Some(count), amount, currency, batch };
        bill.add(line, place == 0)?;
    }
    Ok(())
}

impl Row<'_> {
    fn place(&self, names: &Names) -> Option<usize> {
        names.0.iter().find_map(|name| self.places.get(name)).copied()
    }

    /// The first field of these that says something.
    fn text(&self, names: &Names) -> Option<&str> {
        let places = names.0.iter().filter_map(|name| self.places.get(name));
        let mut texts = places.filter_map(|place| self.fields.get(*place)).map(str::trim);
        texts.find(|text| !text.is_empty() && !text.eq_ignore_ascii_case("null"))
    }

    fn is_wanted(&self) -> bool {
        self.mapping.wanted.iter().all(|wanted| {
            let text = self.text(&wanted.column).unwrap_or_default();
            wanted.like.iter().any(|like| pattern::find(like, text).is_some())
        })
    }

    fn refused(&self, names: &Names, accepted: &str) -> BillError {
        let place = self.place(names).unwrap_or_default();
        let name = names.0.iter().find(|name| self.places.contains_key(*name));
        BillError::Field {
            line: self.line,
            column: place.saturating_add(1),
            name: name.cloned().unwrap_or_default(),
            value: self.fields.get(place).unwrap_or_default().to_owned(),
            accepted: accepted.to_owned(),
        }
    }

    fn decimal(&self, names: &Names) -> Result<Option<Decimal>, BillError> {
        let accepted = "a decimal of at most 28 digits such as 0.0125";
        let read = |text| decimal::read(text).ok_or_else(|| self.refused(names, accepted));
        self.text(names).map(read).transpose()
    }

    fn amount(&self) -> Result<Option<Decimal>, BillError> {
        let columns = &self.mapping.columns;
        let Some(amount) = self.decimal(&columns.amount)? else { return Ok(None) };
        let Some(divisor) = self.mapping.amount_divisor else { return Ok(Some(amount)) };
        let exact = amount.checked_div(divisor);
        let exact = exact.filter(|part| exact::mul(*part, divisor) == Ok(amount.normalize()));
        let accepted = format!("a decimal that can be divided by {divisor}");
        exact.map(Some).ok_or_else(|| self.refused(&columns.amount, &accepted))
    }

    fn quantity(&self) -> Result<Option<Decimal>, BillError> {
        let columns = &self.mapping.columns;
        let Some(quantity) = self.decimal(&columns.quantity)? else { return Ok(None) };
        let one = match self.text(&columns.unit) {
            None => 1,
            Some(unit) => self.mapping.unit(unit).ok_or_else(|| {
                let accepted = "a number and a unit such as 1K tokens, or a key of [units]";
                self.refused(&columns.unit, accepted)
            })?,
        };
        exact::mul(quantity, one.into()).map(Some).map_err(|_| BillError::Overflow)
    }

    /// The counts of a line that has several, without those of nothing; absent where the table has
    /// no column for any.
    fn counts(&self) -> Result<Option<Vec<(String, Decimal)>>, BillError> {
        let quantities = &self.mapping.quantities;
        if !quantities.iter().any(|of| self.place(&of.column).is_some()) {
            return Ok(None);
        }
        let mut counts = Vec::new();
        for of in quantities {
            let Some(mut count) = self.decimal(&of.column)? else { continue };
            for part in &of.minus {
                let part = self.decimal(&Names(vec![part.clone()]))?.unwrap_or_default();
                count = exact::sub(count, part).map_err(|_| BillError::Overflow)?;
            }
            if count.is_sign_negative() && !count.is_zero() {
                let accepted =
                    format!("a count that is not below those of {}", of.minus.join(", "));
                return Err(self.refused(&of.column, &accepted));
            }
            if !count.is_zero() {
                counts.push((of.class.clone(), count));
            }
        }
        Ok(Some(counts))
    }

    fn currency(&self, code: &str) -> Result<Currency, BillError> {
        let read = Currency::from_code(&code.to_ascii_uppercase());
        let accepted = "an ISO 4217 code such as USD";
        read.ok_or_else(|| self.refused(&self.mapping.columns.currency, accepted))
    }

    /// The provider's day of an instant, or a day.
    fn day(&self) -> Result<NaiveDate, BillError> {
        let names = &self.mapping.columns.day;
        let accepted = "a day such as 2026-11-20, an instant such as 2026-11-20T08:00:00Z, or \
                        seconds since 1970";
        let read = |text: &str| {
            let zone = self.mapping.time_zone;
            // A day such as 20261105 is a number too, of a second in 1970.
            let seconds = i64::from_str(text).ok().filter(|at| *at >= SECONDS_MIN);
            let seconds = seconds.and_then(|at| DateTime::from_timestamp(at, 0));
            let instant = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).ok();
            let instant = instant.or(seconds).map(|at| at.with_timezone(&zone).date_naive());
            let clock = |form| NaiveDateTime::parse_from_str(text, form).ok().map(|at| at.date());
            instant
                .or_else(|| NaiveDate::from_str(text).ok())
                .or_else(|| clock("%Y-%m-%d %H:%M:%S%.f"))
                .or_else(|| clock("%Y-%m-%dT%H:%M:%S%.f"))
        };
        self.text(names).and_then(read).ok_or_else(|| self.refused(names, accepted))
    }
}
