//! The provider's own books: one line per request, with the counts as they really were.
//!
//! Lines go to the operating system one write each, so that a kill of the process that reads or of
//! the gateway that is tested takes nothing away. They are not synced: a power loss is not part of
//! what a simulation has to survive.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::SimulatorError;

/// How a request ended, as the provider sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The whole reply was handed over, be it an answer or an error before generation.
    Complete,
    /// The client went away first; generation stopped there.
    ClientGone,
    /// A fault that was asked for ended the reply.
    Fault,
    /// The simulator was stopped meanwhile.
    Shutdown,
}

/// One request in the books. Counts are what was generated, whatever the reply said about usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookEntry {
    /// The id in the reply's body; the request id when there was no reply with an id.
    pub id: String,
    /// The request id in the reply's headers.
    pub request_id: String,
    /// When the request came in.
    pub at: DateTime<Utc>,
    /// `chat.completions`, `completions`, `embeddings`, `messages` or `messages.count_tokens`.
    pub endpoint: String,
    /// The model as asked for; absent when the request was refused before it was read.
    pub model: Option<String>,
    /// The HTTP status of the reply; 499 when the request ended before there was one.
    pub status: u16,
    /// The reply was a stream of events.
    pub streamed: bool,
    /// All input, cached or not, in tokens.
    pub prompt_tokens: u64,
    /// The part of the input that was read from the prompt cache.
    pub cached_tokens: u64,
    /// The part of the input that was written to the five minute cache.
    pub cache_write_5m_tokens: u64,
    /// The part of the input that was written to the one hour cache.
    pub cache_write_1h_tokens: u64,
    /// All output, in tokens, over all choices, reasoning included.
    pub completion_tokens: u64,
    /// The part of the output that was reasoning.
    pub reasoning_tokens: u64,
    /// How it ended.
    pub ended: Ended,
    /// The controls that the request carried, as written.
    pub fault: Option<String>,
    /// Pieces of generated text handed over.
    pub chunks_sent: u64,
}

/// Sums over entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests of any status.
    pub requests: u64,
    /// Requests that generated or embedded something (status 200).
    pub served: u64,
    /// Sum of the entries' field of this name.
    pub prompt_tokens: u64,
    /// Sum of the entries' field of this name.
    pub cached_tokens: u64,
    /// Sum of the entries' field of this name.
    pub cache_write_5m_tokens: u64,
    /// Sum of the entries' field of this name.
    pub cache_write_1h_tokens: u64,
    /// Sum of the entries' field of this name.
    pub completion_tokens: u64,
    /// Sum of the entries' field of this name.
    pub reasoning_tokens: u64,
}

impl Totals {
    /// Adds one entry.
    pub fn add(&mut self, entry: &BookEntry) {
        self.requests += 1;
        self.served += u64::from(entry.status == 200);
        self.prompt_tokens += entry.prompt_tokens;
        self.cached_tokens += entry.cached_tokens;
        self.cache_write_5m_tokens += entry.cache_write_5m_tokens;
        self.cache_write_1h_tokens += entry.cache_write_1h_tokens;
        self.completion_tokens += entry.completion_tokens;
        self.reasoning_tokens += entry.reasoning_tokens;
    }
}

/// Totals of everything and of each model, as `GET /simulator/books` shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookTotals {
    /// Over all requests.
    pub total: Totals,
    /// Over the requests that named the model.
    pub models: BTreeMap<String, Totals>,
}

impl BookTotals {
    /// Adds one entry.
    pub fn add(&mut self, entry: &BookEntry) {
        /// Most models with totals of their own; any name is accepted, memory is not endless.
        const MODELS_MAX: usize = 10_000;
        self.total.add(entry);
        let Some(model) = &entry.model else { return };
        if let Some(totals) = self.models.get_mut(model) {
            totals.add(entry);
        } else if self.models.len() < MODELS_MAX {
            self.models.entry(model.clone()).or_default().add(entry);
        }
    }
}

/// The open books.
#[derive(Debug)]
pub(crate) struct Books(Mutex<OpenBooks>);

