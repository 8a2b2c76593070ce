//! Shares add up to what they are shares of, however requests come.

use permille_documents::{Export, Format, Grain};
use permille_rating::invoice::TaxTerms;
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::samples::{decimal, export, invoice, request, rows, sum, vat, written};

/// Requests in the order of sessions: each is a session, a model and two counts.
pub(crate) fn requests() -> impl Strategy<Value = Vec<permille_documents::Request>> {
    let one = (0_u8..5, prop::bool::ANY, 0_u64..200_000, 0_u64..5_000);
    prop::collection::vec(one, 1..60).prop_map(|mut all| {
        all.sort_by_key(|(session, ..)| *session);
        (1..)
            .zip(all)
            .map(|(number, (session, ernie, input, output))| {
                let model = if ernie { "ERNIE-Bot" } else { "qwen-max" };
                let tokens = [("input_uncached", input), ("output_text", output)];
                request(number, &format!("s-{session}"), model, &tokens)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parts_add_up_to_the_whole_in_every_form(requests in requests(), piece in 1_usize..7) {
        let document = invoice(&requests, vat("6.25"));

        let lines = rows(&written(export(&document, Format::Csv), &requests, piece));
        let focus = rows(&written(export(&document, Format::Focus), &requests, piece));
        let of = |grain| Export { grain, ..export(&document, Format::Csv) };
        let sessions = rows(&written(of(Grain::Sessions), &requests, piece));
        let detail = rows(&written(of(Grain::Requests), &requests, piece));

        prop_assert_eq!(sum(&lines, "amount"), document.total);
        prop_assert_eq!(sum(&focus, "BilledCost"), document.total);
        prop_assert_eq!(sum(&sessions, "billed"), document.net);
        prop_assert_eq!(sum(&detail, "billed"), document.net);
        let tokens = |rows: &[std::collections::BTreeMap<String, String>]| sum(rows, "quantity");
        prop_assert_eq!(tokens(&sessions), tokens(&detail));
    }

    #[test]
    fn pieces_change_nothing(requests in requests()) {
        let document = invoice(&requests, TaxTerms::None);
        for format in [Format::Focus, Format::Html] {
            let whole = written(export(&document, format), &requests, usize::MAX);
            let piecewise = written(export(&document, format), &requests, 1);
            prop_assert_eq!(whole, piecewise);
        }
    }

    #[test]
    fn every_amount_on_the_pages_is_the_documents(requests in requests()) {
        let document = invoice(&requests, vat("6.25"));

        let page = written(export(&document, Format::Html), &requests, 3);

        let shown = of_detail(&String::from_utf8(page).unwrap());
        prop_assert_eq!(shown, document.net);
    }
}

/// Sum of the amounts of the lines that a page shows.
pub(crate) fn of_detail(page: &str) -> Decimal {
    let detail = page.split("<h2>Detail</h2>").nth(1).unwrap();
    let detail = detail.split("<h2>").next().unwrap();
    detail
        .split("<tr class=\"sum\">")
        .flat_map(|part| part.split("<tr><td>").skip(1))
        .map(|row| row.rsplit("<td class=\"n\">").next().unwrap())
        .map(|cell| decimal(&cell.split('<').next().unwrap().replace(',', "")))
        .sum()
}
