//! An API that Permille has no family for, described by configuration: where its requests and
//! replies keep what is metered.

use std::{collections::BTreeMap, fmt, str::FromStr};

use permille_types::Unit;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{family::Reports, parts::Convention, tap::Framing};

/// A place in a JSON document.
///
/// Source: RFC 6901, "JSON Pointer".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer {
    text: String,
    /// The key at the top level that it goes through.
    key: String,
}

impl Pointer {
    /// What stands there.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.pointer(&self.text)
    }

    /// The text that stands there; empty where none does.
    pub(crate) fn text<'v>(&self, value: &'v Value) -> &'v str {
        self.find(value).and_then(Value::as_str).unwrap_or_default()
    }
}

impl FromStr for Pointer {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let key = text.strip_prefix('/').map(|rest| rest.split('/').next().unwrap_or_default());
        let key = key.filter(|key| !key.is_empty() && !key.contains('.')).ok_or_else(|| {
            format!("`{text}` is no JSON pointer: give a path from the top such as /usage/total")
        })?;
        Ok(Self { text: text.to_owned(), key: key.replace("~1", "/").replace("~0", "~") })
    }
}

impl TryFrom<String> for Pointer {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.text
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where an API keeps what is metered. Within one reply the last report of a field wins.
///
/// An API without `input`, `output` and `total` is not metered by tokens: its replies count as
/// requests, one each, unless `units` says how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiDescription {
    /// How the body of a stream is framed, where its `content-type` does not tell.
    pub framing: Framing,
    /// The model, in a request.
    pub request_model: Option<Pointer>,
    /// Whether the reply is to be a stream, in a request.
    pub request_stream: Option<Pointer>,
    /// The reply's id.
    pub id: Option<Pointer>,
    /// The model that a reply names.
    pub model: Option<Pointer>,
    /// Input tokens.
    pub input: Option<Pointer>,
    /// Output tokens.
    pub output: Option<Pointer>,
    /// The sum of both, used to check them; alone it is the input.
    pub total: Option<Pointer>,
    /// Input tokens read from a cache.
    pub cached: Option<Pointer>,
    /// Output tokens spent on reasoning.
    pub reasoning: Option<Pointer>,
    /// The delivered text, of a whole reply or of one event.
    pub text: Option<Pointer>,
    /// What is there when a reply has failed: anything but null, false, 0 and an empty text.
    pub error: Option<Pointer>,
    /// What only the last event of a stream has: anything but null, false, 0 and an empty text.
    pub terminal: Option<Pointer>,
    /// Quantities that are not tokens.
    pub units: BTreeMap<Unit, Pointer>,
    /// Whether `input` includes `cached`.
    pub input_includes_cache: bool,
    /// Whether `output` includes `reasoning`.
    pub output_includes_reasoning: bool,
}

impl Default for ApiDescription {
    fn default() -> Self {
        Self {
            framing: Framing::Json,
            request_model: None,
            request_stream: None,
            id: None,
            model: None,
            input: None,
            output: None,
            total: None,
            cached: None,
            reasoning: None,
            text: None,
            error: None,
            terminal: None,
            units: BTreeMap::new(),
            input_includes_cache: true,
            output_includes_reasoning: true,
        }
    }
}

impl ApiDescription {
    /// Which tokens the API reports.
    pub(crate) fn reports(&self) -> Reports {
        match (&self.input, &self.output, &self.total) {
            (None, None, None) => Reports::Nothing,
            (_, None, _) => Reports::Input,
            _ => Reports::InputAndOutput,
        }
    }

    pub(crate) fn convention(&self) -> Convention {
        Convention {
            input_includes_cache: self.input_includes_cache,
            output_includes_reasoning: self.output_includes_reasoning,
        }
    }

    /// The keys at the top level of a reply that have to be kept.
    pub(crate) fn keys(&self) -> Vec<String> {
        let single = [
            &self.id,
            &self.model,
            &self.input,
            &self.output,
            &self.total,
            &self.cached,
            &self.reasoning,
            &self.error,
            &self.terminal,
        ];
        let pointers = single.into_iter().flatten().chain(self.units.values());
        let mut keys: Vec<String> = pointers.map(|pointer| pointer.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}
