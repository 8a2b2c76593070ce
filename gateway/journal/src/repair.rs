//! The repairs themselves, from what the survey found to a state that can be written to.

use std::{collections::HashMap, sync::Arc};

use permille_types::{Clock, Ended, Intent, Progress, Source, UsageEvent, UsageEventError};
use uuid::Uuid;

use crate::{
    Damage, DamageKind, FullReason, JournalConfig, JournalError, JournalFile, RecoveryReport,
    append::{Entry, close_request},
    format::{Chain, Kind, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES},
    scan::Tail,
    segment::{Place, Prepared, Segment, next_first, read_payload},
    state::{OpenRequest, State},
    store::{PrepareError, Store, is_no_space},
    survey::{Found, Gap, Survey},
    sync::Group,
    watermark::Watermark,
};

/// A recovery on its way.
pub(crate) struct Repair<'a> {
    store: &'a Store,
    now_us: i64,
    state: State,
    report: RecoveryReport,
    /// Every segment with records, by its first sequence number.
    files: HashMap<u64, Arc<dyn JournalFile>>,
    open: Vec<(Uuid, OpenRequest)>,
    salvage: Vec<(Uuid, Place)>,
    gaps: Vec<Gap>,
    broken: Vec<u64>,
}

impl<'a> Repair<'a> {
    /// Cuts and clears, and makes a state that appends behind what is kept.
    pub(crate) fn begin(
        store: &'a Store,
        config: &JournalConfig,
        clock: &dyn Clock,
        mut survey: Survey,
        watermark: &Arc<Watermark>,
    ) -> Result<Self, JournalError> {
        let now_us = clock.now().timestamp_micros();
        let mut report = RecoveryReport {
            segments: survey.written.len(),
            records: survey.records,
            quarantined: survey.quarantined,
            ..RecoveryReport::default()
        };
        let gaps = find_damage(&survey, &mut report);
        let files = survey.written.iter().map(|f| (f.first, Arc::clone(&f.file))).collect();
        let last = survey.written.last().map(|last| (last.first, last.size));
        let synced = survey.synced;
        let (broken, kept): (Vec<Found>, Vec<Found>) =
            survey.written.into_iter().partition(|found| found.is_broken(synced));
        for found in &kept {
            cut(store, found, &mut report)?;
        }
        for first in &survey.scrap {
            let removed = store.remove(*first);
            removed.map_err(|cause| store.open_error("remove", *first, cause))?;
        }
        let kept: Vec<Found> = kept.into_iter().filter(|f| f.scan.header.is_some()).collect();

        let mut state = start(store, config, now_us, (&kept, last), &mut survey.blank, watermark)?;
        state.prepared = survey.blank.into();
        state.recent = survey.recent;
        take_over(&mut state, &kept);
        let mut open: Vec<_> = survey.open.into_iter().collect();
        open.sort_unstable_by_key(|(_, open)| open.intent);
        let mut salvage: Vec<_> = survey.salvage.into_iter().collect();
        salvage.sort_unstable_by_key(|(_, place)| *place);
        let broken = broken.iter().map(|found| found.first).collect();
        Ok(Self { store, now_us, state, report, files, open, salvage, gaps, broken })
    }

    /// Writes what is missing, syncs everything, sets damaged segments aside.
    pub(crate) fn run(mut self) -> Result<(State, RecoveryReport), JournalError> {
        for gap in std::mem::take(&mut self.gaps) {
            let payload = serde_json::to_vec(&gap).unwrap_or_default();
            self.append(Kind::Gap, Uuid::nil(), &payload)?;
        }
        for (request, place) in std::mem::take(&mut self.salvage) {
            let payload = self.read(place)?;
            self.append(Kind::Settled, request, &payload)?;
            let from = |damage: &&mut Damage| damage.segment == place.segment;
            if let Some(damage) = self.report.damage.iter_mut().find(from) {
                damage.salvaged = damage.salvaged.saturating_add(1);
            }
        }
        for (request, open) in std::mem::take(&mut self.open) {
            let event = self.orphan(request, open)?;
            let payload = event.to_payload();
            self.append(Kind::Settled, request, &payload)?;
            let sequence = self.state.stats.appended_sequence;
            close_request(&mut self.state, request, sequence);
            self.report.orphans = self.report.orphans.saturating_add(1);
        }
        self.sync()?;
        for first in &self.broken {
            let aside = self.store.quarantine(*first);
            aside.map_err(|cause| self.store.open_error("set aside", *first, cause))?;
        }
        self.report.quarantined = self.report.quarantined.saturating_add(self.broken.len());
        self.report.settled = self.state.stats.lag_records;
        self.state.stats.quarantined = self.report.quarantined;
        self.state.stats.damage_total = u64::try_from(self.report.damage.len()).unwrap_or(u64::MAX);
        tell(&self.report);
        Ok((self.state, self.report))
    }

