//! Counting records again: what is counted of them, and which price may price which record.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod event;

use chrono_tz::Tz::{self, Asia__Shanghai, UTC};
use event::{event, noon};
use permille_rating::invoice::UsageSum;
use permille_rating::price_book::parse_price_book;
use permille_rating::proof::{Hash, Tree, record};
use permille_rating::verify::{CountedMonth, Counts, Entry, Recount, VerifyError};
use permille_types::{Currency, Flag, Price, PriceVersion, Source, UsageEvent};
use serde_json::value::RawValue;

/// Each price by the name of its source.
const PRICES: &str = r#"
[[price]]
source = "list"
model = "m"
currency = "USD"
from = 2026-01-01T00:00:00Z
until = 2026-11-24T12:00:00Z
input = "0.01"
output = "0.03"
[[price.band]]
when = { input_total_over = 1000 }
input = "0.02"
output = "0.06"

[[price]]
source = "from noon"
model = "m"
currency = "USD"
from = 2026-11-24T12:00:00Z
input = "0.01"
output = "0.03"

[[price]]
source = "yuan"
model = "m"
currency = "CNY"
from = 2026-01-01T00:00:00Z
input = "0.08"

[[price]]
source = "provider"
side = "cost"
model = "m"
currency = "USD"
from = 2026-01-01T00:00:00Z
input = "0.005"

[[price]]
source = "acme"
customer = "acme"
model = "m*"
currency = "USD"
from = 2026-01-01T00:00:00Z
input = "0.009"

[[price]]
source = "zen"
customer = "zen"
model = "m"
currency = "USD"
from = 2026-01-01T00:00:00Z
input = "0.009"

[[price]]
source = "other"
model = "other"
currency = "USD"
from = 2026-01-01T00:00:00Z
input = "0.01"
"#;

fn prices() -> Vec<Price> {
    parse_price_book(PRICES, "test").unwrap()
}

fn version(source: &str) -> PriceVersion {
    prices().into_iter().find(|price| price.source == source).unwrap().version
}

fn recount(zone: Tz) -> Recount {
    Recount::new("acme".parse().unwrap(), zone, Currency::USD, prices())
}

/// A line of a file of records; `price` by its source.
fn line(index: u64, price: Option<&str>, event: &UsageEvent) -> String {
    let record = String::from_utf8(record(event.clone()).unwrap()).unwrap();
    let record = RawValue::from_string(record).unwrap();
    let held = price.is_none() && !event.tokens.is_empty();
    serde_json::to_string(&Entry { index, price: price.map(version), held, record }).unwrap()
}

fn leaf(event: &UsageEvent) -> Hash {
    Hash::of_leaf(&record(event.clone()).unwrap())
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push(*leaf);
    }
    tree.root()
}

fn at(instant: &str) -> UsageEvent {
    UsageEvent { at: instant.parse().unwrap(), ..event("m", &[("input_uncached", 10)]) }
}

/// Class, band and quantity of each.
fn quantities(sums: &[UsageSum]) -> Vec<(String, u32, u64)> {
    sums.iter().map(|sum| (sum.meter.to_string(), sum.band, sum.quantity)).collect()
}

fn of(class: &str, band: u32, quantity: u64) -> (String, u32, u64) {
    (class.to_owned(), band, quantity)
}

