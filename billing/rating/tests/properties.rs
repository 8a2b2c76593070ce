//! What must hold for any usage and any price.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod event;

use event::event;
use permille_rating::allocate::allocate;
use permille_rating::charge::{Charge, parse_charge, quote};
use permille_rating::invoice::{
    InvoiceDocument, InvoiceHead, InvoiceLine, TaxRate, TaxTerms, UsageSum, invoice_lines,
};
use permille_rating::period::Period;
use permille_rating::price_book::{PriceBook, default_prices, parse_price_book};
use permille_rating::rate::{Rated, rate};
use permille_rating::round::{from_nano, round_money, to_nano};
use permille_types::{Currency, UsageEvent};
use proptest::prelude::*;
use proptest::sample::Index;
use rust_decimal::Decimal;
use std::sync::LazyLock;

/// Classes and units that every generated price has.
const METERS: [&str; 5] =
    ["input_uncached", "cache_read", "cache_write_5m", "output_text", "reasoning"];

fn decimals() -> impl Strategy<Value = Decimal> {
    (0..10_000_000_i64, 0..12_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale))
}

/// Any decimal of the schema: 96 bits, up to 28 places, either sign.
fn any_decimal() -> impl Strategy<Value = Decimal> {
    let digits = (any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>(), 0..=28_u32);
    let any = digits.prop_map(|(low, middle, high, negative, scale)| {
        Decimal::from_parts(low, middle, high, negative, scale)
    });
    prop_oneof![any, decimals(), Just(Decimal::MAX), Just(Decimal::MIN)]
}

/// A book with two models and a band each, at random prices.
fn books() -> impl Strategy<Value = PriceBook> {
    let prices = proptest::collection::vec((0..9_999_999_u32, 6..12_usize), 20);
    prices.prop_map(|prices| {
        let mut next = prices.iter().map(|(mantissa, scale)| {
            let digits = format!("{mantissa:012}");
            format!("{}.{}", &digits[..12 - scale], &digits[12 - scale..])
        });
        let mut rates = || {
            let line = |meter| format!("{meter} = \"{}\"\n", next.next().unwrap());
            METERS.map(line).concat()
        };
        let text = ["a", "b"]
            .map(|model| {
                format!(
                    "[[price]]\nmodel = \"{model}\"\ncurrency = \"CNY\"\nsource = \"2026-01-01\"\n\
                     from = 2026-01-01T00:00:00Z\n{}[[price.band]]\n\
                     when = {{ input_total_over = 200000 }}\n{}",
                    rates(),
                    rates()
                )
            })
            .concat();
        PriceBook::new(parse_price_book(&text, "generated").unwrap()).unwrap()
    })
}

fn events() -> impl Strategy<Value = UsageEvent> {
    let tokens = proptest::collection::vec(0..150_000_u64, METERS.len());
    ("[ab]", "[xyz]", tokens).prop_map(|(model, project, tokens)| {
        let tokens: Vec<_> = METERS.iter().copied().zip(tokens).collect();
        let mut event = event(&model, &tokens);
        event.project = project.parse().unwrap();
        event
    })
}

fn rated(event: &UsageEvent, book: &PriceBook) -> Rated {
    rate(event, book, Currency::CNY).unwrap()
}

/// What the ledger would sum of one event.
fn sums(event: &UsageEvent, rated: &Rated) -> Vec<UsageSum> {
    let sum = |line: &permille_rating::rate::RatedLine| UsageSum {
        project: event.project.clone(),
        model: event.model().clone(),
        meter: line.meter.clone(),
        price_version: rated.price_version.clone().unwrap(),
        band: rated.band,
        quantity: line.quantity,
    };
    rated.lines.iter().map(sum).collect()
}

fn lines(sums: Vec<UsageSum>, book: &PriceBook) -> Vec<InvoiceLine> {
    invoice_lines(sums, |version| book.by_version(version), Currency::CNY).unwrap()
}

/// The sums of a batch, added up per key, as a roll-up would hold them.
fn roll_up(batch: &[UsageSum]) -> Vec<UsageSum> {
    let mut rolled: Vec<UsageSum> = Vec::new();
    for sum in batch {
        let same = |other: &&mut UsageSum| {
            UsageSum { quantity: 0, ..(*other).clone() } == UsageSum { quantity: 0, ..sum.clone() }
        };
        match rolled.iter_mut().find(same) {
            Some(other) => other.quantity += sum.quantity,
            None => rolled.push(sum.clone()),
        }
    }
    rolled
}

fn total(amounts: impl Iterator<Item = Decimal>) -> Decimal {
    amounts.sum()
}

