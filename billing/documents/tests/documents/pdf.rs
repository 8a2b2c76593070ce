//! PDF: its text, as another program reads it, says what the document says.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use permille_documents::{
    BilledBefore, Document, Export, FontFile, Fonts, Format, Kind, Language, Logo, Request, Status,
};
use permille_rating::invoice::CreditScope;

use crate::samples::{
    ROOT, credit_note, decimal, export, invoice, november, request, try_written, vat, written,
};

const PAGES: &str = "
import sys, json, pypdfium2
pdf = pypdfium2.PdfDocument(sys.argv[1])
print(json.dumps([page.get_textpage().get_text_range() for page in pdf]))
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Fonts that `tests/run` unpacks beside the tests.
fn font(name: &str, index: u32) -> FontFile {
    let folder = root().join("tests/.fonts/usr/share/fonts");
    let path = ["truetype/dejavu", "opentype/noto"].map(|sub| folder.join(sub).join(name));
    let path = path.iter().find(|path| path.exists());
    let path = path.unwrap_or_else(|| panic!("no {name}: `bash tests/run` unpacks it"));
    FontFile { bytes: std::fs::read(path).unwrap(), index }
}

fn latin() -> Fonts {
    Fonts { regular: vec![font("DejaVuSans.ttf", 0)], bold: vec![font("DejaVuSans-Bold.ttf", 0)] }
}

pub(crate) fn chinese() -> Fonts {
    let mut fonts = latin();
    fonts.regular.push(font("NotoSansCJK-Regular.ttc", 2));
    fonts.bold.push(font("NotoSansCJK-Bold.ttc", 2));
    fonts
}

fn pdf(document: &Document, fonts: Fonts) -> Export {
    Export { fonts, ..export(document, Format::Pdf) }
}

