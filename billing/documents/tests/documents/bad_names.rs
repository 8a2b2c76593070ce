//! Names that a client or a customer chose are data in every form, whatever is in them.

use permille_documents::{Document, Format, Request};
use permille_rating::invoice::CreditScope;

use crate::samples::{credit_note, invoice, november, rows, text, vat};

/// A formula, a tag, an entity, quotes, a line break, a mark that turns the direction of writing.
const BAD: &str = "=1+1\"'<script>alert(1)</script>&amp;]]>\u{202e}gpj.exe;|\\";

fn documents() -> (Vec<Request>, Vec<Document>) {
    let mut requests = november();
    for request in &mut requests {
        request.model = BAD.parse().unwrap();
        request.session = format!("{BAD}{}", request.session).parse().unwrap();
        request.project = BAD.parse().unwrap();
    }
    let mut invoice = invoice(&november(), vat("19"));
    for line in &mut invoice.lines {
        line.project = BAD.parse().unwrap();
    }
    invoice.projects[0].id = BAD.parse().unwrap();
    BAD.clone_into(&mut invoice.projects[0].name);
    BAD.clone_into(&mut invoice.buyer.name);
    invoice.buyer.address = Some(format!("{BAD}\nDE"));
    invoice.purchase_order = Some(BAD.to_owned());
    invoice.notes = Some(BAD.to_owned());
    BAD.clone_into(&mut invoice.taxes[0].name);
    let note = credit_note(&invoice, CreditScope::Rest);
    (requests, vec![invoice, note])
}

#[test]
fn no_form_shows_what_is_not_seen_or_runs_what_is_a_name() {
    let (requests, documents) = documents();
    for document in &documents {
        for format in [
            Format::Html,
            Format::Csv,
            Format::Focus,
            Format::Ubl,
            Format::Hledger,
            Format::Beancount,
        ] {
            let written = text(document, format, &requests);

            assert!(!written.contains('\u{202e}'), "{format:?}");
            assert!(written.contains('\u{fffd}'), "{format:?} replaces it where it shows");
            let tags = matches!(format, Format::Html | Format::Ubl);
            assert!(!(tags && written.contains("<script>")), "{format:?}");
        }
        roxmltree::Document::parse(&text(document, Format::Ubl, &requests)).unwrap();
    }
}

#[test]
fn no_cell_is_a_formula() {
    let (requests, documents) = documents();
    for document in &documents {
        for format in [Format::Csv, Format::Focus] {
            for row in rows(text(document, format, &requests).as_bytes()) {
                for (column, cell) in &row {
                    let is_amount = cell.parse::<rust_decimal::Decimal>().is_ok();
                    let formula = cell.starts_with(['=', '+', '@', '\t', '\r', '-']);
                    assert!(is_amount || !formula, "{column}: {cell}");
                }
            }
        }
    }
}
