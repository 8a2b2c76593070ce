//! Whether the provider's books, the journals, the ledger and what clients saw are the same thing.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::ErrorKind,
    path::Path,
    sync::Arc,
};

use permille_journal::{Journal, JournalConfig, RealFs};
use permille_types::{SystemClock, UsageEvent};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    support::eventually,
    topology::{Fleet, Gateway},
    traffic::Seen,
};

/// What agreed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Rows of the ledger.
    pub rows: usize,
    /// Calls in the provider's books that have a row with the same tokens.
    pub booked: usize,
    /// Calls of the provider whose reply never reached a row in full: each has a row of its own
    /// that says so.
    pub interrupted: usize,
    /// Settled records that the journals held when they were read; each is one of the rows.
    pub journaled: usize,
    /// Input and output of what is booked.
    pub tokens: u64,
}

impl Agreed {
    /// Adds what agreed in another time.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.booked += other.booked;
        self.interrupted += other.interrupted;
        self.journaled += other.journaled;
        self.tokens += other.tokens;
    }
}

/// Compares everything, to the token. The gateways must have been drained or killed for good.
///
/// # Panics
/// When anything is lost, doubled or different.
pub async fn agree(fleet: &Fleet, seen: &Seen) -> Agreed {
    let rows = fleet.rows();
    assert_eq!(fleet.quarantine().await, Vec::<Value>::new());
    let mut agreed = compare(&rows, &fleet.simulator.books(), seen);
    for gateway in &fleet.gateways {
        assert!(gateway.server.is_none(), "a running gateway's journal is its own");
        let journal = gateway.folder.data().join("journal");
        let held = uncommitted(gateway, &journal).await;
        agreed.journaled += compare_held(&held.expect("a journal at rest is whole"), &rows);
    }
    agreed
}

/// Compares rows with what the provider booked in the same time and what clients saw.
///
/// # Panics
/// When anything is lost, doubled or different.
pub fn compare(rows: &[Value], books: &[Value], seen: &Seen) -> Agreed {
    let by_id = by_id(rows);
    assert_eq!(by_id.len(), rows.len(), "a request is on two rows");
    for id in &seen.whole {
        let row = by_id.get(id.as_str()).unwrap_or_else(|| panic!("no row for {id}"));
        assert_eq!(row["ended"], "complete", "{row}");
    }
    for id in seen.left.iter().chain(&seen.broken) {
        assert!(by_id.contains_key(id.as_str()), "no row for {id}, which broke off");
    }

    let mut agreed = Agreed { rows: rows.len(), ..Agreed::default() };
    let mut calls: HashMap<&str, &Value> =
        books.iter().map(|book| (book["id"].as_str().unwrap(), book)).collect();
    assert_eq!(calls.len(), books.len());
    let mut told = HashSet::new();
    for row in rows {
        let Some(id) = row["attempts"][0]["provider_id"].as_str() else { continue };
        assert!(told.insert(id), "the provider's {id} is on two rows");
        let book = calls.remove(id).unwrap_or_else(|| panic!("the provider knows no {id}: {row}"));
        if row["source"] == "reported" {
            assert_eq!(row["input_total"], book["prompt_tokens"], "{row} {book}");
            assert_eq!(row["output_total"], book["completion_tokens"], "{row} {book}");
            agreed.booked += 1;
            agreed.tokens += count(&row["input_total"]) + count(&row["output_total"]);
        } else {
            assert_ne!(row["ended"], "complete", "{row}");
            agreed.interrupted += 1;
        }
    }
    // A call that a kill cut off before its reply began: its row knows no id of the provider.
    let nameless = rows.iter().filter(|row| row["attempts"][0]["provider_id"].is_null()).count();
    let calls: Vec<_> = calls.values().filter(|book| book["status"] == 200).collect();
    assert!(calls.len() <= nameless, "{} calls for {nameless} rows: {calls:?}", calls.len());
    agreed.interrupted += calls.len();
    agreed
}

fn by_id(rows: &[Value]) -> HashMap<&str, &Value> {
    rows.iter().map(|row| (row["request_id"].as_str().unwrap(), row)).collect()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn tokens(event: &UsageEvent) -> BTreeMap<String, u64> {
    event.tokens.iter().map(|(class, tokens)| (class.to_string(), *tokens)).collect()
}

fn row_tokens(row: &Value) -> BTreeMap<String, u64> {
    let classes = row["tokens"].as_object().into_iter().flatten();
    classes.map(|(class, tokens)| (class.clone(), count(tokens))).collect()
}

/// Compares what journals hold, or held before it was handed over, with rows; how many there are.
///
/// # Panics
/// When a record has no row, or one with other tokens.
pub fn compare_held(journals: &[UsageEvent], rows: &[Value]) -> usize {
    let by_id = by_id(rows);
    for event in journals {
        let id = event.request_id.to_string();
        let row = by_id.get(id.as_str()).unwrap_or_else(|| panic!("{id} is in a journal only"));
        assert_eq!(tokens(event), row_tokens(row), "{row}");
    }
    journals.len()
}

/// The settled records that the journals of running gateways hold, read from copies of their
/// files once no request is open in them. Billing must be stopped. A reply whose client has left
/// may still be written: a copy of one file from before and of the next from after it has a gap,
/// and is taken again.
pub async fn held(fleet: &Fleet) -> Vec<UsageEvent> {
    let mut events = Vec::new();
    for gateway in &fleet.gateways {
        let journal = gateway.folder.data().join("journal");
        let settled = eventually("the journal is whole and no request is open in it", async || {
            let copy = copy(&journal)?;
            uncommitted(gateway, copy.path()).await
        });
        events.extend(settled.await);
    }
    events
}

/// A copy of a folder of files; `None` when one went away meanwhile.
fn copy(folder: &Path) -> Option<TempDir> {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        match std::fs::copy(file.path(), copy.path().join(file.file_name())) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("{}: {error}", file.path().display()),
        }
    }
    Some(copy)
}

/// The settled records in a folder of a gateway's journal that billing has not acknowledged; `None`
/// where a request was open or records are missing.
async fn uncommitted(gateway: &Gateway, directory: &Path) -> Option<Vec<UsageEvent>> {
    let node = std::fs::read_to_string(gateway.folder.data().join("node")).unwrap();
    let config = JournalConfig::new(directory.to_owned(), node.trim().parse().unwrap());
    let opened = Journal::open(Arc::new(RealFs), &config, Arc::new(SystemClock)).unwrap();
    let mut events = Vec::new();
    let (journal, found) = (opened.journal, opened.recovered);
    if found.orphans > 0 || !found.damage.is_empty() {
        journal.close().await.unwrap();
        return None;
    }
    journal
        .uncommitted(|event| events.push(UsageEvent::from_payload(&event.payload).unwrap()))
        .unwrap();
    journal.close().await.unwrap();
    Some(events)
}
