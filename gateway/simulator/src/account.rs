//! What one request has consumed so far, and its line in the books on every ending.

use std::sync::{Arc, atomic::Ordering};

use http::StatusCode;

use crate::{
    ask::Endpoint,
    books::{BookEntry, Ended},
    cache::CacheUse,
    generation::Piece,
    provider::Provider,
};

/// Running counts of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// All input tokens.
    pub(crate) prompt: u64,
    pub(crate) cache: CacheUse,
    /// Output tokens generated so far, reasoning included.
    pub(crate) completion: u64,
    /// Of these, reasoning.
    pub(crate) reasoning: u64,
    /// Pieces generated so far.
    pub(crate) chunks: u64,
}

/// The line of one request, written exactly once: by [`Account::close`], or when it is dropped
/// because the client or the server went away.
#[derive(Debug)]
pub(crate) struct Account {
    provider: Arc<Provider>,
    entry: BookEntry,
    pub(crate) tally: Tally,
    closed: bool,
}

/// Stands for the status of a request that ended before it had one (nginx's number for clients that
/// leave).
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Account {
    /// Opens the account of a request that just came in.
    pub(crate) fn open(provider: Arc<Provider>, endpoint: Endpoint, request_id: &str) -> Self {
        let entry = BookEntry {
            id: request_id.to_owned(),
            request_id: request_id.to_owned(),
            at: provider.now(),
            endpoint: endpoint.name().to_owned(),
            model: None,
            status: CLIENT_CLOSED_REQUEST,
            streamed: false,
            prompt_tokens: 0,
            cached_tokens: 0,
            cache_write_5m_tokens: 0,
            cache_write_1h_tokens: 0,
            completion_tokens: 0,
            reasoning_tokens: 0,
            ended: Ended::Complete,
            fault: None,
            chunks_sent: 0,
        };
        Self { provider, entry, tally: Tally::default(), closed: false }
    }

    /// The request was read: it names a model and may carry controls.
    pub(crate) fn identify(&mut self, model: &str, controls: Option<&String>) {
        self.entry.model = Some(model.to_owned());
        self.entry.fault = controls.cloned();
    }

    /// The reply begins: from here on its tokens count.
    pub(crate) fn begin(&mut self, id: &str, streamed: bool) {
        id.clone_into(&mut self.entry.id);
        self.entry.status = StatusCode::OK.as_u16();
        self.entry.streamed = streamed;
    }

    /// A piece was generated.
    pub(crate) fn generated(&mut self, piece: &Piece) {
        self.tally.completion += piece.tokens;
        self.tally.reasoning += piece.reasoning;
        self.tally.chunks += 1;
    }

    /// Books the request; the line is with the operating system when this returns.
    pub(crate) fn close(&mut self, ended: Ended) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let Tally { prompt, cache, completion, reasoning, chunks } = self.tally;
        self.entry.prompt_tokens = prompt;
        self.entry.cached_tokens = cache.read;
        self.entry.cache_write_5m_tokens = cache.write_5m;
        self.entry.cache_write_1h_tokens = cache.write_1h;
        self.entry.completion_tokens = completion;
        self.entry.reasoning_tokens = reasoning;
        self.entry.chunks_sent = chunks;
        self.entry.ended = ended;
        self.provider.books.record(&self.entry);
    }

    /// Books a request that was refused before anything was generated.
    pub(crate) fn refuse(&mut self, status: StatusCode) {
        self.entry.status = status.as_u16();
        self.tally = Tally::default();
        let asked_for = self.entry.fault.is_some();
        self.close(if asked_for { Ended::Fault } else { Ended::Complete });
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let stopping = self.provider.stopping.load(Ordering::Relaxed);
        self.close(if stopping { Ended::Shutdown } else { Ended::ClientGone });
    }
}
