//! What is known of one operation while its handler's type is read.

use http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::document::{insert, schema_of};
use crate::access::IDEMPOTENCY_KEY;

/// One operation, as far as it is known.
pub(crate) struct Sketch<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Whether it takes an idempotency key.
    pub(super) takes_key: bool,
    /// Schemas of what is sent.
    pub(super) sent: &'a mut SchemaGenerator,
    /// Schemas of what is answered.
    pub(super) given: &'a mut SchemaGenerator,
    pub(super) parameters: Vec<Value>,
    pub(super) body: Option<Value>,
    pub(super) roles: &'static [&'static str],
    pub(super) replies: Map<String, Value>,
}

impl Sketch<'_> {
    /// The roles of which the caller must have one.
    pub(super) fn needs_role(&mut self, roles: &'static [&'static str]) {
        self.roles = roles;
        self.refuses(StatusCode::UNAUTHORIZED);
        self.refuses(StatusCode::FORBIDDEN);
        self.refuses(StatusCode::SERVICE_UNAVAILABLE);
        if self.takes_key {
            self.parameters.push(json!({"$ref": "#/components/parameters/IdempotencyKey"}));
        }
        if self.method == "post" {
            self.refuses(StatusCode::CONFLICT);
            self.refuses(StatusCode::UNPROCESSABLE_ENTITY);
        }
    }

    /// The variable parts of the path.
    pub(super) fn takes_segments(&mut self) {
        for segment in self.path.split('/').filter_map(|part| part.strip_prefix('{')) {
            self.parameters.push(json!({
                "name": segment.trim_end_matches('}'),
                "in": "path",
                "required": true,
                "schema": {"type": "string", "minLength": 1},
            }));
        }
        self.refuses(StatusCode::NOT_FOUND);
        // Such as the document of an invoice that has none yet.
        self.refuses(StatusCode::CONFLICT);
        self.refuses(StatusCode::UNPROCESSABLE_ENTITY);
    }

    /// One parameter for each field of `T`.
    pub(super) fn takes_query<T: JsonSchema>(&mut self) {
        let schema = schema_of::<T>(self.sent);
        let required = schema.get("required").and_then(Value::as_array);
        let required: Vec<&str> =
            required.into_iter().flatten().filter_map(Value::as_str).collect();
        let fields = schema.get("properties").and_then(Value::as_object);
        for (name, schema) in fields.into_iter().flatten() {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().and_then(|it| it.remove("description"));
            let mut parameter = json!({
                "name": name,
                "in": "query",
                "required": required.contains(&name.as_str()),
                "schema": without_null(schema),
            });
            if let Some(description) = description {
                insert(&mut parameter, "description", description);
            }
            self.parameters.push(parameter);
        }
        self.refuses(StatusCode::NOT_FOUND);
        self.refuses(StatusCode::UNPROCESSABLE_ENTITY);
    }

    /// A body in JSON.
    pub(super) fn takes_body<T: JsonSchema>(&mut self, required: bool) {
        let mut schema = schema_of::<T>(self.sent);
        let description = schema.as_object_mut().and_then(|it| it.remove("description"));
        self.body = Some(json!({
            "required": required,
            "description": description.unwrap_or_default(),
            "content": {"application/json": {"schema": schema}},
        }));
        self.refuses(StatusCode::NOT_FOUND);
        self.refuses(StatusCode::PAYLOAD_TOO_LARGE);
        self.refuses(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        self.refuses(StatusCode::UNPROCESSABLE_ENTITY);
    }

    /// An answer in JSON.
    pub(crate) fn gives_json<T: JsonSchema>(&mut self, status: StatusCode) {
        let schema = self.given.subschema_for::<T>();
        let description = match status {
            StatusCode::CREATED => "Made.",
            _ => "Done.",
        };
        let content = json!({"application/json": {"schema": schema}});
        self.replies.insert(
            status.as_str().to_owned(),
            json!({"description": description, "content": content}),
        );
    }

    /// An answer that is a file of one of these media types.
    pub(crate) fn gives_file<'t>(&mut self, media_types: impl Iterator<Item = &'t str>) {
        let content: Map<String, Value> =
            media_types.map(|media_type| (media_type.to_owned(), json!({"schema": {}}))).collect();
        let disposition = json!({
            "description": "The name of the file.",
            "required": true,
            "schema": {"type": "string"},
        });
        self.replies.insert(
            StatusCode::OK.as_str().to_owned(),
            json!({
                "description": "The document as a file.",
                "headers": {"Content-Disposition": disposition},
                "content": content,
            }),
        );
    }

    fn refuses(&mut self, status: StatusCode) {
        let reference = format!("#/components/responses/{}", status.as_str());
        self.replies.insert(status.as_str().to_owned(), json!({"$ref": reference}));
    }
}

/// A parameter is there or not: no text says `null`.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type")
        && let Some(list) = types.as_array_mut()
    {
        list.retain(|kind| kind != "null");
        if let (1, Some(only)) = (list.len(), list.first().cloned()) {
            *types = only;
        }
    }
    let alternatives = schema.get_mut("anyOf").and_then(Value::as_array_mut);
    if let Some(alternatives) = alternatives {
        alternatives.retain(|kind| kind.get("type").is_none_or(|kind| kind != "null"));
        if let (1, Some(only)) = (alternatives.len(), alternatives.first().cloned()) {
            return only;
        }
    }
    schema
}

/// The header under which the same call may come again.
pub(super) fn idempotency_key() -> Value {
    json!({
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "required": false,
        "description": "Under one value of a token a change is made once: the same call again \
                        changes nothing and gets what it made or changed, as that is now; another \
                        call is refused with 409. A value is remembered for good.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": "^[\\x21-\\x7e]([\\x20-\\x7e]*[\\x21-\\x7e])?$",
        },
        "example": "2026-11-grant-acme",
    })
}
