//! Journals: entries that sum to zero and that the real programs accept.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use permille_documents::{Document, Format};
use permille_rating::invoice::{CreditScope, TaxTerms};

use crate::samples::{credit_note, decimal, invoice, november, request, text, vat};

/// A program where `tests/run` puts it, else wherever the system has it.
fn program(folder: &str, name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let unpacked = root.join(folder).join(name);
    if unpacked.exists() { unpacked } else { PathBuf::from(name) }
}

/// Runs a program over `journal`; it must succeed. Gives what it says.
fn accepted(mut command: Command, journal: &str) -> String {
    let told = format!("{command:?}: `bash tests/run` installs it");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{told}: {error}"));
    child.stdin.take().unwrap().write_all(journal.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}\n{journal}");
    said
}

pub(crate) fn hledger(journal: &str, args: &[&str]) -> String {
    let mut command = Command::new(program("tests/.hledger/usr/bin", "hledger"));
    command.args(args).args(["-f", "-"]).env("LANG", "C.UTF-8");
    accepted(command, journal)
}

pub(crate) fn bean_check(journal: &str) {
    let mut command = Command::new(program("tests/.venv/bin", "bean-check"));
    command.arg("--no-cache").arg("/dev/stdin").env("PYTHONUTF8", "1");
    let said = accepted(command, journal);
    assert!(said.is_empty(), "{said}");
}

/// The invoice and a note over a part of it, with names that no account can have.
fn documents() -> Vec<Document> {
    let mut requests = november();
    requests.push(request(4, "s-3", "ERNIE-Bot", &[("smell;in \"x\"", 0)]));
    let mut invoice = invoice(&requests, vat("19"));
    "ACME; \"Ltd\" \\ | 有限公司".clone_into(&mut invoice.buyer.name);
    "=x".clone_into(&mut invoice.projects[0].name);
    let note = credit_note(&invoice, CreditScope::Amount(decimal("0.37")));
    vec![invoice, note]
}

#[test]
fn hledger_accepts_the_journal_strictly_and_finds_the_total() {
    let [invoice, note] = documents().try_into().unwrap();
    let both = text(&invoice, Format::Hledger, &[]) + "\n" + &text(&note, Format::Hledger, &[]);

    hledger(&both, &["check", "--strict"]);
    let balance = hledger(&both, &["balance", "assets:receivable:acme", "-O", "csv", "-N"]);

    let owed = invoice.total - note.total;
    assert!(balance.contains(&format!("{owed} CNY")), "{balance} is not {owed}");
}

#[test]
fn beancount_accepts_the_journal() {
    let [invoice, note] = documents().try_into().unwrap();
    let one = text(&invoice, Format::Beancount, &[]);
    let both = one.clone() + "\n" + &text(&note, Format::Beancount, &[]);

    bean_check(&both);

    assert!(one.contains("Assets:Receivable:Acme"), "{one}");
    assert!(one.contains(&format!("{} CNY", invoice.total)), "{one}");
}

#[test]
fn each_entry_sums_to_zero_and_names_its_accounts() {
    for (format, receivable, income) in [
        (Format::Hledger, "assets:receivable:acme", "revenue:usage"),
        (Format::Beancount, "Assets:Receivable:Acme", "Income:Usage"),
    ] {
        for document in documents() {
            let journal = text(&document, format, &[]);
            let postings: Vec<_> = journal
                .lines()
                .filter(|line| line.starts_with(' '))
                .filter_map(|line| line.trim_start().split_once("  "))
                .filter_map(|(account, rest)| Some((account, rest.split_once(" CNY")?.0)))
                .collect();
            let amounts = postings.iter().map(|(_, amount)| decimal(amount));
            assert_eq!(amounts.sum::<rust_decimal::Decimal>(), decimal("0"), "{journal}");
            let owed = document.signed(document.total).to_string();
            assert_eq!(postings[0], (receivable, owed.as_str()), "{journal}");
            assert_eq!(postings.len(), 1 + document.lines.len() + document.taxes.len());
            assert!(postings[1].0.starts_with(income), "{journal}");
            assert!(journal.contains(document.number.as_ref().unwrap().as_str()), "{journal}");
        }
        let link = text(&documents()[0], format, &[]).contains(" ^INV-2026-000001\n");
        assert_eq!(link, format == Format::Beancount);
    }
}

#[test]
fn what_is_not_issued_is_in_no_books() {
    let mut document = invoice(&november(), TaxTerms::None);
    document.issued_at = None;
    for format in [Format::Hledger, Format::Beancount] {
        let export = crate::samples::export(&document, format);
        let error = crate::samples::try_written(export, &[], &[], 1).unwrap_err().to_string();
        assert!(error.contains("not issued") && error.contains(format.as_str()), "{error}");
    }
}
