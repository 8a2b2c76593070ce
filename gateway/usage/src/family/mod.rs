//! The wire families. Each is one file that says what its fields mean and what they include; the
//! rest of the crate knows none of them.

mod anthropic;
mod openai;

use permille_types::{Endpoint, Family};

use crate::{
    document::Document,
    event::Event,
    parts::{Convention, Usage},
    reading::Facts,
    text::DeliveredText,
};

/// What an event is to the stream that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// An event like any other.
    Plain,
    /// It holds usage and delivers nothing else.
    UsageOnly,
    /// The reply is complete with it.
    Terminal,
}

/// One family's reading of replies.
pub(crate) trait WireFamily {
    /// What the family's numbers include.
    const CONVENTION: Convention;
    /// Top-level keys that are kept of a reply document.
    const KEYS: &'static [&'static str];

    /// Reads one event of a stream.
    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict;
    /// Reads a document: a whole reply, or the data of an event that was too large or too odd to
    /// be read whole. `name` is that event's name.
    fn document(&mut self, document: &Document, name: &[u8], facts: &mut Facts) -> Verdict;
    /// The text that a reply document, or the data of an event, delivers.
    fn text(json: &[u8], text: &mut DeliveredText);
}

/// The parser of one reply.
#[derive(Debug, Clone)]
pub(crate) enum Parser {
    OpenAi(openai::OpenAi),
    Anthropic(Box<anthropic::Anthropic>),
}

/// Calls the same method on whichever family it is.
macro_rules! dispatch {
    ($self:expr, $family:ident, $parser:ident => $call:expr) => {
        match $self {
            Parser::OpenAi($parser) => {
                type $family = openai::OpenAi;
                $call
            }
            Parser::Anthropic($parser) => {
                type $family = anthropic::Anthropic;
                $call
            }
        }
    };
}

impl Parser {
    /// The parser of `endpoint`'s replies; absent when its replies consume nothing.
    pub(crate) fn of(endpoint: Endpoint) -> Option<Self> {
        if !endpoint.is_metered() {
            return None;
        }
        match endpoint.family() {
            Family::OpenAi => Some(Self::OpenAi(openai::OpenAi::default())),
            Family::Anthropic => Some(Self::Anthropic(Box::default())),
            _ => None,
        }
    }

    /// What was reported, in disjoint classes; absent when nothing was.
    pub(crate) fn usage(&self, endpoint: Endpoint, facts: &Facts) -> Option<Usage> {
        if facts.parts.is_empty() && !facts.parts.bad {
            return None;
        }
        let mut usage = facts.parts.tally(dispatch!(self, F, _parser => F::CONVENTION));
        usage.output_final = facts.output_final && usage.output_total.is_some();
        if endpoint == Endpoint::Embeddings {
            // Embeddings have no output to report, and most servers do not.
            usage.output_total = usage.output_total.or(Some(0));
            usage.output_final = true;
        }
        Some(usage)
    }

    /// An empty document of this family that keeps its first `beginning_bytes_max` bytes.
    pub(crate) fn empty_document(&self, beginning_bytes_max: usize) -> Document {
        let keys = dispatch!(self, F, _parser => F::KEYS);
        Document::new(keys, beginning_bytes_max)
    }

    /// See [`WireFamily::event`].
    pub(crate) fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        dispatch!(self, F, parser => F::event(parser, event, facts))
    }

    /// See [`WireFamily::document`].
    pub(crate) fn document(
        &mut self,
        document: &Document,
        name: &[u8],
        facts: &mut Facts,
    ) -> Verdict {
        dispatch!(self, F, parser => F::document(parser, document, name, facts))
    }

    /// The text of a document, as far as it was kept; what was not is extrapolated.
    pub(crate) fn document_text(&self, document: &Document) -> DeliveredText {
        let mut text = DeliveredText::default();
        if let Some((json, kept)) = document.readable() {
            dispatch!(self, F, _parser => F::text(&json, &mut text));
            text.extrapolate(kept, document.bytes());
        }
        text
    }
}

/// Takes over what every family's document calls by the same name, and marks an error body.
fn common_keys(document: &Document, facts: &mut Facts) {
    if let Some(id) = document.text("id") {
        facts.note_id(&id);
    }
    if let Some(model) = document.text("model") {
        facts.note_model(&model);
    }
    if let Some(tier) = document.text("service_tier") {
        facts.note_tier(&tier);
    }
    facts.tap_error |= document.is_broken() || document.is_too_large("usage");
}
