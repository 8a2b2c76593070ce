//! What each form says, and how what does not read is named.

use chrono::NaiveDate;
use permille_reconcile::bill::{BillError, Days, Mapping};
use permille_types::Currency;
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::{decimal, lines, read, read_by};

const OPENAI_COSTS: &str = include_str!("../bills/openai-costs.json");
const OPENAI_USAGE: &str = include_str!("../bills/openai-usage.json");
const OPENAI_USAGE_CSV: &str = include_str!("../bills/openai-usage.csv");
const OPENAI_COSTS_CSV: &str = include_str!("../bills/openai-costs.csv");
const ANTHROPIC_COST_CSV: &str = include_str!("../bills/anthropic-cost.csv");
const ANTHROPIC_COST: &str = include_str!("../bills/anthropic-cost.json");
const AWS_CUR: &str = include_str!("../bills/aws-cur.csv");
const FOCUS: &str = include_str!("../bills/focus.csv");
const MAPPING: &str = include_str!("../bills/mapping.toml");
const MAPPED: &str = include_str!("../bills/mapped.csv");

#[test]
fn costs_of_openai_are_read_by_line_item_to_their_last_digit() {
    let bill = read("openai", &[OPENAI_COSTS]).unwrap();

    assert_eq!(
        lines(&bill),
        [
            "05 gpt-4o-2024-08-06 cache_read proj_abc - 0.00125",
            "05 gpt-4o-2024-08-06 input_uncached proj_abc - 0.0025",
            "05 gpt-4o-2024-08-06 output proj_abc - 0.01",
            "06 - other: Vector store storage - - 0.06",
        ]
    );
    assert_eq!(bill.currency, Some(Currency::USD));
    let file = &bill.files[0];
    assert_eq!(
        (file.lines, file.total, file.format.as_str()),
        (4, Some(decimal("0.07375")), "json")
    );
    assert_eq!(bill.total().unwrap(), file.total);
}

/// Days without a cost are rows of days alone, and amounts have thirty decimal places.
#[test]
fn the_dashboards_export_of_costs_of_openai_is_the_same_bill() {
    let bill = read("openai", &[OPENAI_COSTS_CSV]).unwrap();

    assert_eq!(lines(&bill), lines(&read("openai", &[OPENAI_COSTS]).unwrap()));
    assert_eq!(bill.currency, Some(Currency::USD));
    assert_eq!(bill.files[0].total, Some(decimal("0.07375")));
}

#[test]
fn the_consoles_export_of_costs_of_anthropic_is_read_in_dollars() {
    let bill = read("anthropic", &[ANTHROPIC_COST_CSV]).unwrap();

    assert_eq!(
        lines(&bill),
        [
            "05 Claude Sonnet 4 cache_read Default - 0.1",
            "05 Claude Sonnet 4 cache_write_5m Default - 0.05",
            "05 Claude Sonnet 4 input_uncached Default - 1.23",
            "05 Claude Sonnet 4 output Default - 0.3 batch",
        ]
    );
    assert_eq!(bill.files[0].total, Some(decimal("1.68")));
}

#[test]
fn usage_and_costs_of_openai_are_one_bill_and_cached_tokens_are_counted_once() {
    let bill = read("openai", &[OPENAI_COSTS, OPENAI_USAGE]).unwrap();

    assert_eq!(
        lines(&bill)[..3],
        [
            "05 gpt-4o-2024-08-06 cache_read proj_abc 1000 0.00125",
            "05 gpt-4o-2024-08-06 input_uncached proj_abc 1000 0.0025",
            "05 gpt-4o-2024-08-06 output proj_abc 1000 0.01",
        ]
    );
    let table = read("openai", &[OPENAI_USAGE_CSV]).unwrap();
    assert_eq!(
        lines(&table),
        [
            "05 gpt-4o-2024-08-06 cache_read proj_abc 1000 -",
            "05 gpt-4o-2024-08-06 input_uncached proj_abc 1000 -",
            "05 gpt-4o-2024-08-06 output proj_abc 1000 -",
            "05 gpt-4o-mini-2024-07-18 input_uncached proj_abc 700 - batch",
            "05 gpt-4o-mini-2024-07-18 output proj_abc 70 - batch",
        ]
    );
    assert_eq!((table.currency, table.files[0].lines), (None, 2));
}

