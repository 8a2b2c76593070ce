//! The wire families. Each is one file that says what its fields mean and what they include; the
//! rest of the crate knows none of them.

mod anthropic;
mod dashscope;
mod gemini;
mod generic;
mod hunyuan;
mod llamacpp;
mod ollama;
mod openai;
mod qianfan_v1;
mod responses;
mod tgi;
mod wire;

use std::{borrow::Cow, sync::Arc};

use generic::Generic;
use permille_types::{Endpoint, Family};

use crate::{
    description::ApiDescription,
    document::{Document, Keys},
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
    /// The text that a reply document, or the data of an event, delivers. Where events repeat the
    /// text so far, only what is new of it.
    fn text(&mut self, json: &[u8], text: &mut DeliveredText);

    /// Reads a whole reply document at once: what [`Self::document`] and [`Self::text`] make of it.
    /// False, and nothing is noted, where it has not the ordinary shape, or the family has no such
    /// way.
    fn whole_document(&mut self, _json: &[u8], _facts: &mut Facts) -> bool {
        false
    }

    /// What this reply's numbers include.
    fn convention(&self) -> Convention {
        Self::CONVENTION
    }
    /// Top-level keys that are kept of this reply's document.
    fn keys(&self) -> Keys {
        Keys::Known(Self::KEYS)
    }
    /// Whether this reply's format says where a stream ends.
    fn ends_itself(&self) -> bool {
        true
    }
    /// Which tokens this reply's family reports.
    fn reports(&self) -> Reports {
        Reports::InputAndOutput
    }
}

/// Which tokens a family reports at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reports {
    InputAndOutput,
    /// There is no output that is paid for.
    Input,
    /// Tokens are not what is paid for.
    Nothing,
}

/// The parser of one reply: `$name` holds the state of whichever family it is.
macro_rules! parsers {
    ($($name:ident($parser:ty)),+ $(,)?) => {
        #[derive(Debug, Clone)]
        pub(crate) enum Parser {
            $($name(Box<$parser>)),+
        }

        impl Parser {
            fn convention(&self) -> Convention {
                match self {
                    $(Self::$name(parser) => parser.convention()),+
                }
            }

            fn keys(&self) -> Keys {
                match self {
                    $(Self::$name(parser) => parser.keys()),+
                }
            }

            /// See [`WireFamily::ends_itself`].
            pub(crate) fn ends_itself(&self) -> bool {
                match self {
                    $(Self::$name(parser) => parser.ends_itself()),+
                }
            }

            fn reports(&self) -> Reports {
                match self {
                    $(Self::$name(parser) => parser.reports()),+
                }
            }

            /// See [`WireFamily::event`].
            pub(crate) fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
                match self {
                    $(Self::$name(parser) => parser.event(event, facts)),+
                }
            }

            /// See [`WireFamily::document`].
            pub(crate) fn document(
                &mut self,
                document: &Document,
                name: &[u8],
                facts: &mut Facts,
            ) -> Verdict {
                match self {
                    $(Self::$name(parser) => parser.document(document, name, facts)),+
                }
            }

            /// See [`WireFamily::whole_document`].
            pub(crate) fn whole_document(&mut self, json: &[u8], facts: &mut Facts) -> bool {
                match self {
                    $(Self::$name(parser) => parser.whole_document(json, facts)),+
                }
            }

            fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
                match self {
                    $(Self::$name(parser) => parser.text(json, text)),+
                }
            }
        }
    };
}

parsers! {
    OpenAi(openai::OpenAi),
    Responses(responses::Responses),
    Anthropic(anthropic::Anthropic),
    Gemini(gemini::Gemini),
    QianfanV1(qianfan_v1::QianfanV1),
    Dashscope(dashscope::Dashscope),
    Hunyuan(hunyuan::Hunyuan),
    Tgi(tgi::Tgi),
    Ollama(ollama::Ollama),
    LlamaCpp(llamacpp::LlamaCpp),
    Generic(generic::Generic),
}

impl Parser {
    /// The parser of `family`'s replies to `endpoint`; absent when they consume nothing. An API of
    /// the generic family has a description.
    pub(crate) fn of(
        family: Family,
        endpoint: Endpoint,
        description: Option<&Arc<ApiDescription>>,
    ) -> Option<Self> {
        if !endpoint.is_metered() {
            return None;
        }
        Some(match family {
            Family::OpenAi | Family::AzureOpenAi if endpoint == Endpoint::Responses => {
                Self::Responses(Box::default())
            }
            Family::OpenAi | Family::AzureOpenAi | Family::Pangu => Self::OpenAi(Box::default()),
            Family::Anthropic => Self::Anthropic(Box::default()),
            Family::Gemini => Self::Gemini(Box::default()),
            Family::QianfanV1 => Self::QianfanV1(Box::default()),
            Family::Dashscope => Self::Dashscope(Box::default()),
            Family::Hunyuan => Self::Hunyuan(Box::default()),
            Family::Tgi => Self::Tgi(Box::default()),
            Family::Ollama => Self::Ollama(Box::default()),
            Family::LlamaCpp => Self::LlamaCpp(Box::default()),
            Family::Generic => Self::Generic(Box::new(Generic::new(description?))),
            _ => return None,
        })
    }

    /// What was reported, in disjoint classes; absent when nothing was.
    pub(crate) fn usage(&self, endpoint: Endpoint, facts: &Facts) -> Option<Usage> {
        let reports = if endpoint.is_embedding() { Reports::Input } else { self.reports() };
        let fails = reports == Reports::Nothing && facts.is_failed();
        if facts.parts.is_empty() || fails {
            return None;
        }
        let mut parts = Cow::Borrowed(&facts.parts);
        if reports == Reports::Input && parts.input.is_none() {
            // All of an embedding's tokens are input: some report their sum alone (Voyage, Jina).
            parts.to_mut().input = parts.total;
        }
        let mut usage = parts.tally(self.convention());
        usage.output_final = facts.output_final && usage.output_total.is_some();
        usage.is_tokenless = reports == Reports::Nothing;
        if reports == Reports::Input {
            // Embeddings have no output to report, and most servers do not.
            usage.output_total = usage.output_total.or(Some(0));
            usage.output_final = true;
        }
        Some(usage)
    }

    /// An empty document of this family that keeps its first `beginning_bytes_max` bytes.
    pub(crate) fn empty_document(&self, beginning_bytes_max: usize) -> Document {
        Document::new(&self.keys(), beginning_bytes_max)
    }

    /// The text of a document, as far as it was kept; what was not is extrapolated.
    pub(crate) fn document_text(&mut self, document: &Document) -> DeliveredText {
        let mut text = DeliveredText::default();
        if let Some((json, kept)) = document.readable() {
            self.text(&json, &mut text);
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

/// Reads an event whose data does not have the family's shape: an odd field must not cost the
/// usage beside it, so its top level alone is read.
fn read_top_level<F: WireFamily>(parser: &mut F, event: &Event<'_>, facts: &mut Facts) -> Verdict {
    let mut document = Document::new(&parser.keys(), 0);
    document.push(event.data.unwrap_or_default());
    facts.tap_error |= !document.is_closed();
    parser.document(&document, event.name.unwrap_or_default(), facts)
}
