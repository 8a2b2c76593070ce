//! Reads every segment of a folder and gathers what is owed. Changes nothing.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    JournalError,
    format::{CORRUPT_SUFFIX, Kind, Record},
    fs::JournalFile,
    scan::{self, Newer, Scan, Tail},
    segment::{Place, Prepared, next_first},
    state::{ById, OpenRequest, Recent},
    store::Store,
};

/// Payload of a gap record: the segment that starts at `before` does not continue the chain of
/// the one that ends with `after`, and that has been reported.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) after: u64,
    pub(crate) before: u64,
}

/// A segment with something in it.
pub(crate) struct Found {
    pub(crate) first: u64,
    pub(crate) file: Arc<dyn JournalFile>,
    pub(crate) size: u64,
    pub(crate) scan: Scan,
    /// Settled records in it, their payload bytes, the sequence number of the last, and when
    /// the first was written.
    pub(crate) settled: u64,
    pub(crate) settled_bytes: u64,
    pub(crate) last_settled: u64,
    pub(crate) oldest_settled_us: Option<i64>,
}

impl Found {
    /// Whether this segment cannot be kept in place, knowing that `synced` was once on disk.
    pub(crate) fn is_broken(&self, synced: u64) -> bool {
        match self.scan.tail {
            Tail::Clean => false,
            Tail::Torn { .. } => synced > self.scan.last,
            Tail::Broken => true,
        }
    }
}

/// Everything that a folder holds.
#[derive(Default)]
pub(crate) struct Survey {
    /// Segments with something in them, in order.
    pub(crate) written: Vec<Found>,
    /// Files of zeros that can be used, in order.
    pub(crate) blank: Vec<Prepared>,
    /// Files that hold nothing and cannot be used.
    pub(crate) scrap: Vec<u64>,
    /// Requests without a settled record.
    pub(crate) open: ById<OpenRequest>,
    /// Settled records that lie in a broken segment and nowhere else.
    pub(crate) salvage: ById<Place>,
    /// Requests settled last.
    pub(crate) recent: Recent,
    /// Segments whose broken link is known.
    pub(crate) gaps: BTreeSet<u64>,
    /// Highest sequence number that was surely on disk.
    pub(crate) synced: u64,
    /// No sequence number or segment name above this one was ever used.
    pub(crate) highest: u64,
    /// Records that verify.
    pub(crate) records: u64,
    /// Damaged segments set aside earlier.
    pub(crate) quarantined: usize,
}

/// Reads the whole folder.
pub(crate) fn survey(store: &Store) -> Result<Survey, JournalError> {
    let names = store.fs.list(&store.directory).map_err(|cause| JournalError::Open {
        operation: "list",
        path: store.directory.clone(),
        cause: Arc::new(cause),
    })?;
    let mut survey = Survey {
        quarantined: names.iter().filter(|name| name.ends_with(CORRUPT_SUFFIX)).count(),
        ..Survey::default()
    };
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| Store::first_of(name)).collect();
    firsts.sort_unstable();
    for first in firsts {
        survey.read_segment(store, first)?;
    }
    survey.sort_out(store.segment_bytes);
    Ok(survey)
}

impl Survey {
    fn read_segment(&mut self, store: &Store, first: u64) -> Result<(), JournalError> {
        let error = |operation| move |cause| store.open_error(operation, first, cause);
        let file = store.fs.open(&store.path(first)).map_err(error("open segment"))?;
        let size = file.size().map_err(error("size segment"))?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        file.read_at(0, &mut bytes).map_err(error("read segment"))?;

        let mut settled = Vec::new();
        let mut found = Found {
            first,
            file,
            size,
            scan: Scan::default(),
            settled: 0,
            settled_bytes: 0,
            last_settled: 0,
            oldest_settled_us: None,
        };
        let scanned = scan::scan(&bytes, first, &mut |offset, record| {
            let place = Place {
                segment: first,
                offset,
                payload_bytes: u64::try_from(record.payload.len()).unwrap_or_default(),
            };
            self.note(record, place);
            if record.head.kind == Kind::Settled {
                found.note_settled(record, place);
                settled.push((record.head.request, place));
            }
        });
        let newer = |Newer { offset, what, found }| JournalError::NewerFormat {
            path: store.path(first),
            offset,
            what,
            found,
        };
        let Some(scan) = scanned.map_err(newer)? else {
            self.blank.push(Prepared { first, file: found.file, capacity: size });
            return Ok(());
        };
        if let Some(header) = &scan.header
            && header.node != store.node.as_str()
        {
            return Err(JournalError::WrongNode {
                path: store.path(first),
                found: header.node.clone(),
                expected: store.node.to_string(),
            });
        }
        // A record written again after its segment was found damaged needs no second rescue.
        for (request, _) in &settled {
            self.salvage.remove(request);
        }
        if scan.tail != Tail::Clean {
            self.salvage.extend(settled);
        }
        self.synced = self.synced.max(scan.synced);
        self.records = self.records.saturating_add(scan.records);
        found.scan = scan;
        self.written.push(found);
        Ok(())
    }

    fn note(&mut self, record: &Record<'_>, place: Place) {
        let request = record.head.request;
        self.highest = self.highest.max(record.head.sequence);
        match record.head.kind {
            Kind::Intent => {
                self.open.insert(request, OpenRequest { intent: place, progress: None });
            }
            Kind::Progress => {
                if let Some(open) = self.open.get_mut(&request) {
                    open.progress = Some(place);
                }
            }
            Kind::Settled => {
                self.open.remove(&request);
                self.recent.insert(request);
            }
            Kind::Gap => {
                if let Ok(gap) = serde_json::from_slice::<Gap>(record.payload) {
                    self.gaps.insert(gap.before);
                }
            }
        }
    }

    /// Decides which files are of use, once everything has been read.
    fn sort_out(&mut self, segment_bytes: u64) {
        for found in &self.written {
            self.highest = self.highest.max(found.first);
        }
        let synced = self.synced;
        let broken: BTreeSet<u64> = self
            .written
            .iter()
            .filter(|found| found.is_broken(synced))
            .map(|found| found.first)
            .collect();
        self.salvage.retain(|_, place| broken.contains(&place.segment));

        // Nothing but the remains of an unfinished write, and no header to append behind.
        let void = |found: &Found| found.scan.header.is_none() && !broken.contains(&found.first);
        self.scrap.extend(self.written.iter().filter(|found| void(found)).map(|f| f.first));

        let after = self.written.last().map_or(0, |last| next_first(last.first, last.size));
        let usable = |blank: &Prepared| blank.capacity == segment_bytes && blank.first >= after;
        let (blank, scrap) = std::mem::take(&mut self.blank).into_iter().partition(usable);
        self.blank = blank;
        let scrap: Vec<Prepared> = scrap;
        self.scrap.extend(scrap.iter().map(|scrap| scrap.first));
    }
}

impl Found {
    fn note_settled(&mut self, record: &Record<'_>, place: Place) {
        self.settled = self.settled.saturating_add(1);
        self.settled_bytes = self.settled_bytes.saturating_add(place.payload_bytes);
        self.last_settled = record.head.sequence;
        self.oldest_settled_us.get_or_insert(record.head.written_at_us);
    }
}
