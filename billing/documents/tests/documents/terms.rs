//! Invoices over charges, terms of a plan and prepaid credit: every format, and the sums.

use permille_documents::{Document, Export, Format, Language, Line};
use permille_rating::{Meter, Term, round::round_money};
use rust_decimal::Decimal;

use crate::{
    journals::{bean_check, hledger},
    pdf,
    samples::{
        CHARGE, applied, decimal, export, invoice, november, rows, sum, text, try_written, vat,
        version, written,
    },
    ubl,
};

/// When prepaid credit of 3.00 pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credit {
    None,
    BeforeTax,
    AfterTax,
}

/// An invoice whose first line a charge has made, with a fee of 10.00, VAT of 6 % and credit.
fn charged(credit: Credit) -> Document {
    let mut document = invoice(&november(), vat("6"));
    document.lines[0].charge = Some(version(CHARGE));
    document.lines[0].amount += decimal("0.40");
    document.charges = vec![applied()];
    let number = document.lines.len() + 1;
    document.lines.push(Line {
        number,
        meter: Meter::Term(Term::Fee),
        model: "team".parse().unwrap(),
        usage: None,
        charge: None,
        amount: decimal("10.00"),
        ..document.lines[0].clone()
    });
    document.projects[0].amount += decimal("10.40");
    let of_lines: Decimal = document.lines.iter().map(|line| line.amount).sum();
    let paid = if credit == Credit::None { Decimal::ZERO } else { decimal("3.00") };
    document.net = if credit == Credit::BeforeTax { of_lines - paid } else { of_lines };
    let tax = &mut document.taxes[0];
    tax.base = document.net;
    tax.amount = round_money(document.net * decimal("0.06"), document.currency);
    document.gross = document.net + tax.amount;
    document.total = document.gross - if credit == Credit::AfterTax { paid } else { Decimal::ZERO };
    document
}

#[test]
fn tables_add_up_to_what_is_to_be_paid_whatever_credit_pays() {
    for credit in [Credit::None, Credit::BeforeTax, Credit::AfterTax] {
        let document = charged(credit);

        let csv = rows(text(&document, Format::Csv, &[]).as_bytes());
        let focus = rows(text(&document, Format::Focus, &november()).as_bytes());

        assert_eq!(sum(&csv, "amount"), document.total, "{credit:?}");
        assert_eq!(sum(&focus, "BilledCost"), document.total, "{credit:?}");
        let fees: Vec<_> = focus.iter().filter(|row| row["SkuId"] == "team/fee").collect();
        assert_eq!(fees.len(), 1);
        assert_eq!((&*fees[0]["ChargeCategory"], &*fees[0]["BilledCost"]), ("Purchase", "10"));
    }
}

#[test]
fn journals_balance_whatever_credit_pays() {
    for credit in [Credit::None, Credit::BeforeTax, Credit::AfterTax] {
        let document = charged(credit);

        hledger(&text(&document, Format::Hledger, &[]), &["check", "--strict"]);
        bean_check(&text(&document, Format::Beancount, &[]));
    }
}

#[test]
fn ubl_says_what_it_can_and_refuses_credit_before_tax() {
    for credit in [Credit::None, Credit::AfterTax] {
        let xml = text(&charged(credit), Format::Ubl, &[]);
        assert_eq!(ubl::check(&xml, Decimal::ZERO), "S", "{credit:?}");
    }
    let document = charged(Credit::BeforeTax);

    let refused = try_written(export(&document, Format::Ubl), &[], &[], 1).unwrap_err();

    assert!(refused.to_string().contains("before tax"), "{refused}");
}

#[test]
fn pages_show_the_fee_and_what_credit_pays() {
    for credit in [Credit::BeforeTax, Credit::AfterTax] {
        let page = text(&charged(credit), Format::Html, &[]);

        for shown in ["fee", "10.00", "-3.00"] {
            assert!(page.contains(shown), "{credit:?}: {shown}");
        }
    }
}

#[test]
fn a_line_by_charge_shows_no_price_beside_an_amount_that_does_not_follow_from_it() {
    let document = charged(Credit::None);
    for (language, by_charge) in [(Language::English, "by charge"), (Language::Chinese, "按计费项")]
    {
        let of = |format| Export { language, ..export(&document, format) };
        let page = String::from_utf8(written(of(Format::Html), &[], 1)).unwrap();
        let fonts = pdf::chinese();
        let sheets = written(Export { fonts, ..of(Format::Pdf) }, &[], 1);
        let sheets = pdf::squeezed(&pdf::pages(&sheets).concat());

        for (row, cells) in [
            ("a line by charge", ["41.667", &format!("{by_charge}: input-tiers"), "0.90"]),
            ("any other line", ["0.343", "0.012", "0.00"]),
            ("a tier of the charge", ["41.667", "0.03 + 0.05", "1.30001"]),
            ("what changes all of it", ["", "", "-0.1"]),
            ("what was billed before", ["", "", "-0.30"]),
        ] {
            let html = cells.map(|cell| format!("<td class=\"n\">{cell}</td>")).concat();
            assert!(page.contains(&html), "{row}: {html}: {page}");
            let of_pdf = pdf::squeezed(&cells.concat());
            assert!(sheets.contains(&of_pdf), "{row}: {of_pdf}: {sheets}");
        }
        assert!(!page.contains("0.012</td><td class=\"n\">0.90"), "{page}");
        assert!(!sheets.contains("41.6670.012"), "{sheets}");
    }
}

#[test]
fn tables_and_journals_name_the_charge_of_a_line_and_of_no_other() {
    let document = charged(Credit::None);

    let csv = rows(text(&document, Format::Csv, &[]).as_bytes());
    let versions: Vec<&str> = csv.iter().map(|row| row["charge"].as_str()).collect();
    let journals = [Format::Hledger, Format::Beancount].map(|form| text(&document, form, &[]));

    assert_eq!(versions[0], CHARGE);
    assert!(versions.iter().skip(1).all(|version| version.is_empty()), "{versions:?}");
    for journal in journals {
        let posting = |meter: &str| {
            let of = |line: &&str| line.to_lowercase().contains(meter) && line.contains("; ERNIE");
            journal.lines().find(of).unwrap_or_else(|| panic!("no {meter}: {journal}"))
        };
        let charged = posting("ernie-bot:input-uncached");
        assert!(charged.contains("41667 by charge input-tiers, "), "{charged}");
        assert!(!charged.contains(" at "), "{charged}");
        let plain = posting("ernie-bot:output-text");
        assert!(plain.contains("343 at 0.012, ") && !plain.contains("by charge"), "{plain}");
    }
}

/// The name of a plan is no model.
#[test]
fn the_sums_by_model_name_a_fee_as_what_it_is() {
    let document = charged(Credit::None);
    for (language, fee) in [(Language::English, "fee: team"), (Language::Chinese, "套餐费: team")]
    {
        let wanted = Export { language, ..export(&document, Format::Html) };

        let page = String::from_utf8(written(wanted, &[], 1)).unwrap();

        let summary = page.split("<table class=\"totals\">").next().unwrap();
        let rows: Vec<&str> = summary.split("<tr><td>").skip(1).collect();
        let models: Vec<&str> = rows.iter().map(|row| row.split('<').next().unwrap()).collect();
        assert_eq!(models, ["ERNIE-Bot", "qwen-max", fee]);
        assert!(rows[2].contains("<td class=\"n\">10.00</td>"), "{summary}");
    }
}
