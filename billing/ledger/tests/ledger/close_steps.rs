//! A close in steps: it goes on where it stopped, and a draft that is true stays as it is.

use permille_ledger::{
    CloseStep, CustomerChanges, Instruction, Invoice, InvoiceIssuer, InvoiceState, LedgerError,
    NewGrant, Page, Progress, Role, SimulationLeftOut, Step, TextChange, Trial,
};
use permille_types::{Currency, CustomerId, UsageEvent};

use super::{
    closing::{documents, eight},
    simulations::{FLAT, two_sessions},
};
use crate::support::{Books, add_customer, add_key, at, batch, event, import};

const MONTH: &str = "2026-11";

async fn step(books: &Books, cursor: Option<String>, by: &Instruction) -> CloseStep {
    let step = Step::new(cursor, Some(4)).unwrap();
    books.ledger.prepare_close_step(MONTH, &step, by).await.unwrap()
}

async fn drafts(books: &Books) -> Vec<Invoice> {
    let mut drafts = Vec::new();
    for row in books.ledger.invoices(None, &Page::default()).await.unwrap().items {
        drafts.push(books.ledger.invoice(&row.id).await.unwrap());
    }
    drafts.retain(|draft| draft.period.label == MONTH);
    drafts.sort_by(|a, b| a.customer.id.cmp(&b.customer.id));
    drafts
}

/// How often each customer's invoice was drafted.
async fn drafted(books: &Books) -> Vec<(String, usize)> {
    let mut drafted = Vec::new();
    for invoice in drafts(books).await {
        let history = books.ledger.invoice_history(&invoice.id.unwrap()).await.unwrap();
        drafted.push((invoice.customer.id.to_string(), history.len()));
    }
    drafted
}

/// When each draft was last written, by id.
async fn written(books: &Books) -> Vec<chrono::DateTime<chrono::Utc>> {
    let rows = books.ledger.invoices(None, &Page::default()).await.unwrap().items;
    rows.into_iter().map(|row| row.updated_at).collect()
}

#[tokio::test]
async fn steps_draft_what_one_call_drafts_and_the_last_one_tells_what_is_left() {
    let (books, whole) = (Books::open().await, Books::open().await);
    eight(&books).await;
    eight(&whole).await;
    let (finance, by) = (books.as_role(Role::Finance).await, whole.as_role(Role::Finance).await);
    let expected = whole.ledger.prepare_close(MONTH, &by).await.unwrap();

    let first = step(&books, None, &finance).await;
    let second = step(&books, first.progress.next_cursor.clone(), &finance).await;
    let last = step(&books, second.progress.next_cursor.clone(), &finance).await;

    // `acme` has used nothing and is one of the nine.
    let progress = |done, next: Option<&str>| {
        let next_cursor = next.map(ToOwned::to_owned);
        Progress { done, of: 9, next_cursor }
    };
    assert_eq!((&first.progress, first.close.is_none()), (&progress(4, Some("c3")), true));
    assert_eq!((&second.progress, second.close.is_none()), (&progress(8, Some("c7")), true));
    assert_eq!(last.progress, progress(9, None));
    let close = last.close.unwrap();
    assert_eq!(close.checks, expected.checks);
    assert_eq!(documents(&books).await, documents(&whole).await);
    let noted = |history: &[permille_ledger::AuditEntry]| {
        history.iter().map(|entry| (entry.action.clone(), entry.detail.clone())).collect::<Vec<_>>()
    };
    assert_eq!(noted(&close.history), noted(&expected.history));
    assert_eq!(close.history[0].detail.as_deref(), Some("8 drafts made or renewed"));
    let too_many = Step::new(None, Some(1_001)).unwrap_err();
    assert!(too_many.to_string().contains("limit `1001`"), "{too_many}");
}

#[tokio::test]
async fn a_close_that_stopped_goes_on_where_it_was_and_a_whole_one_writes_nothing_again() {
    let books = Books::open().await;
    eight(&books).await;
    let finance = books.as_role(Role::Finance).await;
    books
        .tamper(
            "create trigger boom before insert on invoice when new.customer = 'c6'
             begin select raise(abort, 'boom'); end",
        )
        .await;
    let stopped = books.ledger.prepare_close(MONTH, &finance).await;
    books.tamper("drop trigger boom").await;
    assert!(matches!(stopped, Err(LedgerError::Store { .. })), "{stopped:?}");
    let before = written(&books).await;
    assert_eq!(before.len(), 5);

    books.clock.set("2026-12-02T01:00:00Z");
    let close = books.ledger.prepare_close(MONTH, &finance).await.unwrap();
    let after = written(&books).await;
    books.clock.set("2026-12-02T02:00:00Z");
    let again = books.ledger.prepare_close(MONTH, &finance).await.unwrap();

    assert_eq!(after.iter().filter(|at| before.contains(at)).count(), 5, "{after:?}");
    assert!(drafted(&books).await.iter().all(|(_, times)| *times == 1));
    assert_eq!(written(&books).await, after);
    assert_eq!(again, close, "nothing was done, so nothing is noted");
    let detail = close.history[0].detail.as_deref();
    assert_eq!(detail, Some("8 drafts made or renewed"), "also those of the run that stopped");
}

