//! Invoices over charges, terms of a plan and prepaid credit: every format, and the sums.

use permille_documents::{Document, Format, Line};
use permille_rating::{Meter, Term, round::round_money};
use rust_decimal::Decimal;

use crate::{
    journals::{bean_check, hledger},
    samples::{decimal, export, invoice, november, rows, sum, text, try_written, vat},
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
    document.lines[0].by_charge = true;
    document.lines[0].amount += decimal("0.40");
    let number = document.lines.len() + 1;
    document.lines.push(Line {
        number,
        meter: Meter::Term(Term::Fee),
        model: "team".parse().unwrap(),
        usage: None,
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
