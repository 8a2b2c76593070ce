//! Hour roll-ups, sessions and receivables are what the rows add up to, however the rows arrive.

use std::collections::BTreeMap;

use permille_ledger::{HiddenCost, Page, UsageFilter, UsageRow};
use permille_types::{
    Attempt, Currency, Ended, Flag, Source, TokenClass, TurnKind, Unit, UsageEvent,
};
use proptest::{collection, prelude::*, sample::select};
use rust_decimal::Decimal;

use crate::support::{Books, at, batch, import};

/// India is five and a half hours ahead of UTC all year: its hours begin at half past.
const ZONE: &str = "Asia/Kolkata";
const OFFSET_SECONDS: i64 = 19_800;

/// What of an event matters to sums. The same plan is the same event in every ledger.
#[derive(Debug, Clone)]
struct Plan {
    minute: i64,
    model: &'static str,
    counts: [u64; 3],
    source: Source,
    simulated: bool,
    session: u8,
    turn: u32,
    searches: Option<u64>,
    kind: Option<TurnKind>,
    resent: Option<u64>,
    ended: Ended,
    failed_calls: usize,
}

fn plan() -> impl Strategy<Value = Plan> {
    let model = select(vec!["ERNIE-Bot", "banded", "unheard-of", "later"]);
    let source =
        select(vec![Source::Reported, Source::Estimated, Source::Partial, Source::Missing]);
    let searches = proptest::option::of(0_u64..3);
    let kind = select(vec![None, Some(TurnKind::New), Some(TurnKind::Regenerate)]);
    let resent = proptest::option::of(0_u64..20_000);
    let ended = select(vec![Ended::Complete, Ended::ClientGone, Ended::UpstreamError]);
    let place = (0_u8..3, 1_u32..4, kind, resent);
    let how = (ended, 0_usize..3);
    (0_i64..300, model, any::<[u16; 3]>(), source, any::<bool>(), place, searches, how).prop_map(
        |(minute, model, counts, source, simulated, place, searches, how)| Plan {
            minute,
            model,
            counts: counts.map(u64::from),
            source,
            simulated,
            session: place.0,
            turn: place.1,
            searches,
            kind: place.2,
            resent: place.3,
            ended: how.0,
            failed_calls: how.1,
        },
    )
}

fn planned(books: &Books, number: u32, plan: &Plan) -> UsageEvent {
    let mut event = books.event(number);
    event.at = at("2026-11-20T09:00:00Z") + chrono::Duration::minutes(plan.minute);
    event.model_requested = plan.model.parse().unwrap();
    event.source = plan.source;
    event.turn = plan.turn;
    event.session = format!("chat-{}", plan.session).parse().unwrap();
    event.session_explicit = plan.session > 0;
    event.tokens = [TokenClass::INPUT_UNCACHED, TokenClass::CACHE_READ, TokenClass::OUTPUT_TEXT]
        .into_iter()
        .zip(plan.counts)
        // An absent class is not an explicit zero.
        .filter(|(_, count)| count % 7 != 3)
        .map(|(class, count)| (class, count / 5))
        .collect();
    let input = [TokenClass::INPUT_UNCACHED, TokenClass::CACHE_READ];
    event.input_total = Some(input.iter().filter_map(|class| event.tokens.get(class)).sum());
    event.turn_kind = plan.kind;
    event.resent_tokens = plan.resent;
    event.ended = plan.ended;
    let call = Attempt { ended: plan.ended, ..event.attempts[0].clone() };
    let failed = Attempt { ended: Ended::UpstreamError, ..call.clone() };
    event.attempts = vec![failed; plan.failed_calls];
    event.attempts.push(Attempt { tokens: event.tokens.clone(), ..call });
    event.units = plan.searches.into_iter().map(|count| (Unit::Searches, count)).collect();
    if plan.simulated {
        event.flags.push(Flag::Simulated);
    }
    event
}

const PRICES: &str = r#"
[[price]]
model = "banded"
currency = "CNY"
from = 2026-10-01T00:00:00Z
source = "a test"
input = "0.0031"
cache_read = "0.0003"
output = "0.007"
searches = "0.03"
[[price.band]]
when = { input_total_over = 12000 }
input = "0.0062"
cache_read = "0.0006"
output = "0.0140"
searches = "0.03"
"#;

const LATER: &str = r#"
[[price]]
model = "later"
currency = "CNY"
from = 2026-11-20T10:15:00Z
source = "a test"
input = "0.5"
cache_read = "0.25"
output = "1.5"
searches = "2"
"#;

