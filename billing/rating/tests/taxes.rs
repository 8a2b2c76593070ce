//! Taxes of an invoice.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use permille_rating::invoice::{TaxRate, TaxTerms};
use permille_types::Currency;
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn rates(rates: &[(&str, &str)]) -> TaxTerms {
    let rate = |(name, percent): &(&str, &str)| TaxRate {
        name: (*name).to_owned(),
        percent: decimal(percent),
    };
    TaxTerms::Standard { rates: rates.iter().map(rate).collect() }
}

/// The amounts on `net`.
fn amounts(terms: &TaxTerms, net: &str, currency: Currency) -> Vec<String> {
    let lines = terms.levy(decimal(net), currency).unwrap();
    lines.iter().map(|line| line.amount.to_string()).collect()
}

#[test]
fn all_rates_together_are_so_many_percent() {
    let several = rates(&[("GST", "5"), ("QST", "9.975")]);
    let exempt = TaxTerms::Exempt { reason: "a charity".to_owned() };
    let percents = [several, rates(&[]), TaxTerms::None, TaxTerms::ReverseCharge, exempt]
        .map(|terms| terms.percent().to_string());
    assert_eq!(percents, ["14.975", "0", "0", "0", "0"]);
}

#[test]
fn each_rate_is_rounded_on_its_own_and_none_is_on_another() {
    for (terms, net, expected) in [
        // Source: invoiceninja#1453: 140 at 5 % and 9.975 % is 160.97, not 160.965.
        (rates(&[("GST", "5"), ("QST", "9.975")]), "140.00", &["7.00", "13.97"][..]),
        // Source: getlago.com, "Taxes": 6 % and 2 % on 100 is 8.00, not 8.12.
        (rates(&[("A", "6"), ("B", "2")]), "100.00", &["6.00", "2.00"]),
        // Source: peppol-bis-invoice-3, base-example.xml: 1325 at 25 %.
        (rates(&[("VAT", "25")]), "1325.00", &["331.25"]),
        (rates(&[("VAT", "13")]), "0.50", &["0.07"]),
        (rates(&[("VAT", "0")]), "100.00", &["0.00"]),
    ] {
        assert_eq!(amounts(&terms, net, Currency::CNY), expected, "{terms:?}");
    }
    assert_eq!(amounts(&rates(&[("消費税", "10")]), "1235", Currency::JPY), ["124"]);
}

#[test]
fn nothing_is_levied_where_no_tax_is_due() {
    let exempt = TaxTerms::Exempt { reason: "Article 132".to_owned() };
    for terms in [TaxTerms::None, TaxTerms::ReverseCharge, exempt] {
        assert!(amounts(&terms, "100.00", Currency::EUR).is_empty(), "{terms:?}");
        assert_eq!(terms.clone().checked().unwrap(), terms);
    }
}

#[test]
fn terms_that_cannot_stand_on_an_invoice_are_refused_by_field() {
    let long = "x".repeat(257);
    for (terms, field) in [
        (rates(&[]), "tax.rates"),
        (rates(&[("a", "1"); 9]), "tax.rates"),
        (rates(&[("", "1")]), "tax.name"),
        (rates(&[("VAT", "1"), ("VAT", "2")]), "tax.name"),
        (rates(&[("VAT", "-1")]), "tax.percent"),
        (rates(&[("VAT", "100.1")]), "tax.percent"),
        (rates(&[("VAT", "1.00001")]), "tax.percent"),
        (TaxTerms::Exempt { reason: " ".to_owned() }, "tax.reason"),
        (TaxTerms::Exempt { reason: long }, "tax.reason"),
    ] {
        let error = terms.clone().checked().unwrap_err();
        assert_eq!(error.field, field, "{terms:?}: {error}");
        assert!(error.to_string().contains("accepted: "), "{error}");
    }
    assert!(rates(&[("VAT", "9.9750")]).checked().is_ok());
}

#[test]
fn terms_are_read_as_they_are_written() {
    for (json, terms) in [
        (r#"{"treatment":"none"}"#, TaxTerms::None),
        (r#"{"treatment":"reverse_charge"}"#, TaxTerms::ReverseCharge),
        (
            r#"{"treatment":"exempt","reason":"Article 132"}"#,
            TaxTerms::Exempt { reason: "Article 132".to_owned() },
        ),
        (
            r#"{"treatment":"standard","rates":[{"name":"VAT","percent":"6"}]}"#,
            rates(&[("VAT", "6")]),
        ),
    ] {
        assert_eq!(serde_json::from_str::<TaxTerms>(json).unwrap(), terms);
        assert_eq!(serde_json::to_string(&terms).unwrap(), json);
    }
    assert!(serde_json::from_str::<TaxTerms>(r#"{"treatment":"free"}"#).is_err());
    let float = r#"{"treatment":"standard","rates":[{"name":"VAT","percent":6.5}]}"#;
    assert!(serde_json::from_str::<TaxTerms>(float).is_err(), "decimals are strings");
}

#[test]
fn terms_are_accepted_to_their_last_bound() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let long = "x".repeat(256);
    for terms in [
        rates(&names.map(|name| (name, "1"))),
        rates(&[("none", "0"), ("all", "100")]),
        rates(&[("VAT", "9.9755")]),
        rates(&[(&long, "1")]),
        TaxTerms::Exempt { reason: long.clone() },
    ] {
        assert_eq!(terms.clone().checked(), Ok(terms));
    }
}
