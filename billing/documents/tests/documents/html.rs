//! HTML pages: what they say, in both languages.

use permille_documents::{BilledBefore, Document, Export, Format, Language, Logo};
use permille_rating::invoice::{CreditScope, TaxTerms};
use permille_types::TurnKind;

use crate::samples::{
    ROOT, credit_note, decimal, export, invoice, november, request, text, vat, written,
};

#[test]
fn every_amount_of_the_document_stands_on_the_pages() {
    let requests = november();
    let document = invoice(&requests, vat("6"));
    for language in [Language::English, Language::Chinese] {
        let wanted = Export { language, ..export(&document, Format::Html) };

        let page = String::from_utf8(written(wanted, &requests, 1)).unwrap();

        for line in &document.lines {
            assert!(page.contains(&format!("<td class=\"n\">{}</td>", line.amount)), "{line:?}");
        }
        for amount in [document.net, document.total, document.taxes[0].amount] {
            assert!(page.contains(&amount.to_string()), "{amount}");
        }
        // 141,676 input tokens in three requests, half of them sent again.
        assert!(page.contains("49.9 %"), "{page}");
        for said in ["ACME 有限公司", "PO-7", "Thank you.", "Bank of Test", "41.667", "s-1"] {
            assert!(page.contains(said), "{said}");
        }
        assert!(page.contains(&"ab".repeat(32)));
    }
}

#[test]
fn the_root_over_the_records_stands_under_how_to_verify() {
    let requests = november();
    let document = invoice(&requests, vat("6"));
    for (language, heading) in
        [(Language::English, "How to verify"), (Language::Chinese, "如何核验")]
    {
        let wanted = Export { language, ..export(&document, Format::Html) };

        let page = String::from_utf8(written(wanted, &requests, 1)).unwrap();

        let (_, verify) = page.split_once(heading).unwrap();
        let row = format!("<td>2026-11</td><td class=\"n\">1,203</td><td><code>{ROOT}</code></td>");
        assert!(verify.contains(&row), "{verify}");
    }
    let note = text(&credit_note(&document, CreditScope::Rest), Format::Html, &[]);
    assert!(!note.contains("Merkle"), "a credit note has no records: {note}");
}

#[test]
fn each_language_has_its_words() {
    let requests = november();
    let document = invoice(&requests, TaxTerms::ReverseCharge);
    let english = text(&document, Format::Html, &requests);
    let chinese = Export { language: Language::Chinese, ..export(&document, Format::Html) };
    let chinese = String::from_utf8(written(chinese, &requests, 1)).unwrap();

    for word in ["Amount due", "Multi-turn sessions", "Sent again", "Reverse charge"] {
        assert!(english.contains(word) && !chinese.contains(word), "{word}");
    }
    for word in ["应付金额", "多轮会话汇总", "重复发送", "反向征收", "缓存读取"]
    {
        assert!(chinese.contains(word) && !english.contains(word), "{word}");
    }
    assert!(chinese.contains("lang=\"zh-CN\""));
}

#[test]
fn what_is_sent_again_is_of_the_input_of_every_request_with_a_place() {
    let turns = [
        ("s-1", Some(TurnKind::New), 13, None),
        ("s-1", Some(TurnKind::Continue), 126, Some(113)),
        ("s-1", Some(TurnKind::Continue), 239, Some(226)),
        ("s-2", Some(TurnKind::New), 50, None),
        ("s-3", None, 70, None),
    ];
    let requests: Vec<_> = (1..)
        .zip(turns)
        .map(|(number, (session, turn_kind, input, resent_tokens))| permille_documents::Request {
            turn_kind,
            resent_tokens,
            ..request(number, session, "ERNIE-Bot", &[("input_uncached", input)])
        })
        .collect();
    let document = invoice(&requests, TaxTerms::None);

    let page = text(&document, Format::Html, &requests);

    let row = |name: &str| {
        let row = page.split(&format!("<td>{name}</td>")).nth(1).unwrap();
        let cells = row.split("</tr>").next().unwrap().split("<td class=\"n\">").skip(3).take(2);
        cells.map(|cell| cell.trim_end_matches("</td>").to_owned()).collect::<Vec<_>>()
    };
    // 13 + 126 + 239, of which 339 were sent again: what `permille session show` says.
    assert_eq!(row("s-1"), ["378", "89.6 %"]);
    assert_eq!(row("s-2"), ["50", "0.0 %"]);
    assert_eq!(row("s-3"), ["–", "–"]);
    assert_eq!(row("All sessions (3)"), ["428", "79.2 %"]);
    assert!(page.contains("place in a conversation is not known"), "{page}");
}

#[test]
fn a_draft_and_a_credit_note_say_what_they_are() {
    let requests = november();
    let mut document = invoice(&requests, vat("6"));
    let note = credit_note(&document, CreditScope::Rest);
    document.kind = permille_documents::Kind::Invoice(permille_documents::Status::Draft);

    assert!(text(&document, Format::Html, &requests).contains(">DRAFT<"));
    let note = text(&note, Format::Html, &[]);
    for said in ["Credit note", "CN-2026-000001", "INV-2026-000001", "wrong price"] {
        assert!(note.contains(said), "{said}");
    }
}

#[test]
fn a_logo_is_a_picture_and_runs_nothing() {
    let requests = november();
    let document = invoice(&requests, vat("6"));
    let mut wanted = export(&document, Format::Html);
    wanted.issuer.logo = Logo::of(b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec());

    let page = String::from_utf8(written(wanted, &requests, 1)).unwrap();

    assert!(page.contains("<img src=\"data:image/svg+xml;base64,PHN2"));
    assert!(page.contains("default-src 'none'"));
    assert!(Logo::of(b"GIF89a".to_vec()).is_none());
}

#[test]
fn an_interim_invoice_says_so_and_the_months_own_what_it_billed() {
    let requests = november();
    let month = invoice(&requests, vat("6"));
    let interim = Document { interim: true, ..month.clone() };
    let number = "INV-2026-000007".parse().unwrap();
    let before = BilledBefore { number, amount: decimal("1200.00") };
    let after = Document { billed_before: vec![before], ..month.clone() };

    let (month, interim, after) =
        [month, interim, after].map(|document| text(&document, Format::Html, &requests)).into();

    assert!(interim.contains("<h1>Interim invoice</h1>"), "{interim}");
    assert!(interim.contains("over the usage of the period so far"));
    assert!(month.contains("<h1>Invoice</h1>") && !month.contains("so far"));
    assert!(!month.contains("Billed before"));
    assert!(after.contains("<dt>Billed before</dt><dd>INV-2026-000007: 1,200.00 CNY</dd>"));
}