fn customer() -> CustomerId {
    "c4".parse().unwrap()
}

/// Drafts of eight customers, of whom `c4` then changes: the close drafts that one again, and its
/// draft says what its preview says.
async fn drafts_again(what: &str, change: impl AsyncFnOnce(&mut Books, &Instruction)) {
    let mut books = Books::open().await;
    eight(&books).await;
    let finance = books.as_role(Role::Finance).await;
    books.ledger.prepare_close(MONTH, &finance).await.unwrap();
    let before = drafts(&books).await;
    books.clock.set("2026-12-03T00:00:00Z");
    change(&mut books, &finance).await;

    books.ledger.prepare_close(MONTH, &finance).await.unwrap();

    let after = drafts(&books).await;
    let of = |drafts: &[Invoice]| drafts.iter().find(|one| one.customer.id == customer()).cloned();
    let (old, new) = (of(&before).unwrap(), of(&after).unwrap());
    assert_ne!(old, new, "{what}");
    let preview = books.ledger.preview_invoice(&customer(), MONTH).await.unwrap();
    let as_preview = Invoice { id: None, state: InvoiceState::Preview, ..new.clone() };
    assert_eq!(as_preview, preview, "{what}");
    assert_eq!(old.id, new.id, "{what}");
    let others = |drafts: Vec<Invoice>| -> Vec<Invoice> {
        drafts.into_iter().filter(|one| one.customer.id != customer()).collect()
    };
    // The issuer is on everybody's.
    if old.issuer == new.issuer {
        assert_eq!(others(before), others(after), "{what}");
    }
    books.ledger.approve_invoice(&new.id.unwrap(), &finance).await.unwrap();
}

#[tokio::test]
async fn what_changes_under_a_draft_has_it_drafted_again() {
    drafts_again("late usage", async |books, _| {
        let key = add_key(&books.ledger, "c4").await.key;
        let late = event(20, "c4", key.id.as_str());
        books.ledger.accept(&batch("n1", 20, &[late])).await.unwrap();
    })
    .await;
    drafts_again("a held request that gets a price", async |books, by| {
        let key = add_key(&books.ledger, "c4").await.key;
        let mut held = event(20, "c4", key.id.as_str());
        held.model_requested = "unheard-of".parse().unwrap();
        books.ledger.accept(&batch("n1", 20, &[held])).await.unwrap();
        books.ledger.prepare_close(MONTH, by).await.unwrap();
        import(
            &books.ledger,
            "[[price]]\nmodel = \"unheard-of\"\ncurrency = \"CNY\"\nfrom = 2026-10-01T00:00:00Z\n\
             source = \"a test\"\ninput = \"10\"\noutput = \"10\"\n",
        )
        .await;
    })
    .await;
    drafts_again("what the invoice says of the customer", async |books, by| {
        let purchase_order = TextChange::Set("PO 7".to_owned());
        let changes = CustomerChanges { purchase_order, ..CustomerChanges::default() };
        books.ledger.change_customer(&customer(), changes, by).await.unwrap();
    })
    .await;
    drafts_again("prepaid credit", async |books, by| {
        let grant = NewGrant {
            amount: "1".parse().unwrap(),
            currency: None,
            paid: "1".parse().unwrap(),
            priority: 0,
            from: Some(at("2026-11-01T00:00:00Z")),
            expires_at: None,
            models: Vec::new(),
            reason: "a test".to_owned(),
        };
        books.ledger.add_grant(&customer(), &grant, by).await.unwrap();
    })
    .await;
    drafts_again("a charge of the month", async |books, by| {
        let charge = "[[charge]]\nname = \"seat\"\ncustomer = \"c4\"\nmodels = \"no-such\"\n\
                      kind = \"unit\"\ncurrency = \"CNY\"\nunit = \"1\"\nminimum = \"7\"\n\
                      from = 2026-11-01T00:00:00Z\n";
        books.ledger.add_charges(charge, by).await.unwrap();
    })
    .await;
    drafts_again("a plan of the month", async |books, by| {
        books.ledger.add_plans(FLAT, by).await.unwrap();
        let from = Some(at("2026-11-01T00:00:00Z"));
        books.ledger.assign_plan(&customer(), "flat", from, by).await.unwrap();
    })
    .await;
    drafts_again("late usage of an invoiced month", async |books, by| {
        let key = add_key(&books.ledger, "c4").await.key;
        let october = |number, day: &str| UsageEvent {
            at: at(&format!("2026-10-{day}T10:00:00Z")),
            ..event(number, "c4", key.id.as_str())
        };
        books.ledger.accept(&batch("n1", 20, &[october(20, "10")])).await.unwrap();
        let draft = books.ledger.draft_invoice(&customer(), "2026-10", by).await.unwrap();
        let id = draft.id.unwrap();
        books.ledger.approve_invoice(&id, by).await.unwrap();
        books.ledger.finalize_invoice(&id, by).await.unwrap();
        books.ledger.accept(&batch("n1", 21, &[october(21, "11")])).await.unwrap();
    })
    .await;
    drafts_again("who issues it", async |books, _| {
        let issuer = InvoiceIssuer { name: "Permille SE".to_owned(), ..InvoiceIssuer::default() };
        books.ledger = books.ledger.clone().issuing(Some(issuer));
    })
    .await;
}

