//! The stored price book: versions with a beginning and an end, imports that change nothing twice,
//! and usage that is held until it has a price.

use permille_ledger::{LedgerError, Page, PriceFilter, PriceOrigin, UsageFilter, UsageRow};
use permille_rating::price_book::parse_price_book;
use permille_types::{Currency, Flag, Price, TokenClass, UsageEvent};

use crate::support::{Books, PRICES, at, import};

/// A price file of one entry for `model` in CNY.
fn entry(model: &str, interval: &str, input: &str) -> String {
    format!(
        "[[price]]\nmodel = \"{model}\"\ncurrency = \"CNY\"\n{interval}\nsource = \"a test\"\n\
         input = \"{input}\"\noutput = \"{input}\"\n"
    )
}

fn parsed(toml: &str) -> Vec<Price> {
    parse_price_book(toml, "a test").unwrap()
}

/// An event of `model` at `instant`.
fn used(books: &Books, number: u32, model: &str, instant: &str) -> UsageEvent {
    let mut event = books.event(number);
    event.model_requested = model.parse().unwrap();
    event.at = at(instant);
    event
}

/// The row of every request, the earliest first.
async fn rows(books: &Books) -> Vec<UsageRow> {
    let page = Page::default();
    let mut rows = books.ledger.usage(&UsageFilter::default(), &page).await.unwrap().items;
    rows.reverse();
    rows
}

async fn costs(books: &Books) -> Vec<Option<String>> {
    rows(books).await.into_iter().map(|row| row.cost).collect()
}

const FROM_OCTOBER: &str = "from = 2026-10-01T00:00:00Z";
const FROM_NOVEMBER_10: &str = "from = 2026-11-10T00:00:00Z";

#[tokio::test]
async fn an_event_is_priced_by_the_version_in_force_at_its_time_to_the_microsecond() {
    let books = Books::open().await;
    import(&books.ledger, &entry("m", FROM_OCTOBER, "1")).await;
    import(&books.ledger, &entry("m", FROM_NOVEMBER_10, "2")).await;

    books
        .accept(&[
            used(&books, 1, "m", "2026-11-09T23:59:59.999999Z"),
            used(&books, 2, "m", "2026-11-10T00:00:00Z"),
            used(&books, 3, "m", "2026-09-30T23:59:59.999999Z"),
        ])
        .await;

    // 1,500 tokens at 1 and at 2 per thousand; the earliest has no price.
    assert_eq!(costs(&books).await, [None, Some("1.5".to_owned()), Some("3".to_owned())]);
    let rows = rows(&books).await;
    assert_ne!(rows[1].price_version, rows[2].price_version);
}

#[tokio::test]
async fn a_new_price_never_changes_what_is_priced_already() {
    let books = Books::open().await;
    import(&books.ledger, &entry("m", FROM_OCTOBER, "1")).await;
    books.accept(&[used(&books, 1, "m", "2026-11-20T00:00:00Z")]).await;
    let before = books.dump().await;

    let import = import(&books.ledger, &entry("m", FROM_NOVEMBER_10, "2")).await;

    assert_eq!((import.added.len(), import.rerated.priced), (1, 0));
    assert_eq!(books.dump().await, before);
}