#[test]
fn a_month_is_counted_by_class_and_band_and_what_is_not_as_it_should_be_is_told() {
    let earlier = "2026-11-24T11:59:59Z";
    let used =
        |tokens: &[(&str, u64)]| UsageEvent { at: earlier.parse().unwrap(), ..event("m", tokens) };
    let small = used(&[("input_uncached", 1_000), ("output_text", 500)]);
    let again = used(&[("input_uncached", 7)]);
    let long = UsageEvent { source: Source::Partial, ..used(&[("input_uncached", 2_000)]) };
    let mut simulated = UsageEvent { source: Source::Estimated, ..used(&[("output_text", 7)]) };
    simulated.flag(Flag::Simulated);
    let held = event("unheard-of", &[("input_uncached", 9)]);
    let mut recount = recount(UTC);

    for (index, event) in (0..).zip([&small, &again, &long, &simulated]) {
        recount.add(&line(index, Some("list"), event)).unwrap();
    }
    recount.add(&line(4, None, &held)).unwrap();

    let month = recount.month("2026-11");
    let counts = Counts { requests: 5, unpriced: 1, estimated: 2, simulated: 1 };
    assert_eq!(month.counts(), counts);
    let billed =
        [of("input_uncached", 0, 1_007), of("input_uncached", 1, 2_000), of("output_text", 0, 500)];
    assert_eq!(quantities(&month.sums(0, false)), billed);
    let all = [&billed[..], &[of("output_text", 0, 7)]].concat();
    assert_eq!(quantities(&month.sums(0, true)), all);
    assert_eq!(month.sums(1, true), []);
    assert_eq!((month.estimated_quantity(false), month.estimated_quantity(true)), (2_000, 2_007));
    let first = month.sums(0, false).remove(0);
    assert_eq!((first.project.as_str(), first.model.as_str()), ("web", "m"));
    assert_eq!(first.price_version, version("list"));
    assert_eq!(recount.price_of(&version("list")).unwrap().source, "list");
    assert_eq!(recount.price_of(&"m@2026-01-01.0".parse().unwrap()), None);

    assert_eq!(recount.labels().collect::<Vec<_>>(), ["2026-11"]);
    let empty: CountedMonth = recount.month("2026-10");
    assert_eq!((empty.counts(), empty.sums(0, true)), (Counts::default(), Vec::new()));
    assert_eq!(empty.root(), Some(Tree::default().root()));
}

#[test]
fn a_record_is_of_the_month_and_the_part_in_which_its_hour_begins_for_the_customer() {
    let mut recount = recount(Asia__Shanghai);
    // November of Shanghai from 31 October, 16:00 UTC; its second part from the 10th, 16:00 UTC.
    let starts = ["2026-10-31T16:00:00Z", "2026-11-10T16:00:00Z"].map(|at| at.parse().unwrap());
    recount.cut("2026-11", starts.to_vec());
    let instants = [
        ("2026-10-31T15:59:59Z", "2026-10", 0),
        ("2026-10-31T16:00:00Z", "2026-11", 0),
        ("2026-11-10T15:59:59Z", "2026-11", 0),
        ("2026-11-10T16:00:00Z", "2026-11", 1),
        ("2026-11-23T15:59:59Z", "2026-11", 1),
    ];

    for (index, (instant, ..)) in (0..).zip(instants) {
        recount.add(&line(index, Some("list"), &at(instant))).unwrap();
    }

    assert_eq!(recount.labels().collect::<Vec<_>>(), ["2026-10", "2026-11"]);
    for (label, place) in [("2026-10", 0), ("2026-11", 0), ("2026-11", 1)] {
        let count = instants.iter().filter(|(_, month, part)| (*month, *part) == (label, place));
        let expected = 10 * u64::try_from(count.count()).unwrap();
        let sums = recount.month(label).sums(place, false);
        assert_eq!(quantities(&sums), [of("input_uncached", 0, expected)], "{label} {place}");
    }
}

