//! What the type of a handler says: each argument what is needed, its result what is answered.

use axum::{Json, extract::State};
use http::StatusCode;
use schemars::JsonSchema;

use super::Sketch;
use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, OptionalBody, Params, Segment, Segments},
    problem::Problem,
};

/// A handler. `A` is the tuple of its arguments.
pub(crate) trait Described<A> {
    /// Adds what the handler takes and gives.
    fn describe(sketch: &mut Sketch);
}

/// An argument of a handler.
pub(crate) trait Input {
    /// Adds what is needed for it.
    fn describe(sketch: &mut Sketch);
}

/// What a handler answers.
pub(crate) trait Output {
    /// Adds it.
    fn describe(sketch: &mut Sketch);
}

macro_rules! handlers {
    ($(($($argument:ident),*))+) => {$(
        impl<F, Answer, R, $($argument),*> Described<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Answer,
            Answer: Future<Output = Result<R, Problem>>,
            R: Output,
            $($argument: Input,)*
        {
            fn describe(sketch: &mut Sketch) {
                $($argument::describe(sketch);)*
                R::describe(sketch);
            }
        }
    )+};
}

handlers! { (A) (A, B) (A, B, C) (A, B, C, D) }

impl Input for State<Billing> {
    fn describe(_: &mut Sketch) {}
}

impl<A: Action> Input for Caller<A> {
    fn describe(sketch: &mut Sketch) {
        sketch.needs_role(A::ROLES);
    }
}

impl Input for Segment {
    fn describe(sketch: &mut Sketch) {
        sketch.takes_segments();
    }
}

impl Input for Segments {
    fn describe(sketch: &mut Sketch) {
        sketch.takes_segments();
    }
}

impl<T: JsonSchema> Input for Params<T> {
    fn describe(sketch: &mut Sketch) {
        sketch.takes_query::<T>();
    }
}

impl<T: JsonSchema> Input for Body<T> {
    fn describe(sketch: &mut Sketch) {
        sketch.takes_body::<T>(true);
    }
}

impl<T: JsonSchema> Input for OptionalBody<T> {
    fn describe(sketch: &mut Sketch) {
        sketch.takes_body::<T>(false);
    }
}

impl<T: JsonSchema> Output for Json<T> {
    fn describe(sketch: &mut Sketch) {
        sketch.gives_json::<T>(StatusCode::OK);
    }
}

/// Handlers that give a status of their own have made something.
impl<T: JsonSchema> Output for (StatusCode, Json<T>) {
    fn describe(sketch: &mut Sketch) {
        sketch.gives_json::<T>(StatusCode::CREATED);
    }
}