#[test]
fn the_cents_of_anthropic_are_not_dollars() {
    let bill = read("anthropic", &[ANTHROPIC_COST]).unwrap();

    assert_eq!(
        lines(&bill),
        [
            "05 - other: Code Execution Usage - - 0.02",
            "05 - searches - - 0.01",
            "05 claude-sonnet-4-20250514 cache_write_1h wrkspc_1 - 0.005 batch",
            "05 claude-sonnet-4-20250514 input_uncached wrkspc_1 - 1.2345",
        ]
    );
    assert_eq!(bill.files[0].total, Some(decimal("1.2695")));
}

#[test]
fn a_cost_and_usage_report_of_aws_is_read_in_its_units_and_other_services_are_left_out() {
    let bill = read("aws-cur", &[AWS_CUR]).unwrap();

    assert_eq!(
        lines(&bill),
        [
            "05 Claude3Sonnet cache_read 123456789012 2000 0.0006",
            "05 Claude3Sonnet input_uncached 123456789012 1500 0.0045",
            "05 Claude3Sonnet output 123456789012 250 0.00375",
        ]
    );
    let file = &bill.files[0];
    assert_eq!((file.lines, file.left_out_lines, file.left_out_amount), (4, 1, decimal("0.391")));
    assert_eq!(file.total, Some(decimal("0.39985")));
    let unit = AWS_CUR.replace("2,1K tokens", "2,1K tokers");
    let refused = read("aws-cur", &[&unit]).unwrap_err().to_string();
    assert!(refused.contains("line 4, column 5 `pricing/unit`: `1K tokers`"), "{refused}");
}

#[test]
fn rows_by_focus_are_read_with_their_taxes() {
    let bill = read("focus", &[FOCUS]).unwrap();

    assert_eq!(
        lines(&bill),
        [
            "05 - other: VAT, 21 % - - 0.0042",
            "05 ERNIE-Bot input_uncached team-a 1000 0.012",
            "05 ERNIE-Bot output_text team-a 500 0.008",
        ]
    );
}

#[test]
fn any_table_is_read_by_a_mapping_file_in_the_days_of_its_zone() {
    let mapping = || Mapping::parse(MAPPING).unwrap();
    let bill = read_by(mapping(), Days::default(), &[MAPPED]).unwrap();

    assert_eq!(
        lines(&bill),
        ["05 ERNIE-Bot input - 1500 0.018", "05 ERNIE-Bot output - 500 0.006",]
    );
    let file = &bill.files[0];
    assert_eq!((file.left_out_lines, file.left_out_amount), (1, decimal("-0.003")));
    let until = Days { until: NaiveDate::from_ymd_opt(2026, 11, 4), ..Days::default() };
    let none = read_by(mapping(), until, &[MAPPED]).unwrap_err();
    assert!(matches!(none, BillError::Empty), "{none}");
}

