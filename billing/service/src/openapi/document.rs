//! The document over all operations.

use http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{BASE, Operation, Sketch, sketch::idempotency_key};
use crate::problem::{CODES, Problem};

/// Where schemas that are used more than once stand.
const COMPONENTS: &str = "/components/schemas";
/// Where those of what is sent stand until it is known which of them differ from what is answered.
const SENT: &str = "/components/sent";
/// Statuses of refusals, as operations name them.
const REFUSALS: [(StatusCode, &str); 8] = [
    (StatusCode::UNAUTHORIZED, "There is no valid token."),
    (StatusCode::FORBIDDEN, "The token's role may not do this."),
    (StatusCode::NOT_FOUND, "It is unknown, or not to be seen by this token."),
    (StatusCode::CONFLICT, "It is there, and this may not be done to it now."),
    (StatusCode::PAYLOAD_TOO_LARGE, "The body is too long."),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is said to be something else."),
    (StatusCode::UNPROCESSABLE_ENTITY, "A value is not accepted; the detail names it."),
    (StatusCode::SERVICE_UNAVAILABLE, "The store failed, or is busy; the same call may go later."),
];

/// The schema of `T` itself; what it refers to is kept by `generator`.
pub(super) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

pub(super) fn document(operations: &[(&'static str, Operation)]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = COMPONENTS.into();
        settings.meta_schema = None;
    });
    let of_sent = settings.clone().with(|settings| settings.definitions_path = SENT.into());
    let mut sent = of_sent.for_deserialize().into_generator();
    let mut given = settings.for_serialize().into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for (path, operation) in operations {
        let mut sketch = Sketch {
            method: operation.method,
            path,
            takes_key: operation.takes_key,
            sent: &mut sent,
            given: &mut given,
            parameters: Vec::new(),
            body: None,
            roles: &[],
            replies: Map::new(),
        };
        (operation.describe)(&mut sketch);
        let methods = paths.entry(format!("{BASE}{path}")).or_insert_with(|| json!({}));
        insert(methods, operation.method, written(operation, sketch));
    }
    let mut schemas = given.take_definitions(true);
    let mut document = json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Permille billing API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The console listener."}],
        "security": [{"token": []}],
        "paths": paths,
    });
    let mut renamed = Map::new();
    for (name, schema) in sent.take_definitions(true) {
        let refers = schema.to_string().contains("\"$ref\"");
        let other = schemas.get(&name).is_some_and(|given| refers || *given != schema);
        let own = if other { format!("{name}Sent") } else { name.clone() };
        schemas.insert(own.clone(), schema);
        renamed.insert(format!("#{SENT}/{name}"), format!("#{COMPONENTS}/{own}").into());
    }
    insert(&mut document, "components", components(schemas));
    settle(&mut document, &renamed);
    document
}

const DESCRIPTION: &str = "Token metering and billing.\n\n\
    Amounts, prices and costs are decimals, written as strings. Times are RFC 3339, in UTC. Lists \
    come in pages of at most 1,000 items: a page that is not the last has `next_cursor`, which is \
    the `cursor` of the next call. Refusals are problem details (RFC 9457) with a stable `code`; \
    their `detail` names the field, its value and what is accepted. Unknown fields and parameters \
    are refused. Token classes and names of fields may be added; clients ignore what they do not \
    know.";

fn components(schemas: Map<String, Value>) -> Value {
    let responses: Map<String, Value> = REFUSALS
        .iter()
        .map(|(status, description)| {
            let example = Problem::example(*status);
            let content = json!({"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": example,
            }});
            let mut response = json!({"description": description, "content": content});
            if *status == StatusCode::UNAUTHORIZED {
                let header = json!({"WWW-Authenticate": {
                    "required": true,
                    "schema": {"const": "Bearer"},
                }});
                insert(&mut response, "headers", header);
            }
            (status.as_str().to_owned(), response)
        })
        .collect();
    let mut schemas = schemas;
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "schemas": schemas,
        "responses": responses,
        "parameters": {"IdempotencyKey": idempotency_key()},
        "securitySchemes": {"token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of `permille token create`. Its role decides what it may do: \
                            each operation names the roles in `x-permille-roles`.",
        }},
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "Why a request got no document (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"const": "about:blank"},
            "title": {"type": "string", "description": "The status in words."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What is wrong, and what is accepted."},
            "code": {"type": "string", "enum": CODES},
        },
        "additionalProperties": false,
    })
}

/// One operation.
fn written(operation: &Operation, sketch: Sketch<'_>) -> Value {
    let mut names = operation.handler.rsplit("::");
    let (name, noun) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    let noun = noun.replace('_', "-");
    let mut written = json!({
        "operationId": format!("{noun}.{name}"),
        "tags": [noun],
        "summary": operation.summary,
        "description": format!("Roles: {}.", sketch.roles.join(", ")),
        "x-permille-roles": sketch.roles,
        "parameters": sketch.parameters,
        "responses": sketch.replies,
    });
    if let Some(body) = sketch.body {
        insert(&mut written, "requestBody", body);
    }
    written
}

/// Adds a field to an object.
pub(super) fn insert(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// Points each reference to where its schema came to stand, and lets decimals be strings only: what
/// a number means is not exact.
fn settle(part: &mut Value, renamed: &Map<String, Value>) {
    match part {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some(found) = reference.and_then(|reference| renamed.get(reference)).cloned() {
                fields.insert("$ref".to_owned(), found);
            }
            let either = json!(["string", "number"]);
            if fields.get("type") == Some(&either) && fields.contains_key("pattern") {
                fields.insert("type".to_owned(), "string".into());
            }
            fields.values_mut().for_each(|part| settle(part, renamed));
        }
        Value::Array(items) => items.iter_mut().for_each(|part| settle(part, renamed)),
        _ => {}
    }
}
