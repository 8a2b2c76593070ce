//! A month that a change of plan cuts: every form says which part of it a line bills.

use permille_documents::{BilledPeriod, Document, Export, Format, Grain, Language, Line};
use permille_rating::{Meter, Term, invoice::CreditScope, period::Period};

use crate::samples::{
    at, credit_note, decimal, export, invoice, november, rows, text, vat, written,
};

/// When the plan changes: at 10 in Shanghai.
const CUT: &str = "2026-11-10T02:00:00Z";

/// An invoice whose first line is of the part before the change; a fee of 3.33 is of that after.
fn cut() -> Document {
    let mut document = invoice(&november(), vat("6"));
    let BilledPeriod { start, end, .. } = document.period;
    document.lines[0].part = Some(Period { start, end: at(CUT) });
    document.lines.push(Line {
        number: document.lines.len() + 1,
        part: Some(Period { start: at(CUT), end }),
        meter: Meter::Term(Term::Fee),
        model: "team".parse().unwrap(),
        usage: None,
        amount: decimal("3.33"),
        ..document.lines[0].clone()
    });
    document.projects[0].amount += decimal("3.33");
    document.net += decimal("3.33");
    document.gross += decimal("3.33");
    document.total += decimal("3.33");
    document
}

#[test]
fn pages_say_from_when_until_when_by_the_customers_clock() {
    let document = cut();
    let english = text(&document, Format::Html, &november());
    let chinese = Export { language: Language::Chinese, ..export(&document, Format::Html) };
    let chinese = String::from_utf8(written(chinese, &november(), 1)).unwrap();
    let uncut = text(&invoice(&november(), vat("6")), Format::Html, &november());

    for said in [
        "<td>input, from 2026-11-01 00:00 +08:00 until 2026-11-10 10:00 +08:00</td>",
        "<td>fee, from 2026-11-10 10:00 +08:00 until 2026-12-01 00:00 +08:00</td>",
    ] {
        assert!(english.contains(said), "{said}: {english}");
    }
    let said = "<td>套餐费, 自 2026-11-10 10:00 +08:00 至 2026-12-01 00:00 +08:00</td>";
    assert!(chinese.contains(said), "{chinese}");
    assert!(!uncut.contains(" until 2026-"), "{uncut}");
}

#[test]
fn a_pdf_says_the_same() {
    let document = cut();
    for (language, said) in [
        (Language::English, "fee,from2026-11-1010:00+08:00until2026-12-0100:00+08:00"),
        (Language::Chinese, "套餐费,自2026-11-1010:00+08:00至2026-12-0100:00+08:00"),
    ] {
        let fonts = crate::pdf::chinese();
        let wanted = Export { fonts, language, ..export(&document, Format::Pdf) };

        let pages = crate::pdf::pages(&written(wanted, &november(), 2));

        let text = crate::pdf::squeezed(&pages.concat());
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn every_csv_ends_with_the_bounds_and_the_charge() {
    let document = cut();
    let bounds = |row: &std::collections::BTreeMap<String, String>| {
        (row["part_from"].clone(), row["part_until"].clone())
    };
    let of = |from: &str, until: &str| (from.to_owned(), until.to_owned());
    let fee = (document.lines.len()).to_string();

    for grain in [Grain::Lines, Grain::Sessions, Grain::Requests] {
        let wanted = Export { grain, ..export(&document, Format::Csv) };
        let csv = written(wanted, &november(), 2);

        let head = String::from_utf8(csv.clone()).unwrap();
        let head = head.lines().next().unwrap();
        assert!(head.ends_with(",part_from,part_until,charge"), "{head}");
        for row in rows(&csv) {
            let wanted = match row["line"].as_str() {
                "1" => of("2026-10-31T16:00:00Z", CUT),
                line if line == fee => of(CUT, "2026-11-30T16:00:00Z"),
                _ => of("", ""),
            };
            assert_eq!(bounds(&row), wanted, "{grain:?} {row:?}");
        }
    }
}

#[test]
fn focus_charges_over_the_part_and_the_share_of_a_session_over_its_own_time() {
    let rows = rows(text(&cut(), Format::Focus, &november()).as_bytes());

    let period = |row: &std::collections::BTreeMap<String, String>| {
        [&row["ChargePeriodStart"], &row["ChargePeriodEnd"]].map(Clone::clone)
    };
    let fee = rows.iter().find(|row| row["SkuId"] == "team/fee").unwrap();
    assert_eq!(period(fee), [CUT, "2026-11-30T16:00:00Z"]);
    assert_eq!(fee["BillingPeriodStart"], "2026-10-31T16:00:00Z");
    let session = rows.iter().find(|row| row["x_SessionId"] == "s-1").unwrap();
    assert_eq!(period(session), ["2026-11-10T08:00:01Z", "2026-11-10T08:00:02Z"]);
    let tax = rows.last().unwrap();
    assert_eq!(period(tax), ["2026-10-31T16:00:00Z", "2026-11-30T16:00:00Z"]);
}

#[test]
fn a_line_of_ubl_has_its_days_inside_the_period_of_the_document() {
    let mut document = cut();
    let note = credit_note(&document, CreditScope::Rest);
    // Late usage of a part of October: a line's period may not be outside of the document's.
    let fee = document.lines.last_mut().unwrap();
    fee.corrects = Some("2026-10".to_owned());
    fee.part = Some(Period { start: at("2026-10-10T02:00:00Z"), end: at("2026-10-31T16:00:00Z") });

    let [invoice, note] = [&document, &note].map(|document| text(document, Format::Ubl, &[]));

    let days = |first: &str, last: &str| {
        format!(
            "</cbc:AccountingCost>\n    <cac:InvoicePeriod>\n      \
             <cbc:StartDate>{first}</cbc:StartDate>\n      \
             <cbc:EndDate>{last}</cbc:EndDate>\n    </cac:InvoicePeriod>"
        )
    };
    assert!(invoice.contains(&days("2026-11-01", "2026-11-10")), "{invoice}");
    assert_eq!(invoice.matches("<cac:InvoicePeriod>").count(), 2, "{invoice}");
    let late = "<cbc:Note>Late usage of 2026-10, from 2026-10-10 10:00 +08:00 until";
    assert!(invoice.contains(late), "{invoice}");
    assert!(note.contains(&days("2026-11-10", "2026-11-30")), "{note}");
}