async fn open() -> Books {
    let books = Books::with("acme", Currency::CNY, ZONE).await;
    import(&books.ledger, PRICES).await;
    books
}

/// The roll-ups as they must be, from the rows alone.
async fn recomputed(books: &Books) -> Vec<String> {
    let page = Page::new(None, Some(1_000)).unwrap();
    let rows = books.ledger.usage(&UsageFilter::default(), &page).await.unwrap().items;
    let mut hours: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    let mut requests: BTreeMap<_, [u64; 4]> = BTreeMap::new();
    for row in &rows {
        let hour = local_hour(row);
        let project = row.project.to_string();
        let estimated = matches!(row.source, Source::Estimated | Source::Partial);
        let simulated = row.flags.contains(&Flag::Simulated);
        let counts = requests.entry((hour, project.clone())).or_default();
        let unpriced = row.cost.is_none();
        for (sum, one) in counts.iter_mut().zip([true, unpriced, estimated, simulated]) {
            *sum += u64::from(one);
        }
        if unpriced {
            continue;
        }
        let tokens = row.tokens.iter().map(|(class, count)| (class.to_string(), *count));
        let units = row.units.values().map(|count| ("searches".to_owned(), *count));
        for (meter, count) in tokens.chain(units).filter(|(_, count)| *count > 0) {
            let version = row.price_version.clone().unwrap().to_string();
            let key = (
                hour,
                project.clone(),
                row.model_requested.to_string(),
                meter,
                version,
                row.band,
                simulated,
            );
            let sum = hours.entry(key).or_default();
            sum.0 += count;
            sum.1 += if estimated { count } else { 0 };
        }
    }
    let hours =
        hours.into_iter().map(|((hour, project, model, meter, version, band, sim), sum)| {
            let (band, sim) = (band.unwrap(), u8::from(sim));
            serde_json::json!([
                "hour", "acme", hour, project, model, meter, version, band, sim, sum.0, sum.1
            ])
        });
    let requests = requests.into_iter().map(|((hour, project), [all, held, estimated, sim])| {
        serde_json::json!(["requests", "acme", hour, project, all, held, estimated, sim])
    });
    let mut lines: Vec<String> = hours.chain(requests).map(|line| line.to_string()).collect();
    lines.sort();
    lines
}

fn local_hour(row: &UsageRow) -> i64 {
    let local = row.at.timestamp() + OFFSET_SECONDS;
    (local - local.rem_euclid(3_600) - OFFSET_SECONDS) * 1_000_000
}