#[derive(Debug)]
struct OpenBooks {
    file: Option<File>,
    totals: BookTotals,
}

impl Books {
    /// Opens the books at `path` for appending; what they hold already counts in the totals.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, SimulatorError> {
        let mut totals = BookTotals::default();
        let mut file = None;
        if let Some(path) = path {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            let opened = opened.map_err(|source| books_error(path, source))?;
            drop_torn_tail(&opened, path).map_err(|source| books_error(path, source))?;
            read_books(path)?.iter().for_each(|entry| totals.add(entry));
            file = Some(opened);
        }
        Ok(Self(Mutex::new(OpenBooks { file, totals })))
    }

    /// Writes one line. It has reached the operating system when this returns.
    pub(crate) fn record(&self, entry: &BookEntry) {
        let mut books = self.0.lock();
        books.totals.add(entry);
        let Some(file) = &mut books.file else { return };
        let written = serde_json::to_vec(entry).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            file.write_all(&line)
        });
        if let Err(error) = written {
            tracing::error!(%error, id = %entry.id, "the simulator's books could not be written");
        }
    }

    /// The sums so far.
    pub(crate) fn totals(&self) -> BookTotals {
        self.0.lock().totals.clone()
    }
}

/// A kill in the middle of a write leaves a line without its end; it never was an entry.
fn drop_torn_tail(file: &File, path: &Path) -> io::Result<()> {
    let content = std::fs::read(path)?;
    let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < content.len() {
        file.set_len(u64::try_from(whole).unwrap_or(0))?;
    }
    Ok(())
}

/// All entries of the books at `path`, in the order they were written. A last line without its
/// line feed is still being written and left out.
///
/// # Errors
/// [`SimulatorError::Books`] when the file cannot be read, [`SimulatorError::BookLine`] when a line
/// is not an entry.
pub fn read_books(path: impl AsRef<Path>) -> Result<Vec<BookEntry>, SimulatorError> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).map_err(|source| books_error(path, source))?;
    let whole = text.rfind('\n').map_or("", |end| text.split_at(end).0);
    whole
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| SimulatorError::BookLine {
                path: PathBuf::from(path),
                line: index + 1,
                source,
            })
        })
        .collect()
}

fn books_error(path: &Path, source: io::Error) -> SimulatorError {
    SimulatorError::Books { path: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(model: Option<&str>, completion_tokens: u64) -> BookEntry {
        BookEntry {
            id: "chatcmpl-1".into(),
            request_id: "req_1".into(),
            at: DateTime::UNIX_EPOCH,
            endpoint: "chat.completions".into(),
            model: model.map(String::from),
            status: 200,
            streamed: true,
            prompt_tokens: 10,
            cached_tokens: 4,
            cache_write_5m_tokens: 0,
            cache_write_1h_tokens: 0,
            completion_tokens,
            reasoning_tokens: 1,
            ended: Ended::ClientGone,
            fault: None,
            chunks_sent: completion_tokens,
        }
    }

    #[test]
    fn books_survive_a_restart_and_go_on_adding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("books.jsonl");

        Books::open(Some(&path)).unwrap().record(&entry(Some("a"), 3));
        let books = Books::open(Some(&path)).unwrap();
        books.record(&entry(Some("b"), 5));
        books.record(&entry(None, 0));

        assert_eq!(read_books(&path).unwrap().len(), 3);
        assert_eq!(books.totals().total.completion_tokens, 8);
        assert_eq!(books.totals().models.len(), 2);
    }

    #[test]
    fn a_torn_last_line_is_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("books.jsonl");
        Books::open(Some(&path)).unwrap().record(&entry(Some("a"), 3));
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"id\":\"chatc").unwrap();

        assert_eq!(read_books(&path).unwrap().len(), 1);
        Books::open(Some(&path)).unwrap().record(&entry(Some("a"), 4));
        assert_eq!(read_books(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_line_that_is_no_entry_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("books.jsonl");
        std::fs::write(&path, "{}\n").unwrap();

        let said = read_books(&path).unwrap_err().to_string();

        assert!(said.contains("line 1"), "{said}");
    }
}