proptest! {
    /// B5: any order, any split into batches, rolled up or not, gives the same lines.
    #[test]
    fn any_order_and_any_split_gives_the_same_invoice(
        book in books(),
        events in proptest::collection::vec(events(), 1..12),
        order in proptest::collection::vec(any::<Index>(), 12),
        cut in any::<Index>(),
    ) {
        let once: Vec<UsageSum> =
            events.iter().flat_map(|event| sums(event, &rated(event, &book))).collect();
        let mut other = once.clone();
        for (place, index) in order.iter().enumerate() {
            if !other.is_empty() {
                let to = index.index(other.len());
                let from = place % other.len();
                other.swap(from, to);
            }
        }
        let cut = cut.index(other.len() + 1);
        let rolled = [roll_up(&other[..cut]), roll_up(&other[cut..])].concat();

        let expected = lines(once, &book);
        prop_assert_eq!(&lines(other, &book), &expected);
        prop_assert_eq!(&lines(rolled, &book), &expected);
    }

    /// B0 and B2: exact row costs add up to the exact lines, rounded lines to the total.
    #[test]
    fn rows_add_up_to_lines_and_lines_to_the_total(
        book in books(),
        events in proptest::collection::vec(events(), 0..12),
    ) {
        let rated: Vec<_> = events.iter().map(|event| rated(event, &book)).collect();
        let pairs = events.iter().zip(&rated);
        let sums = pairs.flat_map(|(event, rated)| sums(event, rated)).collect();
        let lines = lines(sums, &book);

        let rows = total(rated.iter().map(|rated| rated.cost.unwrap().amount()));
        prop_assert_eq!(rows, total(lines.iter().map(|line| line.exact)));
        for line in &lines {
            prop_assert_eq!(line.amount, round_money(line.exact, Currency::CNY));
            let product = line.quantity_thousand.unwrap() * line.price_per_thousand.unwrap();
            prop_assert_eq!(product, line.exact);
        }
        let head = InvoiceHead {
            id: None,
            customer: "acme".parse().unwrap(),
            period: Period::month("2026-11", chrono_tz::UTC).unwrap(),
            time_zone: chrono_tz::UTC,
            currency: Currency::CNY,
            tax_terms: TaxTerms::Standard {
                rates: [("GST", "5"), ("QST", "9.975")]
                    .map(|(name, percent)| TaxRate {
                        name: name.to_owned(),
                        percent: percent.parse().unwrap(),
                    })
                    .into(),
            },
        };
        let document = InvoiceDocument::new(head, lines).unwrap();
        prop_assert_eq!(total(document.lines.iter().map(|line| line.amount)), document.net);
        let taxes = total(document.tax.iter().map(|tax| tax.amount));
        prop_assert_eq!(document.net + taxes, document.total);
        let json = document.to_json().unwrap();
        let back = InvoiceDocument::from_json(&json).unwrap();
        prop_assert_eq!(back.to_json().unwrap(), json);
    }

    /// Rating twice is rating once, and an event's cost is the sum of its lines.
    #[test]
    fn a_replayed_event_costs_the_same(book in books(), event in events()) {
        let first = rated(&event, &book);
        let json = event.to_json().unwrap();
        let again = rated(&UsageEvent::from_json(&json).unwrap(), &book);

        prop_assert_eq!(first.cost.unwrap().amount(), total(first.lines.iter().map(|l| l.cost)));
        prop_assert_eq!(first, again);
    }

    /// More tokens inside one band never cost less.
    #[test]
    fn cost_is_monotone_in_tokens(
        book in books(),
        event in events(),
        class in any::<Index>(),
        more in 1..1_000_u64,
    ) {
        let mut larger = event.clone();
        *larger.tokens.values_mut().nth(class.index(METERS.len())).unwrap() += more;
        let (small, large) = (rated(&event, &book), rated(&larger, &book));

        if small.band == large.band {
            prop_assert!(large.cost.unwrap().amount() >= small.cost.unwrap().amount());
        }
    }

    /// Whatever decimal comes, it gives an amount that is right or an error, and never a panic.
    #[test]
    fn any_decimal_gives_an_amount_or_an_error_and_never_a_panic(
        price in any_decimal(),
        parts in proptest::collection::vec(any_decimal(), 1..6),
        quantity in any::<u64>(),
    ) {
        let text = format!(
            "[[price]]\nmodel = \"a\"\ncurrency = \"CNY\"\nsource = \"2026-01-01\"\n\
             from = 2026-01-01T00:00:00Z\ninput = \"{price}\"\noutput = \"{price}\"\n"
        );
        if let Ok(prices) = parse_price_book(&text, "generated") {
            prop_assert!(!price.is_sign_negative() || price.is_zero(), "{}", price);
            let book = PriceBook::new(prices).unwrap();
            let event = event("a", &[("input_uncached", quantity), ("output_text", 1)]);
            if let Ok(rated) = rate(&event, &book, Currency::CNY) {
                let cost = rated.cost.unwrap().amount();
                prop_assert!(!cost.is_sign_negative());
                let of = |version: &_| book.by_version(version);
                if let Ok(lines) = invoice_lines(sums(&event, &rated), of, Currency::CNY) {
                    prop_assert_eq!(total(lines.iter().map(|line| line.exact)), cost);
                }
            }
        }
        let (cent, yen) = (Decimal::new(5, 3), Decimal::new(5, 1));
        for (currency, half) in [(Currency::CNY, cent), (Currency::JPY, yen)] {
            prop_assert!((round_money(price, currency) - price).abs() <= half, "{}", price);
        }
        if let Ok(nano) = to_nano(price) {
            prop_assert!((from_nano(nano) - price).abs() <= Decimal::new(5, 10), "{}", price);
        }
        if let Ok(divided) = allocate(round_money(price, Currency::CNY), &parts, 2) {
            prop_assert_eq!(divided.len(), parts.len());
        }
        if let Ok(quoted) = quote(&GRADUATED, price) {
            prop_assert!(quoted.exact >= Decimal::ZERO && price >= Decimal::ZERO, "{}", price);
        }
        let terms = TaxTerms::Standard {
            rates: vec![TaxRate { name: "VAT".to_owned(), percent: "9.975".parse().unwrap() }],
        };
        if let Ok(taxes) = terms.levy(price, Currency::CNY) {
            let most = price.abs().saturating_add(Decimal::ONE);
            prop_assert!(taxes.iter().all(|tax| tax.amount.abs() <= most));
        }
    }

    /// The parts of an allocation add up to the whole and stay within a step of what they are due.
    #[test]
    fn an_allocation_adds_up_to_the_whole(
        parts in proptest::collection::vec(decimals(), 1..40),
        negative in any::<bool>(),
    ) {
        let sign = if negative { -Decimal::ONE } else { Decimal::ONE };
        let parts: Vec<_> = parts.into_iter().map(|part| part * sign).collect();
        let whole = round_money(total(parts.iter().copied()), Currency::CNY);

        let allocated = allocate(whole, &parts, 2).unwrap();

        prop_assert_eq!(total(allocated.iter().copied()), whole);
        for (allocated, part) in allocated.iter().zip(&parts) {
            prop_assert!((*allocated - *part).abs() < Decimal::new(2, 2), "{allocated} for {part}");
        }
        let negated: Vec<_> = parts.iter().map(|part| -*part).collect();
        let mirrored: Vec<_> = allocated.iter().map(|part| -*part).collect();
        prop_assert_eq!(allocate(-whole, &negated, 2).unwrap(), mirrored);
    }

    /// Any total can be divided, also one that the parts do not add up to.
    #[test]
    fn any_total_is_divided_without_a_remainder(
        parts in proptest::collection::vec(decimals(), 1..40),
        total_nano in -1_000_000_000_000_i64..1_000_000_000_000,
    ) {
        let whole = from_nano(total_nano);

        prop_assert_eq!(total(allocate(whole, &parts, 9).unwrap().into_iter()), whole);
    }

    /// A posting and its amount are the same number.
    #[test]
    fn a_posting_reads_back(nano in any::<i64>()) {
        prop_assert_eq!(to_nano(from_nano(nano)).unwrap(), nano);
    }

    /// Postings of a running sum never drift from it by more than half a nano-unit.
    #[test]
    fn a_running_drawdown_never_drifts(costs in proptest::collection::vec(decimals(), 1..50)) {
        let (mut cumulative, mut posted) = (Decimal::ZERO, 0_i64);
        for cost in costs {
            cumulative += cost;
            posted += to_nano(cumulative).unwrap() - posted;
            prop_assert!((from_nano(posted) - cumulative).abs() <= Decimal::new(5, 10));
        }
    }

    /// More of a graduated quantity never costs less, and lines explain the amount.
    #[test]
    fn a_graduated_charge_is_monotone(low in decimals(), more in decimals()) {
        let quote = |quantity| quote(&GRADUATED, quantity).unwrap();

        prop_assert!(quote(low + more).exact >= quote(low).exact);
        let lines = quote(low).lines;
        prop_assert_eq!(total(lines.iter().map(|line| line.amount)), quote(low).exact);
        prop_assert_eq!(total(lines.iter().map(|line| line.quantity)), low);
    }

    /// The lookup gives what a search through all entries gives.
    #[test]
    fn a_served_name_of_the_default_book_is_priced_by_its_most_literal_pattern(
        place in any::<Index>(),
        suffix in "(2025-01-01|20250101|1)?",
    ) {
        let book = &*DEFAULT_BOOK;
        let source = place.get(book.prices());
        let name = source.model.replace('*', &suffix);
        let literal = |model: &str| model.chars().filter(|c| *c != '*').count();

        let found = book
            .resolve(&name, source.provider.as_deref(), source.currency, event::noon())
            .filter(|_| source.until.is_none());

        if let Some(found) = found {
            let exact = found.model == name;
            prop_assert!(exact || literal(&found.model) >= literal(&source.model));
        } else {
            prop_assert!(source.until.is_some(), "{}", name);
        }
    }
}

static GRADUATED: LazyLock<Charge> = LazyLock::new(|| {
    let text = r#"[charge]
        kind = "graduated"
        currency = "CNY"
        tiers = [ { up_to = "0.5", unit = "3", flat = "1" }, { up_to = "1000", unit = "0.01" },
                  { unit = "0.0001", flat = "2" } ]"#;
    parse_charge(text, "test").unwrap()
});

static DEFAULT_BOOK: LazyLock<PriceBook> =
    LazyLock::new(|| PriceBook::new(default_prices().unwrap()).unwrap());
