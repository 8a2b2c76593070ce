//! At every write and sync of a 200-request script the machine dies, and what was not synced is
//! lost, kept or torn. No record that was promised is missing afterwards, none is doubled.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod common;

use std::collections::HashMap;

use common::{admit, event, intent, open, progress, shippable};
use permille_journal::{
    Settled,
    testing::{Loss, MemFs},
};
use permille_types::{Ended, RequestId, UsageEvent};

const REQUESTS: u32 = 200;

/// What a request may rely on, by the number of file system operations done by then.
struct Promise {
    event: UsageEvent,
    /// Its intent is in the page cache from here on.
    admitted: usize,
    /// Its settled record was promised to be durable from here on.
    durable: Option<usize>,
    /// Billing has it: from here on it may go.
    acknowledged: Option<usize>,
}

/// Plays the script and says what was promised when.
async fn play(fs: &MemFs) -> HashMap<RequestId, Promise> {
    let journal = open(fs).unwrap().journal;
    let mut promises: HashMap<RequestId, Promise> = HashMap::new();
    let mut settled: Vec<(u64, RequestId)> = Vec::new();
    let mut waiting: Vec<(RequestId, Settled)> = Vec::new();
    for number in 0..REQUESTS {
        let event = event(number, u64::from(number));
        admit(&journal, &event).unwrap();
        let id = event.request_id;
        let admitted = fs.operations();
        promises.insert(id, Promise { event, admitted, durable: None, acknowledged: None });
        let event = &promises[&id].event;
        if number % 3 == 0 {
            journal.progress(&progress(event, 1)).unwrap();
        }
        // Every seventh request stays open: it is an orphan at the crash.
        if number % 7 == 6 {
            continue;
        }
        let durable = journal.settle(event).unwrap();
        settled.push((durable.sequence(), id));
        waiting.push((id, durable));
        // Some have others behind them before they are waited for.
        if number % 4 == 1 {
            continue;
        }
        for (id, durable) in waiting.drain(..) {
            durable.await.unwrap();
            promises.get_mut(&id).unwrap().durable = Some(fs.operations());
        }
        if number % 20 == 19 {
            let batch = journal.next_batch(1_000, 1 << 30).await.unwrap();
            let upto = batch.events[batch.events.len() / 2].sequence;
            for (_, id) in settled.iter().filter(|(sequence, _)| *sequence <= upto) {
                let promise = promises.get_mut(id).unwrap();
                promise.acknowledged.get_or_insert(fs.operations());
            }
            journal.acknowledge(upto).unwrap();
        }
    }
    promises
}

/// What is wrong with the journal on `disk`, which crashed after `done` operations.
async fn verdict(
    disk: &MemFs,
    loss: Loss,
    done: usize,
    promises: &HashMap<RequestId, Promise>,
) -> Result<(), String> {
    let opened = open(disk).map_err(|error| format!("does not open: {error}"))?;
    let mut found: HashMap<RequestId, UsageEvent> = HashMap::new();
    for event in shippable(&opened.journal).await {
        let id = event.request_id;
        let Some(promise) = promises.get(&id) else { return Err(format!("{id} was never sent")) };
        if event.ended != Ended::Orphaned && event != promise.event {
            return Err(format!("{id} has changed"));
        }
        if found.insert(id, event).is_some() {
            return Err(format!("{id} is there twice"));
        }
    }
    for (id, promise) in promises {
        if promise.acknowledged.is_some_and(|at| at <= done) {
            continue;
        }
        let reached = |at: Option<usize>| at.is_some_and(|at| at <= done);
        let event = found.get(id);
        if reached(promise.durable) && event.is_none_or(|event| event.ended == Ended::Orphaned) {
            return Err(format!("{id} was promised and is lost"));
        }
        // A killed process takes nothing out of the page cache.
        if loss == Loss::Nothing && promise.admitted <= done && event.is_none() {
            return Err(format!("{id} was admitted and is lost"));
        }
    }
    Ok(())
}

/// Crashes behind every operation, in three ways; gives the number of crashes and the complaints.
async fn crash_everywhere(
    fs: &MemFs,
    promises: &HashMap<RequestId, Promise>,
) -> (usize, Vec<String>) {
    let (mut crashes, mut complaints) = (0, Vec::new());
    let mut replay = fs.replay();
    while replay.advance() {
        let done = replay.done();
        let torn = Loss::Torn { seed: done as u64 };
        for loss in [Loss::Everything, Loss::Nothing, torn] {
            crashes += 1;
            let disk = replay.crash(loss);
            if let Err(complaint) = verdict(&disk, loss, done, promises).await {
                complaints.push(format!("after {done} operations, {loss:?}: {complaint}"));
            }
        }
    }
    (crashes, complaints)
}

#[tokio::test]
async fn no_promised_record_is_lost_or_doubled_at_any_crash() {
    let fs = MemFs::new();
    let promises = play(&fs).await;

    let (crashes, complaints) = crash_everywhere(&fs, &promises).await;

    assert!(complaints.is_empty(), "{} of {crashes}: {:#?}", complaints.len(), &complaints[..1]);
    assert!(crashes > 3 * 500, "only {crashes} crashes");
}

#[tokio::test]
async fn the_same_check_catches_a_journal_whose_syncs_do_nothing() {
    let fs = MemFs::new();
    fs.ignore_syncs();
    let promises = play(&fs).await;

    let (_, complaints) = crash_everywhere(&fs, &promises).await;

    assert!(complaints.iter().any(|complaint| complaint.contains("was promised and is lost")));
}

#[tokio::test]
async fn an_orphan_carries_its_last_progress_and_is_settled_once() {
    let fs = MemFs::new();
    let opened = open(&fs).unwrap();
    let request = event(1, 9);
    opened.journal.admit(&intent(&request)).unwrap();
    opened.journal.progress(&progress(&request, 4)).unwrap();

    let crashed = fs.crash(Loss::Nothing);
    let first = open(&crashed).unwrap();
    assert_eq!(first.recovered.orphans, 1);
    let rows = shippable(&first.journal).await;
    assert_eq!((rows.len(), rows[0].ended, rows[0].output_total), (1, Ended::Orphaned, Some(4)));
    assert_eq!(rows[0].estimate_error_permille, Some(50));
    drop(first);

    let again = open(&crashed.crash(Loss::Everything)).unwrap();
    assert_eq!(again.recovered.orphans, 0);
    assert_eq!(shippable(&again.journal).await, rows);
}
