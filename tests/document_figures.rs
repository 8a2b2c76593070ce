//! What the pages of a PDF say is what the issued text says, figure by figure and both ways: of an
//! invoice under a plan with prepaid credit and late lines, of a credit note, and of an interim
//! invoice.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use chrono::{DateTime, TimeDelta, Utc};
use permille_ledger::{
    Actor, CreditScope, CustomerChanges, Instruction, InvoiceTexts, Ledger, NewCredit, NewGrant,
    Role, TaxRate, TaxTerms,
};
use permille_types::{Clock, CustomerId, InvoiceId, SystemClock, TokenClass, UsageEvent};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;
use support::{Folder, books, sdk};

const PLAN: &str = r#"
[[plan]]
name = "team"
kind = "subscription"
currency = "CNY"
fee = "1234.50"
minimum = "2000"
[plan.allowance]
tokens = 300000
classes = ["input_uncached"]
"#;

/// Ten thousand tokens of a month cost 10, eleven cost 5.50.
const CHARGE: &str = r#"
[[charge]]
name = "output"
customer = "c1"
classes = ["output_text"]
from = 2026-01-01T00:00:00Z
kind = "volume"
currency = "CNY"
tiers = [ { up_to = "10", unit = "1" }, { unit = "0.5" } ]
"#;

const PAGES: &str = "
import sys, json, pypdfium2
pdf = pypdfium2.PdfDocument(sys.argv[1])
print(json.dumps('\\n'.join(page.get_textpage().get_text_range() for page in pdf)))
";

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

struct Books {
    ledger: Ledger,
    finance: Instruction,
    customer: CustomerId,
    event: UsageEvent,
    used: u64,
}

impl Books {
    async fn open(folder: &Folder) -> Self {
        let ledger = books::open(folder).await;
        let token = ledger.create_token(Role::Finance, None).await.unwrap().token;
        let finance = Instruction::new(Actor::of(&token), None).unwrap();
        let (customer, key) = books::customer(&ledger, 1).await;
        let event = books::october(1, customer.as_str(), key.as_str());
        Self { ledger, finance, customer, event, used: 0 }
    }

    /// A turn of a conversation, half of whose input was sent before.
    async fn used(&mut self, at: &str, session: &str, tokens: [u64; 2]) {
        let mut event = self.event.clone();
        let at: DateTime<Utc> = at.parse().unwrap();
        event.request_id = permille_types::RequestId::new(at);
        event.at = at;
        event.session = session.parse().unwrap();
        event.turn = 2;
        event.tokens =
            [(TokenClass::INPUT_UNCACHED, tokens[0]), (TokenClass::OUTPUT_TEXT, tokens[1])].into();
        event.input_total = Some(tokens[0]);
        event.turn_kind = Some(permille_types::TurnKind::Continue);
        event.resent_tokens = Some(tokens[0] / 4);
        self.used += 1;
        let sequenced =
            permille_types::Sequenced { sequence: self.used, payload: event.to_payload().into() };
        let batch = permille_types::Batch { node: "n1".parse().unwrap(), events: vec![sequenced] };
        assert_eq!(self.ledger.accept(&batch).await.unwrap().booked, 1);
    }

    async fn finalize(&self, id: InvoiceId) -> String {
        self.ledger.approve_invoice(&id, &self.finance).await.unwrap();
        let invoice = self.ledger.finalize_invoice(&id, &self.finance).await.unwrap();
        invoice.number.unwrap().to_string()
    }

    async fn issue(&self, period: &str) -> (InvoiceId, String) {
        let draft = self.ledger.draft_invoice(&self.customer, period, &self.finance);
        let id = draft.await.unwrap().id.unwrap();
        (id.clone(), self.finalize(id).await)
    }
}

