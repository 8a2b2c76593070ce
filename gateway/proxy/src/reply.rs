//! What a reply's head says about how its body is to be read.

use http::{HeaderMap, Version, header, response::Parts};
use permille_types::{Ended, Endpoint, Family};
use permille_usage::{Encoding, Framing, Reading, Tap, TapConfig, Usage};

use crate::exchange::Reader;

/// What was asked, as far as reading the reply needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The upstream's: it reads the reply.
    pub(crate) family: Family,
    pub(crate) endpoint: Endpoint,
    /// Whether we asked for a usage frame that the client did not ask for.
    pub(crate) usage_added: bool,
}

/// What is known of a call that has not been answered: its prompt was sent, nothing came back.
pub(crate) fn unanswered(asked: Asked) -> Option<Reading> {
    let tap = tap(asked, Framing::Json, Encoding::Identity);
    asked.endpoint.is_metered().then(|| tap.reading())
}

/// The reader of a reply with this head. Error bodies are never counted as output (M8).
pub(crate) fn reader(head: &Parts, asked: Asked) -> Reader {
    if !head.status.is_success() {
        return Reader::Plain(Ended::UpstreamError);
    }
    metered(asked, framing(asked.endpoint, &head.headers), encoding(&head.headers))
}

/// Whether nothing but the end of its connection ends the reply with this head, so that HTTP cannot
/// tell whether all of it came. Source: RFC 9112, section 6.3.
pub(crate) fn is_ended_by_its_connection(head: &Parts) -> bool {
    head.version < Version::HTTP_2
        && !head.headers.contains_key(header::CONTENT_LENGTH)
        && !head.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Whether what was read of a reply lacks the reply's own end, as far as it could be read.
pub(crate) fn lacks_its_end(reading: &Reading) -> bool {
    let counted = reading.usage.as_ref().is_some_and(Usage::is_complete);
    let unknown = reading.tap_error || reading.unreadable;
    !(reading.terminal || reading.error || counted || unknown)
}

fn metered(asked: Asked, framing: Framing, encoding: Encoding) -> Reader {
    if !asked.endpoint.is_metered() {
        return Reader::Plain(Ended::Complete);
    }
    Reader::Tap(Box::new(tap(asked, framing, encoding)))
}

fn tap(asked: Asked, framing: Framing, encoding: Encoding) -> Tap {
    Tap::new(TapConfig {
        family: asked.family,
        endpoint: asked.endpoint,
        framing,
        encoding,
        cut_usage_frame: asked.usage_added,
    })
}

fn framing(endpoint: Endpoint, headers: &HeaderMap) -> Framing {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Framing::of(endpoint, kind.unwrap_or_default())
}

fn encoding(headers: &HeaderMap) -> Encoding {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Encoding::Identity };
    match value.to_str().map(str::to_ascii_lowercase).as_deref() {
        Ok("identity") => Encoding::Identity,
        Ok("gzip" | "x-gzip") => Encoding::Gzip,
        Ok("deflate") => Encoding::Deflate,
        _ => Encoding::Opaque,
    }
}