#[tokio::test]
async fn an_import_of_the_same_file_again_changes_nothing() {
    let books = Books::open().await;
    let before = books.lines("select json_array(version, until_at, ordinal) from price").await;

    let again = import(&books.ledger, PRICES).await;

    assert_eq!((again.added.len(), again.ended.len(), again.unchanged), (0, 0, 2));
    let after = books.lines("select json_array(version, until_at, ordinal) from price").await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_open_price_is_given_its_end_once_and_keeps_it() {
    let books = Books::open().await;
    let until = |day: &str| format!("{FROM_OCTOBER}\nuntil = 2026-11-{day}T00:00:00Z");
    import(&books.ledger, &entry("m", FROM_OCTOBER, "1")).await;

    let ended = import(&books.ledger, &entry("m", &until("15"), "1")).await;
    let later = import(&books.ledger, &entry("m", &until("25"), "1")).await;
    let open = import(&books.ledger, &entry("m", FROM_OCTOBER, "1")).await;

    assert_eq!((ended.added.len(), ended.ended.len()), (0, 1));
    assert_eq!((later.ended.len(), later.unchanged), (0, 1));
    assert_eq!((open.ended.len(), open.unchanged), (0, 1));
    let price = books.ledger.price(&ended.ended[0]).await.unwrap().price;
    assert_eq!(price.until, Some(at("2026-11-15T00:00:00Z")));
    books
        .accept(&[
            used(&books, 1, "m", "2026-11-14T23:59:59Z"),
            used(&books, 2, "m", "2026-11-15T00:00:00Z"),
        ])
        .await;
    assert_eq!(costs(&books).await, [Some("1.5".to_owned()), None]);
}

#[tokio::test]
async fn usage_without_a_price_is_held_and_priced_once_when_the_price_of_its_time_arrives() {
    let books = Books::open().await;
    let accepted = books
        .accept(&[
            used(&books, 1, "m", "2026-09-30T23:00:00Z"),
            used(&books, 2, "m", "2026-10-01T00:00:00Z"),
            used(&books, 3, "m", "2026-11-10T00:00:00Z"),
        ])
        .await;
    assert_eq!((accepted.booked, accepted.unpriced), (3, 3));
    assert!(accepted.billed.costs.is_empty());
    assert_eq!(costs(&books).await, [None, None, None]);
    assert!(rows(&books).await.iter().all(|row| row.flags == [Flag::Unpriced]));
    let both = entry("m", FROM_OCTOBER, "1") + "until = 2026-11-10T00:00:00Z\n";
    let both = both + &entry("m", FROM_NOVEMBER_10, "2");

    let first = import(&books.ledger, &both).await;
    let again = books.ledger.rerate_held().await.unwrap();

    assert_eq!((first.added.len(), first.rerated.priced, again.priced), (2, 2, 0));
    assert_eq!(costs(&books).await, [None, Some("1.5".to_owned()), Some("3".to_owned())]);
    assert_eq!(rows(&books).await[1].flags, []);
    let billed: Vec<_> = first.rerated.billed.iter().flat_map(|one| &one.costs).collect();
    assert_eq!((billed.len(), billed[0].cost.to_string().as_str()), (1, "4.5"));
}

#[tokio::test]
async fn held_usage_that_is_priced_later_leaves_the_books_as_if_it_always_had_a_price() {
    let (late, early) = (Books::open().await, Books::open().await);
    let price = entry("m", FROM_OCTOBER, "0.0007");
    import(&early.ledger, &price).await;

    for books in [&late, &early] {
        let events: Vec<_> = (1..=7)
            .map(|number| {
                let model = if number % 2 == 0 { "m" } else { "ERNIE-Bot" };
                let mut event = used(books, number, model, "2026-11-20T09:30:00Z");
                event.turn = number;
                event
            })
            .collect();
        books.accept(&events).await;
    }
    import(&late.ledger, &price).await;

    let money = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| !line.starts_with(r#"["usage""#)).collect()
    };
    assert_eq!(money(late.dump().await), money(early.dump().await));
    assert_eq!(costs(&late).await, costs(&early).await);
}

#[tokio::test]
async fn more_held_usage_than_one_transaction_takes_is_priced_to_the_last_row() {
    let books = Books::open().await;
    let events: Vec<_> =
        (1..=1_201).map(|number| used(&books, number, "m", "2026-11-20T00:00:00Z")).collect();
    books.accept(&events).await;

    let import = import(&books.ledger, &entry("m", FROM_OCTOBER, "1")).await;

    assert_eq!((import.rerated.priced, import.rerated.billed.len()), (1_201, 3));
    assert_eq!(books.value("select sum(unpriced) from request_hour").await, 0);
    assert_eq!(books.value("select sum(quantity) from usage_hour").await, 1_201 * 1_500);
}

#[tokio::test]
async fn a_class_without_a_price_holds_the_whole_request_and_bills_no_part_of_it() {
    let books = Books::open().await;
    let mut event = books.event(1);
    event.tokens.insert(TokenClass::AUDIO_OUT, 1);

    let accepted = books.accept(&[event]).await;

    assert_eq!(accepted.unpriced, 1);
    assert_eq!(books.value("select count(*) from usage_hour").await, 0);
    assert_eq!(books.value("select count(*) from posting").await, 0);
    assert_eq!(costs(&books).await, [None]);
}

#[tokio::test]
async fn a_price_in_another_currency_does_not_price_a_customer() {
    let books = Books::open().await;
    let mut event = books.event(1);
    event.model_requested = "gpt-test".parse().unwrap();

    assert_eq!(books.accept(&[event]).await.unpriced, 1);
}

#[tokio::test]
async fn a_zero_price_is_free_and_no_price_is_not() {
    let books = Books::open().await;
    import(&books.ledger, &entry("free", FROM_OCTOBER, "0")).await;

    books.accept(&[used(&books, 1, "free", "2026-11-20T00:00:00Z")]).await;

    assert_eq!(costs(&books).await, [Some("0".to_owned())]);
}

#[tokio::test]
async fn a_file_that_is_refused_names_the_entry_and_the_field_and_adds_nothing() {
    let books = Books::open().await;
    let good = entry("m", FROM_OCTOBER, "1");
    for (bad, named) in [
        (entry("n", FROM_OCTOBER, "one"), "input"),
        (entry("n", "from = 2026-10-01", "1"), "from"),
        (entry("n", FROM_OCTOBER, "-1"), "input"),
        (entry("n", &format!("{FROM_OCTOBER}\nuntil = 2026-10-01T00:00:00Z"), "1"), "until"),
        (entry("n", &format!("{FROM_OCTOBER}\ncolour = \"red\""), "1"), "colour"),
    ] {
        let error = parse_price_book(&format!("{good}{bad}"), "prices.toml").unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("price 2 (`n`)"), "{error}");
        assert!(cause.contains(named), "{cause}");
    }
    let overlapping = format!("{good}{}", entry("m", FROM_NOVEMBER_10, "2"));
    assert!(parse_price_book(&overlapping, "prices.toml").is_err());

    // What did not come through the parser is checked once more, whole.
    let mut prices = parsed(&format!("{good}{}", entry("n", FROM_OCTOBER, "1")));
    prices[1].currency = Currency::USD;
    let error = books.ledger.import_prices(&prices, PriceOrigin::Operator).await.unwrap_err();
    assert!(matches!(error, LedgerError::Invalid { field: "version", .. }), "{error}");
    assert_eq!(books.value("select count(*) from price").await, 2);
}

