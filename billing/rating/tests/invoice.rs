//! Invoice lines and documents.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use chrono_tz::Asia::Shanghai;
use permille_rating::Meter;
use permille_rating::invoice::{
    InvoiceDocument, InvoiceError, InvoiceHead, InvoiceLine, TaxTerms, UsageSum, invoice_lines,
};
use permille_rating::period::Period;
use permille_rating::price_book::{PriceBook, parse_price_book};
use permille_types::Currency;

const PRICES: &str = r#"
[[price]]
model = "ERNIE-Bot"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "list of 2024-01-19"
input = "0.012"
output = "0.012"
searches = "0.03"
[[price.band]]
when = { input_total_over = 8000 }
input = "0.024"
output = "0.048"
searches = "0.03"
"#;

fn book() -> PriceBook {
    PriceBook::new(parse_price_book(PRICES, "test").unwrap()).unwrap()
}

fn sum(project: &str, meter: &str, band: u32, quantity: u64) -> UsageSum {
    UsageSum {
        project: project.parse().unwrap(),
        model: "ERNIE-Bot".parse().unwrap(),
        meter: Meter::named(meter),
        price_version: book().prices().first().unwrap().version.clone(),
        band,
        quantity,
    }
}

fn lines(sums: Vec<UsageSum>) -> Result<Vec<InvoiceLine>, InvoiceError> {
    let book = book();
    invoice_lines(sums, |version| book.by_version(version), Currency::CNY)
}

fn document(sums: Vec<UsageSum>) -> InvoiceDocument {
    let head = InvoiceHead {
        id: Some("INV-1".parse().unwrap()),
        customer: "acme".parse().unwrap(),
        period: Period::month("2026-11", Shanghai).unwrap(),
        time_zone: Shanghai,
        currency: Currency::CNY,
        tax_terms: TaxTerms::None,
    };
    InvoiceDocument::new(head, lines(sums).unwrap()).unwrap()
}

fn month() -> Vec<UsageSum> {
    vec![
        sum("web", "output_text", 0, 500_500),
        sum("web", "input_uncached", 0, 1_000_042),
        sum("app", "input_uncached", 1, 9_001),
        sum("web", "searches", 0, 7),
        sum("web", "reasoning", 0, 0),
    ]
}

#[test]
fn a_document_has_the_published_text_to_the_byte() {
    let json = String::from_utf8(document(month()).to_json().unwrap()).unwrap();

    assert_eq!(json, include_str!("golden/invoice-v1.json"));
}

#[test]
fn a_document_reads_back_as_it_was_written() {
    let document = document(month());
    let json = document.to_json().unwrap();

    let back = InvoiceDocument::from_json(&json).unwrap();

    assert_eq!(back, document);
    assert_eq!(back.to_json().unwrap(), json);
}

#[test]
fn a_document_of_another_version_or_with_floats_is_refused() {
    let json = String::from_utf8(document(month()).to_json().unwrap()).unwrap();
    let read = |from: &str, to: &str| InvoiceDocument::from_json(json.replace(from, to).as_bytes());

    let newer = read("\"version\": 1", "\"version\": 2");
    assert!(matches!(newer, Err(InvoiceError::UnknownDocument { version: 2 })));
    assert!(matches!(read("\"18.44\"", "18.44"), Err(InvoiceError::Read(_))));
    assert!(matches!(read("\"net\"", "\"nett\""), Err(InvoiceError::Read(_))));
}

#[test]
fn sums_of_one_key_become_one_line_in_any_order() {
    let whole = lines(vec![sum("web", "output_text", 0, 10), sum("app", "searches", 0, 1)]);
    let parts = lines(vec![
        sum("app", "searches", 0, 1),
        sum("web", "output_text", 0, 4),
        sum("web", "output_text", 0, 6),
    ]);

    assert_eq!(whole.unwrap(), parts.unwrap());
}

#[test]
fn many_small_events_are_rounded_once_as_one_line() {
    // One token is 0.000012 yuan. Rounded one by one, they would all be free.
    let lines = lines(vec![sum("web", "output_text", 0, 1); 125_000]).unwrap();

    assert_eq!(lines[0].amount.to_string(), "1.50");
}

#[test]
fn bands_and_price_versions_are_lines_of_their_own() {
    let lines =
        lines(vec![sum("web", "input_uncached", 1, 1_000), sum("web", "input_uncached", 0, 1_000)])
            .unwrap();

    let amounts: Vec<_> = lines.iter().map(|line| (line.band, line.exact.to_string())).collect();
    assert_eq!(amounts, [(0, "0.012".to_owned()), (1, "0.024".to_owned())]);
}

#[test]
fn an_unknown_version_band_or_class_is_an_error() {
    let mut other = sum("web", "output_text", 0, 1);
    other.price_version = "ERNIE-Bot@2020-01-01.000000000000".parse().unwrap();

    assert!(matches!(lines(vec![other]), Err(InvoiceError::UnknownVersion { .. })));
    let no_band = lines(vec![sum("web", "output_text", 2, 1)]);
    assert!(matches!(no_band, Err(InvoiceError::NoPrice { band: 2, .. })));
    let no_class = lines(vec![sum("web", "audio_in", 0, 1)]);
    assert!(matches!(no_class, Err(InvoiceError::NoPrice { .. })));
}

#[test]
fn a_price_in_another_currency_is_an_error() {
    let book = book();
    let sums = vec![sum("web", "output_text", 0, 1)];

    let lines = invoice_lines(sums, |version| book.by_version(version), Currency::USD);

    assert!(matches!(lines, Err(InvoiceError::OtherCurrency { .. })));
}

#[test]
fn a_quantity_beyond_64_bits_is_an_error() {
    let sums = vec![sum("web", "output_text", 0, u64::MAX), sum("web", "output_text", 0, 1)];

    assert!(matches!(lines(sums), Err(InvoiceError::QuantityOverflow { .. })));
}

#[test]
fn an_invoice_without_usage_is_zero_with_decimal_places() {
    let document = document(Vec::new());

    assert!(document.lines.is_empty());
    assert_eq!(document.total.to_string(), "0.00");
}
