//! What this gateway has settled and billing may not have: kept as sums, so that loading a counter
//! is a look-up, however long billing was away.
//!
//! Bounded by the journal: 80 bytes for each settled record with a cost that it still keeps for
//! billing, of customers with limits of money, and some 40 for each session and minute of them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{BuildHasher as _, Hash, RandomState},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use permille_types::{CustomerId, KeyId, Level, ProjectId, SpendAccount, UsageEvent};
use tokio::sync::watch;

/// Time zones differ by whole minutes, so that a day of any of them is a number of these.
const PART_SECONDS: i64 = 60;

/// Hashes the names of customers, which no stranger chooses.
type Quick = foldhash::fast::RandomState;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Unbooked {
    books: Mutex<Books>,
    /// Whether what was settled before this process is in it.
    is_whole: watch::Sender<bool>,
}

impl Default for Unbooked {
    fn default() -> Self {
        Self { books: Mutex::default(), is_whole: watch::Sender::new(false) }
    }
}

#[derive(Debug, Default)]
struct Books {
    /// By sequence number.
    events: VecDeque<Event>,
    customers: HashMap<CustomerId, Customer, Quick>,
    /// Up to which event of a customer without limits of money none is kept.
    passed: HashMap<CustomerId, u64, Quick>,
    /// Up to where events are not kept any more.
    dropped: u64,
    /// Of sessions, of which there are as many as requests, only a hash under this key is kept. Of
    /// a million sessions of a customer two have the same with a chance of 1 in 37 million; each of
    /// them is then held to have spent what the other has and billing does not know of.
    hasher: RandomState,
}

#[derive(Debug, Clone)]
struct Event {
    sequence: u64,
    part: i64,
    nano: u64,
    customer: CustomerId,
    project: ProjectId,
    key: KeyId,
    session: Session,
}

/// The hash of a session.
type Session = u64;

/// What was spent in each minute.
type Parts = BTreeMap<i64, u128>;

#[derive(Debug, Default)]
struct Customer {
    all: Parts,
    projects: HashMap<ProjectId, Parts>,
    keys: HashMap<KeyId, Parts>,
    /// Most have one minute: a map of maps would take ten times as much.
    sessions: BTreeMap<(Session, i64), u64>,
}

/// A settled event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled<'a> {
    pub(super) sequence: u64,
    pub(super) event: &'a UsageEvent,
    /// What it cost; absent where nothing limits what its customer spends.
    pub(super) kept_cost: Option<u64>,
}

/// Billing's answer took longer than the events after it are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("billing's answer is older than what is kept beside it")]
pub(super) struct TooOld;

impl Unbooked {
    /// Takes note of a settled event and does `post` in the same instant, as loads see it.
    pub(super) fn settled(&self, settled: Settled<'_>, post: impl FnOnce()) {
        let mut books = self.books.lock();
        books.take(settled);
        post();
    }

    /// Takes note of an event that was settled before this process.
    pub(super) fn found(&self, settled: Settled<'_>) {
        self.books.lock().take(settled);
    }

    /// All that was settled before this process is noted.
    pub(super) fn is_read(&self) {
        self.is_whole.send_replace(true);
    }

    /// Waits until it is.
    pub(super) async fn until_read(&self) {
        // The sender is this one's own: it does not go away.
        drop(self.is_whole.subscribe().wait_for(|whole| *whole).await);
    }

    /// Billing has everything up to `sequence`, and has had it for longer than a load may take.
    pub(super) fn drop_up_to(&self, sequence: u64) {
        let mut books = self.books.lock();
        while let Some(event) = books.events.pop_front_if(|first| first.sequence <= sequence) {
            books.take_away(&event);
        }
        books.dropped = books.dropped.max(sequence);
        books.passed.retain(|_, passed| *passed > sequence);
        if books.events.is_empty() {
            // What an outage took is given back.
            books.events.shrink_to(1_024);
        }
    }

    /// Gives `load` what the events after `booked` cost each account. While it runs, none settles.
    pub(super) fn with(
        &self,
        customer: &CustomerId,
        accounts: &[Arc<SpendAccount>],
        booked: u64,
        load: &mut dyn FnMut(&[u64]),
    ) -> Result<(), TooOld> {
        let books = self.books.lock();
        let passed = books.passed.get(customer).copied().unwrap_or_default();
        if books.dropped.max(passed) > booked {
            return Err(TooOld);
        }
        let in_the_ledger = books.events.iter().take_while(|event| event.sequence <= booked);
        let of_customer = in_the_ledger.filter(|event| event.customer == *customer);
        let known: Vec<&Event> = of_customer.collect();
        let sums: Vec<u64> = accounts
            .iter()
            .map(|account| {
                let session = session_of(&account.id, &books.hasher);
                let all = books.customers.get(customer);
                let all = all.map_or(0, |sums| sums.of(account, session));
                let known = known.iter().filter(|event| event.is_of(account, session));
                let known = known.fold(0, |sum: u128, event| sum + u128::from(event.nano));
                u64::try_from(all.saturating_sub(known)).unwrap_or(u64::MAX)
            })
            .collect();
        load(&sums);
        Ok(())
    }
}

