//! What a reply's head says about how its body is to be read.

use std::sync::Arc;

use http::{HeaderMap, Version, header, response::Parts};
use permille_types::{Ended, Endpoint, Family};
use permille_usage::{ApiDescription, Encoding, Framing, Reading, Tap, TapConfig, Usage};

use crate::exchange::Reader;

/// What was asked, as far as reading the reply needs it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The upstream's: it reads the reply.
    pub(crate) family: Family,
    /// The upstream's API, where it is described by configuration.
    pub(crate) api: Option<Arc<ApiDescription>>,
    pub(crate) endpoint: Endpoint,
    /// Whether the reply is to be a stream.
    pub(crate) stream: bool,
    /// Whether we asked for a usage frame that the client did not ask for.
    pub(crate) usage_added: bool,
}

/// What is known of a call that has not been answered: its prompt was sent, nothing came back.
pub(crate) fn unanswered(asked: &Asked) -> Option<Reading> {
    let tap = tap(asked, Framing::Json, Encoding::Identity);
    asked.endpoint.is_metered().then(|| tap.reading())
}

/// The reader of a reply with this head. Error bodies are never counted as output (M8).
pub(crate) fn reader(head: &Parts, asked: &Asked) -> Reader {
    if !head.status.is_success() {
        return Reader::Plain(Ended::UpstreamError);
    }
    if !asked.endpoint.is_metered() {
        return Reader::Plain(Ended::Complete);
    }
    let mut tap = tap(asked, framing(asked, &head.headers), encoding(&head.headers));
    if asked.family == Family::Tgi {
        let told = |name| count(&head.headers, name);
        tap.tell(told("x-prompt-tokens"), told("x-generated-tokens"));
    }
    Reader::Tap(Box::new(tap))
}

/// Whether nothing but the end of its connection ends the reply with this head, so that HTTP cannot
/// tell whether all of it came. Source: RFC 9112, section 6.3.
pub(crate) fn is_ended_by_its_connection(head: &Parts) -> bool {
    head.version < Version::HTTP_2
        && !head.headers.contains_key(header::CONTENT_LENGTH)
        && !head.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Whether all of a reply was read, and it is no error.
pub(crate) fn is_whole(reading: &Reading) -> bool {
    let counted = reading.usage.as_ref().is_some_and(Usage::is_complete);
    (reading.terminal || counted) && !reading.error
}

/// Whether what was read of a reply lacks the reply's own end, as far as it could be read.
pub(crate) fn lacks_its_end(reading: &Reading) -> bool {
    let counted = reading.usage.as_ref().is_some_and(Usage::is_complete);
    let unknown = reading.tap_error || reading.unreadable;
    !(reading.terminal || reading.error || counted || unknown)
}

/// A count that stands in a header.
fn count(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn tap(asked: &Asked, framing: Framing, encoding: Encoding) -> Tap {
    let config = TapConfig {
        family: asked.family,
        endpoint: asked.endpoint,
        framing,
        encoding,
        cut_usage_frame: asked.usage_added,
    };
    Tap::described(config, asked.api.as_ref())
}

fn framing(asked: &Asked, headers: &HeaderMap) -> Framing {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let told = Framing::of(asked.endpoint, kind.unwrap_or_default());
    match &asked.api {
        // A type that says nothing of events: the description does.
        Some(api) if asked.stream && told == Framing::Json => api.framing,
        _ => told,
    }
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
