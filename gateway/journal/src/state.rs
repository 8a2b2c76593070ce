//! The writer's state, all behind one lock: what is open, where the journal ends, what fits.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use foldhash::fast::RandomState;
use uuid::Uuid;

use crate::{
    FullReason, JournalConfig, JournalError, Stats,
    append::Waiting,
    batch::{Cursor, HandedOut},
    format::{Chain, SEGMENT_HEADER_BYTES},
    fs::JournalFile,
    owed::Owed,
    segment::{Place, Prepared, Segment, next_first},
    watermark::Watermark,
};

/// Settled request ids that are remembered, so that a second settled record is refused: 65,536,
/// some seconds of a busy node in 3 MiB. What is older, billing refuses by request id.
const RECENT_MAX: usize = 1 << 16;

/// What is known of requests by their ids. Those are our own, made at random: nobody can choose
/// them so that they collide.
pub(crate) type ById<T> = HashMap<Uuid, T, RandomState>;

/// The requests settled last.
#[derive(Default)]
pub(crate) struct Recent {
    set: HashSet<Uuid, RandomState>,
    order: VecDeque<Uuid>,
}

impl Recent {
    pub(crate) fn insert(&mut self, request: Uuid) {
        if self.set.insert(request) {
            self.order.push_back(request);
        }
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, request: &Uuid) -> bool {
        self.set.contains(request)
    }
}

/// An admitted request without a settled record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenRequest {
    pub(crate) intent: Place,
    /// Its latest progress. Never in an older segment than the intent.
    pub(crate) progress: Option<Place>,
}

/// Bounds that follow from the configuration, in bytes.
pub(crate) struct Bounds {
    pub(crate) segment: u64,
    pub(crate) total: u64,
    pub(crate) reserve: u64,
    /// Room that admission leaves for intents that must be carried forward.
    pub(crate) headroom: u64,
}

pub(crate) struct State {
    pub(crate) bounds: Bounds,
    pub(crate) node: String,
    pub(crate) watermark: Arc<Watermark>,

    /// Full segments, oldest first.
    pub(crate) sealed: VecDeque<Segment>,
    pub(crate) active: Segment,
    pub(crate) prepared: VecDeque<Prepared>,
    pub(crate) chain: Chain,
    pub(crate) next_sequence: u64,
    pub(crate) waiting: Waiting,

    pub(crate) open: ById<OpenRequest>,
    pub(crate) recent: Recent,

    /// Files with writes that no sync has been started for, oldest first.
    pub(crate) unsynced: Vec<Arc<dyn JournalFile>>,
    pub(crate) unsynced_since: Option<Instant>,
    /// Up to where somebody asked for a sync.
    pub(crate) sync_wanted: u64,
    /// How many records asked since the last sync was started.
    pub(crate) waiting_for_sync: usize,
    /// The last settled record, and the last one that is synced.
    pub(crate) last_settled: u64,
    pub(crate) settled_synced: u64,

    pub(crate) cursor: Cursor,
    pub(crate) handed_out: VecDeque<HandedOut>,
    /// When the oldest unacknowledged settled record was appended, microseconds since 1970.
    pub(crate) oldest_us: Option<i64>,

    /// The disk had no room; tried again at that time.
    pub(crate) disk_full_until: Option<Instant>,
    /// It had none even for bytes that were zeroed ahead, as a copying file system may; a write is
    /// tried again at that time.
    pub(crate) writes_paused_until: Option<Instant>,
    /// Settled records of open requests that found no room, oldest first: they are written once
    /// there is some. At most one for each open request.
    pub(crate) owed: VecDeque<Owed>,
    /// Carrying found no room; tried again at that time.
    pub(crate) carry_paused_until: Option<Instant>,
    /// Whether the log has been told that admission stopped.
    pub(crate) told_full: bool,
    pub(crate) closed: bool,
    /// The background threads are to end.
    pub(crate) stop: bool,
    pub(crate) stats: Stats,
}

impl Bounds {
    pub(crate) fn of(config: &JournalConfig) -> Self {
        Self {
            segment: config.segment_bytes,
            total: config.bytes_max,
            reserve: config.reserve_bytes,
            headroom: config.segment_bytes / 8,
        }
    }
}

