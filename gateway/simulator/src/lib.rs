//! A model provider to try things against: real HTTP, its own books, faults on demand.
//!
//! It is what `permille serve` offers when no upstream is configured, what the demo drives and what
//! tests compare with, to the token. Therefore it shares nothing with the gateway: no counting
//! code, no types, no clock. It is not a model; replies are words from a list.
//!
//! Shapes: OpenAI (`/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models`) and
//! Anthropic (`/v1/messages`, `/v1/messages/count_tokens`, the same below `/anthropic`), over
//! HTTP/1.1 and HTTP/2 with prior knowledge. Its state: `/simulator/books`, `/simulator/stats`.
//!
//! A reply follows from (seed, model, messages). What it reports and what the books say are token
//! counts of the text that was sent, by `o200k_base`; models whose names contain `reason`, or begin
//! with `o1`, `o3`, `o4` or `gpt-5`, add reasoning tokens that are not shown.
//!
//! Faults: the header `x-simulate: key=value,…`, or `simulate:key=value,…` at the start of the last
//! user message or of the `user` field (`metadata.user_id` in Anthropic's shape). Keys:
//!
//! | key | does |
//! |---|---|
//! | `tokens=N` | the completion is exactly N tokens, reasoning included; a smaller limit cuts |
//! | `first_ms=` `chunk_ms=` `slow_head_ms=` | pace: to the first piece, between pieces, to head |
//! | `stall_after=N` | after N pieces nothing more comes; the connection stays open |
//! | `cut_after=N` | after N pieces the connection (HTTP/2: the stream) is reset |
//! | `end_after=N` | after N pieces the body ends cleanly, without its terminal event |
//! | `error_after=N` | after N pieces an error event, then the end |
//! | `garble_after=N` | after N pieces one broken event, then on as usual |
//! | `bigline=BYTES` | one event without content whose line is that long |
//! | `status=CODE` | this error instead of a reply |
//! | `drop=1` | the connection (HTTP/2: the stream) is reset before any reply |
//! | `times=N` | `status` and `drop` hold for the first N requests with these messages only |
//! | `error200=1` | an error body with status 200, as JSON |
//! | `usage=none\|every_chunk\|zero\|finish_chunk` | what is reported, whatever is true |
//! | `usage=wrong_total` | a total that is one more than its parts (OpenAI) |
//! | `gzip=1` `crlf=1` `comments=1` | encoding, line ends, comments between events |
//! | `coalesce=1` `split=1` | all events in one write; writes that end at odd places |
//! | `tool=1` | a call of the first tool |
//!
//! For a reply that is not streamed, `stall_after` and `cut_after` act in the middle of the body,
//! whatever their N; keys that only streams can follow are refused. Where N is more than the pieces
//! of the reply, nothing breaks. `usage=every_chunk` and `finish_chunk` report also to clients that
//! did not ask.
//!
//! Fields that would change the text in reality (`temperature`, `stop`, `response_format`, …) are
//! accepted and ignored.

mod account;
mod answer;
mod anthropic;
mod ask;
mod books;
mod cache;
mod config;
mod connection;
mod control;
mod error;
mod generation;
mod models;
mod openai;
mod outlet;
mod prompt;
mod provider;
mod recent;
mod refusal;
mod reply;
mod routes;
mod server;
mod sse;
mod stream;
mod tokens;
mod vocabulary;
mod whole;
mod words;

pub use books::{BookEntry, BookTotals, Ended, Totals, read_books};
pub use config::{Pace, SimulatorConfig};
pub use error::SimulatorError;
pub use provider::Stats;
pub use server::Simulator;
