//! The life of an invoice as finance leads it from a terminal.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use permille_types::{Clock, RequestId, SystemClock, TokenClass, UsageEvent};
use support::{Finished, Folder, books, eventually};

/// The id of a new draft of a month that has ended, in which nothing was used.
fn draft(folder: &Folder, customer: &str) -> String {
    let args = ["invoice", "draft", "--customer", customer, "--period", "2026-10"];
    folder.json(&args)["id"].as_str().unwrap().to_owned()
}

#[test]
fn finance_takes_invoices_from_draft_to_paid_and_sees_who_did_what() {
    let folder = Folder::new();
    for customer in ["acme", "globex"] {
        folder.key(customer, "CNY");
    }
    let (acme, globex) = (draft(&folder, "acme"), draft(&folder, "globex"));

    let early = folder.run(&["invoice", "finalize", &acme]).refused(1);
    let approved = folder.lines(&["invoice", "approve", &acme, &globex]);
    let issued = folder.lines(&["invoice", "finalize", &globex, &acme]);
    let shown = folder.text(&["invoice", "show", "INV-2026-000002"]);
    let document = folder.text(&["invoice", "document", &acme]);
    folder.text(&["invoice", "pay", "INV-2026-000002", "--reference", "SEPA 42"]);
    folder.text(&["invoice", "void", "INV-2026-000001", "--reason", "wrong customer"]);

    assert!(early.contains("accepted: an approved invoice"), "{early}");
    assert!(approved.iter().all(|invoice| invoice["state"] == "approved"), "{approved:?}");
    let numbers: Vec<_> = issued.iter().map(|invoice| invoice["number"].clone()).collect();
    assert_eq!(numbers, ["INV-2026-000001", "INV-2026-000002"]);
    assert!(shown.contains("INV-2026-000002 (final)"), "{shown}");
    assert_eq!(folder.text(&["invoice", "document", "INV-2026-000002"]), document);
    assert!(document.contains(r#""state":"final""#), "{document}");
    let history = folder.text(&["invoice", "history", &acme]);
    for word in ["draft", "approve", "finalize", "pay", "local commands", "SEPA 42"] {
        assert!(history.contains(word), "{word}: {history}");
    }
    let states: Vec<_> =
        folder.lines(&["invoice", "list"]).iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["paid", "void"]);
    let credit = ["invoice", "credit", "INV-2026-000002", "--reason", "a test"];
    let nothing = folder.run(&credit).refused(1);
    assert!(nothing.contains("nothing left to credit"), "{nothing}");
    assert!(folder.text(&["invoice", "credit-notes"]).contains("no credit notes"));
    let unknown = folder.run(&["invoice", "credit-note", "CN-2026-000001"]).refused(1);
    assert!(unknown.contains("CN-2026-000001"), "{unknown}");
}

#[test]
fn an_invoice_is_paid_in_parts_and_what_was_too_much_goes_back() {
    let folder = Folder::new();
    folder.key("acme", "CNY");
    let plan = folder.path().join("plan.toml");
    let fee =
        "[[plan]]\nname = \"team\"\nkind = \"subscription\"\ncurrency = \"CNY\"\nfee = \"12\"\n";
    std::fs::write(&plan, fee).unwrap();
    folder.text(&["plan", "add", plan.to_str().unwrap()]);
    let from = ["--plan", "team", "--plan-from", "2026-10-01T00:00:00Z"];
    folder.text(&[&["customer", "set", "acme"][..], &from].concat());
    let id = draft(&folder, "acme");
    let several = folder.run(&["invoice", "approve", &id, &id, "--total", "12.00"]).refused(2);
    folder.text(&["invoice", "approve", &id, "--total", "12.00"]);
    folder.text(&["invoice", "finalize", &id]);
    let number = "INV-2026-000001";

    let some = ["invoice", "pay", number, "--amount", "5", "--reference", "SEPA 1"];
    let some = [&some[..], &["--date", "2026-11-03"]].concat();
    let part = folder.text(&some);
    assert_eq!(folder.text(&some), part, "told again it is booked once");
    let other = folder.run(&some[..some.len() - 2]).refused(1);
    assert!(other.contains("reference `SEPA 1`") && other.contains("2026-11-03"), "{other}");
    let above = folder.run(&["invoice", "pay", number, "--amount", "7.01"]).refused(1);
    let paid = folder.text(&["invoice", "pay", number]);
    folder.text(&["invoice", "credit", number, "--amount", "2", "--reason", "goodwill"]);
    let back = folder.text(&["invoice", "refund", number, "--reference", "SEPA back"]);
    let page = folder.text(&["invoice", "export", number, "--format", "html"]);

    assert!(several.contains("accepted: one id with it"), "{several}");
    assert!(
        part.contains("(final)") && part.contains("5.00 paid, 0.00 credited, 7.00 due"),
        "{part}"
    );
    assert!(above.contains("up to 7.00, which is due"), "{above}");
    assert!(paid.contains("(paid)") && paid.contains("12.00 paid"), "{paid}");
    let standing = "12.00 paid, 2.00 credited, 2.00 paid back, 0.00 due";
    assert!(back.contains(standing), "{back}");
    assert!(page.contains("Paid back") && page.contains("CNY"), "{page}");
    let history = folder.text(&["invoice", "history", number]);
    assert!(history.contains("5.00 CNY on 2026-11-03, 7.00 CNY is due: SEPA 1"), "{history}");
    assert!(history.contains("2.00 CNY, 0.00 CNY is due: SEPA back"), "{history}");
}

#[test]
fn what_invoices_say_of_a_customer_is_set_shown_and_taken_away() {
    let folder = Folder::new();
    folder.key("acme", "EUR");

    let set = folder.text(&[
        "customer",
        "set",
        "acme",
        "--tax",
        "VAT=19",
        "--tax-id",
        "DE123456789",
        "--billing-address",
        "1 Main Street",
        "--billing-address",
        "10115 Berlin",
        "--purchase-order",
        "PO-1",
        "--notes",
        "Thank you.",
    ]);
    let draft = folder.text(&[
        "invoice",
        "draft",
        "--customer",
        "acme",
        "--period",
        "2026-10",
        "--purchase-order",
        "PO-2",
    ]);
    let cleared = folder
        .json(&["customer", "set", "acme", "--no-tax", "--clear", "tax-id", "--clear", "notes"]);

    for word in ["VAT 19%", "DE123456789", "1 Main Street", "10115 Berlin", "PO-1", "Thank you."] {
        assert!(set.contains(word), "{word}: {set}");
    }
    for word in ["VAT 19%", "bill to   1 Main Street", "order     PO-2", "notes     Thank you."] {
        assert!(draft.contains(word), "{word}: {draft}");
    }
    assert!(cleared.get("tax").is_none() && cleared.get("notes").is_none(), "{cleared}");
    assert_eq!(cleared["purchase_order"], "PO-1");
    let history = folder.text(&["customer", "history", "acme"]);
    assert!(history.contains("tax, tax_id, billing_address"), "{history}");

    for (args, code, named) in [
        (&["--tax", "VAT"][..], 2, "--tax"),
        (&["--tax", "VAT=much"], 1, "much"),
        (&["--tax", "VAT=101"], 1, "tax.percent"),
        (&["--reverse-charge"], 1, "tax_id"),
        (&["--reverse-charge", "--tax", "VAT=1"], 2, "--tax"),
        (&["--tax-exempt", " "], 1, "tax.reason"),
    ] {
        let refusal = folder.run(&[&["customer", "set", "acme"], args].concat()).refused(code);
        assert!(refusal.contains(named), "{args:?}: {refusal}");
    }
}

#[test]
fn a_month_is_closed_by_two_tokens_and_opened_by_a_recorded_decision() {
    let folder = Folder::new();
    folder.key("acme", "CNY");
    let token = |role: &str| {
        let made = folder.json(&["token", "create", "--role", role, "--name", role]);
        made["secret"].as_str().unwrap().to_owned()
    };
    let (operator, finance) = (token("operator"), token("finance"));
    let sign = |token: &str| {
        let mut command = folder.command(&["close", "--period", "2026-10", "--sign"]);
        Finished::of(command.env("PERMILLE_TOKEN", token))
    };

    let prepared = folder.text(&["close", "--period", "2026-10"]);
    let future = folder.run(&["close", "--period", "2999-01"]).refused(1);
    let nonsense = folder.run(&["close", "--period", "october"]).refused(1);
    let admin = folder.run(&["close", "--period", "2026-10", "--sign"]).refused(1);
    let first = sign(&operator).succeeded().stdout;
    let twice = sign(&operator).refused(1);
    let second = sign(&finance).succeeded().stdout;
    let closed = folder.run(&["close", "--period", "2026-10"]).refused(1);
    let args = ["invoice", "draft", "--customer", "acme", "--period", "2026-10"];
    let draft = folder.run(&args).refused(1);
    let reopen = ["close", "--period", "2026-10", "--reopen", "--reason", "wrong VAT"];
    let opened = folder.text(&reopen);

    assert!(
        prepared.contains("in order: sign with --sign as operator and as finance"),
        "{prepared}"
    );
    assert!(future.contains("has not ended"), "{future}");
    assert!(nonsense.contains("a month such as 2026-11"), "{nonsense}");
    assert!(admin.contains("role operator"), "{admin}");
    assert!(first.contains("signed by operator (operator)"), "{first}");
    assert!(twice.contains("signed by operator already"), "{twice}");
    assert!(second.contains("(closed)"), "{second}");
    assert!(closed.contains("is closed") && draft.contains("is closed"), "{closed} {draft}");
    assert!(opened.contains("(open)") && opened.contains("wrong VAT"), "{opened}");
    assert_eq!(folder.run(&["close", "--period", "2026-10", "--reopen"]).code, 2);
}

/// A price file of one model.
fn entry(currency: &str, input: &str, more: &str) -> String {
    format!(
        "[[price]]\nmodel = \"new\"\ncurrency = \"{currency}\"\nsource = \"s\"\n\
         from = 2026-12-01T00:00:00Z\ninput = \"{input}\"\n{more}\n"
    )
}

#[test]
fn what_makes_no_sense_of_money_is_refused_by_name_and_nothing_is_done() {
    let folder = Folder::new();
    folder.key("acme", "CNY");
    folder.key("globex", "USD");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plan = "[[plan]]\nname = \"team\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                fee = \"12\"\n";
    let plan = file("plan.toml", plan);
    folder.text(&["plan", "add", &plan]);
    let from = ["--plan", "team", "--plan-from", "2026-10-01T00:00:00Z"];
    folder.text(&[&["customer", "set", "acme"][..], &from].concat());
    let globex = "customer = \"globex\"";
    let negative = file("negative.toml", &entry("CNY", "-1", ""));
    let unknown = file("unknown.toml", &entry("XYZ", "1", ""));
    let theirs = file("theirs.toml", &entry("CNY", "1", globex));
    let twice = file("twice.toml", &(entry("CNY", "1", "") + &entry("CNY", "2", "")));
    let charge = "[[charge]]\nname = \"c\"\nkind = \"unit\"\ncurrency = \"CNY\"\nunit = \"1\"\n\
                  from = 2026-12-01T00:00:00Z\n";
    let charge = file("charge.toml", &format!("{charge}{globex}\n"));
    let id = draft(&folder, "acme");
    let [negative, unknown, theirs, twice, charge, id] =
        [&negative, &unknown, &theirs, &twice, &charge, &id].map(String::as_str);
    let all = || {
        let lists = [&["grant", "list"][..], &["invoice", "history", id]];
        lists.map(|args| folder.lines(args))
    };
    let refuses = |calls: &[(&[&str], &[&str])]| {
        let before = all();
        for (args, parts) in calls {
            let refusal = folder.run(args).refused(1);
            for part in *parts {
                assert!(refusal.contains(part), "{args:?}: no `{part}` in: {refusal}");
            }
        }
        assert_eq!(all(), before);
    };
    let grant = ["grant", "add", "--customer", "globex", "--reason", "r", "--amount"];
    let simulate = ["simulate", "--plan", &plan, "--period", "2999-01", "--customer", "acme"];
    let draft = ["invoice", "draft", "--customer", "acme", "--period"];
    let import = ["price", "import", "--apply"];

    refuses(&[
        (&[&import[..], &[negative]].concat(), &["price 1 (`new`)", "`input`", "-1 is negative"]),
        (&[&import[..], &[unknown]].concat(), &["`currency`", "`XYZ`", "ISO 4217"]),
        (&[&import[..], &[twice]].concat(), &["price of `new`", "hold at the same time"]),
        (&[&import[..], &[theirs]].concat(), &["currency `CNY`", "USD, which globex pays"]),
        (&["charge", "add", charge], &["currency `CNY`", "USD, which globex pays"]),
        (&["customer", "set", "globex", "--plan", "team"], &["plan `team`", "this one is in CNY"]),
        (&[&grant[..], &["5 CNY"]].concat(), &["currency `CNY`", "USD, which globex pays"]),
        (&[&grant[..], &["-5"]].concat(), &["amount `-5`", "above 0"]),
        (&simulate, &["period `2999-01`", "a month that has begun"]),
        (&[&draft[..], &["2999-01"]].concat(), &["period `2999-01`", "a month that has begun"]),
        (&["invoice", "approve", id, "--total", "12 USD"], &["currency `USD`", "CNY, the", id]),
    ]);
    folder.text(&["invoice", "approve", id, "--total", "12 CNY"]);
    folder.text(&["invoice", "finalize", id]);
    let credit = ["invoice", "credit", id, "--reason", "goodwill", "--amount"];
    let number = "INV-2026-000001";
    refuses(&[
        (&["invoice", "pay", id, "--amount", "5 USD"], &["currency `USD`", "CNY, the", number]),
        (&["invoice", "pay", id, "--amount", "-5"], &["amount `-5`", "up to 12.00"]),
        (&[&credit[..], &["5 USD"]].concat(), &["currency `USD`", "CNY, the currency", number]),
        (&[&credit[..], &["12.01"]].concat(), &["amount `12.01`", "up to 12.00, which is left"]),
        (&[&draft[..], &["2026-10"]].concat(), &[number, "has billed 2026-10"]),
    ]);
    folder.text(&["invoice", "pay", id, "--amount", "12 CNY"]);
    folder.text(&[&credit[..], &["2 CNY"]].concat());
    refuses(&[(&["invoice", "refund", id, "--amount", "2 USD"], &["currency `USD`", "CNY, the"])]);
    let back = folder.text(&["invoice", "refund", id, "--amount", "2 CNY"]);
    assert!(back.contains("2.00 paid back"), "{back}");
    is_disputed_and_answered(&folder, number);
}

/// The first line of an invoice that has one and a credit note, disputed and answered.
fn is_disputed_and_answered(folder: &Folder, number: &str) {
    let open = ["dispute", "open", number, "--line", "1", "--reason", "we cancelled that run"];
    let none = folder.run(&[&open[..4], &["2"], &open[5..]].concat()).refused(1);
    let opened = folder.json(&open);
    let dispute = opened["id"].as_str().unwrap();
    let close = folder.text(&["close", "--period", "2026-10"]);
    let shown = folder.text(&["dispute", "show", dispute]);
    let answer = ["dispute", "resolve", dispute, "--note", "agreed"];
    let credit_note = folder.lines(&["invoice", "credit-notes"])[0]["number"].clone();
    let accept = ["--accept", "--credit-note", credit_note.as_str().unwrap()];
    let resolved = folder.text(&[&answer[..], &accept].concat());
    let twice = folder.run(&[&answer[..], &["--reject"]].concat()).refused(1);

    assert!(none.contains("line `2`") && none.contains("accepted: 1 to 1"), "{none}");
    assert!(close.contains(&format!("open: {number} ({dispute})")), "{close}");
    assert!(
        shown.contains("we cancelled that run") && shown.contains("document_sha256"),
        "{shown}"
    );
    assert!(resolved.contains("accepted") && resolved.contains("CN-2026-000001"), "{resolved}");
    assert!(twice.contains("is accepted already"), "{twice}");
    assert!(folder.text(&["dispute", "list"]).contains("line 1"));
    let trail = folder.text(&["audit", "plan", "team"]);
    assert!(trail.contains("add") && trail.contains("local commands"), "{trail}");
    assert!(folder.run(&["audit", "plans", "team"]).refused(1).contains("noun `plans`"));
}

/// The running month of `c1` and `c2`, who have used 20.00 of it, `c1` under a plan with that
/// threshold; and the refusal of a plan whose threshold is 0.
async fn running(folder: &Folder) -> (String, String) {
    let price = "[[price]]\nmodel = \"cents\"\ncurrency = \"CNY\"\nsource = \"a test\"\n\
                 from = 2023-10-01T00:00:00Z\ninput = \"10\"\n";
    folder.config(price);
    folder.text(&["customer", "list"]);
    let plan = folder.path().join("plan.toml");
    let terms = "[[plan]]\nname = \"progressive\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                 fee = \"31\"\nthreshold = \"VALUE\"\n";
    let of = |value: &str| std::fs::write(&plan, terms.replace("VALUE", value)).unwrap();
    of("0");
    let add = ["plan", "add", plan.to_str().unwrap()];
    let refused = folder.run(&add).refused(1);
    of("20");
    folder.text(&add);
    let ledger = books::open(folder).await;
    let now = SystemClock.now();
    let mut events = Vec::new();
    for number in 1..=2 {
        let (customer, key) = books::customer(&ledger, number).await;
        events.push(UsageEvent {
            request_id: RequestId::new(now),
            at: now,
            model_requested: "cents".parse().unwrap(),
            tokens: [(TokenClass::INPUT_UNCACHED, 2_000)].into(),
            ..books::october(number, customer.as_str(), key.as_str())
        });
    }
    books::accept(&ledger, &events).await;
    ledger.close().await;
    let label = now.format("%Y-%m").to_string();
    assign(folder, "c1", &label);
    (label, refused)
}

/// Gives a customer the plan from the start of a month on.
fn assign(folder: &Folder, customer: &str, label: &str) {
    let from = format!("{label}-01T00:00:00Z");
    folder.text(&["customer", "set", customer, "--plan", "progressive", "--plan-from", &from]);
}

#[tokio::test]
async fn a_running_month_is_invoiced_in_parts_and_verified_offline() {
    let folder = Folder::new();
    let (label, refused) = running(&folder).await;

    let of_month = ["--customer", "c1", "--period", &label];
    let interim = [&of_month[..], &["--interim"]].concat();
    let preview = folder.text(&[&["invoice", "preview"], &interim[..]].concat());
    let draft = folder.json(&[&["invoice", "draft"], &interim[..]].concat());
    let id = draft["id"].as_str().unwrap();
    folder.text(&["invoice", "approve", id, "--total", "20.00"]);
    let number = folder.json(&["invoice", "finalize", id])["number"].as_str().unwrap().to_owned();
    let issued = folder.text(&["invoice", "document", &number]);
    let shown = folder.text(&["invoice", "show", &number]);
    let list = folder.text(&["invoice", "list"]);
    let whole = folder.text(&[&["invoice", "preview"], &of_month[..]].concat());
    let nothing = folder.run(&[&["invoice", "draft"], &interim[..]].concat()).refused(1);
    let files = folder.path().join("evidence");
    let said = folder.text(&["invoice", "evidence", &number, "--dir", files.to_str().unwrap()]);
    let command = said.lines().find(|line| line.contains("permille verify")).unwrap();
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    let right = Folder::new().text(&arguments);

    assert!(refused.contains("`threshold`: 0 is not accepted; accepted: above 0"), "{refused}");
    assert!(preview.starts_with("Interim invoice (preview)"), "{preview}");
    assert!(preview.contains("20.00") && !preview.contains("31.00"), "{preview}");
    let issued: serde_json::Value = serde_json::from_str(&issued).unwrap();
    let head = &issued["records"][0];
    let cells = [&head["period"], &head["root"]].map(|cell| cell.as_str().unwrap());
    let root = shown.lines().find(|row| cells.iter().all(|cell| row.contains(cell)));
    let size = root.and_then(|row| row.split_whitespace().nth(1));
    assert_eq!(size, Some(&*head["size"].to_string()), "{head}: {shown}");
    assert!(list.contains(&format!("{label} (interim)")), "{list}");
    assert!(whole.starts_with("Invoice (preview)") && whole.contains("31.00"), "{whole}");
    let before = format!("billed of this month by interim invoices: {number} 20.00");
    assert!(whole.contains(&before), "{whole}");
    assert!(nothing.contains("has 0.00 that is not billed"), "{nothing}");
    assert!(right.contains(&format!("{number} is right")), "{right}");
}

/// The first look is at the start; what was drafted before is not drafted again by the next.
#[tokio::test]
async fn a_server_drafts_over_a_reached_threshold_once() {
    let folder = Folder::new();
    let (label, _) = running(&folder).await;
    let drafted = |customer: &str| {
        let listed = folder.lines(&["invoice", "list", "--customer", customer]);
        listed.iter().map(|draft| draft["total"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    let mut server = folder.serve().await;
    let first = eventually("a draft", async || Some(drafted("c1")).filter(|d| !d.is_empty())).await;
    let others = drafted("c2");
    assert!(server.stop().await.success());
    assign(&folder, "c2", &label);
    let mut server = folder.serve().await;
    // Customers are looked at in the order of their names.
    let second =
        eventually("another", async || Some(drafted("c2")).filter(|d| !d.is_empty())).await;
    let again = drafted("c1");
    assert!(server.stop().await.success());

    assert_eq!((first, others.len()), (vec!["20.00".to_owned()], 0));
    assert_eq!((second, again), (vec!["20.00".to_owned()], vec!["20.00".to_owned()]));
}