impl Books {
    fn take(&mut self, Settled { sequence, event, kept_cost }: Settled<'_>) {
        if let Some(nano) = kept_cost {
            let session = session_of(event.session.as_str(), &self.hasher);
            self.note(Event::of(sequence, event, nano, session));
        } else {
            self.pass(sequence, &event.customer);
        }
    }

    /// An event of a customer whose spending nothing limits. A limit that comes later is told that
    /// billing does not have everything, until it has this one too.
    fn pass(&mut self, sequence: u64, customer: &CustomerId) {
        if sequence <= self.dropped {
            return;
        }
        match self.passed.get_mut(customer) {
            Some(passed) => *passed = sequence.max(*passed),
            None => drop(self.passed.insert(customer.clone(), sequence)),
        }
    }

    fn note(&mut self, mut event: Event) {
        // What billing had before it was noted here is in every sum that comes from it.
        if event.nano == 0 || event.sequence <= self.dropped {
            return;
        }
        let place = self.events.partition_point(|known| known.sequence < event.sequence);
        if self.events.get(place).is_some_and(|known| known.sequence == event.sequence) {
            return;
        }
        // Each name is kept once, however often the journal spells it out.
        let customer = self.customers.entry(event.customer);
        event.customer = customer.key().clone();
        let customer = customer.or_default();
        let project = customer.projects.entry(event.project);
        event.project = project.key().clone();
        let key = customer.keys.entry(event.key);
        event.key = key.key().clone();
        for parts in [&mut customer.all, project.or_default(), key.or_default()] {
            *parts.entry(event.part).or_default() += u128::from(event.nano);
        }
        let session = customer.sessions.entry((event.session, event.part)).or_default();
        *session = session.saturating_add(event.nano);
        // Nearly always the last: two that settle at once may come in either order.
        self.events.insert(place, event);
    }

    fn take_away(&mut self, event: &Event) {
        let Some(customer) = self.customers.get_mut(&event.customer) else { return };
        take(&mut customer.all, event);
        take_of(&mut customer.projects, &event.project, event);
        take_of(&mut customer.keys, &event.key, event);
        let session = (event.session, event.part);
        if let Some(sum) = customer.sessions.get_mut(&session) {
            *sum = sum.saturating_sub(event.nano);
            if *sum == 0 {
                customer.sessions.remove(&session);
            }
        }
        if customer.all.is_empty() {
            self.customers.remove(&event.customer);
        }
    }
}

fn take(parts: &mut Parts, event: &Event) {
    let Some(sum) = parts.get_mut(&event.part) else { return };
    *sum = sum.saturating_sub(event.nano.into());
    if *sum == 0 {
        parts.remove(&event.part);
    }
}

fn take_of<K: Hash + Eq>(all: &mut HashMap<K, Parts>, id: &K, event: &Event) {
    let Some(parts) = all.get_mut(id) else { return };
    take(parts, event);
    if parts.is_empty() {
        all.remove(id);
    }
}

fn session_of(id: &str, hasher: &RandomState) -> Session {
    hasher.hash_one(id)
}

impl Customer {
    /// What was spent of `account`, whose id as that of a session is `session`.
    fn of(&self, account: &SpendAccount, session: Session) -> u128 {
        let id = account.id.as_str();
        let from = account.from.map_or(i64::MIN, part_of);
        let until = account.until.map_or(i64::MAX, part_of);
        if from >= until {
            return 0;
        }
        let parts = match account.level {
            Level::Customer => Some(&self.all),
            Level::Project => id.parse().ok().and_then(|id: ProjectId| self.projects.get(&id)),
            Level::Key => id.parse().ok().and_then(|id: KeyId| self.keys.get(&id)),
            Level::Session => {
                let parts = self.sessions.range((session, from)..(session, until));
                return parts.map(|(_, nano)| u128::from(*nano)).sum();
            }
        };
        parts.map_or(0, |parts| parts.range(from..until).map(|(_, nano)| nano).sum())
    }
}

impl Event {
    fn of(sequence: u64, event: &UsageEvent, nano: u64, session: Session) -> Self {
        Self {
            sequence,
            part: part_of(event.at),
            nano,
            customer: event.customer.clone(),
            project: event.project.clone(),
            key: event.key.clone(),
            session,
        }
    }

