//! Reads a file back: its bytes as they lie there, and what its rows add up to.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, Write},
    sync::Arc,
    time::Duration,
};

use chrono::NaiveDate;
use futures_util::StreamExt;
use object_store::{GetResult, ObjectStoreExt};
use parquet::{
    data_type::Decimal,
    errors::ParquetError,
    file::{reader::FileReader, serialized_reader::SerializedFileReader},
    record::Field,
    schema::types::Type,
};
use permille_types::{TokenClass, TokenCounts};
use sha2::{Digest, Sha256};

use crate::{
    ArchiveError, Place, money,
    place::Source,
    schema,
    tally::Tally,
    upload::{local, remote},
};

/// How long one piece of a file may take to come.
const PIECE_MAX: Duration = Duration::from_mins(2);

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A file that was fetched.
pub(crate) struct Fetched {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    file: File,
}

/// Opens a file, from a bucket as a copy on our own disk, where its end can be read before its
/// beginning; nothing where there is none.
pub(crate) async fn fetch(
    place: &Place,
    day: NaiveDate,
    part: u32,
) -> Result<Option<Fetched>, ArchiveError> {
    let location = place.location(day, part);
    let file = match place.source(day, part) {
        Source::Folder(path) => match File::open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(local("read", &location, cause)),
        },
        Source::Bucket(store, key) => match store.get(&key).await {
            Ok(found) => copied(found, &location).await?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(cause) => return Err(remote("read", &location, cause)),
        },
    };
    digested(file).map(Some).map_err(|cause| local("read", &location, cause))
}

/// A temporary copy of a file in a bucket.
async fn copied(found: GetResult, location: &str) -> Result<File, ArchiveError> {
    let failed = |cause| local("copy", location, cause);
    let mut file = tempfile::tempfile().map_err(failed)?;
    let mut pieces = found.into_stream();
    loop {
        let piece = tokio::time::timeout(PIECE_MAX, pieces.next()).await;
        let piece = piece.map_err(|slow| failed(io::Error::other(slow)))?;
        let piece = piece.transpose().map_err(|cause| remote("read", location, cause))?;
        let Some(piece) = piece else { break };
        file.write_all(&piece).map_err(failed)?;
    }
    file.rewind().map_err(failed)?;
    Ok(file)
}

fn digested(mut file: File) -> io::Result<Fetched> {
    let (mut digest, mut bytes) = (Sha256::new(), 0_u64);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut piece)?;
        let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
        bytes = bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    file.rewind()?;
    Ok(Fetched { bytes, sha256: hex::encode(digest.finalize()), file })
}

/// What the rows of a file add up to.
pub(crate) fn tally(day: NaiveDate, fetched: Fetched) -> Result<Tally, ArchiveError> {
    let unread = |cause: ParquetError| ArchiveError::Parquet {
        operation: "read the file",
        day,
        cause: Arc::new(cause),
    };
    let reader = SerializedFileReader::new(fetched.file).map_err(unread)?;
    let whole = reader.metadata().file_metadata().schema();
    let summed = |field: &&Arc<Type>| {
        let name = field.name();
        name.starts_with(schema::TOKENS) || [schema::COST, schema::CURRENCY].contains(&name)
    };
    let fields = whole.get_fields().iter().filter(summed).cloned().collect();
    let projection = Type::group_type_builder(whole.name()).with_fields(fields).build();
    let mut tally = Tally::default();
    for row in reader.get_row_iter(Some(projection.map_err(unread)?)).map_err(unread)? {
        let row = row.map_err(unread)?;
        let fields: BTreeMap<&str, &Field> =
            row.get_column_iter().map(|(name, field)| (name.as_str(), field)).collect();
        add(&mut tally, day, &fields)?;
    }
    Ok(tally)
}

fn add(
    tally: &mut Tally,
    day: NaiveDate,
    fields: &BTreeMap<&str, &Field>,
) -> Result<(), ArchiveError> {
    let other =
        |column: &str, accepted| ArchiveError::Column { day, column: column.to_owned(), accepted };
    for (name, field) in fields {
        let Some(class) = name.strip_prefix(schema::TOKENS) else { continue };
        match field {
            Field::Null => {}
            Field::Long(tokens) => {
                let tokens = u64::try_from(*tokens).map_err(|_| other(name, "counts"))?;
                tally.add_tokens(day, &TokenClass::named(class), tokens)?;
            }
            Field::Str(text) if *name == schema::TOKENS_OTHER => {
                let counts: TokenCounts = serde_json::from_str(text)
                    .map_err(|_| other(name, "JSON of counts by class"))?;
                for (class, tokens) in counts {
                    tally.add_tokens(day, &class, tokens)?;
                }
            }
            _ => return Err(other(name, "64-bit integers")),
        }
    }
    let cost = match fields.get(schema::COST) {
        Some(Field::Null) => None,
        Some(Field::Decimal(cost)) => {
            Some(scaled(cost).ok_or_else(|| other(schema::COST, "decimals of scale 20"))?)
        }
        _ => return Err(other(schema::COST, "decimals of scale 20")),
    };
    let currency = match fields.get(schema::CURRENCY) {
        Some(Field::Null) => None,
        Some(Field::Str(code)) => Some(code.as_str()),
        _ => return Err(other(schema::CURRENCY, "text")),
    };
    tally.add_cost(day, cost.zip(currency))
}

/// A stored decimal in units of 10^-20.
fn scaled(cost: &Decimal) -> Option<i128> {
    let scale = u32::try_from(cost.scale()).ok()?;
    let bytes: [u8; 16] = cost.data().try_into().ok()?;
    (scale == money::SCALE).then(|| i128::from_be_bytes(bytes))
}
