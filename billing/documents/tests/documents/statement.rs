//! A report that people sign: what stands on its pages, as another program reads them.

use permille_documents::{Fonts, Statement, StatementSection, StatementSignature};

use crate::pdf::{chinese, pages, squeezed};

fn statement(rows: usize, signed: Option<&str>) -> Statement {
    let row = |number: usize| {
        let name = format!("model-{number:03}");
        vec![name, number.to_string(), format!("{number}.12345678"), "-0.5".to_owned()]
    };
    let column = |label: &str, is_number| (label.to_owned(), is_number);
    let place = |label: &str| StatementSignature {
        label: label.to_owned(),
        signed: signed.map(ToOwned::to_owned),
    };
    Statement {
        title: "Reconciliation".to_owned(),
        number: "rec_01".to_owned(),
        at: "2026-12-01T08:00:00Z".parse().unwrap(),
        facts: vec![
            ("provider".to_owned(), "示例 provider\u{202e}".to_owned()),
            ("file".to_owned(), format!("costs.json, SHA-256 {}", "ab".repeat(32))),
        ],
        sections: vec![
            StatementSection {
                heading: "Models".to_owned(),
                columns: vec![
                    column("model", false),
                    column("comparisons", true),
                    column("billed", true),
                    column("difference", true),
                ],
                rows: (0..rows).map(row).collect(),
                texts: vec!["drift: 227.273 ‰ of the bill".to_owned()],
            },
            StatementSection {
                heading: "What does not agree".to_owned(),
                texts: vec!["Nothing.".to_owned()],
                ..StatementSection::default()
            },
        ],
        signatures: vec![place("Engineering"), place("Finance")],
    }
}

#[test]
fn every_text_of_a_report_stands_on_numbered_pages_with_places_to_sign() {
    let report = statement(90, None);

    let bytes = report.pdf(&chinese()).unwrap();

    let pages = pages(&bytes);
    assert!(pages.len() > 2, "{}", pages.len());
    for (place, page) in (1..).zip(&pages) {
        assert!(page.contains(&format!("Page {place} of {}", pages.len())), "{page}");
    }
    let text = squeezed(&pages.concat());
    for row in &report.sections[0].rows {
        assert!(text.contains(&row.concat()), "{row:?}");
    }
    for told in ["Reconciliation", "rec_01", "示例provider", "Nothing.", "227.273‰ofthebill"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(text.contains(&"ab".repeat(20)), "a digest is broken into lines, not cut");
    let last = squeezed(pages.last().unwrap());
    assert!(last.contains("Engineering") && last.contains("Finance"), "{last}");
    assert_eq!(bytes, report.pdf(&chinese()).unwrap(), "the same report gives the same bytes");
    assert!(bytes.windows(20).any(|bytes| bytes == b"pdfaid:conformance>U"));
}

#[test]
fn who_has_signed_stands_on_the_page_and_without_a_font_there_is_none() {
    let signed = statement(1, Some("2026-12-02 08:00:00Z by Ada: price agreed"));

    let text = squeezed(&pages(&signed.pdf(&chinese()).unwrap()).concat());
    let none = signed.pdf(&Fonts::default()).unwrap_err().to_string();

    assert!(text.contains("byAda:priceagreed"), "{text}");
    assert!(none.contains("fonts-noto-cjk"), "{none}");
}
