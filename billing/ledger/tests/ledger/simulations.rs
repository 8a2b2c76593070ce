//! What a plan would have made of a month.

use permille_ledger::{LedgerError, SimulatedCustomer, Trial};
use permille_types::{Currency, Flag, TokenClass, UsageEvent};

use crate::support::{Books, add_customer, at, import};

pub(crate) const FLAT: &str = "[[plan]]\nname = \"flat\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                    fee = \"30\"\n[plan.allowance]\ntokens = 4000000\n";

/// A million tokens: 12.00, of which the provider takes 6.00.
fn turn(books: &Books, number: u32, session: &str, turn: u32) -> UsageEvent {
    let tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
    let mut event = books.event(number);
    event.at = at("2026-10-20T10:00:00Z") + chrono::Duration::minutes(number.into());
    (event.session, event.turn) = (session.parse().unwrap(), turn);
    event.attempts[0].tokens = tokens;
    event.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
    event
}

pub(crate) async fn two_sessions() -> Books {
    let books = Books::open().await;
    import(
        &books.ledger,
        "[[price]]\nmodel = \"ERNIE-Bot\"\nside = \"cost\"\ncurrency = \"CNY\"\n\
         from = 2023-10-01T00:00:00Z\nsource = \"a test\"\ninput = \"0.006\"\noutput = \"0.006\"\n",
    )
    .await;
    let events =
        [turn(&books, 1, "long", 1), turn(&books, 2, "long", 2), turn(&books, 3, "short", 1)];
    books.accept(&events).await;
    books
}

async fn simulated(books: &Books, text: &str) -> Vec<SimulatedCustomer> {
    books.ledger.simulate_plan(&Trial::new(text, "2026-10")).await.unwrap().customers
}

#[tokio::test]
async fn a_flat_fee_loses_to_metered_from_a_number_of_sessions_and_turns_on() {
    let books = two_sessions().await;

    let found = simulated(&books, FLAT).await;

    let [acme] = &found[..] else { panic!("{found:?}") };
    let of = |amount: rust_decimal::Decimal| amount.normalize().to_string();
    assert_eq!((acme.sessions, of(acme.usage_cost)), (2, "36".to_owned()));
    assert_eq!((of(acme.billed), of(acme.under_plan)), ("36".to_owned(), "30".to_owned()));
    assert_eq!((of(acme.provider_cost), acme.unknown_requests), ("18".to_owned(), 0));
    assert_eq!(acme.margin.map(of).as_deref(), Some("12"));
    assert_eq!(acme.break_even_sessions, Some(2), "18 a session: two cost more than 30");
    // One session ends at turn 1 and one at turn 2; another turn costs 12 each. 5 million tokens
    // are one million above the allowance.
    let more = acme.one_more_turn.as_ref().unwrap();
    assert_eq!((of(more.usage_cost), of(more.under_plan)), ("60".to_owned(), "42".to_owned()));
    assert_eq!((of(more.provider_cost), more.margin.map(of)), ("30".into(), Some("12".into())));
    assert_eq!(
        books.lines("select version from plan").await,
        Vec::<String>::new(),
        "nothing is stored"
    );
}

#[tokio::test]
async fn simulated_usage_beside_real_usage_is_left_out_and_alone_it_is_what_there_is() {
    let books = two_sessions().await;
    let before = simulated(&books, FLAT).await;
    let mut more = [turn(&books, 7, "long", 3), turn(&books, 8, "played", 1)];
    for event in &mut more {
        event.flags = vec![Flag::Simulated];
    }
    books.accept(&more).await;
    let alone = Books::open().await;
    alone.accept(&more.map(|event| UsageEvent { key: alone.key.key.id.clone(), ..event })).await;

    assert_eq!(simulated(&books, FLAT).await, before);
    let tried = simulated(&alone, FLAT).await;
    assert_eq!((tried[0].sessions, tried[0].unknown_requests), (2, 2));
}

#[tokio::test]
async fn a_month_is_billed_anew_whatever_of_it_is_invoiced_and_under_the_plan_that_it_had() {
    let books = two_sessions().await;
    let before = simulated(&books, FLAT).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let issued = books.issue("2026-10").await;

    let after = simulated(&books, FLAT).await;

    assert_eq!(before, after);
    assert_eq!(after[0].billed, issued.net);
}

#[tokio::test]
async fn what_providers_take_of_unknown_requests_leaves_no_margin() {
    let books = two_sessions().await;
    import(
        &books.ledger,
        "[[price]]\nmodel = \"other\"\ncurrency = \"CNY\"\nfrom = 2023-10-01T00:00:00Z\n\
         source = \"a test\"\ninput = \"0.01\"\n",
    )
    .await;
    let mut event = turn(&books, 9, "other", 1);
    event.model_requested = "other".parse().unwrap();
    books.accept(&[event]).await;

    let found = simulated(&books, FLAT).await;

    assert_eq!((found[0].unknown_requests, found[0].margin), (1, None));
}

#[tokio::test]
async fn who_pays_in_another_currency_is_left_out_or_refused_by_name() {
    let books = two_sessions().await;
    add_customer(&books.ledger, "dollars", Currency::USD, "UTC").await;

    assert_eq!(simulated(&books, FLAT).await.len(), 1);
    let whose = "dollars".parse().unwrap();
    for (text, whose, named) in [
        (FLAT, Some(&whose), "a plan in USD"),
        (FLAT, Some(&"nobody".parse().unwrap()), "nobody"),
        ("", None, "one `[[plan]]`"),
        (&format!("{FLAT}{}", FLAT.replace("flat", "other")), None, "2 plans"),
    ] {
        let trial = Trial { customer: whose, ..Trial::new(text, "2026-10") };
        let refused = books.ledger.simulate_plan(&trial).await.unwrap_err();
        assert!(refused.to_string().contains(named), "{refused}");
    }
    let month = books.ledger.simulate_plan(&Trial::new(FLAT, "October")).await;
    assert!(matches!(month, Err(LedgerError::Invalid { field: "period", .. })), "{month:?}");
}
