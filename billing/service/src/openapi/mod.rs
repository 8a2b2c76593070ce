//! The API's description: an `OpenAPI` 3.1 document, made of the routes and of the types that they
//! take and give.
//!
//! A route that is added to [`Routes`] is in the document; there is no other way to add one. What
//! it needs of the caller, what it reads and what it answers are told by its handler's type
//! ([`Described`]); what a field is, by the comment on it. Nothing here decides what a route does.
//!
//! Source: `OpenAPI` Specification 3.1.1, whose schemas are JSON Schema 2020-12.

mod described;
mod document;
mod sketch;

use axum::{
    Router,
    handler::Handler,
    routing::{self, MethodRouter},
};

pub(crate) use described::{Described, Output};
pub(crate) use sketch::Sketch;

use crate::billing::Billing;

/// Where the routes for people begin.
pub(crate) const BASE: &str = "/api/v1";

/// Routes, and what the document says of each.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router<Billing>,
    operations: Vec<(&'static str, Operation)>,
}

/// The methods of one route.
pub(crate) struct Methods {
    router: MethodRouter<Billing>,
    operations: Vec<Operation>,
}

/// One method of one route.
pub(crate) struct Operation {
    method: &'static str,
    /// What it does, in a few words.
    summary: &'static str,
    /// Its handler, as the compiler names it: `…::routes::customers::list`.
    handler: &'static str,
    describe: fn(&mut Sketch),
    /// Whether it is made once under one idempotency key.
    takes_key: bool,
}

impl Routes {
    /// With the methods of `path`, which is under [`BASE`].
    pub(crate) fn route(mut self, path: &'static str, methods: Methods) -> Self {
        self.router = self.router.route(path, methods.router);
        self.operations.extend(methods.operations.into_iter().map(|operation| (path, operation)));
        self
    }

    /// What answers requests.
    pub(crate) fn into_router(self) -> Router<Billing> {
        self.router
    }

    /// The document.
    pub(crate) fn describe(&self) -> serde_json::Value {
        document::document(&self.operations)
    }
}

/// A route that is read with `GET`.
pub(crate) fn get<H, X, A>(handler: H, summary: &'static str) -> Methods
where
    H: Handler<X, Billing> + Described<A>,
    X: 'static,
{
    let operations = vec![operation::<H, A>("get", summary)];
    Methods { router: routing::get(handler), operations }
}

/// A route that changes something with `POST`: under one idempotency key once. Its handler spends
/// the key in the transaction of the change.
pub(crate) fn post<H, X, A>(handler: H, summary: &'static str) -> Methods
where
    H: Handler<X, Billing> + Described<A>,
    X: 'static,
{
    let operations = vec![operation::<H, A>("post", summary).keyed()];
    Methods { router: routing::post(handler), operations }
}

/// A route with `POST` that takes no idempotency key: it changes nothing, or makes what is not made
/// yet in many transactions, whose key none of them could spend for the others.
pub(crate) fn ask<H, X, A>(handler: H, summary: &'static str) -> Methods
where
    H: Handler<X, Billing> + Described<A>,
    X: 'static,
{
    let operations = vec![operation::<H, A>("post", summary)];
    Methods { router: routing::post(handler), operations }
}

impl Methods {
    /// The same with [`post`] too.
    pub(crate) fn post<H, X, A>(self, handler: H, summary: &'static str) -> Self
    where
        H: Handler<X, Billing> + Described<A>,
        X: 'static,
    {
        self.with_post(handler, operation::<H, A>("post", summary).keyed())
    }

    /// The same with [`ask`] too.
    pub(crate) fn ask<H, X, A>(self, handler: H, summary: &'static str) -> Self
    where
        H: Handler<X, Billing> + Described<A>,
        X: 'static,
    {
        self.with_post(handler, operation::<H, A>("post", summary))
    }

    fn with_post<H: Handler<X, Billing>, X: 'static>(
        mut self,
        handler: H,
        operation: Operation,
    ) -> Self {
        self.operations.push(operation);
        self.router = self.router.post(handler);
        self
    }
}

impl Operation {
    fn keyed(self) -> Self {
        Self { takes_key: true, ..self }
    }
}

fn operation<H: Described<A>, A>(method: &'static str, summary: &'static str) -> Operation {
    let handler = std::any::type_name::<H>();
    Operation { method, summary, handler, describe: H::describe, takes_key: false }
}