/// The text of each page of a PDF, as `PDFium` extracts it.
pub(crate) fn pages(pdf: &[u8]) -> Vec<String> {
    let file = std::env::temp_dir().join(format!(
        "permille-{}-{:?}.pdf",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&file, pdf).unwrap();
    let python = root().join("tests/.venv/bin/python");
    let output = Command::new(python).args(["-c", PAGES]).arg(&file).output();
    let output = output.unwrap_or_else(|error| panic!("python: {error}: `bash tests/run`"));
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Without what the order of extraction does to blanks.
pub(crate) fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

fn grouped(text: &str) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut out = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if fraction.is_empty() { out } else { format!("{out}.{fraction}") }
}

#[test]
fn the_text_says_every_figure_of_the_json_in_both_languages() {
    let requests = november();
    let document = invoice(&requests, vat("6"));
    let json = &document.issued.as_ref().unwrap().json;
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    for language in [Language::English, Language::Chinese] {
        let wanted = Export { language, ..pdf(&document, chinese()) };

        let pages = pages(&written(wanted, &requests, 2));

        let text = squeezed(&pages.concat());
        for line in json["lines"].as_array().unwrap() {
            let amount = grouped(line["amount"].as_str().unwrap());
            let price = line["price_per_thousand"].as_str().unwrap();
            let thousand = decimal(line["quantity_thousand"].as_str().unwrap());
            let row = format!("{}{price}{amount}", grouped(&format!("{thousand:.3}")));
            assert!(text.contains(&row), "{row}: {text}");
        }
        for figure in ["net", "gross", "total"] {
            assert!(text.contains(&grouped(json[figure].as_str().unwrap())), "{figure}");
        }
        let tax = json["tax"][0]["amount"].as_str().unwrap();
        assert!(text.contains(&format!("VAT6%{tax}")), "{text}");
        for said in ["ACME有限公司", "INV-2026-000001", "PO-7", "PermilleGmbH", "s-1"] {
            assert!(text.contains(said), "{said}");
        }
        assert!(text.contains(&format!("2026-111,203{ROOT}")), "{text}");
        let due = if language == Language::English { "Amountdue" } else { "应付金额" };
        assert!(text.contains(due), "{text}");
    }
}

#[test]
fn a_table_goes_on_over_numbered_pages_and_the_same_document_gives_the_same_bytes() {
    let requests: Vec<Request> = (1..120)
        .map(|number| {
            let mut one = request(number, "s-1", "ERNIE-Bot", &[("input_uncached", 1_000)]);
            one.project = format!("project-{number:03}").parse().unwrap();
            one
        })
        .collect();
    let document = invoice(&requests, vat("6"));
    let bytes = written(pdf(&document, chinese()), &requests, 50);

    let pages = pages(&bytes);

    assert!(pages.len() > 5, "{}", pages.len());
    for (place, page) in (1..).zip(&pages) {
        assert!(page.contains(&format!("Page {place} of {}", pages.len())), "{page}");
    }
    assert!(pages.last().unwrap().contains(&"ab".repeat(32)));
    assert_eq!(bytes, written(pdf(&document, chinese()), &requests, 7));
    assert!(bytes.windows(20).any(|bytes| bytes == b"pdfaid:conformance>U"));
}

#[test]
fn a_project_that_goes_on_over_a_page_is_named_again() {
    let model = |number: u32| format!("qwen-{number:02}");
    let requests: Vec<Request> = (1..60)
        .map(|number| request(number, "s-1", &model(number), &[("input_uncached", 1_000)]))
        .collect();
    let document = invoice(&requests, vat("6"));

    for (language, again) in
        [(Language::English, "Project: DEFAULT (continued)"), (Language::Chinese, "DEFAULT （续）")]
    {
        let export = Export { language, ..pdf(&document, chinese()) };
        let pages = pages(&written(export, &requests, 50));

        // With a quantity: the summary names the models too.
        let rows = |page: &&String| page.contains("qwen-") && page.contains("1.000");
        let detail: Vec<_> = pages.iter().skip(1).filter(rows).collect();
        assert!(detail.len() > 1, "{pages:?}");
        let named: Vec<_> = detail.iter().map(|page| page.contains(again)).collect();
        assert!(!named[0] && named[1..].iter().all(|named| *named), "{detail:?}");
    }
}

/// What is kept for years is PDF/A, and that has a date. A draft has none, and is not kept.
#[test]
fn a_draft_without_a_date_is_a_plain_pdf() {
    let mut draft = invoice(&november(), vat("6"));
    draft.kind = Kind::Invoice(Status::Draft);
    draft.issued_at = None;
    draft.number = None;
    draft.issued = None;

    let bytes = written(pdf(&draft, chinese()), &november(), 3);

    assert!(!pages(&bytes).is_empty());
    assert!(!bytes.windows(18).any(|bytes| bytes == b"pdfaid:conformance"));
}

#[test]
fn a_character_that_no_font_has_is_named_with_what_to_install() {
    let document = invoice(&november(), vat("6"));

    let error = try_written(pdf(&document, latin()), &[], &[], 1).unwrap_err().to_string();
    let none = try_written(pdf(&document, Fonts::default()), &[], &[], 1).unwrap_err();

    assert!(error.contains("U+6709") && error.contains("ACME 有限公司"), "{error}");
    assert!(error.contains("fonts-noto-cjk") && error.contains("`issuer.fonts`"), "{error}");
    assert!(none.to_string().contains("fonts-noto-cjk"), "{none}");
}

#[test]
fn a_script_that_would_be_set_wrongly_is_refused() {
    let mut document = invoice(&november(), vat("6"));
    document.buyer.name = "שלום".to_owned();

    let error = try_written(pdf(&document, chinese()), &[], &[], 1).unwrap_err().to_string();

    assert!(error.contains("right to left") && error.contains("html"), "{error}");
}

#[test]
fn a_logo_is_drawn_or_refused_by_what_is_wrong_with_it() {
    let document = credit_note(&invoice(&november(), vat("6")), CreditScope::Rest);
    let with = |logo: &[u8]| {
        let mut wanted = pdf(&document, chinese());
        wanted.issuer.logo = Logo::of(logo.to_vec());
        assert!(wanted.issuer.logo.is_some());
        try_written(wanted, &[], &[], 1)
    };
    let svg = |inner: &str| {
        let head = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 30 10'>";
        format!("{head}{inner}</svg>").into_bytes()
    };
    let plain = with(&svg("<rect width='20' height='10' fill='#0b6e63'/>")).unwrap();
    let none = written(pdf(&document, chinese()), &[], 1);

    assert!(plain.len() > none.len());
    assert!(squeezed(&pages(&plain).concat()).contains("CN-2026-000001"));
    for (bad, named) in [
        (svg("<text x='1' y='5'>Permille</text>"), "text"),
        (b"<svg".to_vec(), "SVG"),
        (b"\x89PNG\r\n\x1a\nnothing".to_vec(), "PNG"),
    ] {
        let error = with(&bad).unwrap_err().to_string();
        assert!(error.contains("logo") && error.contains(named), "{error}");
    }
}

#[test]
fn the_pages_of_interim_invoices_and_of_the_months_own_say_what_they_are() {
    let requests = november();
    let month = invoice(&requests, vat("6"));
    let interim = Document { interim: true, ..month.clone() };
    let number = "INV-2026-000007".parse().unwrap();
    let before = BilledBefore { number, amount: decimal("1200.00") };
    let after = Document { billed_before: vec![before], ..month };

    let interim = pages(&written(pdf(&interim, chinese()), &requests, 1)).concat();
    let after = pages(&written(pdf(&after, chinese()), &requests, 1)).concat();

    assert!(interim.contains("Interim invoice"), "{interim}");
    for said in ["Billed before", "INV-2026-000007", "1,200.00"] {
        assert!(after.contains(said), "{said}: {after}");
    }
}
