//! The models that a listing names. Requests may name any other.

use serde_json::{Value, json};

use crate::ask::Family;

const LISTED: &[&str] = &[
    "gpt-4o-mini",
    "gpt-4o",
    "gpt-5",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
    "ERNIE-Bot",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "simulated-reasoner",
];

/// 2026-01-01, when all of them appeared here.
const CREATED: i64 = 1_767_225_600;

/// All listed models.
pub(crate) fn list(family: Family) -> String {
    let entries: Vec<Value> = LISTED.iter().map(|id| entry(family, id)).collect();
    match family {
        Family::OpenAi => json!({"object": "list", "data": entries}),
        Family::Anthropic => json!({
            "data": entries,
            "has_more": false,
            "first_id": LISTED.first(),
            "last_id": LISTED.last(),
        }),
    }
    .to_string()
}

/// One model, listed or not.
pub(crate) fn one(family: Family, id: &str) -> String {
    entry(family, id).to_string()
}

fn entry(family: Family, id: &str) -> Value {
    match family {
        Family::OpenAi => {
            json!({"id": id, "object": "model", "created": CREATED, "owned_by": "simulator"})
        }
        Family::Anthropic => json!({
            "type": "model",
            "id": id,
            "display_name": id,
            "created_at": "2026-01-01T00:00:00Z",
        }),
    }
}