    fn is_of(&self, account: &SpendAccount, session: Session) -> bool {
        let id = account.id.as_str();
        let is_its = match account.level {
            Level::Customer => self.customer.as_str() == id,
            Level::Project => self.project.as_str() == id,
            Level::Key => self.key.as_str() == id,
            Level::Session => self.session == session,
        };
        is_its
            && account.from.is_none_or(|from| self.part >= part_of(from))
            && account.until.is_none_or(|until| self.part < part_of(until))
    }
}

fn part_of(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(PART_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(unbooked: &Unbooked, sequence: u64, minute: i64, nano: u64, project: &str) {
        let mut books = unbooked.books.lock();
        let session = session_of("chat", &books.hasher);
        books.note(Event {
            sequence,
            part: part_of(time(minute)),
            nano,
            customer: "acme".parse().unwrap(),
            project: project.parse().unwrap(),
            key: "key_1".parse().unwrap(),
            session,
        });
    }

    fn time(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minute * 60, 0).unwrap()
    }

    fn account(level: Level, id: &str, minutes: Option<(i64, i64)>) -> Arc<SpendAccount> {
        let (from, until) = minutes.map_or((None, None), |(a, b)| (Some(time(a)), Some(time(b))));
        Arc::new(SpendAccount { level, id: id.to_owned(), from, until })
    }

    /// What is not booked of the customer, of a project, of ten minutes, and of an unknown key.
    fn sums(unbooked: &Unbooked, booked: u64) -> Result<[u64; 4], TooOld> {
        let accounts = [
            account(Level::Customer, "acme", None),
            account(Level::Project, "web", None),
            account(Level::Session, "chat", Some((10, 20))),
            account(Level::Key, "key_none", None),
        ];
        let mut sums = [0; 4];
        let whose = "acme".parse().unwrap();
        unbooked.with(&whose, &accounts, booked, &mut |own| sums = own.try_into().unwrap())?;
        Ok(sums)
    }

    #[test]
    fn what_is_not_booked_is_summed_by_account_and_minute_however_it_came() {
        let unbooked = Unbooked::default();
        // Two that settled at once came the wrong way round, one came twice, one cost nothing.
        for (sequence, minute, nano, project) in [
            (3, 10, 30, "web"),
            (2, 19, 200, "web"),
            (3, 10, 30, "web"),
            (9, 20, 4_000, "api"),
            (8, 9, 50_000, "web"),
            (10, 9, 0, "web"),
        ] {
            note(&unbooked, sequence, minute, nano, project);
        }

        assert_eq!(sums(&unbooked, 0), Ok([54_230, 50_230, 230, 0]));
        assert_eq!(sums(&unbooked, 2), Ok([54_030, 50_030, 30, 0]));
        assert_eq!(sums(&unbooked, 8), Ok([4_000, 0, 0, 0]));
        assert_eq!(sums(&unbooked, 99), Ok([0; 4]));
    }

    #[test]
    fn what_is_booked_is_let_go_and_an_answer_from_before_is_too_old() {
        let unbooked = Unbooked::default();
        for sequence in 1..=10_000 {
            note(&unbooked, sequence, 10, 1, "web");
        }

        unbooked.drop_up_to(9_999);

        assert_eq!(sums(&unbooked, 9_998), Err(TooOld));
        assert_eq!(sums(&unbooked, 9_999), Ok([1, 1, 1, 0]));
        // Billing had it before it was noted here.
        note(&unbooked, 7, 10, 100, "web");
        unbooked.drop_up_to(10_000);
        let books = unbooked.books.lock();
        assert!(books.customers.is_empty() && books.events.is_empty(), "{books:?}");
    }

    #[test]
    fn what_nothing_limits_is_not_kept_and_a_limit_that_comes_later_waits_for_billing() {
        let unbooked = Unbooked::default();
        let acme = "acme".parse().unwrap();
        for sequence in 1..=1_000 {
            unbooked.books.lock().pass(sequence, &acme);
        }
        note(&unbooked, 1_001, 10, 7, "web");

        assert_eq!(sums(&unbooked, 999), Err(TooOld), "the last one is not in billing's answer");
        assert_eq!(sums(&unbooked, 1_000), Ok([7, 7, 7, 0]));
        {
            let books = unbooked.books.lock();
            assert_eq!((books.events.len(), books.passed.len()), (1, 1));
        }
        unbooked.drop_up_to(1_000);
        unbooked.books.lock().pass(1_000, &acme);
        assert!(unbooked.books.lock().passed.is_empty());
    }

    /// What docs/limits.md says of it.
    #[test]
    fn an_event_takes_eighty_bytes() {
        assert_eq!(size_of::<Event>(), 80);
    }
}
