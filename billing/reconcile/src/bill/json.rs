//! Pages of JSON as the APIs of OpenAI and Anthropic answer them: one after the other, in one file
//! or several, each an object with `data`, a list of buckets, or a list of such objects. One bucket
//! is held at a time.
//!
//! Sources: OpenAI, "Costs" and "Usage" (`/v1/organization/costs`, `/usage/…`); Anthropic, "Get Cost
//! Report" and "Get Messages Usage Report". Amounts of Anthropic are in cents, as decimals in text.

use std::{fmt, io::Read};

use chrono::{DateTime, Utc};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    BillError, BillReader,
    file::Hashing,
    usage::{self, Kind, Row},
};

/// A stretch of time and what was used in it.
#[derive(Debug, Deserialize)]
struct Bucket {
    /// OpenAI: seconds since 1970.
    start_time: Option<i64>,
    /// Anthropic.
    starting_at: Option<DateTime<Utc>>,
    #[serde(alias = "result")]
    results: Vec<Row>,
}

pub(super) fn read<R: Read>(file: &mut Hashing<R>, bill: &mut BillReader) -> Result<(), BillError> {
    let mut more = false;
    let mut pages = 0_u64;
    let mut failed = None;
    // A list of pages, and what stands between them.
    while let Some(byte) = file.next_byte()? {
        match byte {
            b'{' => {
                let before = file.lines();
                let mut json = serde_json::Deserializer::from_reader(&mut *file);
                let page = Page { bill: &mut *bill, failed: &mut failed };
                more = page.deserialize(&mut json).map_err(|cause| {
                    let line = before.saturating_add(u64::try_from(cause.line()).unwrap_or(0));
                    located(failed.take(), &cause, line)
                })?;
                pages = pages.saturating_add(1);
            }
            b'[' | b',' | b']' => file.skip(),
            other => {
                let line = file.lines().saturating_add(1);
                let reason = format!(
                    "`{}` is not accepted after {pages} pages; accepted: a page in braces",
                    char::from(other)
                );
                return Err(BillError::Json { line, column: 1, reason });
            }
        }
    }
    if more { Err(BillError::Incomplete) } else { Ok(()) }
}

/// What a bucket was refused for, with its place, or what the reader says.
fn located(failed: Option<BillError>, cause: &serde_json::Error, line: u64) -> BillError {
    let column = cause.column();
    let reason = match failed {
        Some(BillError::Json { reason, .. } | BillError::Line { reason, .. }) => reason,
        Some(other) => other.to_string(),
        None => {
            let text = cause.to_string();
            text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
        }
    };
    BillError::Json { line, column, reason }
}

/// A page that is being read; whether more follow.
struct Page<'b> {
    bill: &'b mut BillReader,
    /// Why a bucket was refused: an error of JSON holds only a text.
    failed: &'b mut Option<BillError>,
}

impl<'de> DeserializeSeed<'de> for Page<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Page<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page with `data`, a list of buckets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self { bill, failed } = self;
        let (mut more, mut any) = (false, false);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "data" => {
                    map.next_value_seed(Buckets { bill: &mut *bill, failed: &mut *failed })?;
                    any = true;
                }
                "has_more" => more = map.next_value::<Option<bool>>()?.unwrap_or_default(),
                "error" => {
                    let error: serde_json::Value = map.next_value()?;
                    return Err(de::Error::custom(format!("the provider answered: {error}")));
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if any { Ok(more) } else { Err(de::Error::missing_field("data")) }
    }
}

struct Buckets<'b> {
    bill: &'b mut BillReader,
    failed: &'b mut Option<BillError>,
}

impl<'de> DeserializeSeed<'de> for Buckets<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Buckets<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of buckets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(bucket) = seq.next_element::<Bucket>()? {
            if let Err(error) = take(bucket, self.bill) {
                let text = error.to_string();
                *self.failed = Some(error);
                return Err(de::Error::custom(text));
            }
        }
        Ok(())
    }
}

fn take(bucket: Bucket, bill: &mut BillReader) -> Result<(), BillError> {
    let refused = |reason: &str| BillError::Json { line: 0, column: 0, reason: reason.to_owned() };
    let started = bucket.starting_at.map(|at| at.timestamp()).or(bucket.start_time);
    let at = started.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let (Some(started), Some(at)) = (started, at) else {
        return Err(refused(
            "a bucket has no beginning; accepted: `start_time` in seconds since 1970 or \
             `starting_at` by RFC 3339",
        ));
    };
    let day = at.with_timezone(&bill.mapping.time_zone).date_naive();
    let mut kinds: Vec<Kind> = Vec::new();
    for row in bucket.results {
        let kind = row.kind();
        if !kinds.contains(&kind) {
            // One bucket comes whole; twice it would be added twice.
            if !bill.buckets.insert((kind.as_str().to_owned(), started)) {
                return Err(refused(&format!(
                    "the bucket of {} from {at} came before; accepted: each page once",
                    kind.as_str()
                )));
            }
            kinds.push(kind);
        }
        usage::take(&row, kind, day, bill)?;
    }
    Ok(())
}