#[tokio::test]
async fn the_list_shows_when_each_version_holds() {
    let books = Books::open().await;
    import(&books.ledger, &entry("m*", FROM_OCTOBER, "1")).await;
    import(&books.ledger, &entry("m*", FROM_NOVEMBER_10, "2")).await;
    let list = |filter: &PriceFilter| {
        let prices = books.ledger.prices(filter, &Page::default()).unwrap().items;
        prices.into_iter().map(|listed| (listed.price.from, listed.price.until)).collect()
    };
    let of_m = PriceFilter { model: Some("m-mini".to_owned()), ..PriceFilter::default() };
    let (october, november) = (at("2026-10-01T00:00:00Z"), at("2026-11-10T00:00:00Z"));

    let all: Vec<_> = list(&of_m);
    let then: Vec<_> = list(&PriceFilter { at: Some(at("2026-11-09T00:00:00Z")), ..of_m.clone() });
    let none: Vec<_> = list(&PriceFilter { currency: Some(Currency::USD), ..of_m });

    assert_eq!(all, [(october, Some(november)), (november, None)]);
    assert_eq!(then, [(october, Some(november))]);
    assert_eq!(none, []);
}

#[tokio::test]
async fn a_pattern_that_is_no_glob_is_refused_and_the_book_stays_in_force() {
    let books = Books::open().await;
    let version = books.ledger.snapshot_version();
    let good = entry("m", FROM_OCTOBER, "1");
    let prices = parsed(&format!("{good}{}", entry("gpt-[", FROM_OCTOBER, "1")));

    let error = books.ledger.import_prices(&prices, PriceOrigin::Operator).await.unwrap_err();

    let named = std::error::Error::source(&error).unwrap().to_string();
    assert!(named.contains("gpt-["), "{error}: {named}");
    assert_eq!(books.value("select count(*) from price").await, 2);
    assert_eq!(books.ledger.snapshot_version(), version);
    assert_eq!(books.accept(&[books.event(1)]).await.unpriced, 0);
    assert!(books.reopened().await.snapshot(None).is_some());
}

#[tokio::test]
async fn region_and_clock_price_a_row_and_stay_on_it_and_on_the_invoice() {
    let books = Books::open().await;
    import(
        &books.ledger,
        &format!(
            "{}[[price.band]]\nwhen = {{ region = \"cn-north-4\", hours_utc = \"09:00-10:00\" }}\n\
             input = \"1\"\noutput = \"1\"\n",
            entry("m", FROM_OCTOBER, "2")
        ),
    )
    .await;
    let mut inside = used(&books, 1, "m", "2026-11-20T09:59:59Z");
    inside.region = Some("cn-north-4".to_owned());
    let mut late = used(&books, 2, "m", "2026-11-20T10:00:00Z");
    late.region = inside.region.clone();

    books.accept(&[inside, late, used(&books, 3, "m", "2026-11-20T09:30:00Z")]).await;

    let rows = rows(&books).await;
    let found: Vec<_> =
        rows.iter().map(|row| (row.region.as_deref(), row.band, row.cost.as_deref())).collect();
    let north = Some("cn-north-4");
    let expected =
        [(None, Some(0), Some("3")), (north, Some(1), Some("1.5")), (north, Some(0), Some("3"))];
    assert_eq!(found, expected);
    let acme = "acme".parse().unwrap();
    let invoice = books.ledger.preview_invoice(&acme, "2026-11").await.unwrap();
    assert_eq!(invoice.total.to_string(), "7.50");
    let bands: Vec<_> = invoice.lines.iter().map(|line| (line.band, line.quantity)).collect();
    assert_eq!(bands, [(0, 2_000), (1, 1_000), (0, 1_000), (1, 500)]);
}

