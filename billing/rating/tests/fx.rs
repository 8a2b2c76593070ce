//! Exchange rates: which one holds on a day, what follows from two of them, and files of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use chrono::NaiveDate;
use permille_rating::fx::{FxFile, FxRate, FxRates};
use permille_types::Currency;
use proptest::prelude::*;
use rust_decimal::Decimal;

const ECB: &str = "\
Date,USD,JPY,CYP,CNY,\n\
2026-11-23,1.1600,180.10,N/A,8.2600,\n\
2026-11-20,1.1500,179.50,N/A,8.1900,\n";

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn rate(base: Currency, quote: Currency, on: &str, rate: &str) -> FxRate {
    FxRate { base, quote, day: day(on), rate: decimal(rate), source: "a test".to_owned() }
}

fn ecb() -> Vec<FxRate> {
    let mut lines = ECB.lines();
    let mut file = FxFile::new(lines.next().unwrap(), Currency::EUR, "ECB").unwrap();
    let rates = lines.flat_map(|line| file.read(line).unwrap()).collect();
    assert_eq!(file.skipped().iter().cloned().collect::<Vec<_>>(), Vec::<String>::new());
    rates
}

#[test]
fn the_last_rate_before_a_day_holds_for_so_many_days_and_no_longer() {
    let rates = FxRates::new([
        rate(Currency::USD, Currency::CNY, "2026-10-30", "7.1"),
        rate(Currency::USD, Currency::CNY, "2026-11-09", "7.2"),
    ]);
    let worth = |on: &str, days| {
        let worth = rates.worth(Currency::USD, Currency::CNY, day(on), days)?;
        Some(worth.rate.to_string())
    };

    assert_eq!(worth("2026-10-30", 0).as_deref(), Some("7.1"));
    assert_eq!(worth("2026-11-08", 9).as_deref(), Some("7.1"), "nine days old");
    assert_eq!(worth("2026-11-08", 8), None, "too old");
    assert_eq!(worth("2026-11-09", 9).as_deref(), Some("7.2"));
    assert_eq!(worth("2026-10-29", 9), None, "a later rate never holds");
    assert_eq!(rates.worth(Currency::USD, Currency::JPY, day("2026-11-09"), 9), None);
}

#[test]
fn inverse_and_cross_rates_are_rounded_once_to_nine_digits_and_name_what_they_are_made_of() {
    let rates = FxRates::new(ecb());
    let on = day("2026-11-22");

    let cross = rates.worth(Currency::USD, Currency::CNY, on, 9).unwrap();
    let inverse = rates.worth(Currency::JPY, Currency::EUR, on, 9).unwrap();

    // 8.19 ÷ 1.15 = 7.12173913043…; 1 ÷ 179.5 = 0.005571030640668…
    assert_eq!(cross.rate, decimal("7.12173913"));
    assert_eq!(
        cross.of.iter().map(|rate| rate.quote).collect::<Vec<_>>(),
        [Currency::CNY, Currency::USD]
    );
    assert_eq!(inverse.rate, decimal("0.00557103064"));
    assert_eq!(cross.convert(decimal("0.000000003")).unwrap(), decimal("0.00000002136521739"));
    let own = rates.worth(Currency::CNY, Currency::CNY, on, 0).unwrap();
    assert_eq!((own.rate, own.of.len()), (Decimal::ONE, 0));
}

#[test]
fn a_stated_rate_of_the_day_wins_over_inverse_and_cross_and_a_later_one_over_both() {
    let mut all = ecb();
    all.push(rate(Currency::CNY, Currency::USD, "2026-11-20", "0.14"));
    all.push(rate(Currency::USD, Currency::CNY, "2026-11-20", "7.1"));
    let rates = FxRates::new(all);
    let worth = |on: &str| rates.worth(Currency::USD, Currency::CNY, day(on), 9).unwrap().rate;

    assert_eq!(worth("2026-11-20"), decimal("7.1"));
    assert_eq!(worth("2026-11-23"), decimal("7.12068966"), "a cross of that day is newer");
}

