//! Writes the file of a day, whole or not at all.

use std::{io::Write, sync::Arc};

use chrono::NaiveDate;
use parquet::{
    basic::Type as Physical,
    column::writer::ColumnWriter,
    data_type::{ByteArray, FixedLenByteArray},
    errors::ParquetError,
    file::writer::{SerializedFileWriter, SerializedRowGroupWriter},
};
use permille_ledger::{ArchiveFile, ArchiveRow, DueDay, Ledger};
use permille_types::RequestId;
use sha2::{Digest, Sha256};

use crate::{
    ArchiveError, Place,
    schema::{self, Cell, Column},
    tally::Tally,
    upload::Upload,
};

/// Rows of a row group, which is what of a day is in memory at once: some 40 MB.
const GROUP_ROWS: u32 = 20_000;

/// Writes the file of a day that is due to `place`, and lets the ledger know once it is whole.
/// `told` hears of the rows of each group and answers whether to go on.
///
/// Nothing of the file is to be seen before it is whole; of one that is there already, nothing is
/// lost before. A second run writes the same bytes.
///
/// # Errors
/// [`ArchiveError`]; nothing has changed then. `None` when `told` did not want to go on.
pub async fn write_day(
    ledger: &Ledger,
    place: &Place,
    due: DueDay,
    told: impl FnMut(u64) -> bool + Send,
) -> Result<Option<ArchiveFile>, ArchiveError> {
    write_groups(ledger, place, due, GROUP_ROWS, told).await
}

async fn write_groups(
    ledger: &Ledger,
    place: &Place,
    due: DueDay,
    group_rows: u32,
    mut told: impl FnMut(u64) -> bool + Send,
) -> Result<Option<ArchiveFile>, ArchiveError> {
    let DueDay { day, part, .. } = due;
    let mut upload = place.begin(day, part).await?;
    let written = fill(ledger, day, group_rows, &mut upload, &mut told).await;
    let filled = match written {
        Ok(Some(filled)) => filled,
        Ok(None) => {
            upload.abort().await?;
            return Ok(None);
        }
        Err(cause) => {
            // What was wrong first says more than that tidying up failed too.
            upload.abort().await.unwrap_or_default();
            return Err(cause);
        }
    };
    let location = upload.finish().await?;
    let file = ArchiveFile {
        day,
        part,
        location,
        first_request: filled.first,
        rows: filled.tally.rows,
        held: filled.tally.held,
        amounts: filled.tally.amounts_text(),
        tokens: filled.tally.tokens,
        bytes: filled.bytes,
        sha256: filled.sha256,
        archived_at: ledger.time(),
    };
    ledger.record_archive(&file).await?;
    Ok(Some(file))
}

/// What a file holds that was written.
struct Filled {
    first: RequestId,
    tally: Tally,
    bytes: u64,
    sha256: String,
}

async fn fill(
    ledger: &Ledger,
    day: NaiveDate,
    group_rows: u32,
    upload: &mut Upload,
    told: &mut (impl FnMut(u64) -> bool + Send),
) -> Result<Option<Filled>, ArchiveError> {
    let unwritten =
        |cause| ArchiveError::Parquet { operation: "write the file", day, cause: Arc::new(cause) };
    let columns = schema::columns();
    let message = schema::message(&columns).map_err(unwritten)?;
    let properties = schema::properties(&columns);
    let writer = SerializedFileWriter::new(Vec::new(), message, properties);
    let mut writer = writer.map_err(unwritten)?;
    let (mut tally, mut digest, mut bytes) = (Tally::default(), Sha256::new(), 0_u64);
    let (mut first, mut last): (Option<RequestId>, Option<ArchiveRow>) = (None, None);
    loop {
        let mut rows = ledger.usage_of_day(day, last.as_ref(), group_rows).await?;
        if rows.is_empty() {
            break;
        }
        first = first.or_else(|| rows.first().map(|row| row.usage.request_id));
        for row in &rows {
            tally.add_row(day, row)?;
        }
        let group = Group::of(&columns, &rows)?;
        let mut writing = writer.next_row_group().map_err(unwritten)?;
        group.write(&mut writing).map_err(unwritten)?;
        writing.close().map_err(unwritten)?;
        send(&mut writer, (&mut digest, &mut bytes), upload).await?;
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        last = rows.pop();
        if !told(count) {
            return Ok(None);
        }
    }
    let first = first.ok_or(ArchiveError::Empty { day })?;
    writer.finish().map_err(unwritten)?;
    send(&mut writer, (&mut digest, &mut bytes), upload).await?;
    let sha256 = hex::encode(digest.finalize());
    Ok(Some(Filled { first, tally, bytes, sha256 }))
}

