//! The hidden cost of many sessions: figures made by hand, and sums over random traffic.

use permille_ledger::{CurrencySummary, Outcome, Page, SummaryFilter, UsageFilter};
use permille_types::{Attempt, Currency, Ended, Endpoint, Money, TokenClass, TurnKind, UsageEvent};
use proptest::{collection, prelude::*, sample::select};
use rust_decimal::Decimal;

use crate::support::{Books, add_customer, add_key, at, event, import};

const COST: &str = r#"
[[price]]
model = "ERNIE-Bot"
side = "cost"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a contract"
input = "0.006"
output = "0.006"
"#;

/// A request of `session` with `input` tokens and 500 out, at 0.012 per thousand.
fn request(books: &Books, number: u32, session: &str, input: u64) -> UsageEvent {
    let mut event = books.event(number);
    event.session = session.parse().unwrap();
    event.turn_kind = Some(TurnKind::New);
    event.tokens.insert(TokenClass::INPUT_UNCACHED, input);
    event.input_total = Some(input);
    event.attempts[0].tokens = event.tokens.clone();
    event
}

/// Three sessions: one accepted after two turns, one regenerated, one that the client left.
async fn three() -> Books {
    let books = Books::open().await;
    let second = UsageEvent {
        turn: 2,
        turn_kind: Some(TurnKind::Continue),
        resent_tokens: Some(1_500),
        ..request(&books, 2, "accepted", 2_000)
    };
    let again = UsageEvent {
        turn_kind: Some(TurnKind::Regenerate),
        resent_tokens: Some(1_000),
        ..request(&books, 4, "again", 1_000)
    };
    let left = UsageEvent {
        turn_kind: None,
        ended: Ended::ClientGone,
        ..request(&books, 5, "left", 1_000)
    };
    let first = [request(&books, 1, "accepted", 1_000), request(&books, 3, "again", 1_000)];
    books.accept(&first).await;
    books.accept(&[second, again, left]).await;
    let by = books.as_role(permille_ledger::Role::Admin).await;
    let (customer, session) = ("acme".parse().unwrap(), "accepted".parse().unwrap());
    books.ledger.tell_outcome(&customer, &session, Outcome::Accepted, &by).await.unwrap();
    books
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

async fn only(books: &Books, filter: &SummaryFilter) -> CurrencySummary {
    let mut summary = books.ledger.summary(filter).await.unwrap();
    assert_eq!(summary.currencies.len(), 1);
    summary.currencies.remove(0)
}

#[tokio::test]
async fn every_figure_is_what_its_formula_says() {
    let books = three().await;
    let flat_fee = Some(Money::new(Decimal::ONE, Currency::CNY));

    let sum = only(&books, &SummaryFilter { flat_fee, ..SummaryFilter::default() }).await;

    // 0.018 + 0.030, twice 0.018, and 0.018.
    assert_eq!((sum.sessions, sum.requests, sum.cost), (3, 5, decimal("0.102")));
    let spread = &sum.session_cost;
    assert_eq!((spread.mean, spread.p50), (decimal("0.034"), decimal("0.036")));
    assert_eq!((spread.p90, spread.max), (decimal("0.048"), decimal("0.048")));
    let hidden = &sum.hidden;
    assert_eq!((hidden.resent_tokens, hidden.resent_share_permille), (Some(2_500), Some(500)));
    assert_eq!(hidden.resent_cost, decimal("0.030"));
    assert_eq!((hidden.regenerations, hidden.regenerated_cost), (1, decimal("0.018")));
    assert_eq!((hidden.failed_requests, hidden.failed_request_cost), (1, decimal("0.018")));
    assert_eq!((sum.regenerated_share_permille, sum.failed_share_permille), (Some(176), Some(176)));
    let turns: Vec<_> =
        sum.turns.iter().map(|turn| (&*turn.turn, turn.requests, turn.mean)).collect();
    assert_eq!(turns, [("1", 4, decimal("0.018")), ("2", 1, decimal("0.03"))]);
    let outcomes: Vec<_> = sum.outcomes.iter().map(|of| (of.outcome, of.source, of.cost)).collect();
    assert_eq!(
        outcomes,
        [
            ("abandoned", "inferred", decimal("0.018")),
            ("accepted", "told", decimal("0.048")),
            ("rejected_turn", "inferred", decimal("0.036")),
        ]
    );
    assert_eq!(sum.cost_per_accepted, Some(decimal("0.102")));
    // 0.048 for a reply whose own text costs 0.030 - 0.018.
    assert_eq!(sum.list_price_multiplier, Some(decimal("4")));
    assert_eq!(sum.list_price_multiplier_inferred, None);
    // 29 sessions of 0.034 cost 0.986, 30 cost 1.02.
    assert_eq!(sum.break_even.unwrap().sessions, Some(30));
}

#[tokio::test]
async fn a_fee_is_lost_at_the_first_session_that_costs_more_than_it() {
    let books = three().await;

    // 3 sessions cost exactly 0.102: a fee of that is not lost at 3.
    let flat_fee = Some(Money::new(decimal("0.102"), Currency::CNY));
    let sum = only(&books, &SummaryFilter { flat_fee, ..SummaryFilter::default() }).await;
    let dollars = Some(Money::new(Decimal::ONE, Currency::USD));
    let other =
        only(&books, &SummaryFilter { flat_fee: dollars, ..SummaryFilter::default() }).await;

    assert_eq!(sum.break_even.unwrap().sessions, Some(4));
    assert_eq!(other.break_even, None, "a fee of another currency says nothing");
}

#[tokio::test]
async fn a_margin_is_known_where_the_providers_price_is() {
    let books = three().await;
    let all = SummaryFilter::default();

    let unknown = books.ledger.summary(&all).await.unwrap().customers.remove(0).margin.unwrap();
    import(&books.ledger, COST).await;
    let mut summary = books.ledger.summary(&all).await.unwrap();

    assert_eq!((unknown.unknown_requests, unknown.amount), (5, None));
    let margin = summary.customers[0].margin.clone().unwrap();
    assert_eq!((margin.provider_cost, margin.unknown_requests), (decimal("0.051"), 0));
    assert_eq!((margin.amount, margin.share_permille), (Some(decimal("0.051")), Some(500)));
    summary.hide_margins();
    assert_eq!(summary.customers[0].margin, None);
}

#[tokio::test]
async fn currencies_are_never_added_and_a_customers_summary_is_its_own() {
    let books = three().await;
    add_customer(&books.ledger, "other", Currency::USD, "UTC").await;
    let key = add_key(&books.ledger, "other").await.key;
    let mut theirs = event(9, "other", key.id.as_str());
    theirs.model_requested = "gpt-test".parse().unwrap();
    books.accept(&[theirs]).await;

    let all = books.ledger.summary(&SummaryFilter::default()).await.unwrap();
    let customer = Some("other".parse().unwrap());
    let own = only(&books, &SummaryFilter { customer, ..SummaryFilter::default() }).await;

    let costs: Vec<_> = all.currencies.iter().map(|of| (of.currency, of.cost)).collect();
    assert_eq!(costs, [(Currency::CNY, decimal("0.102")), (Currency::USD, decimal("0.0075"))]);
    assert_eq!((own.currency, own.sessions, own.cost), (Currency::USD, 1, decimal("0.0075")));
    assert_eq!(all.customers.len(), 2);
}

#[tokio::test]
async fn lists_and_counts_are_requests_and_thin_out_no_median() {
    let books = three().await;
    let free = |number: u32, endpoint| {
        let mut event = request(&books, number, &format!("list-{number}"), 0);
        event.endpoint = endpoint;
        event.tokens.clear();
        event.attempts[0].tokens.clear();
        (event.input_total, event.output_total, event.turn_kind) = (None, None, None);
        event
    };
    let events = [
        free(11, Endpoint::Models),
        free(12, Endpoint::CountTokens),
        free(13, Endpoint::StoredResponse),
        // Beside what costs something it is a request of a conversation.
        UsageEvent { session: "left".parse().unwrap(), ..free(14, Endpoint::CountTokens) },
    ];
    books.accept(&events).await;
    let flat_fee = Some(Money::new(Decimal::ONE, Currency::CNY));

    let sum = only(&books, &SummaryFilter { flat_fee, ..SummaryFilter::default() }).await;

    assert_eq!((sum.sessions, sum.unmetered_sessions, sum.requests), (6, 3, 9));
    assert_eq!((sum.session_cost.mean, sum.session_cost.p50), (decimal("0.034"), decimal("0.036")));
    assert_eq!(sum.break_even.unwrap().sessions, Some(30));
    let turns: Vec<_> =
        sum.turns.iter().map(|turn| (&*turn.turn, turn.requests, turn.mean)).collect();
    assert_eq!(turns, [("1", 4, decimal("0.018")), ("2", 1, decimal("0.03"))]);
    let outcomes: Vec<_> = sum.outcomes.iter().map(|of| (of.outcome, of.sessions)).collect();
    // The session that the client left went on with a count of tokens, which ended well.
    assert_eq!(outcomes, [("accepted", 1), ("ended", 1), ("rejected_turn", 1)]);
    // Nothing is known of what the provider takes, though what is free costs it nothing.
    let margin = books.ledger.summary(&SummaryFilter::default()).await.unwrap().customers.remove(0);
    assert_eq!(margin.margin.unwrap().amount, None);
    books.clock.set("2026-11-20T12:00:00Z");
    let ended = books.ledger.end_sessions(chrono::TimeDelta::minutes(30)).await.unwrap();
    let unmetered = ended.iter().filter(|session| session.unmetered).count();
    assert_eq!((ended.len(), unmetered), (6, 3));
}

#[tokio::test]
async fn of_more_requests_than_fit_nothing_is_summed_up_and_the_error_says_what_helps() {
    let books = three().await;
    let most = |requests_max| SummaryFilter { requests_max, ..SummaryFilter::default() };

    let refused = books.ledger.summary(&most(4)).await.unwrap_err().to_string();

    assert!(refused.contains("4 requests") && refused.contains("since and until"), "{refused}");
    assert_eq!(only(&books, &most(5)).await.requests, 5);
    let customer = Some("nobody".parse().unwrap());
    let of_nobody = SummaryFilter { customer, ..most(1) };
    assert_eq!(books.ledger.summary(&of_nobody).await.unwrap().currencies, []);
}

#[tokio::test]
async fn a_fee_is_compared_with_each_customers_own_sessions() {
    let books = three().await;
    add_customer(&books.ledger, "frugal", Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "frugal").await.key;
    let mut cheap = event(9, "frugal", key.id.as_str());
    cheap.tokens = [(TokenClass::INPUT_UNCACHED, 500)].into();
    books.accept(&[cheap]).await;
    let flat_fee = Some(Money::new(Decimal::ONE, Currency::CNY));

    let filter = SummaryFilter { flat_fee, ..SummaryFilter::default() };
    let customers = books.ledger.summary(&filter).await.unwrap().customers;

    let sessions: Vec<_> = customers
        .iter()
        .map(|of| (of.customer.as_str(), of.break_even.as_ref().unwrap().sessions))
        .collect();
    // 0.034 and 0.006 a session.
    assert_eq!(sessions, [("acme", Some(30)), ("frugal", Some(167))]);
}

#[tokio::test]
async fn what_a_session_costs_after_its_end_is_counted_when_it_is_found_silent_again() {
    let books = Books::open().await;
    let mut held = request(&books, 2, "s", 1_000);
    held.model_requested = "later".parse().unwrap();
    books.accept(&[request(&books, 1, "s", 1_000), held]).await;
    books.clock.set("2026-11-20T12:00:00Z");
    let idle = chrono::TimeDelta::minutes(30);
    let mut costs = Vec::new();
    costs.extend(books.ledger.end_sessions(idle).await.unwrap());
    costs.extend(books.ledger.end_sessions(idle).await.unwrap());

    import(&books.ledger, &COST.replace("ERNIE-Bot", "later").replace("side = \"cost\"", "")).await;
    costs.extend(books.ledger.end_sessions(idle).await.unwrap());
    costs.extend(books.ledger.end_sessions(idle).await.unwrap());

    let costs: Vec<_> = costs.iter().map(|session| session.cost).collect();
    assert_eq!(costs, [decimal("0.018"), decimal("0.009")]);
}

/// Any requests of five sessions over an hour and a half.
fn traffic() -> impl Strategy<Value = Vec<(i64, u8, u32, u16, Ended, Option<u64>)>> {
    let ended = select(vec![Ended::Complete, Ended::ClientGone, Ended::UpstreamError]);
    let resent = proptest::option::of(0_u64..70_000);
    collection::vec((0_i64..90, 0_u8..5, 1_u32..50, any::<u16>(), ended, resent), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn sessions_add_up_to_requests_and_stretches_of_time_to_the_whole(plans in traffic()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let books = Books::open().await;
            let start = at("2026-11-20T09:00:00Z");
            let events = (1_u32..).zip(&plans).map(|(number, plan)| {
                let (minute, session, turn, input, ended, resent) = *plan;
                let mut event = request(&books, number, &format!("s{session}"), input.into());
                event.at = start + chrono::Duration::minutes(minute);
                (event.turn, event.ended, event.resent_tokens) = (turn, ended, resent);
                let call = Attempt { ended, ..event.attempts[0].clone() };
                event.attempts = vec![call];
                event
            });
            books.accept(&events.collect::<Vec<_>>()).await;
            let page = Page::new(None, Some(1_000)).unwrap();
            let rows = books.ledger.usage(&UsageFilter::default(), &page).await.unwrap().items;
            let costs = rows.iter().filter_map(|row| row.cost.as_ref());
            let paid = costs.map(|cost| cost.parse::<Decimal>().unwrap()).sum::<Decimal>();

            let whole = only(&books, &SummaryFilter::default()).await;
            let listed = books.ledger.sessions(None, &page).await.unwrap().items;
            let (mut cost, mut requests) = (Decimal::ZERO, 0);
            for (since, until) in [(None, Some(45)), (Some(45), None)] {
                let instant = |minutes| start + chrono::Duration::minutes(minutes);
                let (since, until) = (since.map(instant), until.map(instant));
                let filter = SummaryFilter { since, until, ..SummaryFilter::default() };
                for part in books.ledger.summary(&filter).await.unwrap().currencies {
                    cost += part.cost;
                    requests += part.requests;
                }
            }

            assert_eq!((whole.cost, whole.requests), (paid, u64::try_from(rows.len()).unwrap()));
            assert_eq!((cost, requests), (whole.cost, whole.requests));
            assert_eq!(whole.sessions, u64::try_from(listed.len()).unwrap());
            let resent = listed.iter().map(|session| session.hidden.resent_cost);
            assert_eq!(resent.sum::<Decimal>(), whole.hidden.resent_cost);
            let turns = whole.turns.iter().map(|turn| turn.cost).sum::<Decimal>();
            let outcomes = whole.outcomes.iter().map(|of| of.cost).sum::<Decimal>();
            assert_eq!((turns, outcomes), (paid, paid));
            let dearest = listed.iter().map(|session| session.cost).max();
            assert_eq!(Some(whole.session_cost.max), dearest);
        });
    }
}
