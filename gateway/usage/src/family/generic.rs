//! An API that is described by configuration: everything it means stands in its [`ApiDescription`].

use std::sync::Arc;

use permille_types::Unit;
use serde_json::{Map, Value};

use super::{Keys, Reports, Verdict, WireFamily, common_keys, read_top_level, wire::DONE};
use crate::{
    description::{ApiDescription, Pointer},
    document::Document,
    event::Event,
    from_json::{self, FromJson},
    lenient::{Count, Present},
    parts::{Convention, Parts},
    reading::Facts,
    text::DeliveredText,
};

/// The parser of one reply.
#[derive(Debug, Clone)]
pub(crate) struct Generic {
    description: Arc<ApiDescription>,
    keys: Arc<[String]>,
}

impl Generic {
    pub(crate) fn new(description: &Arc<ApiDescription>) -> Self {
        Self { description: Arc::clone(description), keys: description.keys().into() }
    }
}

impl WireFamily for Generic {
    /// What is taken to be so where the description does not say otherwise.
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: true };
    /// All of them are the description's.
    const KEYS: &'static [&'static str] = &[];

    fn convention(&self) -> Convention {
        self.description.convention()
    }

    fn keys(&self) -> Keys {
        Keys::Described(Arc::clone(&self.keys))
    }

    fn ends_itself(&self) -> bool {
        self.description.terminal.is_some()
    }

    fn reports(&self) -> Reports {
        self.description.reports()
    }

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        facts.error |= event.name == Some(b"error");
        let Some(data) = event.data.map(<[u8]>::trim_ascii) else { return Verdict::Plain };
        if data == DONE {
            return facts.end();
        }
        let Ok(value) = serde_json::from_slice::<Value>(data) else {
            return read_top_level(self, event, facts);
        };
        push_text(&self.description, &value, &mut facts.text);
        note(&self.description, &value, facts)
    }

    fn document(&mut self, document: &Document, name: &[u8], facts: &mut Facts) -> Verdict {
        common_keys(document, facts);
        facts.error |= name == b"error";
        let kept = self.keys.iter().map(|key| {
            let value = document.value(key).map(serde_json::from_slice);
            facts.parts.bad |= matches!(value, Some(Err(_)));
            (key.clone(), value.and_then(Result::ok).unwrap_or_default())
        });
        note(&self.description, &Value::Object(kept.collect::<Map<_, _>>()), facts)
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        if let Ok(value) = serde_json::from_slice::<Value>(json) {
            push_text(&self.description, &value, text);
        }
    }
}

fn push_text(description: &ApiDescription, value: &Value, text: &mut DeliveredText) {
    text.visible.push(text_at(description.text.as_ref(), value));
}

/// The text at a place that may not be described.
fn text_at<'v>(pointer: Option<&Pointer>, value: &'v Value) -> &'v str {
    pointer.map(|pointer| pointer.text(value)).unwrap_or_default()
}

/// What stands at such a place, read as any family reads it.
fn at<T: for<'a> FromJson<'a>>(pointer: Option<&Pointer>, value: &Value) -> T {
    let found = pointer.and_then(|pointer| pointer.find(value)).map(Value::to_string);
    found.and_then(|json| from_json::read(json.as_bytes()).ok()).unwrap_or_default()
}

fn note(description: &ApiDescription, value: &Value, facts: &mut Facts) -> Verdict {
    facts.note_id(text_at(description.id.as_ref(), value));
    facts.note_model(text_at(description.model.as_ref(), value));
    facts.error |= at::<Present>(description.error.as_ref(), value).is_present();
    let mut bad = false;
    let mut count = |pointer: Option<&Pointer>| at::<Count>(pointer, value).read(&mut bad);
    let mut total = count(description.total.as_ref());
    let mut input = count(description.input.as_ref());
    if description.reports() == Reports::Input {
        // The sum of an API without output is its input.
        input = input.or(total.take());
    }
    let parts = Parts {
        input,
        output: count(description.output.as_ref()),
        total,
        cache_read: count(description.cached.as_ref()),
        reasoning: count(description.reasoning.as_ref()),
        units: description
            .units
            .iter()
            .filter_map(|(unit, pointer)| Some((*unit, count(Some(pointer))?)))
            .collect(),
        ..Parts::default()
    };
    facts.parts.merge(&Parts { bad, ..parts });
    if description.reports() == Reports::Nothing {
        facts.parts.units.entry(Unit::Requests).or_insert(1);
    }
    let is_end = at::<Present>(description.terminal.as_ref(), value).is_present();
    if is_end { facts.end() } else { Verdict::Plain }
}