/// Issues all four; gives their numbers.
async fn issue_all(folder: &Folder) -> [String; 4] {
    let mut books = Books::open(folder).await;
    let rate = TaxRate { name: "VAT".to_owned(), percent: decimal("6") };
    let tax = Some(TaxTerms::Standard { rates: vec![rate] });
    let changes = CustomerChanges { tax, ..CustomerChanges::default() };
    books.ledger.change_customer(&books.customer, changes, &books.finance).await.unwrap();
    books.ledger.add_charges(CHARGE, &books.finance).await.unwrap();
    books.ledger.add_plans(PLAN, &books.finance).await.unwrap();
    books.used("2026-09-10T10:00:00Z", "s-0", [41_666, 10_000]).await;
    let (_, september) = books.issue("2026-09").await;
    let from = "2026-10-01T00:00:00Z".parse().unwrap();
    books.ledger.assign_plan(&books.customer, "team", Some(from), &books.finance).await.unwrap();
    let grant = NewGrant {
        amount: decimal("100.37"),
        currency: None,
        paid: decimal("100"),
        priority: 0,
        from: Some("2026-09-01T00:00:00Z".parse().unwrap()),
        expires_at: None,
        models: Vec::new(),
        reason: "top-up".to_owned(),
    };
    books.ledger.add_grant(&books.customer, &grant, &books.finance).await.unwrap();
    // Comes late, and costs less than nothing: 5.50 instead of 10.
    books.used("2026-09-20T10:00:00Z", "s-0", [0, 1_000]).await;
    books.used("2026-10-05T10:00:00Z", "s-1", [1_234_567, 333]).await;
    books.used("2026-10-06T10:00:00Z", "s-2", [100_001, 4_321]).await;
    let (id, october) = books.issue("2026-10").await;
    let scope = CreditScope::Amount(decimal("1799.99"));
    let new = NewCredit { scope, currency: None, reason: "charged twice".to_owned() };
    let note = books.ledger.credit_invoice(&id, &new, &books.finance).await.unwrap();
    let now = SystemClock.now();
    let running = now.format("%Y-%m").to_string();
    let just_now = now - TimeDelta::seconds(1);
    let month_start: DateTime<Utc> = format!("{running}-01T00:00:00Z").parse().unwrap();
    let at = just_now.max(month_start).to_rfc3339();
    books.used(&at, "s-3", [888_888, 77]).await;
    let draft = books
        .ledger
        .draft_interim(&books.customer, &running, InvoiceTexts::default(), &books.finance)
        .await
        .unwrap();
    let interim = books.finalize(draft.id.unwrap()).await;
    books.ledger.close().await;
    [september, october, note.number.to_string(), interim]
}

