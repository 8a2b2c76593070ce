//! Documents over any fees, charges, late lines and prepaid credit, also below zero, and notes
//! over any part of them: what each form says adds up to what is to be paid or paid back.

use permille_documents::{Document, Export, Format, Grain, Line, Request};
use permille_rating::{Meter, Term, invoice::CreditScope, round::round_money};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::{
    breakdown::{of_detail, requests},
    samples::{
        CHARGE, decimal, export, invoice, rows, sum, text, try_credit_note, vat, version, written,
    },
    ubl,
};

/// What stands on an invoice beside usage at its price. Amounts are in cents.
#[derive(Debug, Clone, Copy)]
struct Terms {
    fee: i64,
    /// A minimum that is owed, or owed no more.
    minimum: i64,
    /// What a charge makes of the first line.
    charged: i64,
    /// Late usage of another month, by a charge.
    late: i64,
    /// Per cent of what is to be paid that prepaid credit pays, before tax or after it.
    credit: (u32, bool),
}

fn terms() -> impl Strategy<Value = Terms> {
    let cents = || prop_oneof![Just(0_i64), -5_000..50_000_i64];
    (cents(), cents(), cents(), cents(), 0..=100_u32, any::<bool>()).prop_map(
        |(fee, minimum, charged, late, percent, before_tax)| Terms {
            fee: fee.abs(),
            minimum,
            charged,
            late,
            credit: (percent.saturating_sub(40), before_tax),
        },
    )
}

fn cents(amount: i64) -> Decimal {
    Decimal::new(amount, 2)
}

/// An invoice over the requests under the terms.
fn under(terms: Terms, requests: &[Request]) -> Document {
    let mut document = invoice(requests, vat("6.25"));
    let Some(first) = document.lines.first().cloned() else { return document };
    document.lines[0].charge = Some(version(CHARGE));
    document.lines[0].amount = cents(terms.charged);
    let of_term = |term, amount| Line {
        meter: Meter::Term(term),
        model: "team".parse().unwrap(),
        usage: None,
        amount: cents(amount),
        ..first.clone()
    };
    let late = Line {
        corrects: Some("2026-10".to_owned()),
        charge: Some(version(CHARGE)),
        amount: cents(terms.late),
        ..first.clone()
    };
    let more = [of_term(Term::Fee, terms.fee), of_term(Term::Minimum, terms.minimum), late];
    document.lines.extend(more);
    for (number, line) in (1..).zip(&mut document.lines) {
        line.number = number;
    }
    let lines: Decimal = document.lines.iter().map(|line| line.amount).sum();
    document.projects[0].amount = lines;
    let percent = Decimal::from(terms.credit.0) / decimal("100");
    let paid_of = |owed: Decimal| round_money(owed.max(Decimal::ZERO) * percent, document.currency);
    let paid_before = if terms.credit.1 { paid_of(lines) } else { Decimal::ZERO };
    let net = lines - paid_before;
    let tax = round_money(net * decimal("0.0625"), document.currency);
    let gross = net + tax;
    let paid_after = if terms.credit.1 { Decimal::ZERO } else { paid_of(gross) };
    (document.taxes[0].base, document.taxes[0].amount) = (net, tax);
    (document.net, document.gross, document.total) = (net, gross, gross - paid_after);
    document
}

/// Amounts of the postings of a journal, the receivable first.
fn postings(journal: &str) -> Vec<Decimal> {
    let posting = |line: &str| {
        let (head, _) = line.split_once(" CNY")?;
        decimal_of(head.rsplit(' ').next()?)
    };
    let is_posting = |line: &&str| line.starts_with("  ");
    journal.lines().filter(is_posting).filter_map(posting).collect()
}

/// The sum of the amounts of the sessions that a page shows, and that of all of them.
fn of_sessions(page: &str) -> Option<(Decimal, Decimal)> {
    let (_, table) = page.split_once("<h2>Multi-turn sessions</h2>")?;
    let (table, _) = table.split_once("</table>")?;
    let cells = table.split("</tr>").filter_map(|row| row.rsplit_once("<td class=\"n\">"));
    let amount = |(_, cell): (&str, &str)| decimal(&cell.replace("</td>", "").replace(',', ""));
    let mut amounts: Vec<Decimal> = cells.map(amount).collect();
    let all = amounts.pop()?;
    Some((amounts.into_iter().sum(), all))
}

fn decimal_of(text: &str) -> Option<Decimal> {
    text.parse().ok()
}

/// Every form of a document adds up to its total.
fn check(document: &Document, requests: &[Request]) {
    let of = |grain| Export { grain, ..export(document, Format::Csv) };
    let csv = |grain| rows(&written(of(grain), requests, 3));
    let lines: Decimal = document.lines.iter().map(|line| line.amount).sum();
    let (lines, total) = (document.signed(lines), document.signed(document.total));

    assert_eq!(sum(&csv(Grain::Lines), "amount"), total);
    for grain in [Grain::Sessions, Grain::Requests] {
        assert_eq!(sum(&csv(grain), "billed"), lines, "{grain:?}");
    }
    let focus = rows(&written(export(document, Format::Focus), requests, 3));
    assert_eq!(sum(&focus, "BilledCost"), total);
    let page = text(document, Format::Html, requests);
    assert_eq!(of_detail(&page).abs(), lines.abs());
    if let Some((rows, all)) = of_sessions(&page) {
        assert_eq!((rows, all), (lines, lines), "sessions and all of them");
    }
    for format in [Format::Hledger, Format::Beancount] {
        let postings = postings(&text(document, format, requests));
        assert!(postings.len() > 1, "{format:?}");
        assert_eq!(postings.iter().sum::<Decimal>(), Decimal::ZERO, "{format:?}");
        assert_eq!(postings[0], total, "{format:?}");
    }
    if !document.is_prepaid_before_tax() {
        let xml = text(document, Format::Ubl, requests);
        let slack = if document.is_credit() { decimal("0.01") } else { Decimal::ZERO };
        ubl::check(&xml, slack);
        assert_eq!(ubl::payable(&xml), document.total);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn parts_add_up_to_the_whole_of_any_invoice_and_any_note(
        requests in requests(),
        terms in terms(),
        part in 1..=100_u32,
    ) {
        let invoice = under(terms, &requests);
        if invoice.lines.is_empty() {
            return Ok(());
        }

        check(&invoice, &requests);
        let lines: Decimal = invoice.lines.iter().map(|line| line.amount).sum();
        let some = round_money(lines * Decimal::from(part) / decimal("100"), invoice.currency);
        for scope in [CreditScope::Amount(some), CreditScope::Rest] {
            if let Ok(note) = try_credit_note(&invoice, scope) {
                check(&note, &[]);
            }
        }
    }
}
