//! What a reply's head says about how its body is to be read.

use std::time::Duration;

use chrono::DateTime;
use http::{HeaderMap, StatusCode, Version, header, response::Parts};
use permille_types::{Ended, Endpoint, Family};
use permille_usage::{Encoding, Framing, Reading, Tap, TapConfig, Usage};

use crate::{exchange::Reader, record::Reply, upstream::Upstream};

/// What was asked, as far as reading the reply needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    /// Whether the reply is to be a stream.
    pub(crate) stream: bool,
    /// Whether we asked for a usage frame that the client did not ask for.
    pub(crate) usage_added: bool,
}

/// What is known of a call that has not been answered: its prompt was sent, nothing came back.
pub(crate) fn unanswered(asked: Asked, upstream: &Upstream) -> Reply {
    if !asked.endpoint.is_metered() {
        return Reply::Nothing;
    }
    let tap = tap(asked, upstream, Framing::Json, Encoding::Identity);
    Reply::Counted(Box::new(tap.reading()))
}

/// Whether a prompt that the upstream rejects with this head is billed by it.
///
/// Source: Microsoft, Azure `OpenAI`, "Content filtering": a prompt that is filtered with status
/// 400 is charged, because it was evaluated. `OpenAI` itself charges nothing for an error.
pub(crate) fn bills_a_rejected_prompt(head: &Parts, asked: Asked, upstream: &Upstream) -> bool {
    head.status == StatusCode::BAD_REQUEST
        && upstream.family == Family::AzureOpenAi
        && asked.endpoint.is_metered()
}

/// The reader of a reply with this head, which is read as its upstream's family says. Error bodies
/// are never counted as output (M8).
pub(crate) fn reader(head: &Parts, asked: Asked, upstream: &Upstream) -> Reader {
    if !head.status.is_success() {
        return Reader::Failed(error_tap(&head.headers, asked, upstream));
    }
    if !asked.endpoint.is_metered() {
        return Reader::Plain(Ended::Complete);
    }
    let framing = framing(asked, upstream, &head.headers);
    let mut tap = tap(asked, upstream, framing, encoding(&head.headers));
    if upstream.family == Family::Tgi {
        let told = |name| count(&head.headers, name);
        tap.tell(told("x-prompt-tokens"), told("x-generated-tokens"));
    }
    Reader::Tap(tap)
}

/// A tap for the body of an error: what it reports is the provider's account, never the client's.
pub(crate) fn error_tap(headers: &HeaderMap, asked: Asked, upstream: &Upstream) -> Tap {
    let asked = Asked { usage_added: false, ..asked };
    tap(asked, upstream, Framing::Json, encoding(headers))
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

/// Whether what was read of a reply lacks the reply's own end, as far as it could be read. Where
/// HTTP says that all of it came, a reason to stop is end enough: some servers tell no other.
pub(crate) fn lacks_its_end(reading: &Reading, http_cannot_tell: bool) -> bool {
    let counted = reading.usage.as_ref().is_some_and(Usage::is_complete);
    let unknown = reading.tap_error || reading.unreadable;
    let is_cut = reading.unended || http_cannot_tell;
    is_cut && !(reading.terminal || reading.error || counted || unknown)
}

/// How long the upstream asks to be left alone. A date is taken relative to the answer's own
/// `date`, so that two clocks need not agree.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse().ok()) {
        return Some(Duration::from_millis(millis));
    }
    let after = text("retry-after")?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| DateTime::parse_from_rfc2822(text).ok();
    date(after)?.signed_duration_since(date(text("date")?)?).to_std().ok()
}

/// A count that stands in a header.
fn count(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn tap(asked: Asked, upstream: &Upstream, framing: Framing, encoding: Encoding) -> Tap {
    let config = TapConfig {
        family: upstream.family,
        endpoint: asked.endpoint,
        framing,
        encoding,
        cut_usage_frame: asked.usage_added,
    };
    Tap::described(config, upstream.api.as_ref())
}

fn framing(asked: Asked, upstream: &Upstream, headers: &HeaderMap) -> Framing {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let told = Framing::of(asked.endpoint, kind.unwrap_or_default());
    // A type that says nothing of events where a stream was asked for: servers forget it.
    match &upstream.api {
        _ if !asked.stream || told != Framing::Json => told,
        Some(api) => api.framing,
        None if upstream.family == Family::Ollama => Framing::JsonLines,
        None => Framing::Untold,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], expected: Option<u64>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }

        assert_eq!(retry_after(&map), expected.map(Duration::from_millis), "{headers:?}");
    }

    #[test]
    fn every_form_of_retry_after_is_read() {
        let date = ("date", "Tue, 24 Nov 2026 10:00:00 GMT");
        check(&[("retry-after", "7")], Some(7_000));
        check(&[("retry-after", "7"), ("retry-after-ms", "250")], Some(250));
        check(&[("retry-after", "Tue, 24 Nov 2026 10:00:03 GMT"), date], Some(3_000));
        check(&[("retry-after", "Tue, 24 Nov 2026 10:00:03 GMT")], None);
        check(&[("retry-after", "Tue, 24 Nov 2026 09:59:59 GMT"), date], None);
        check(&[("retry-after", "-1")], None);
        check(&[("retry-after", "soon")], None);
        check(&[], None);
    }
}