impl State {
    /// A state that appends to `active`.
    pub(crate) fn new(
        config: &JournalConfig,
        watermark: Arc<Watermark>,
        active: Segment,
        chain: Chain,
        next_sequence: u64,
    ) -> Self {
        Self {
            bounds: Bounds::of(config),
            node: config.node.to_string(),
            watermark,
            sealed: VecDeque::new(),
            active,
            prepared: VecDeque::new(),
            chain,
            next_sequence,
            waiting: Waiting::default(),
            open: ById::default(),
            recent: Recent::default(),
            unsynced: Vec::new(),
            unsynced_since: None,
            sync_wanted: 0,
            waiting_for_sync: 0,
            last_settled: 0,
            settled_synced: 0,
            cursor: Cursor::default(),
            handed_out: VecDeque::new(),
            oldest_us: None,
            disk_full_until: None,
            writes_paused_until: None,
            owed: VecDeque::new(),
            carry_paused_until: None,
            told_full: false,
            closed: false,
            stop: false,
            stats: Stats::default(),
        }
    }

    /// Refuses to work on a journal that has stopped.
    pub(crate) fn check_usable(&self) -> Result<(), JournalError> {
        match self.watermark.ended() {
            Some(reason) => Err(reason.clone()),
            None if self.closed => Err(JournalError::Closed),
            None => Ok(()),
        }
    }

    /// Bytes that records may surely take: what does not fit at the end of a segment is lost,
    /// and that is less than one reserve.
    pub(crate) fn room(&self) -> u64 {
        let usable = |bytes: u64| bytes.saturating_sub(self.bounds.reserve);
        let prepared = self
            .prepared
            .iter()
            .map(|prepared| usable(prepared.capacity.saturating_sub(SEGMENT_HEADER_BYTES)));
        prepared.fold(usable(self.active.remaining()), u64::saturating_add)
    }

    /// Bytes that open requests will need for their settled records.
    pub(crate) fn reserved(&self) -> u64 {
        let open = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        open.saturating_mul(self.bounds.reserve)
    }

    /// Bytes that all segment files take.
    pub(crate) fn allocated(&self) -> u64 {
        let sealed = self.sealed.iter().map(|segment| segment.capacity);
        let prepared = self.prepared.iter().map(|prepared| prepared.capacity);
        sealed.chain(prepared).fold(self.active.capacity, u64::saturating_add)
    }

    /// Why a record of `bytes` that nobody reserved room for cannot be written, keeping `spare`
    /// bytes beyond what is reserved.
    pub(crate) fn lack_of_room(&self, bytes: u64, spare: u64) -> Option<FullReason> {
        let needed = self.reserved().saturating_add(bytes).saturating_add(spare);
        let is_paused = self.are_writes_paused();
        if self.room() >= needed && !is_paused {
            None
        } else if is_paused || self.disk_full_until.is_some() {
            Some(FullReason::Disk)
        } else if self.allocated().saturating_add(self.bounds.segment) > self.bounds.total {
            Some(FullReason::BytesMax)
        } else {
            Some(FullReason::Preparing)
        }
    }

    /// Whether a write was refused a moment ago. It ends by itself: the next write is the trial.
    pub(crate) fn are_writes_paused(&self) -> bool {
        self.writes_paused_until.is_some_and(|until| Instant::now() < until)
    }

    /// What admission keeps free beside the intent itself.
    pub(crate) fn admission_spare(&self) -> u64 {
        self.bounds.reserve.saturating_add(self.bounds.headroom)
    }

    /// Whether a record of `bytes` finds a place at all.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let in_next = |next: &Prepared| bytes <= next.capacity.saturating_sub(SEGMENT_HEADER_BYTES);
        bytes <= self.active.remaining() || self.prepared.front().is_some_and(in_next)
    }

    /// The first sequence number of the next segment to prepare.
    pub(crate) fn next_prepared_first(&self) -> u64 {
        match self.prepared.back() {
            Some(last) => next_first(last.first, last.capacity),
            None => next_first(self.active.first, self.active.capacity),
        }
    }

    /// The segment that starts at `first`, if it is still there.
    pub(crate) fn segment_mut(&mut self, first: u64) -> Option<&mut Segment> {
        if self.active.first == first {
            return Some(&mut self.active);
        }
        let at = self.sealed.partition_point(|segment| segment.first < first);
        self.sealed.get_mut(at).filter(|segment| segment.first == first)
    }
}
