//! A CSV file whose columns are the keys of our price file: `model`, `provider`, `currency`, `per`,
//! token classes, units. An empty field is an absent key. `from` and `source` come with the import.

use toml::Table;

use super::{ImportError, ImportOptions, Imported, insert_options};
use crate::{FieldError, price_book};

pub(super) fn read(text: &str, options: &ImportOptions) -> Result<Imported, ImportError> {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let refused = |line| move |cause| ImportError::Line { line, cause };
    let Some((first, head)) = lines.next() else { return Ok(Imported::default()) };
    let head = head.trim_start_matches('\u{feff}');
    let columns = fields(head).map_err(refused(first))?;
    let mut imported = Imported::default();
    for (line, text) in lines {
        let values = fields(text).map_err(refused(line))?;
        let row = row(&columns, values).map_err(refused(line))?;
        let word = |key: &str| row.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        if !options.wants(word("provider"), word("model")) {
            continue;
        }
        let mut table = row.clone();
        insert_options(&mut table, options).map_err(refused(line))?;
        let prices = price_book::read_entry(&table).map_err(refused(line))?;
        imported.prices.extend(prices);
    }
    Ok(imported)
}

fn row(columns: &[String], values: Vec<String>) -> Result<Table, FieldError> {
    if values.len() != columns.len() {
        let reason = format!("has {} fields, the first line has {}", values.len(), columns.len());
        return Err(FieldError::invalid("line", reason));
    }
    let mut row = Table::new();
    for (column, value) in columns.iter().zip(values) {
        if ["from", "source", "side"].contains(&column.as_str()) {
            return Err(FieldError::invalid(column, "is given with the import, not in the file"));
        }
        if !value.is_empty() && row.insert(column.clone(), value.into()).is_some() {
            return Err(FieldError::invalid(column, "is a column twice"));
        }
    }
    Ok(row)
}

/// The fields of a line; quotes hold commas, and two quotes inside them are one (RFC 4180).
fn fields(line: &str) -> Result<Vec<String>, FieldError> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(field) = fields.last_mut() else { break };
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => field.push(character),
        }
    }
    if quoted {
        return Err(FieldError::invalid("line", "ends inside quotes"));
    }
    Ok(fields.into_iter().map(|field| field.trim().to_owned()).collect())
}