fn grouped(amount: &str) -> String {
    let (sign, digits) = amount.strip_prefix('-').map_or(("", amount), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut out = sign.to_owned();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if fraction.is_empty() { out } else { format!("{out}.{fraction}") }
}

/// The price of a line whose amount is quantity × price.
fn price(line: &Value) -> Option<Decimal> {
    let price = line["price_per_thousand"].as_str().or(line["price_per_unit"].as_str())?;
    line["charge"].is_null().then(|| decimal(price))
}

/// How the amounts of charges came about: quantities, prices and amounts of their steps.
fn of_charges(json: &Value) -> BTreeSet<String> {
    let figures = |of: &Value, names: &[&str]| {
        let texts = names.iter().filter_map(|name| of[*name].as_str().map(decimal));
        texts.filter(|figure| !figure.is_zero()).collect::<Vec<_>>()
    };
    let (mut all, mut shown) = (Vec::new(), BTreeSet::new());
    for charge in json["charges"].as_array().into_iter().flatten() {
        for step in charge["steps"].as_array().unwrap() {
            all.extend(figures(step, &["quantity", "unit_price", "amount"]));
        }
        all.extend(figures(charge, &["quantity"]));
        let rounded = ["amount", "billed"].map(|name| charge[name].as_str().unwrap().to_owned());
        let before = charge["billed_before"].as_str().map(|before| (-decimal(before)).to_string());
        shown.extend(rounded.into_iter().chain(before).map(|amount| grouped(&amount)));
    }
    shown.extend(all.into_iter().map(|figure| grouped(&figure.normalize().to_string())));
    shown
}

/// Every figure of the issued text that pages show, as they show it.
fn figures(json: &Value) -> BTreeSet<String> {
    let shown = |value: &Value| value.as_str().map(grouped);
    let mut figures = BTreeSet::new();
    for line in json["lines"].as_array().unwrap() {
        figures.extend(shown(&line["amount"]));
        if let Some(thousands) = line["quantity_thousand"].as_str() {
            figures.insert(grouped(&format!("{:.3}", decimal(thousands))));
        }
        if let Some(price) = price(line) {
            figures.insert(grouped(&price.normalize().to_string()));
        }
    }
    figures.extend(of_charges(json));
    for tax in json["tax"].as_array().unwrap() {
        figures.extend(shown(&tax["amount"]));
        figures.extend(shown(&tax["base"]));
    }
    for name in ["net", "total"] {
        figures.extend(shown(&json[name]));
    }
    // Where credit pays, pages go from the tax to what is left; else the gross is the total.
    match json["prepaid"].as_str() {
        Some(prepaid) => figures.extend([format!("-{}", grouped(prepaid))]),
        None => figures.extend(shown(&json["gross"])),
    }
    figures.retain(|figure| figure.contains('.'));
    figures
}

/// Sums that pages show beside: of a model's lines and of a project's.
fn sums(json: &Value) -> BTreeSet<String> {
    let mut sums: BTreeMap<String, Decimal> = BTreeMap::new();
    for line in json["lines"].as_array().unwrap() {
        let [model, project, class] = ["model", "project", "class"].map(|key| &line[key]);
        let terms = ["fee", "commitment", "minimum", "charge"];
        let term = class.as_str().filter(|class| terms.contains(class)).unwrap_or_default();
        for of in [format!("model {model} {term}"), format!("project {project}")] {
            *sums.entry(of).or_default() += decimal(line["amount"].as_str().unwrap());
        }
    }
    sums.into_values().map(|sum| grouped(&sum.to_string())).collect()
}

/// Figures with decimal places in a text.
fn on_pages(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_digit() || ",.-".contains(c);
    text.split_whitespace()
        .filter(|word| word.contains('.') && word.chars().all(is_part))
        .filter(|word| word.ends_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

fn pages(folder: &Folder, number: &str, language: &str) -> String {
    let pdf = folder.path().join(format!("{number}.{language}.pdf"));
    let out = pdf.to_str().unwrap();
    folder
        .text(&["invoice", "export", number, "--format", "pdf", "--lang", language, "--out", out]);
    let output = Command::new(sdk::python()).args(["-c", PAGES]).arg(&pdf).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A price stands between the quantity and the amount of a line that is their product, and the
/// charge there of every other.
fn check_price(json: &Value, line: &Value, language: &str, squeezed: &str) {
    let Some(thousands) = line["quantity_thousand"].as_str() else { return };
    let (quantity, amount) = (decimal(thousands), line["amount"].as_str().unwrap());
    let [quantity_shown, amount_shown] = [&format!("{quantity:.3}"), amount].map(grouped);
    let price_of = decimal(line["price_per_thousand"].as_str().unwrap());
    let as_product = format!("{quantity_shown}{}{amount_shown}", price_of.normalize());
    if price(line).is_some() {
        let product = quantity * price_of;
        let away = RoundingStrategy::MidpointAwayFromZero;
        assert_eq!(product.round_dp_with_strategy(2, away), decimal(amount), "{line}");
        assert!(squeezed.contains(&as_product), "{line}: {as_product}: {squeezed}");
        return;
    }
    let charges = json["charges"].as_array().unwrap();
    let charge = charges.iter().find(|charge| charge["charge"] == line["charge"]).unwrap();
    let by_charge = if language == "en" { "bycharge" } else { "按计费项" };
    let name: String = charge["name"].as_str().unwrap().split_whitespace().collect();
    let row = format!("{quantity_shown}{by_charge}:{name}{amount_shown}");
    assert!(squeezed.contains(&row), "{line}: {row}: {squeezed}");
    assert!(!squeezed.contains(&as_product), "{line}: {as_product}: {squeezed}");
}

#[tokio::test]
async fn the_pages_of_every_kind_of_document_say_the_figures_of_its_text_and_no_others() {
    let folder = Folder::new();
    let fonts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.fonts/usr/share/fonts");
    folder.config(&format!(
        "[issuer]\nname = \"Permille GmbH\"\nfonts = [\"{}\"]\n",
        fonts.display()
    ));
    folder.text(&["customer", "list"]);

    let [september, october, note, interim] = issue_all(&folder).await;

    for number in [&september, &october, &note, &interim] {
        let json = folder.text(&["invoice", "export", number, "--format", "json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let wanted = figures(&json);
        assert!(wanted.len() > 4, "{number}: {wanted:?}");
        for (language, sessions) in [("en", "Multi-turn sessions"), ("zh", "多轮会话汇总")] {
            let text = pages(&folder, number, language);
            for head in json["records"].as_array().into_iter().flatten() {
                let root = format!("{}{}", head["size"], head["root"].as_str().unwrap());
                let squeezed: String = text.split_whitespace().collect();
                assert!(squeezed.contains(&root), "{number} {language} lacks {root}: {text}");
            }
            assert_eq!(json["records"].is_null(), number == &note, "{number}");
            let (text, of_sessions) = text.split_once(sessions).unwrap_or((&text, ""));
            let found = on_pages(text);

            let squeezed: String = text.split_whitespace().collect();
            for line in json["lines"].as_array().unwrap() {
                check_price(&json, line, language, &squeezed);
            }
            let missing: Vec<_> = wanted.difference(&found).collect();
            assert!(missing.is_empty(), "{number} {language} lacks {missing:?}: {text}");
            let allowed = &wanted | &sums(&json);
            let more: Vec<_> = found.difference(&allowed).collect();
            assert!(more.is_empty(), "{number} {language} has {more:?} too: {text}");
            assert!(text.contains(number.as_str()));
            // A note has no sessions, and of all input a quarter was sent before, to a token.
            assert_eq!(of_sessions.is_empty(), number == &note, "{number}: {of_sessions}");
            let resent = if number == &interim { "25.0 %" } else { "24.9 %" };
            let told = of_sessions.matches(resent).count();
            assert!(told > 1 || number == &note, "{number}: {of_sessions}");
        }
    }
    let json = folder.text(&["invoice", "export", &october, "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let lines = json["lines"].as_array().unwrap();
    let is_late = |line: &&Value| line["corrects"] == "2026-09";
    let late: Vec<&Value> = lines.iter().filter(is_late).collect();
    assert!(late.iter().any(|line| line["amount"] == "-4.50"), "{late:?}");
    for term in ["fee", "minimum"] {
        assert!(lines.iter().any(|line| line["class"] == term), "{term}: {lines:?}");
    }
    assert_eq!(json["prepaid"], "100.37");
}