/// Sends what the writer has made so far.
async fn send(
    writer: &mut SerializedFileWriter<Vec<u8>>,
    (digest, bytes): (&mut Sha256, &mut u64),
    upload: &mut Upload,
) -> Result<(), ArchiveError> {
    let flushed = writer.flush();
    flushed.map_err(|cause| ArchiveError::Local { operation: "gather a row group", cause })?;
    let made = std::mem::take(writer.inner_mut());
    digest.update(&made);
    *bytes = bytes.saturating_add(u64::try_from(made.len()).unwrap_or(u64::MAX));
    upload.put(made).await
}

/// The values of a row group by column. A level tells for each row whether it has a value.
struct Group {
    columns: Vec<(Values, Option<Vec<i16>>)>,
}

enum Values {
    Text(Vec<ByteArray>),
    Integer(Vec<i64>),
    Flag(Vec<bool>),
    Money(Vec<FixedLenByteArray>),
}

impl Group {
    fn of(columns: &[Column], rows: &[ArchiveRow]) -> Result<Self, ArchiveError> {
        let filled = columns.iter().map(|column| {
            let mut values = Values::of(column);
            let mut levels = (!column.always).then(|| Vec::with_capacity(rows.len()));
            for row in rows {
                let cell = (column.fill)(row)?;
                if let Some(levels) = &mut levels {
                    levels.push(i16::from(cell.is_some()));
                }
                values.push(cell);
            }
            Ok((values, levels))
        });
        Ok(Self { columns: filled.collect::<Result<_, ArchiveError>>()? })
    }

    fn write<W: Write + Send>(
        &self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        for (values, levels) in &self.columns {
            let Some(mut column) = group.next_column()? else {
                return Err(ParquetError::General("a column is missing".to_owned()));
            };
            let levels = levels.as_deref();
            match (column.untyped(), values) {
                (ColumnWriter::ByteArrayColumnWriter(writer), Values::Text(values)) => {
                    writer.write_batch(values, levels, None)?
                }
                (ColumnWriter::Int64ColumnWriter(writer), Values::Integer(values)) => {
                    writer.write_batch(values, levels, None)?
                }
                (ColumnWriter::BoolColumnWriter(writer), Values::Flag(values)) => {
                    writer.write_batch(values, levels, None)?
                }
                (ColumnWriter::FixedLenByteArrayColumnWriter(writer), Values::Money(values)) => {
                    writer.write_batch(values, levels, None)?
                }
                _ => return Err(ParquetError::General("a column has another type".to_owned())),
            };
            column.close()?;
        }
        Ok(())
    }
}

impl Values {
    fn of(column: &Column) -> Self {
        match schema::physical(column.kind) {
            Physical::INT64 => Self::Integer(Vec::new()),
            Physical::BOOLEAN => Self::Flag(Vec::new()),
            Physical::FIXED_LEN_BYTE_ARRAY => Self::Money(Vec::new()),
            _ => Self::Text(Vec::new()),
        }
    }

    /// Adds a value. One of another type than the column's is left out, and the count of values
    /// does not fit the rows then, which the writer refuses.
    fn push(&mut self, cell: Option<Cell>) {
        match (self, cell) {
            (Self::Text(values), Some(Cell::Text(text))) => {
                values.push(ByteArray::from(text.into_bytes()));
            }
            (Self::Integer(values), Some(Cell::Integer(integer))) => values.push(integer),
            (Self::Flag(values), Some(Cell::Flag(flag))) => values.push(flag),
            (Self::Money(values), Some(Cell::Money(scaled))) => {
                values.push(ByteArray::from(scaled.to_be_bytes().to_vec()).into());
            }
            _ => {}
        }
    }
}
