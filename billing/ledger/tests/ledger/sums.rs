//! Sessions add up to requests and to the invoice: exactly, and to the cent after the one rounding
//! of each line (B2, B11), whatever the traffic.

use permille_ledger::{Page, UsageFilter};
use permille_types::{Currency, Ended, TokenClass, TurnKind, UsageEvent};
use proptest::{collection, prelude::*, sample::select};
use rust_decimal::{Decimal, RoundingStrategy};

use crate::support::{Books, at, import};

const ODD_PRICES: &str = r#"
[[price]]
model = "odd"
currency = "CNY"
from = 2026-10-01T00:00:00Z
source = "a test"
input = "0.0031337"
cache_read = "0.00029"
output = "0.0071"
[[price.band]]
when = { input_total_over = 40000 }
input = "0.0062674"
cache_read = "0.00058"
output = "0.0142"
"#;

/// One request: its minute, session, turn, model, tokens of three classes and what became of it.
type Plan = (i64, u8, u32, &'static str, [u32; 3], Ended, Option<TurnKind>);

fn plan() -> impl Strategy<Value = Plan> {
    let model = select(vec!["ERNIE-Bot", "odd", "odd", "without-a-price"]);
    let ended = select(vec![Ended::Complete, Ended::ClientGone, Ended::UpstreamError]);
    let kind = select(vec![None, Some(TurnKind::Continue), Some(TurnKind::Regenerate)]);
    let tokens = [0_u32..60_000, 0_u32..30_000, 0_u32..5_000];
    // Nine days: months begin and end by the customer's own calendar.
    (0_i64..13_000, 0_u8..12, 1_u32..9, model, tokens, ended, kind)
}

fn planned(books: &Books, number: u32, plan: &Plan) -> UsageEvent {
    let (minute, session, turn, model, tokens, ended, kind) = *plan;
    let mut event = books.event(number);
    event.at = at("2026-11-24T00:00:00Z") + chrono::Duration::minutes(minute);
    event.session = format!("s{session}").parse().unwrap();
    event.model_requested = model.parse().unwrap();
    (event.turn, event.turn_kind, event.ended) = (turn, kind, ended);
    let classes = [TokenClass::INPUT_UNCACHED, TokenClass::CACHE_READ, TokenClass::OUTPUT_TEXT];
    event.tokens = classes.into_iter().zip(tokens.map(u64::from)).collect();
    if model == "ERNIE-Bot" {
        event.tokens.remove(&TokenClass::CACHE_READ);
    }
    let input = [TokenClass::INPUT_UNCACHED, TokenClass::CACHE_READ];
    event.input_total = Some(input.iter().filter_map(|class| event.tokens.get(class)).sum());
    event.attempts[0].tokens = event.tokens.clone();
    event.attempts[0].ended = ended;
    event
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn sessions_add_up_to_requests_and_to_the_invoices_after_one_rounding_of_each_line(
        plans in collection::vec(plan(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let books = Books::with("acme", Currency::CNY, "Asia/Shanghai").await;
            import(&books.ledger, ODD_PRICES).await;
            let events: Vec<_> =
                (1_u32..).zip(&plans).map(|(number, plan)| planned(&books, number, plan)).collect();
            books.accept(&events).await;
            books.clock.set("2026-12-05T00:00:00Z");

            let page = Page::new(None, Some(1_000)).unwrap();
            let rows = books.ledger.usage(&UsageFilter::default(), &page).await.unwrap().items;
            let sessions = books.ledger.sessions(None, &page).await.unwrap().items;
            let drafts = [books.draft("2026-11").await, books.draft("2026-12").await];

            let of_rows = rows.iter().filter_map(|row| row.cost.as_ref());
            let of_rows = of_rows.map(|cost| cost.parse::<Decimal>().unwrap()).sum::<Decimal>();
            let of_sessions = sessions.iter().map(|session| session.cost).sum::<Decimal>();
            let lines: Vec<_> = drafts.iter().flat_map(|draft| &draft.lines).collect();
            let of_lines = lines.iter().map(|line| line.exact).sum::<Decimal>();
            assert_eq!((of_sessions, of_lines), (of_rows, of_rows));
            let requests = sessions.iter().map(|session| session.requests).sum::<u64>();
            let unpriced = sessions.iter().map(|session| session.unpriced_requests).sum::<u64>();
            assert_eq!(requests, u64::try_from(rows.len()).unwrap());
            assert_eq!(requests, drafts.iter().map(|draft| draft.requests).sum::<u64>());
            assert_eq!(unpriced, drafts.iter().map(|draft| draft.unpriced_requests).sum::<u64>());
            for line in &lines {
                let rounded =
                    line.exact.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
                assert_eq!(line.amount, rounded, "{line:?}");
            }
            for draft in &drafts {
                let amounts = draft.lines.iter().map(|line| line.amount).sum::<Decimal>();
                assert_eq!(draft.subtotal, amounts);
            }
            // What a line's rounding may differ by: half a cent.
            let subtotals = drafts.iter().map(|draft| draft.subtotal).sum::<Decimal>();
            let most = Decimal::new(5, 3) * Decimal::from(lines.len());
            assert!((subtotals - of_sessions).abs() <= most, "{subtotals} {of_sessions}");
        });
    }
}
