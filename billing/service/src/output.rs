//! What is answered otherwise than by writing a value as JSON.

use std::{borrow::Cow, marker::PhantomData};

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer, ser::Error};
use serde_json::Value;

use crate::openapi::{Output, Sketch};

/// The text of a document `T` byte for byte as it was issued.
pub(crate) struct Issued<T> {
    text: String,
    document: PhantomData<T>,
}

impl<T> Issued<T> {
    pub(crate) fn new(text: String) -> Self {
        Self { text, document: PhantomData }
    }
}

impl<T> IntoResponse for Issued<T> {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.text).into_response()
    }
}

impl<T: JsonSchema> Output for Issued<T> {
    fn describe(sketch: &mut Sketch) {
        sketch.gives_json::<T>(StatusCode::OK);
    }
}

/// What was made, with the secret that is shown this once.
pub(crate) struct WithSecret<T> {
    pub(crate) made: T,
    pub(crate) secret: SecretString,
}

impl<T: Serialize> Serialize for WithSecret<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut document = serde_json::to_value(&self.made).map_err(S::Error::custom)?;
        if let Some(fields) = document.as_object_mut() {
            fields.insert("secret".to_owned(), Value::from(self.secret.expose_secret()));
        }
        document.serialize(s)
    }
}

impl<T: JsonSchema> JsonSchema for WithSecret<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}WithSecret", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let secret = serde_json::json!({"type": "string", "description": "Shown this once."});
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.insert("secret".to_owned(), secret);
        }
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.push("secret".into());
        }
        schema
    }
}