#[test]
fn what_does_not_read_is_named_by_line_column_value_and_what_is_accepted() {
    let costs = |from: &str, to: &str| OPENAI_COSTS.replacen(from, to, 1);
    for (format, text, named) in [
        ("openai", costs("0.0025", "\"free\""), "amount.value `free`"),
        ("openai", costs("\"usd\"", "\"cowries\""), "line 29, column"),
        ("openai", costs("\"usd\"", "\"eur\""), "amounts in USD after amounts in EUR"),
        ("openai", costs("0.0025", "0.12345678901234567890123456789"), "at most 28 digits"),
        ("openai", costs("1793836800", "null"), "a bucket has no beginning"),
        ("openai", costs("1793836800", "\"x\""), "line 6, column"),
        ("openai", costs("\"data\"", "\"dates\""), "missing field `data`"),
        ("openai", costs("[", "{"), "a list of buckets"),
        ("openai", format!("{OPENAI_COSTS}{OPENAI_COSTS}"), "came before"),
        (
            "openai",
            OPENAI_USAGE.replace("\"input_cached_tokens\": 1000", "\"input_cached_tokens\": 3000"),
            "input_tokens `2000`",
        ),
        ("openai", OPENAI_USAGE.lines().take(3).collect(), "has_more"),
        ("openai", "{\"error\": {\"message\": \"bad key\"}}".to_owned(), "bad key"),
        ("anthropic", ANTHROPIC_COST.replace("\"123.45\"", "123.45"), "a decimal number of cents"),
        ("aws-cur", AWS_CUR.replace("0.00375", "0,00375"), "line 3: has 9 fields"),
        (
            "aws-cur",
            AWS_CUR.replace("0.00375", "many"),
            "line 3, column 6 `lineItem/UnblendedCost`: `many`",
        ),
        ("aws-cur", AWS_CUR.replace("2026-11-05T23", "05.11.2026 23"), "line 3, column 1"),
        ("aws-cur", AWS_CUR.replace("lineItem/UsageStartDate", "when"), "no column for the day"),
        (
            "focus",
            FOCUS.replace("0.008,USD", "0.008,CNY"),
            "line 3: amounts in CNY after amounts in USD",
        ),
        ("openai", String::new(), "no column for the day"),
        ("openai", "day,model\n1,2\n".to_owned(), "no column for the day"),
    ] {
        let refused = read(format, &[&text]).unwrap_err();
        let refused = format!("{refused}");
        assert!(refused.contains(named), "{named}: {refused}");
    }
    let twice = read("aws-cur", &[AWS_CUR, AWS_CUR]).unwrap_err().to_string();
    assert!(twice.contains("has the bytes of a file before it"), "{twice}");
}

#[test]
fn a_file_is_digested_as_it_lies_there() {
    let bill = read("focus", &[FOCUS]).unwrap();

    let file = &bill.files[0];
    assert_eq!(file.bytes, u64::try_from(FOCUS.len()).unwrap());
    // As sha256sum prints it.
    let digest = "8de7bc4bfbbb9b3b62a88e3758b8dc76f0e9bb5ad7f4a454ba9acacbf8c09ff8";
    assert_eq!(file.sha256, digest);
    let other = read("focus", &[&FOCUS.replace("21 %", "22 %")]).unwrap();
    assert_ne!(other.files[0].sha256, file.sha256);
}

proptest! {
    #[test]
    fn the_sums_of_a_file_and_what_was_left_out_add_up_to_its_total(
        rows in proptest::collection::vec((0_u32..5, 0_usize..4, -1_000_000_i64..1_000_000), 1..60),
    ) {
        let items = ["m-a, input", "m-b, output", "Storage", ""];
        let mut text = "start_time_iso,line_item,amount_value,amount_currency\n".to_owned();
        let mut total = Decimal::ZERO;
        for (day, item, nano) in &rows {
            let amount = Decimal::new(*nano, 9);
            total += amount;
            let item = items[*item];
            let day = day + 1;
            let line = format!("2026-11-0{day}T00:00:00Z,\"{item}\",{amount},usd\n");
            text.push_str(&line);
        }
        let days = Days { since: NaiveDate::from_ymd_opt(2026, 11, 2), until: None };

        let read = read_by(Mapping::built_in("openai").unwrap(), days, &[&text]);

        if rows.iter().all(|(day, ..)| *day == 0) {
            prop_assert!(matches!(read, Err(BillError::Empty)));
        } else {
            let bill = read.unwrap();
            let file = &bill.files[0];
            prop_assert_eq!(file.total, Some(total.normalize()));
            let sums = bill.total().unwrap().unwrap_or_default();
            prop_assert_eq!((sums + file.left_out_amount).normalize(), total.normalize());
            prop_assert_eq!(file.lines, u64::try_from(rows.len()).unwrap());
        }
    }
}
