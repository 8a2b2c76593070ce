//! A store in a file: what cannot be one is refused by name, and several may make one at once.

use permille_ledger::{Ledger, LedgerError, Role};

use crate::{reopening::refusal, support::Books};

#[tokio::test]
async fn a_file_that_cannot_be_a_ledger_is_refused_by_name_and_left_as_it_is() {
    let books = Books::open().await;
    let folder = books.folder.path();
    let words = folder.join("words.txt");
    std::fs::write(&words, "these are just words, many enough to be a header".repeat(10)).unwrap();
    let before = std::fs::read(&words).unwrap();
    let below_a_file = words.join("permille.db");
    let nowhere = folder.join("missing/permille.db");

    for path in [words.as_path(), folder, &below_a_file, &nowhere] {
        let (error, text) = refusal(&books, &path.to_owned().into()).await;
        assert!(matches!(error, LedgerError::Open { .. }), "{text}");
        assert!(text.contains(path.to_str().unwrap()), "{text}");
    }

    assert_eq!(std::fs::read(&words).unwrap(), before);
    assert!(!nowhere.parent().unwrap().exists());
}

#[tokio::test]
async fn two_ledgers_that_make_the_same_new_file_at_once_both_open() {
    let books = Books::open().await;

    for round in 0..5 {
        let path = books.folder.path().join(format!("new-{round}.db"));
        let open = || tokio::spawn(Ledger::open(books.config(&path.clone().into())));
        let opening = [open(), open(), open()];
        for ledger in opening {
            let ledger = ledger.await.unwrap().map_err(|error| format!("{error:?}")).unwrap();
            ledger.create_token(Role::Admin, None).await.unwrap();
        }
    }
}