#[test]
fn files_of_both_forms_read_and_what_does_not_is_named_by_column_and_value() {
    let mut old = FxFile::new("Date,USD,SIT", Currency::EUR, "ECB").unwrap();
    assert_eq!(old.read("20 November 2026, 1.15, 239.64").unwrap().len(), 1);
    assert!(old.skipped().contains("SIT"));
    let mut long = FxFile::new("source,day,base,quote,rate", Currency::EUR, "ECB").unwrap();
    let read = long.read("PBOC,2026-11-20,USD,CNY,7.0875").unwrap();
    assert_eq!(
        read,
        [FxRate {
            source: "PBOC".to_owned(),
            ..rate(Currency::USD, Currency::CNY, "2026-11-20", "7.0875")
        }]
    );
    assert_eq!(long.read("").unwrap(), []);

    for (line, named) in [
        ("x,2026-11-20,USD,CNY,-7", "column 5 `rate`: `-7`"),
        ("x,2026-11-20,USD,CNY,7,1", "has 6 fields"),
        ("x,20.11.2026,USD,CNY,7", "column 2 `day`: `20.11.2026`"),
        ("x,2026-11-20,US,CNY,7", "column 3 `base`: `US`"),
    ] {
        let refused = long.read(line).unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
    let head = FxFile::new("a,b", Currency::EUR, "ECB").unwrap_err().to_string();
    assert!(head.contains("`a,b`") && head.contains("day,base,quote,rate"), "{head}");
}

#[test]
fn what_a_file_leaves_empty_is_left_out_and_a_rate_of_nothing_is_refused() {
    let mut wide = FxFile::new("\u{feff}Date,USD,,CNY,JPY", Currency::EUR, "ECB").unwrap();
    let quotes = |read: Vec<FxRate>| read.iter().map(|rate| rate.quote).collect::<Vec<_>>();
    let read = wide.read("2026-11-20,1.15,7,,179.5").unwrap();
    assert_eq!(quotes(read), [Currency::USD, Currency::JPY], "neither column nor value");
    let read = wide.read("2026-11-20,N/A,,8.19,n/a").unwrap();
    assert_eq!(quotes(read), [Currency::CNY]);
    for rate in ["0", "-1", "x"] {
        let refused = wide.read(&format!("2026-11-20,{rate},,,")).unwrap_err().to_string();
        assert!(refused.contains(&format!("column 2 `USD`: `{rate}`")), "{refused}");
    }
    assert!(wide.skipped().is_empty(), "{:?}", wide.skipped());

    let mut long = FxFile::new("day,base,quote,rate,source", Currency::EUR, "a test").unwrap();
    let source = |read: Vec<FxRate>| read.into_iter().map(|rate| rate.source).collect::<String>();
    assert_eq!(source(long.read("2026-11-20,USD,CNY,7,PBOC").unwrap()), "PBOC");
    assert_eq!(source(long.read("2026-11-20,USD,CNY,7,").unwrap()), "a test");
    assert!(FxFile::new("Date", Currency::EUR, "ECB").is_err(), "no currency");
}

proptest! {
    #[test]
    fn parts_that_are_converted_add_up_to_the_converted_whole(
        nanos in proptest::collection::vec(0_i64..1_000_000_000_000, 1..20),
        ten_thousandths in 1_u32..1_000_000,
    ) {
        let stated = Decimal::new(ten_thousandths.into(), 4);
        let rates = FxRates::new([FxRate {
            rate: stated,
            ..rate(Currency::EUR, Currency::USD, "2026-11-20", "1")
        }]);
        for (from, to) in [(Currency::EUR, Currency::USD), (Currency::USD, Currency::EUR)] {
            let worth = rates.worth(from, to, day("2026-11-20"), 0).unwrap();
            let convert = |nano: i64| worth.convert(Decimal::new(nano, 9)).unwrap();

            let parts: Decimal = nanos.iter().map(|nano| convert(*nano)).sum();

            prop_assert_eq!(parts, convert(nanos.iter().sum()));
        }
    }
}