    /// Appends, preparing segments on the spot: nothing else runs yet.
    fn append(&mut self, kind: Kind, request: Uuid, payload: &[u8]) -> Result<(), JournalError> {
        let bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        while !self.state.fits(bytes.saturating_add(RECORD_HEADER_BYTES)) {
            let prepared = prepare(self.store, self.state.next_prepared_first())?;
            self.state.prepared.push_back(prepared);
        }
        let entry = Entry { kind, request, payload, now_us: self.now_us };
        self.state.append(&entry).map(|_| ())
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, JournalError> {
        let file = self
            .files
            .get(&place.segment)
            .ok_or(JournalError::Corrupt { segment: place.segment, offset: place.offset })?;
        read_payload(&**file, place)
            .map_err(|cause| self.store.open_error("read segment", place.segment, cause))
    }

    /// The event of a request that was open when the process died.
    fn orphan(&self, request: Uuid, open: OpenRequest) -> Result<UsageEvent, JournalError> {
        let unreadable = |cause| JournalError::UnreadableIntent { request, cause: Arc::new(cause) };
        let intent = Intent::from_payload(&self.read(open.intent)?).map_err(unreadable)?;
        let progress = open.progress.map(|place| self.read(place)).transpose()?;
        let progress = progress.map(|payload| serde_json::from_slice(&payload));
        let progress = progress.transpose().map_err(UsageEventError::Malformed);
        let progress = progress.map_err(unreadable)?;
        Ok(orphaned(intent, progress, self.now_us))
    }

    /// After a death without power loss, kept records may lie in the page cache only: all of it
    /// is synced before anything counts as durable.
    fn sync(&mut self) -> Result<(), JournalError> {
        let group = Group::take(&mut self.state);
        let sealed = self.state.sealed.iter().map(|segment| &segment.file);
        let prepared = self.state.prepared.iter().map(|prepared| &prepared.file);
        let files = sealed.chain([&self.state.active.file]).chain(prepared);
        let synced = files
            .into_iter()
            .try_for_each(|file| file.sync_data())
            .and_then(|()| group.sync())
            .and_then(|()| self.store.sync_directory());
        synced.map_err(|cause| self.store.open_error("sync", self.state.active.first, cause))?;
        self.state.settled_synced = self.state.last_settled;
        self.state.watermark.reached(self.state.stats.appended_sequence);
        Ok(())
    }
}

/// Fills the report's damage; the broken links that must be recorded as known.
fn find_damage(survey: &Survey, report: &mut RecoveryReport) -> Vec<Gap> {
    let mut gaps = Vec::new();
    // The segment in front, the last one in front that stays, and where its chain ends.
    let mut before: Option<&Found> = None;
    let mut link: Option<(u64, Chain)> = None;
    for found in &survey.written {
        let broken = found.is_broken(survey.synced);
        let damage = |kind, after| Damage {
            segment: found.first,
            kind,
            after,
            was_synced: survey.synced > after,
            salvaged: 0,
        };
        if broken {
            report.damage.push(damage(DamageKind::Segment, found.scan.last));
        } else if let (Some(header), Some((after, chain))) = (&found.scan.header, link)
            && header.previous != chain
            && !survey.gaps.contains(&found.first)
        {
            gaps.push(Gap { after, before: found.first });
            // A segment in front that is reported by itself explains the broken link.
            let explained = before.is_some_and(|before| before.scan.tail != Tail::Clean);
            if !explained {
                report.damage.push(damage(DamageKind::Missing, after));
            }
        }
        if !broken && found.scan.header.is_some() {
            link = Some((found.scan.last, found.scan.chain));
        }
        before = Some(found);
    }
    gaps
}

/// Overwrites the remains of an unfinished write with zeros.
fn cut(store: &Store, found: &Found, report: &mut RecoveryReport) -> Result<(), JournalError> {
    let Tail::Torn { bytes } = found.scan.tail else { return Ok(()) };
    report.torn_bytes = report.torn_bytes.saturating_add(bytes);
    let zeros = vec![0; usize::try_from(bytes).unwrap_or_default()];
    found
        .file
        .write_at(found.scan.end, &zeros)
        .and_then(|()| found.file.sync_data())
        .map_err(|cause| store.open_error("cut", found.first, cause))
}

/// A state whose active segment is the last one, if that is whole, or a new one behind it: a
/// segment that was torn or set aside is never written again, so that no sequence number in it
/// is given out twice.
fn start(
    store: &Store,
    config: &JournalConfig,
    now_us: i64,
    (kept, last): (&[Found], Option<(u64, u64)>),
    blank: &mut Vec<Prepared>,
    watermark: &Arc<Watermark>,
) -> Result<State, JournalError> {
    let watermark = Arc::clone(watermark);
    let chain = kept.last().map(|found| found.scan.chain).unwrap_or_default();
    if let Some(found) = kept.last()
        && last.is_some_and(|(first, _)| first == found.first)
        && found.scan.tail == Tail::Clean
    {
        let next = found.scan.last.saturating_add(1);
        return Ok(State::new(config, watermark, segment(found), chain, next));
    }
    let prepared = if blank.is_empty() {
        let fresh = u64::try_from(now_us).unwrap_or_default().max(1);
        prepare(store, last.map_or(fresh, |(first, size)| next_first(first, size)))?
    } else {
        blank.remove(0)
    };
    let active = prepared
        .activate(store.node.as_str(), chain, now_us)
        .map_err(|cause| store.open_error("write header of", prepared.first, cause))?;
    Ok(State::new(config, watermark, active, chain, prepared.first))
}

fn segment(found: &Found) -> Segment {
    Segment {
        first: found.first,
        file: Arc::clone(&found.file),
        capacity: found.size,
        end: found.scan.end.max(SEGMENT_HEADER_BYTES),
        last_settled: found.last_settled,
        open: 0,
        closed_by: 0,
    }
}

/// Puts the kept segments in front of the active one, and what they hold into the books.
fn take_over(state: &mut State, kept: &[Found]) {
    let active = state.active.first;
    state.sealed.extend(kept.iter().filter(|found| found.first != active).map(segment));
    state.stats.appended_sequence = state.next_sequence.saturating_sub(1);
    for found in kept {
        state.last_settled = state.last_settled.max(found.last_settled);
        state.stats.lag_records = state.stats.lag_records.saturating_add(found.settled);
        state.stats.lag_bytes = state.stats.lag_bytes.saturating_add(found.settled_bytes);
    }
    state.oldest_us = kept.iter().find_map(|found| found.oldest_settled_us);
}

fn prepare(store: &Store, first: u64) -> Result<Prepared, JournalError> {
    store.prepare(first).map_err(|error| match error {
        PrepareError::Create(cause) if is_no_space(&cause) => {
            JournalError::Full { reason: FullReason::Disk }
        }
        PrepareError::Create(cause) => store.open_error("create", first, cause),
        PrepareError::Sync(cause) => store.open_error("sync", first, cause),
    })
}

/// An intent's event as it ends when the process died: with what the last progress knew.
fn orphaned(intent: Intent, progress: Option<Progress>, now_us: i64) -> UsageEvent {
    let mut event = intent.event;
    event.ended = Ended::Orphaned;
    let elapsed_us = now_us.saturating_sub(event.at.timestamp_micros());
    event.latency_ms = u64::try_from(elapsed_us / 1_000).unwrap_or_default();
    if let Some(progress) = progress {
        event.source = match progress.source {
            // The provider may have counted more since.
            Source::Reported | Source::Partial => Source::Partial,
            other => other,
        };
        event.tokens = progress.tokens;
        event.input_total = progress.input_total;
        event.output_total = progress.output_total;
        event.estimate_error_permille = progress.estimate_error_permille;
        event.model_served = progress.model_served.or(event.model_served);
    }
    event
}

/// Tells the log what was found.
fn tell(report: &RecoveryReport) {
    for damage in &report.damage {
        let Damage { segment, kind, after, was_synced, salvaged } = damage;
        if *was_synced {
            tracing::error!(
                segment,
                ?kind,
                after,
                salvaged,
                "journal is damaged: records that were on disk once are gone; reconcile this \
                 node's usage from that time on with the provider's"
            );
        } else {
            tracing::warn!(
                segment,
                ?kind,
                after,
                salvaged,
                "journal has a hole in records that were not synced, as power loss leaves it"
            );
        }
    }
    if report.torn_bytes > 0 {
        tracing::warn!(bytes = report.torn_bytes, "journal had unfinished writes: cut off");
    }
    if report.orphans > 0 {
        tracing::warn!(requests = report.orphans, "requests were open at the end: settled now");
    }
}
