//! CSV and JSON.

use permille_documents::{Export, Format, Grain};
use permille_rating::invoice::{CreditScope, TaxTerms};

use crate::samples::{
    credit_note, decimal, export, invoice, november, rows, sum, text, vat, written,
};

#[test]
fn lines_and_taxes_add_up_to_what_is_to_be_paid() {
    let requests = november();
    let document = invoice(&requests, vat("6"));

    let csv = text(&document, Format::Csv, &requests);

    assert_eq!(
        csv.lines().nth(1).unwrap(),
        "INV-2026-000001,,usage,1,,default,DEFAULT,ERNIE-Bot,input_uncached,0,".to_owned()
            + document.lines[0].usage.as_ref().unwrap().price_version.as_str()
            + ",41667,1000 tokens,0.012,0.500004,0.50,CNY,,,,"
    );
    let rows = rows(csv.as_bytes());
    assert_eq!(rows.len(), document.lines.len() + 1);
    assert_eq!(sum(&rows, "amount"), document.total);
    assert_eq!(rows.last().unwrap()["tax_percent"], "6");
    assert!(csv.ends_with("\r\n"));
}

#[test]
fn a_credit_note_takes_its_amounts_off() {
    let requests = november();
    let invoice = invoice(&requests, vat("6"));
    let note = credit_note(&invoice, CreditScope::Amount(decimal("0.11")));

    let rows = rows(text(&note, Format::Csv, &[]).as_bytes());

    assert_eq!(sum(&rows, "amount"), -note.total);
    assert!(rows.iter().all(|row| row["credits"] == "INV-2026-000001"), "{rows:?}");
}

#[test]
fn json_is_the_issued_text_to_the_byte_and_a_draft_has_none() {
    let requests = november();
    let mut document = invoice(&requests, TaxTerms::None);

    let written_json = text(&document, Format::Json, &requests);
    assert_eq!(written_json, document.issued.as_ref().unwrap().json);

    document.issued = None;
    document.number = None;
    let refused = crate::samples::try_written(export(&document, Format::Json), &[], &[], 1);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("inv_1") && refused.contains("finalized"), "{refused}");
}

#[test]
fn shares_of_sessions_and_requests_add_up_to_each_line() {
    let requests = november();
    let document = invoice(&requests, vat("6"));
    for grain in [Grain::Sessions, Grain::Requests] {
        let wanted = Export { grain, ..export(&document, Format::Csv) };

        let rows = rows(&written(wanted, &requests, 1));

        for line in &document.lines {
            let of_line: Vec<_> =
                rows.iter().filter(|row| row["line"] == line.number.to_string()).cloned().collect();
            assert_eq!(sum(&of_line, "billed"), line.amount, "{grain:?} {line:?}");
            assert_eq!(sum(&of_line, "exact"), line.usage.as_ref().unwrap().exact);
        }
        assert_eq!(sum(&rows, "billed"), document.net);
        assert_eq!(rows[0]["session"], "s-1");
    }
}

#[test]
fn file_names_are_safe_whatever_the_id_is() {
    let mut document = invoice(&november(), TaxTerms::None);
    assert_eq!(Format::Pdf.file_name(&document, Grain::Lines), "INV-2026-000001.pdf");
    assert_eq!(Format::Focus.file_name(&document, Grain::Lines), "INV-2026-000001.focus.csv");

    document.number = None;
    document.id = Some("../../etc/\"x".parse().unwrap());
    assert_eq!(Format::Ubl.file_name(&document, Grain::Lines), "______etc__x.xml");
}
