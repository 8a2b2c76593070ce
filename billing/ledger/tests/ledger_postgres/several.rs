//! Several processes on one database: as exact as one, and a connection that is lost loses nothing.

use permille_ledger::{Accepted, Ledger, LedgerError, Page, Role, StoreAddress, UsageFilter};
use permille_types::{Batch, Currency};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::{Books, add_customer, add_key, batch, event};

/// Ends every connection to the database but the one that asks.
const CUT: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid()
       and application_name = 'permille'";

/// Sends a batch while another process writes, and sees that it waits for that.
async fn waits_for_its_turn(
    books: &Books,
    sent: Batch,
) -> JoinHandle<Result<Accepted, LedgerError>> {
    const BLOCKED: &str = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
         and datname = current_database()";
    let ledger = books.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.accept(&sent).await });
    while books.value(BLOCKED).await == 0 {
        tokio::task::yield_now().await;
    }
    waiting
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invoices_that_several_processes_issue_at_once_have_numbers_without_gaps() {
    const EACH: usize = 15;
    let books = Books::open().await;
    let ledgers = [books.reopened().await, books.reopened().await, books.reopened().await];
    let finance = books.as_role(Role::Finance).await;
    books.clock.set("2026-12-02T10:00:00Z");
    let mut drafts = Vec::new();
    for number in 0..EACH * ledgers.len() {
        let customer = format!("c{number}");
        add_customer(&books.ledger, &customer, Currency::CNY, "UTC").await;
        let key = add_key(&books.ledger, &customer).await.key;
        let number = u32::try_from(number).unwrap();
        books.accept(&[event(1_000 + number, &customer, key.id.as_str())]).await;
        let draft = books.ledger.draft_invoice(&key.customer, "2026-11", &finance).await.unwrap();
        drafts.push(draft.id.unwrap());
    }

    let mut running = JoinSet::new();
    for (place, draft) in drafts.into_iter().enumerate() {
        let (ledger, finance) = (ledgers[place % ledgers.len()].clone(), finance.clone());
        running.spawn(async move {
            ledger.approve_invoice(&draft, &finance).await.unwrap();
            ledger.finalize_invoice(&draft, &finance).await.unwrap().number.unwrap().to_string()
        });
    }
    let mut numbers = running.join_all().await;

    numbers.sort();
    let wanted: Vec<_> =
        (1..=EACH * ledgers.len()).map(|number| format!("INV-2026-{number:06}")).collect();
    assert_eq!(numbers, wanted);
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn connections_that_were_cut_while_idle_are_made_anew() {
    let books = Books::open().await;
    books.ledger.usage(&UsageFilter::default(), &Page::default()).await.unwrap();

    let cut = books.value(CUT).await;

    assert!(cut >= 2, "a reader and the writer: {cut}");
    books.accept(&[books.event(1)]).await;
    let rows = books.ledger.usage(&UsageFilter::default(), &Page::default()).await.unwrap();
    assert_eq!(rows.items.len(), 1);
}

/// The batch waits for the lock of another process when its connection is cut.
#[tokio::test]
async fn a_batch_whose_connection_is_cut_is_refused_whole_and_booked_once_when_it_comes_again() {
    let books = Books::open().await;
    let before = books.dump().await;
    let other = books.database.lock().await;
    let again = batch("n1", 1, &[books.event(1)]);
    let waiting = waits_for_its_turn(&books, again.clone()).await;

    books.value(CUT).await;
    let refused = waiting.await.unwrap();
    other.release().await;

    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(books.dump().await, before);
    for booked in [1, 0] {
        assert_eq!(books.ledger.accept(&again).await.unwrap().booked, booked);
    }
}

/// The driver does not know yet that its transaction has begun.
#[tokio::test]
async fn who_is_given_up_while_waiting_for_the_turn_to_write_keeps_no_lock() {
    let books = Books::open().await;
    let another = books.reopened().await;
    let other = books.database.lock().await;
    let again = batch("n1", 1, &[books.event(1)]);
    let waiting = waits_for_its_turn(&books, again.clone()).await;

    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    other.release().await;

    assert_eq!(another.accept(&again).await.unwrap().booked, 1);
    let begun = "select count(*) from pg_stat_activity where state like 'idle in transaction%'
         and datname = current_database() and application_name = 'permille'";
    while books.value(begun).await > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_keeps_within_the_connections_that_it_is_given() {
    const OPEN: &str = "select count(*) from pg_stat_activity
         where datname = current_database() and application_name = 'permille'";
    let books = Books::open().await;
    let StoreAddress::Postgres(address) = books.database.address.clone() else {
        panic!("this binary is for PostgreSQL");
    };
    books.ledger.close().await;

    for most in [2, 9] {
        // Those of a store that was closed end in their own time.
        while books.value(OPEN).await > 0 {
            tokio::task::yield_now().await;
        }
        let store = StoreAddress::Postgres(address.clone().with_connections(most).unwrap());
        let ledger = Ledger::open(books.config(&store)).await.unwrap();
        let mut asked = JoinSet::new();
        for _ in 0..40 {
            let ledger = ledger.clone();
            asked.spawn(async move {
                ledger.usage(&UsageFilter::default(), &Page::default()).await.unwrap();
            });
        }
        add_customer(&ledger, &format!("c{most}"), Currency::CNY, "UTC").await;
        asked.join_all().await;

        let open = books.value(OPEN).await;
        assert!((2..=i64::from(most)).contains(&open), "{open} of {most}");
        ledger.close().await;
    }
}
