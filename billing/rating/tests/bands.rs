//! Which band a request takes: by the clock, the calendar, the tier, the region.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod event;

use event::event;
use permille_rating::price_book::{PriceBook, parse_price_book};
use permille_rating::rate::rate;
use permille_types::{Currency, UsageEvent};

/// A book of model `m`: 2 CNY outside every band, 1 CNY inside the one band `when`.
fn book(when: &str) -> PriceBook {
    let text = format!(
        "[holidays]\ncn = [2026-10-01, 2026-10-02]\n\
         [[price]]\nmodel = \"m\"\ncurrency = \"CNY\"\nfrom = 2020-01-01T00:00:00Z\n\
         source = \"a test\"\ninput = \"2\"\n\
         [[price.band]]\nwhen = {{ {when} }}\ninput = \"1\"\n"
    );
    PriceBook::new(parse_price_book(&text, "test").unwrap()).unwrap()
}

fn at(instant: &str) -> UsageEvent {
    UsageEvent { at: instant.parse().unwrap(), ..event("m", &[("input_uncached", 1_000)]) }
}

fn inside(event: &UsageEvent, book: &PriceBook) -> bool {
    let rated = rate(event, book, Currency::CNY).unwrap();
    let cost = rated.cost.unwrap().amount().to_string();
    assert_eq!(cost, if rated.band == 1 { "1" } else { "2" });
    rated.band == 1
}

/// Which of `instants`, each with what is expected, lie in the band.
#[track_caller]
fn check(when: &str, instants: &[(&str, bool)]) {
    let book = book(when);
    for (instant, expected) in instants {
        assert_eq!(inside(&at(instant), &book), *expected, "{instant} in {{ {when} }}");
    }
}

#[test]
fn an_off_peak_window_runs_over_midnight_and_excludes_its_end() {
    // Source: DeepSeek's off-peak discount, 16:30 to 00:30 UTC.
    check(
        "hours_utc = \"16:30-00:30\"",
        &[
            ("2026-11-24T16:29:59.999Z", false),
            ("2026-11-24T16:30:00Z", true),
            ("2026-11-25T00:29:59.999Z", true),
            ("2026-11-25T00:30:00Z", false),
        ],
    );
}

#[test]
fn any_window_of_several_will_do() {
    check(
        "hours_utc = [\"00:00-01:00\", \"12:00-13:00\"]",
        &[
            ("2026-11-24T00:59:00Z", true),
            ("2026-11-24T01:00:00Z", false),
            ("2026-11-24T12:30:00Z", true),
        ],
    );
}

#[test]
fn hours_and_days_are_those_of_the_named_zone() {
    check(
        "hours = \"09:00-18:00\", weekdays = [\"mon-fri\"], time_zone = \"Asia/Shanghai\"",
        &[
            ("2026-11-24T01:00:00Z", true),
            ("2026-11-24T10:00:00Z", false),
            // Saturday in Shanghai, still Friday in UTC.
            ("2026-11-27T16:30:00Z", false),
            ("2026-11-28T02:00:00Z", false),
            ("2026-11-30T00:59:59Z", false),
            ("2026-11-30T01:00:00Z", true),
        ],
    );
}

#[test]
fn the_day_is_that_of_the_instant_not_that_of_the_windows_beginning() {
    check(
        "hours_utc = \"22:00-06:00\", weekdays = \"mon-fri\"",
        &[
            ("2026-11-27T22:00:00Z", true),
            ("2026-11-28T00:10:00Z", false),
            ("2026-11-30T00:10:00Z", true),
        ],
    );
}

#[test]
fn a_range_of_days_may_run_over_the_weekend() {
    check(
        "weekdays = \"sat-mon\"",
        &[
            ("2026-11-27T12:00:00Z", false),
            ("2026-11-28T12:00:00Z", true),
            ("2026-11-30T12:00:00Z", true),
            ("2026-12-01T00:00:00Z", false),
        ],
    );
}

#[test]
fn a_holiday_is_a_date_of_the_named_zone() {
    let zone = "time_zone = \"Asia/Shanghai\"";
    for holidays in ["\"cn\"", "[2026-10-02, \"2026-10-01\"]"] {
        check(
            &format!("weekdays = \"mon-sun\", except_holidays = {holidays}, {zone}"),
            &[
                ("2026-09-30T15:59:59Z", true),
                ("2026-09-30T16:00:00Z", false),
                ("2026-10-02T15:59:59Z", false),
                ("2026-10-02T16:00:00Z", true),
            ],
        );
    }
}

#[test]
fn a_calendar_by_name_is_the_price_with_its_dates_written_out() {
    let version = |holidays: &str| {
        let when = format!("weekdays = \"mon\", except_holidays = {holidays}");
        book(&when).prices()[0].version.clone()
    };

    assert_eq!(version("\"cn\""), version("[2026-10-02, 2026-10-01, 2026-10-01]"));
    assert_ne!(version("\"cn\""), version("[2026-10-01]"));
}

#[test]
fn a_changed_clock_skips_an_hour_in_spring_and_holds_it_twice_in_autumn() {
    let berlin = "hours = \"02:00-03:00\", time_zone = \"Europe/Berlin\"";
    check(berlin, &[("2026-03-29T00:59:59Z", false), ("2026-03-29T01:00:00Z", false)]);
    check(
        berlin,
        &[
            ("2026-10-24T23:59:59Z", false),
            ("2026-10-25T00:00:00Z", true),
            ("2026-10-25T01:30:00Z", true),
            ("2026-10-25T02:00:00Z", false),
        ],
    );
}

#[test]
fn a_batch_request_is_one_that_the_tier_batch_served() {
    let tier = |tier: Option<&str>| UsageEvent {
        service_tier: tier.map(str::to_owned),
        ..at("2026-11-24T12:00:00Z")
    };
    let batch = book("batch = true");
    assert!(inside(&tier(Some("batch")), &batch));
    assert!(!inside(&tier(Some("flex")), &batch) && !inside(&tier(None), &batch));

    let other = book("batch = false");
    assert!(!inside(&tier(Some("batch")), &other));
    assert!(inside(&tier(Some("flex")), &other) && inside(&tier(None), &other));
}

#[test]
fn a_request_without_a_region_is_in_none() {
    let region = |region: Option<&str>| UsageEvent {
        region: region.map(str::to_owned),
        ..at("2026-11-24T12:00:00Z")
    };
    let book = book("region = \"cn-north-4\"");

    assert!(inside(&region(Some("cn-north-4")), &book));
    assert!(!inside(&region(Some("ap-southeast-1")), &book) && !inside(&region(None), &book));
}

#[test]
fn every_part_of_a_condition_must_hold() {
    let book = book("input_total_over = 999, region = \"r\", hours_utc = \"12:00-13:00\"");
    let request = UsageEvent { region: Some("r".to_owned()), ..at("2026-11-24T12:00:00Z") };
    assert!(inside(&request, &book));

    let elsewhere = UsageEvent { region: None, ..request.clone() };
    let later = UsageEvent { at: at("2026-11-24T13:00:00Z").at, ..request.clone() };
    let shorter = UsageEvent { input_total: Some(999), ..request };
    assert!([elsewhere, later, shorter].iter().all(|request| !inside(request, &book)));
}