async fn stored(books: &Books) -> Vec<String> {
    let rollup = |line: &String| line.starts_with(r#"["hour""#) || line.starts_with(r#"["req"#);
    let mut lines: Vec<String> = books.dump().await.into_iter().filter(rollup).collect();
    lines.sort();
    lines
}

/// Receivables are the exact cost of the rows, rounded to nano-units once.
async fn assert_receivables(books: &Books) {
    let page = Page::new(None, Some(1_000)).unwrap();
    let rows = books.ledger.usage(&UsageFilter::default(), &page).await.unwrap().items;
    let balances = books.ledger.balances().await.unwrap();
    for simulated in [false, true] {
        let kind = if simulated { "simulated" } else { "unbilled" };
        let costs = rows
            .iter()
            .filter(|row| row.flags.contains(&Flag::Simulated) == simulated)
            .filter_map(|row| row.cost.as_ref())
            .map(|cost| cost.parse::<Decimal>().unwrap())
            .sum::<Decimal>();
        let balance = |account: String| {
            let found = balances.iter().find(|balance| balance.account == account);
            Decimal::new(found.map_or(0, |balance| balance.amount_nano), 9)
        };
        let rounding = rust_decimal::RoundingStrategy::MidpointAwayFromZero;
        let costs = costs.round_dp_with_strategy(9, rounding);
        assert_eq!(balance(format!("receivable:{kind}:acme")), costs, "{kind}");
        assert_eq!(balance(format!("revenue:{kind}")), -costs, "{kind}");
    }
}

/// Sessions add up to the rows, and turns, which are read from the rows, to their session.
async fn assert_sessions(books: &Books) {
    let page = Page::new(None, Some(1_000)).unwrap();
    let rows = books.ledger.usage(&UsageFilter::default(), &page).await.unwrap().items;
    let sessions = books.ledger.sessions(None, &page).await.unwrap().items;
    let paid = rows.iter().filter_map(|row| row.cost.as_ref());
    let paid = paid.map(|cost| cost.parse::<Decimal>().unwrap()).sum::<Decimal>();
    assert_eq!(sessions.iter().map(|session| session.cost).sum::<Decimal>(), paid);
    let requests: u64 = sessions.iter().map(|session| session.requests).sum();
    assert_eq!(requests, u64::try_from(rows.len()).unwrap());
    for session in sessions {
        let detail = books.ledger.session(&session.customer, &session.id).await.unwrap();
        assert_eq!(detail.session, session);
        let (mut cost, mut hidden) = (Decimal::ZERO, [Decimal::ZERO; 6]);
        let (mut counts, all) = ([0; 6], counts_of(&session.hidden));
        for turn in &detail.turns {
            cost += turn.cost;
            assert_eq!(turn.cumulative_cost, cost);
            for (sum, part) in hidden.iter_mut().zip(amounts_of(&turn.hidden)) {
                *sum += part;
            }
            for (sum, part) in counts.iter_mut().zip(counts_of(&turn.hidden)) {
                *sum += part;
            }
            let part_of_cost = turn.hidden.resent_cost <= turn.cost;
            assert!(part_of_cost || turn.unpriced_requests > 0, "{turn:?}");
        }
        assert_eq!((cost, hidden), (session.cost, amounts_of(&session.hidden)));
        assert_eq!(counts, all);
    }
}

fn amounts_of(hidden: &HiddenCost) -> [Decimal; 6] {
    [
        hidden.resent_cost,
        hidden.cache_saving,
        hidden.cache_saving_missed,
        hidden.regenerated_cost,
        hidden.failed_request_cost,
        hidden.failed_attempt_cost,
    ]
}

fn counts_of(hidden: &HiddenCost) -> [u64; 6] {
    [
        hidden.resent_tokens.unwrap_or_default(),
        hidden.cached_tokens,
        hidden.regenerations,
        hidden.failed_requests,
        hidden.retries,
        hidden.failed_attempts,
    ]
}

/// Everything that is no row, whose payload hash differs with the ids of an installation.
async fn sums(books: &Books) -> Vec<String> {
    let rows = books.dump().await;
    rows.into_iter().filter(|line| !line.starts_with(r#"["usage""#)).collect()
}

/// Sends pieces of `events` as `cuts` gives them: in any order, some again, some not at all.
async fn send(books: &Books, events: &[UsageEvent], cuts: &[(usize, usize)]) {
    for (place, (start, length)) in (1_u64..).zip(cuts) {
        let start = start % events.len();
        let end = events.len().min(start + length);
        let sent = batch(&format!("n{}", place % 3), place, &events[start..end]);
        books.ledger.accept(&sent).await.unwrap();
    }
}

#[tokio::test]
async fn an_hour_begins_by_the_customers_clock() {
    let books = open().await;
    let events = (1_u32..).zip(["09:29:59.999999", "09:30:00", "10:29:59.999999", "10:30:00"]);
    let events = events.map(|(number, time)| UsageEvent {
        at: at(&format!("2026-11-20T{time}Z")),
        ..books.event(number)
    });

    books.accept(&events.collect::<Vec<_>>()).await;

    let hours = books
        .lines(
            "select strftime('%H:%M', hour / 1000000, 'unixepoch') || ' ' || requests
             from request_hour order by hour",
        )
        .await;
    assert_eq!(hours, ["08:30 1", "09:30 2", "10:30 1"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// The price of one model arrives somewhere between the batches.
    #[test]
    fn any_batches_in_any_order_with_replays_give_the_sums_of_the_rows(
        plans in collection::vec(plan(), 1..60),
        cuts in collection::vec((any::<usize>(), 1_usize..20), 0..12),
        price_after in any::<prop::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let books = open().await;
            let events: Vec<_> = (1_u32..)
                .zip(&plans)
                .map(|(number, plan)| planned(&books, number, plan))
                .collect();
            let (before, after) = cuts.split_at(price_after.index(cuts.len() + 1));

            send(&books, &events, before).await;
            import(&books.ledger, LATER).await;
            send(&books, &events, after).await;
            // Whatever the cuts left out.
            books.accept(&events).await;

            assert_eq!(stored(&books).await, recomputed(&books).await);
            assert_receivables(&books).await;
            assert_sessions(&books).await;
            let straight = open().await;
            let events: Vec<_> = (1_u32..)
                .zip(&plans)
                .map(|(number, plan)| planned(&straight, number, plan))
                .collect();
            import(&straight.ledger, LATER).await;
            straight.accept(&events).await;
            assert_eq!(sums(&books).await, sums(&straight).await);
        });
    }
}