const DISCOUNT: &str = "[[price]]\nmodel = \"*\"\ncurrency = \"CNY\"\ncustomer = \"acme\"\n\
    from = 2026-11-01T00:00:00Z\nsource = \"contract 12\"\ndiscount_percent = \"10\"\n";

#[tokio::test]
async fn a_row_names_the_discounted_price_and_the_invoice_finds_it_again() {
    let books = Books::open().await;
    import(&books.ledger, DISCOUNT).await;

    // In two batches: the second one finds the derived price stored.
    books.accept(&[books.event(1)]).await;
    books.accept(&[books.event(2), books.event(3)]).await;

    let row = rows(&books).await.remove(0);
    // 1,500 tokens at 0.012, less 10 %.
    assert_eq!(row.cost.as_deref(), Some("0.0162"));
    let version = row.price_version.unwrap();
    let acme = "acme".parse().unwrap();
    for ledger in [&books.ledger, &books.reopened().await] {
        let stored = ledger.price(&version).await.unwrap();
        assert_eq!(stored.origin, PriceOrigin::Derived);
        assert!(stored.price.source.starts_with("contract 12: 10 % off ERNIE-Bot@"));
        let invoice = ledger.preview_invoice(&acme, "2026-11").await.unwrap();
        assert_eq!(invoice.lines.len(), 2);
        assert!(invoice.lines.iter().all(|line| line.price_version == version));
        assert_eq!(invoice.total.to_string(), "0.05");
        let listed = ledger.prices(&PriceFilter::default(), &Page::default()).unwrap().items;
        assert!(listed.iter().all(|listed| listed.origin != PriceOrigin::Derived));
    }
    let again = import(&books.ledger, DISCOUNT).await;
    assert_eq!((again.added.len(), again.unchanged), (0, 1));
}

#[tokio::test]
async fn held_usage_of_a_customer_gets_their_own_price() {
    let books = Books::open().await;
    books.accept(&[used(&books, 1, "m", "2026-11-20T00:00:00Z")]).await;
    import(&books.ledger, DISCOUNT).await;

    let import = import(&books.ledger, &entry("m", FROM_OCTOBER, "1")).await;

    assert_eq!(import.rerated.priced, 1);
    assert_eq!(costs(&books).await, [Some("1.35".to_owned())]);
}

#[tokio::test]
async fn the_operators_later_amounts_end_a_markup_and_the_list_of_a_release_does_not() {
    let books = Books::open().await;
    let markup = "[[price]]\nmodel = \"m\"\ncurrency = \"CNY\"\nsource = \"m\"\n\
                  from = 2026-10-01T00:00:00Z\nmarkup_percent = \"50\"\n";
    let released = parsed(&entry("m", "from = 2026-01-01T00:00:00Z", "1"));
    books.ledger.import_prices(&released, PriceOrigin::BuiltIn).await.unwrap();
    import(&books.ledger, markup).await;
    let newer = parsed(&entry("m", FROM_NOVEMBER_10, "2"));
    books.ledger.import_prices(&newer, PriceOrigin::BuiltIn).await.unwrap();

    books.accept(&[used(&books, 1, "m", "2026-11-20T00:00:00Z")]).await;
    import(&books.ledger, &entry("m", FROM_NOVEMBER_10, "4")).await;
    books.accept(&[used(&books, 2, "m", "2026-11-20T00:00:01Z")]).await;

    assert_eq!(costs(&books).await, [Some("4.5".to_owned()), Some("6".to_owned())]);
}

#[tokio::test]
async fn a_customer_sees_the_list_and_their_own_prices_alone() {
    let books = Books::open().await;
    let cost = entry("ERNIE-Bot", FROM_OCTOBER, "0.01").replace("input", "side = \"cost\"\ninput");
    import(&books.ledger, &format!("{DISCOUNT}{cost}")).await;
    let seen = |reader: &str| {
        let reader = Some(reader.parse().unwrap());
        let filter = PriceFilter { reader, ..PriceFilter::default() };
        let found = books.ledger.prices(&filter, &Page::default()).unwrap().items;
        found.into_iter().map(|listed| listed.price.source).collect::<Vec<_>>()
    };

    assert_eq!(seen("zen"), ["official list of 2024-01-19", "a test"]);
    assert_eq!(seen("acme").len(), 3);
    let all = books.ledger.prices(&PriceFilter::default(), &Page::default()).unwrap().items;
    assert_eq!(all.len(), 4);
}
