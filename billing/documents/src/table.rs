//! A CSV file in pieces: rows go into whatever buffer the caller has.
//!
//! Source: RFC 4180: comma, quotes where needed, lines end with CR LF.

use crate::{DocumentError, text};

/// What most rows need.
const ROW_BYTES: usize = 1_024;

/// Appends a row of cells that are our own: numbers, dates, names of columns.
pub(crate) fn row<I>(out: &mut Vec<u8>, cells: I) -> Result<(), DocumentError>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .buffer_capacity(ROW_BYTES)
        .from_writer(std::io::Cursor::new(Vec::with_capacity(ROW_BYTES)));
    writer.write_record(cells).map_err(DocumentError::Table)?;
    let row = writer.into_inner().map_err(|cause| {
        let cause = cause.into_error();
        DocumentError::Table(cause.into())
    })?;
    out.extend(row.into_inner());
    Ok(())
}

/// The text of others in a cell.
pub(crate) fn told(text: &str) -> String {
    text::cell(text)
}

/// What may be absent: an empty cell.
pub(crate) fn or_empty<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