#[tokio::test]
async fn an_approved_invoice_and_a_month_that_is_closed_are_left_alone() {
    let books = Books::open().await;
    eight(&books).await;
    let finance = books.as_role(Role::Finance).await;
    books.ledger.prepare_close(MONTH, &finance).await.unwrap();
    let first = drafts(&books).await.remove(0);
    books.ledger.approve_invoice(&first.id.clone().unwrap(), &finance).await.unwrap();

    books.ledger.prepare_close(MONTH, &finance).await.unwrap();
    let early = Step::new(None, None).unwrap();
    let running = books.ledger.prepare_close_step("2026-12", &early, &finance).await.unwrap_err();

    assert_eq!(drafts(&books).await[0].state, InvoiceState::Approved);
    assert!(running.to_string().contains("has not ended"), "{running}");
}

/// Drafted while the month ran: it says the same afterwards, and could not be approved.
#[tokio::test]
async fn a_draft_of_before_the_months_end_is_drafted_again_whatever_it_says() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    let before = books.draft(MONTH).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let finance = books.as_role(Role::Finance).await;

    books.ledger.prepare_close(MONTH, &finance).await.unwrap();

    let id = before.id.unwrap();
    let approved = books.ledger.approve_invoice(&id, &finance).await.unwrap();
    assert_eq!((approved.lines, approved.total), (before.lines, before.total));
}

#[tokio::test]
async fn a_simulation_in_steps_says_what_a_whole_one_says() {
    let books = two_sessions().await;
    for (number, name) in [(30, "beta"), (31, "gamma"), (32, "zeta")] {
        add_customer(&books.ledger, name, Currency::CNY, "UTC").await;
        let key = add_key(&books.ledger, name).await.key;
        if name != "gamma" {
            let mut used = event(number, name, key.id.as_str());
            used.at = at("2026-10-21T10:00:00Z");
            books.ledger.accept(&batch("n1", number.into(), &[used])).await.unwrap();
        }
    }
    let whole = books.ledger.simulate_plan(&Trial::new(FLAT, "2026-10")).await.unwrap();
    let mut found = Vec::new();
    let mut done = Vec::new();
    let mut cursor = None;
    loop {
        let step = Some(Step::new(cursor, Some(2)).unwrap());
        let trial = Trial { step, ..Trial::new(FLAT, "2026-10") };
        let part = books.ledger.simulate_plan(&trial).await.unwrap();
        found.extend(part.customers);
        let progress = part.progress.unwrap();
        done.push((progress.done, progress.of));
        cursor = progress.next_cursor;
        if cursor.is_none() {
            break;
        }
    }

    assert_eq!(found, whole.customers);
    let names: Vec<_> = found.iter().map(|found| found.customer.as_str()).collect();
    assert_eq!(names, ["acme", "beta", "zeta"], "not who used nothing");
    assert_eq!(done, [(2, 4), (4, 4)]);
    assert_eq!((whole.progress, whole.left_out), (None, Vec::new()));
}

/// Too many requests of one customer are no reason to say nothing of the others.
#[tokio::test]
async fn who_has_too_many_requests_to_simulate_is_left_out_by_name() {
    let books = two_sessions().await;
    add_customer(&books.ledger, "beta", Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "beta").await.key;
    let mut used = event(30, "beta", key.id.as_str());
    used.at = at("2026-10-21T10:00:00Z");
    books.ledger.accept(&batch("n1", 30, &[used])).await.unwrap();
    let trial = Trial { requests_max: 2, ..Trial::new(FLAT, "2026-10") };

    let found = books.ledger.simulate_plan(&trial).await.unwrap();
    let acme = "acme".parse().unwrap();
    let alone = Trial { customer: Some(&acme), ..trial.clone() };
    let refused = books.ledger.simulate_plan(&alone).await.unwrap_err().to_string();
    let most = Trial { requests_max: 3, ..alone };
    let at_the_bound = books.ledger.simulate_plan(&most).await.unwrap();

    assert_eq!(found.customers.len(), 1);
    let left = SimulationLeftOut { customer: acme.clone(), requests: 3, requests_max: 2 };
    assert_eq!(found.left_out, [left]);
    assert!(refused.contains("customer `acme` has 3 requests in 2026-10"), "{refused}");
    assert!(refused.contains("at most 2"), "{refused}");
    assert_eq!(at_the_bound.customers[0].customer, acme);
}
