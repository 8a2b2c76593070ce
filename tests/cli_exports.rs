//! `permille invoice export`: documents as files from a terminal.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use support::Folder;

const ISSUER: &str = "\
[issuer]
name = \"Permille GmbH\"
country = \"DE\"
tax_id = \"DE987654321\"
payment_days = 14
logo = \"logo.svg\"
";

/// A folder with an issued invoice of October, in which nothing was used.
fn issued() -> Folder {
    let folder = Folder::new();
    folder.key("acme", "CNY");
    let args = ["invoice", "draft", "--customer", "acme", "--period", "2026-10"];
    let id = folder.json(&args)["id"].as_str().unwrap().to_owned();
    folder.text(&["invoice", "approve", &id]);
    folder.text(&["invoice", "finalize", &id]);
    folder
}

fn export<'a>(format: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["invoice", "export", "INV-2026-000001", "--format", format], more].concat()
}

#[test]
fn a_document_goes_to_standard_output_to_a_file_or_into_a_folder_by_its_own_name() {
    let folder = issued();
    std::fs::write(folder.path().join("logo.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>")
        .unwrap();
    folder.config(ISSUER);

    let shown = folder.text(&export("csv", &[]));
    let into = folder.text(&export("csv", &["--out", "."]));
    folder.text(&export("html", &["--lang", "zh", "--out", "bill.html"]));
    let journal = folder.text(&export("hledger", &[]));
    let focus = folder.json(&export("focus", &["--out", "focus.csv"]));

    assert!(shown.starts_with("document,credits,row,line"), "{shown}");
    assert!(into.trim_end().ends_with("INV-2026-000001.csv"), "{into}");
    let file = std::fs::read_to_string(folder.path().join("INV-2026-000001.csv")).unwrap();
    assert_eq!(file, shown);
    let page = std::fs::read_to_string(folder.path().join("bill.html")).unwrap();
    assert!(page.contains("Permille GmbH") && page.contains("data:image/svg+xml"), "{page}");
    assert!(journal.contains("assets:receivable:acme"), "{journal}");
    assert_eq!(focus["file"], "focus.csv");
    let document = folder.text(&["invoice", "document", "INV-2026-000001"]);
    assert_eq!(folder.text(&export("json", &[])) + "\n", document);
}

#[test]
fn what_cannot_be_exported_says_why_and_leaves_no_file() {
    let folder = issued();
    folder.config(ISSUER);
    let no_logo = folder.run(&export("csv", &[])).refused(1);
    folder.config("[issuer]\nname = \"Permille GmbH\"\ncountry = \"Germany\"\n");
    let no_country = folder.run(&export("csv", &[])).refused(1);
    folder.config("");

    let unknown = folder.run(&export("doc", &[])).refused(2);
    let nameless = folder.run(&export("focus", &["--out", "focus.csv"])).refused(1);
    let ubl = folder.run(&export("ubl", &["--out", "x.xml"])).refused(1);
    let nowhere = folder.run(&export("csv", &["--out", "no/such/folder/x.csv"])).refused(1);

    assert!(no_logo.contains("issuer.logo") && no_logo.contains("logo.svg"), "{no_logo}");
    assert!(no_country.contains("issuer.country"), "{no_country}");
    assert!(unknown.contains("beancount"), "{unknown}");
    assert!(nameless.contains("`issuer.name`"), "{nameless}");
    assert!(ubl.contains("BR-16"), "{ubl}");
    assert!(nowhere.contains("no/such/folder"), "{nowhere}");
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(files.iter().all(|file| file.file_name().to_string_lossy() != "focus.csv"));
    assert!(files.iter().all(|file| !file.file_name().to_string_lossy().ends_with(".part")));
}

#[test]
fn a_pdf_is_set_in_the_fonts_of_the_configuration() {
    let folder = issued();
    let fonts = format!("{}/tests/.fonts/usr/share/fonts", env!("CARGO_MANIFEST_DIR"));
    folder.config(&format!("[issuer]\nname = \"示例公司\"\nfonts = [\"{fonts}\"]\n"));

    folder.text(&export("pdf", &["--lang", "zh", "--out", "."]));
    folder.config("[issuer]\nfonts = [\"no/such/fonts\"]\n");
    let nowhere = folder.run(&export("pdf", &["--out", "x.pdf"])).refused(1);

    let pdf = std::fs::read(folder.path().join("INV-2026-000001.pdf")).unwrap();
    assert!(pdf.starts_with(b"%PDF-1.7") && pdf.len() > 10_000, "{} bytes", pdf.len());
    assert!(nowhere.contains("no/such/fonts"), "{nowhere}");
    assert!(!folder.path().join("x.pdf").exists());
}