#[test]
fn a_month_has_a_root_once_every_place_is_taken_and_each_is_taken_once() {
    let events =
        [at("2026-11-01T00:00:00Z"), at("2026-11-02T00:00:00Z"), at("2026-11-03T00:00:00Z")];
    let leaves = events.each_ref().map(leaf);
    let [first, second, third] = events;
    let mut recount = recount(UTC);

    recount.add(&line(2, Some("list"), &third)).unwrap();
    recount.add(&line(0, Some("list"), &first)).unwrap();
    let gap = recount.month("2026-11");
    assert_eq!((gap.leaves(), gap.root()), (None, None));

    recount.add(&line(1, Some("list"), &second)).unwrap();
    let whole = recount.month("2026-11");
    assert_eq!(whole.leaves().as_deref(), Some(&leaves[..]), "in the order of their places");
    assert_eq!(whole.root(), Some(root(&leaves)));

    let taken = recount.add(&line(1, Some("list"), &at("2026-11-04T00:00:00Z"))).unwrap_err();
    assert!(matches!(taken, VerifyError::PlaceTaken { index: 1, .. }), "{taken}");
}

#[test]
fn a_price_prices_only_what_it_is_for() {
    let asked = || event("m", &[("input_uncached", 10)]);
    let served = || UsageEvent {
        model_served: Some("other".parse().unwrap()),
        ..event("m", &[("input_uncached", 10)])
    };
    let before = || at("2026-11-24T11:59:59.999Z");
    let mut free = asked();
    free.flag(Flag::NotBilled);

    for (price, event, refused) in [
        ("from noon", asked(), None),
        ("from noon", before(), Some("it does not hold yet at 2026-11-24T11:59:59.999+00:00")),
        // An end may be set back to before requests that it has priced.
        ("list", asked(), None),
        ("acme", asked(), None),
        ("zen", asked(), Some("it is another customer's")),
        ("yuan", asked(), Some("it is in CNY, the invoice in USD")),
        ("provider", asked(), Some("it is what the provider takes")),
        ("other", asked(), Some("it is of model `other`, not `m`")),
        // The model that the reply names prices, and where it has no price the one asked for.
        ("other", served(), None),
        ("list", served(), None),
        ("list", free, Some("by policy the request is not billed")),
    ] {
        let mut recount = recount(UTC);
        let added = recount.add(&line(0, Some(price), &event));

        let message = added.err().map(|error| error.to_string());
        let expected = refused.map(|reason| {
            let version = version(price);
            format!("price `{version}` is not for request {}: {reason}", event.request_id)
        });
        assert_eq!(message, expected, "{price}");
        let counted = recount.month("2026-11").sums(0, false).len();
        assert_eq!(counted, usize::from(refused.is_none()), "{price}");
    }
}

#[test]
fn what_is_no_record_of_this_customers_own_is_refused() {
    let own = event("m", &[("input_uncached", 10)]);
    let others = UsageEvent { customer: "zen".parse().unwrap(), ..own.clone() };
    let unpriced = event("m", &[("input_uncached", 10), ("cache_read", 1)]);
    let good = line(0, Some("list"), &own);
    let mut recount = recount(UTC);
    let mut refused = |line: &str| recount.add(line).unwrap_err();

    let error = refused(&line(0, Some("list"), &others));
    assert!(matches!(error, VerifyError::OtherCustomer { .. }), "{error}");
    assert_eq!(
        refused(&line(0, Some("list"), &unpriced)).to_string(),
        format!(
            "price `{}` of request {} has no price for `cache_read`",
            version("list"),
            unpriced.request_id
        )
    );
    let absent = good.replace(version("list").as_str(), "m@2026-01-01.000000000000");
    assert!(matches!(refused(&absent), VerifyError::UnknownPrice { .. }));
    assert!(matches!(refused("{}"), VerifyError::Entry(_)));
    let spaced = good.replace("\"customer\":", "\"customer\": ");
    assert!(matches!(refused(&spaced), VerifyError::Record(_)));

    // What was refused is not counted; a request that was is counted once.
    let again = UsageEvent { at: noon(), ..event("m", &[("input_uncached", 10)]) };
    recount.add(&line(0, Some("list"), &again)).unwrap();
    let twice = recount.add(&line(1, Some("list"), &again)).unwrap_err();
    assert!(matches!(twice, VerifyError::RequestTwice { .. }), "{twice}");
    assert_eq!(recount.month("2026-11").counts().requests, 1);
}
