//! Journals for plain-text accounting: one entry that sums to zero, for hledger and for Beancount.
//!
//! The seller's books: what the buyer owes against revenue by project, model and class, and taxes.
//! The amounts are the rounded ones of the document, so nothing is left to be rounded.

use std::fmt::Write;

use permille_rating::round::minor_places;
use rust_decimal::Decimal;

use crate::{Document, DocumentError, Format, Kind, Status, text};

/// An entry, in the terms of either program.
struct Entry {
    date: chrono::NaiveDate,
    number: String,
    payee: String,
    narration: String,
    currency: &'static str,
    postings: Vec<Posting>,
}

struct Posting {
    /// From the top down, each a text of others made a name.
    account: Vec<String>,
    amount: Decimal,
    comment: Option<String>,
}

/// Writes the journal for hledger.
pub(crate) fn hledger(document: &Document, out: &mut Vec<u8>) -> Result<(), DocumentError> {
    let entry = entry(document, Format::Hledger, str::to_lowercase)?;
    let mut journal = String::new();
    let places = usize::try_from(minor_places(document.currency)).unwrap_or_default();
    let currency = entry.currency;
    line(&mut journal, format_args!("commodity 1000.{} {currency}", "0".repeat(places)));
    let mut accounts: Vec<String> =
        entry.postings.iter().map(|posting| posting.account.join(":")).collect();
    accounts.sort();
    accounts.dedup();
    for account in accounts {
        line(&mut journal, format_args!("account {account}"));
    }
    let payee = without(&entry.payee, &[';', '|']);
    let narration = without(&entry.narration, &[';']);
    let number = without(&entry.number, &['(', ')', ';']);
    line(&mut journal, format_args!(""));
    line(&mut journal, format_args!("{} * ({number}) {payee} | {narration}", entry.date));
    for posting in &entry.postings {
        let account = posting.account.join(":");
        let comment = posting.comment.as_deref().map(|comment| format!("  ; {comment}"));
        let comment = comment.unwrap_or_default();
        let amount = posting.amount;
        line(&mut journal, format_args!("    {account}  {amount} {currency}{comment}"));
    }
    out.extend_from_slice(journal.as_bytes());
    Ok(())
}

/// Writes the journal for Beancount.
pub(crate) fn beancount(document: &Document, out: &mut Vec<u8>) -> Result<(), DocumentError> {
    let entry = entry(document, Format::Beancount, capitalized)?;
    let mut journal = String::new();
    // Opens each account where it is first used: journals of several invoices can be one file.
    line(&mut journal, format_args!("plugin \"beancount.plugins.auto_accounts\""));
    line(&mut journal, format_args!(""));
    let Entry { date, number, payee, narration, currency, postings } = &entry;
    let link: String = number
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_/.".contains(c) { c } else { '-' })
        .collect();
    line(
        &mut journal,
        format_args!("{date} * \"{}\" \"{}\" ^{link}", quoted(payee), quoted(narration)),
    );
    for posting in postings {
        let account = posting.account.join(":");
        let comment = posting.comment.as_deref().map(|comment| format!("  ; {comment}"));
        let comment = comment.unwrap_or_default();
        line(&mut journal, format_args!("  {account}  {} {currency}{comment}", posting.amount));
    }
    out.extend_from_slice(journal.as_bytes());
    Ok(())
}

fn line(journal: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a `String` cannot fail.
    writeln!(journal, "{text}").unwrap_or_default();
}

fn entry(
    document: &Document,
    format: Format,
    spelled: impl Fn(&str) -> String,
) -> Result<Entry, DocumentError> {
    let void = document.kind == Kind::Invoice(Status::Void);
    let (Some(date), false) = (document.issue_date(), void) else {
        return Err(DocumentError::NotExpressible {
            document: document.shown_number().to_owned(),
            format,
            problem: "it is not issued".to_owned(),
            accepted: "an invoice that is final or paid, or a credit note".to_owned(),
        });
    };
    let account = |names: &[&str]| names.iter().map(|name| spelled(&component(name))).collect();
    let posting = |names: &[&str], amount: Decimal, comment| Posting {
        account: account(names),
        amount,
        comment,
    };
    let owed = |amount: Decimal| document.signed(amount);
    let earned = |amount: Decimal| negated(document.signed(amount));
    let income = if format == Format::Beancount { "Income" } else { "revenue" };
    let receivable = ["assets", "receivable", document.buyer.id.as_str()];
    let mut postings = vec![posting(&receivable, owed(document.total), None)];
    let prepaid = document.prepaid();
    if !prepaid.is_zero() {
        let names = ["liabilities", "prepaid", document.buyer.id.as_str()];
        postings.push(posting(&names, owed(prepaid), None));
    }
    for billed in &document.lines {
        let names = [
            income,
            "usage",
            billed.project.as_str(),
            billed.model.as_str(),
            billed.meter.as_str(),
        ];
        let comment = billed.usage.as_ref().map(|usage| {
            let price = match document.charge_name(billed) {
                Some(charge) => format!("by charge {}", text::line(charge)),
                None => format!("at {}", usage.price.normalize()),
            };
            let model = text::line(billed.model.as_str());
            let version = text::line(usage.price_version.as_str());
            format!("{model}: {} {price}, {version}, band {}", usage.quantity, usage.band)
        });
        postings.push(posting(&names, earned(billed.amount), comment));
    }
    for tax in &document.taxes {
        let names = ["liabilities", "tax", tax.name.as_str()];
        let comment = format!("{} %", tax.percent.normalize());
        postings.push(posting(&names, earned(tax.amount), Some(comment)));
    }
    let narration = match &document.kind {
        Kind::Invoice(_) => format!("usage of {}", text::line(&document.period.label)),
        Kind::CreditNote { invoice, reason } => {
            format!("credit of {}: {}", text::line(invoice.as_str()), text::line(reason))
        }
    };
    Ok(Entry {
        date,
        number: text::line(document.shown_number()),
        payee: text::line(&document.buyer.name),
        narration,
        currency: document.currency.code(),
        postings,
    })
}

fn negated(amount: Decimal) -> Decimal {
    let mut negated = amount;
    if !amount.is_zero() {
        negated.set_sign_positive(amount.is_sign_negative());
    }
    negated
}

/// A part of the name of an account, whatever text it comes of: both programs take letters of
/// ASCII, digits and dashes anywhere.
fn component(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = text.chars().map(safe).collect();
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) { name } else { format!("x{name}") }
}

fn capitalized(name: &str) -> String {
    let mut rest = name.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}

fn without(text: &str, removed: &[char]) -> String {
    text.chars().map(|c| if removed.contains(&c) { ' ' } else { c }).collect()
}

/// A text between quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_an_account_is_of_letters_digits_and_dashes() {
        for (text, name) in [("acme", "acme"), ("a b:c", "a-b-c"), ("文", "x-"), ("", "x")] {
            assert_eq!(component(text), name, "{text}");
        }
        assert_eq!(["acme", "a", ""].map(capitalized), ["Acme", "A", ""]);
    }

    #[test]
    fn what_ends_a_text_is_taken_out_or_escaped() {
        assert_eq!(without("a;b|c", &[';', '|']), "a b c");
        assert_eq!(quoted(r#"say "a\b""#), r#"say \"a\\b\""#);
    }

    #[test]
    fn an_amount_has_the_other_sign_and_zero_has_none() {
        for (amount, other) in [("1.50", "-1.50"), ("-1.50", "1.50"), ("0.00", "0.00")] {
            let amount = Decimal::from_str_exact(amount).unwrap();
            assert_eq!(negated(amount).to_string(), other);
        }
    }
}
