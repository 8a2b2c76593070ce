//! Secrets: shown once, stored as digests, refused when revoked.

use permille_ledger::{
    AuditEntry, KEY_PREFIX, Ledger, LedgerConfig, LedgerError, LimitChanges, NewKey, NewWebhook,
    Page, Pepper, Role, TOKEN_PREFIX, is_well_formed,
};
use permille_types::Currency;
use secrecy::{ExposeSecret, SecretString};

use crate::support::{Books, add_customer, add_key, at};

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn new_key(rpm: Option<u32>, name: Option<&str>) -> NewKey {
    NewKey {
        customer: "acme".parse().unwrap(),
        project: "default".parse().unwrap(),
        name: name.map(str::to_owned),
        rpm,
    }
}

#[tokio::test]
async fn no_secret_is_in_any_file_of_the_ledger() {
    let books = Books::open().await;
    let token = books.ledger.create_token(Role::Admin, Some("first")).await.unwrap();
    let secrets = [&books.key.secret, &token.secret];
    let pepper = "\u{7}".repeat(32);

    // Once with the write-ahead log in place, once with all of it in the database.
    for closed in [false, true] {
        if closed {
            books.ledger.close().await;
        }
        let bytes = books.database.bytes().await;
        assert!(holds(&bytes, &books.key.key.prefix) && holds(&bytes, token.token.id.as_str()));
        for secret in secrets {
            let text = secret.expose_secret();
            let body = &text[text.len() - 45..text.len() - 4];
            assert!(!holds(&bytes, text) && !holds(&bytes, body), "closed: {closed}");
        }
        assert!(!holds(&bytes, &pepper) && !holds(&bytes, &"07".repeat(32)));
        let digest = books.key.key.digest.as_bytes();
        assert!(bytes.windows(32).any(|window| window == digest));
    }
}

#[tokio::test]
async fn nothing_that_can_be_printed_or_listed_shows_a_secret() {
    let books = Books::open().await;
    let token = books.ledger.create_token(Role::Finance, None).await.unwrap();
    let keys = books.ledger.keys(None, &Page::default()).await.unwrap();
    let tokens = books.ledger.tokens(&Page::default()).await.unwrap();

    let shown = [
        format!("{:?} {token:?} {keys:?} {tokens:?}", books.key),
        serde_json::to_string(&keys).unwrap(),
        serde_json::to_string(&tokens).unwrap(),
    ]
    .concat();

    for secret in [&books.key.secret, &token.secret] {
        assert!(!shown.contains(secret.expose_secret()));
    }
    assert!(!shown.contains("digest\":"));
}

#[tokio::test]
async fn a_key_is_recognised_by_its_digest_under_the_pepper_and_no_other() {
    let books = Books::open().await;
    let secret = books.key.secret.expose_secret();

    let snapshot = books.ledger.snapshot(None).unwrap();

    assert!(is_well_formed(KEY_PREFIX, &books.key.secret));
    assert_eq!(snapshot.keys[0].hash, Pepper::new([7; 32]).digest(secret));
    assert_ne!(snapshot.keys[0].hash, Pepper::new([8; 32]).digest(secret));
}

#[tokio::test]
async fn a_token_opens_nothing_under_another_pepper() {
    let books = Books::open().await;
    let token = books.ledger.create_token(Role::Admin, None).await.unwrap();
    let config =
        LedgerConfig { pepper: Pepper::new([8; 32]), ..books.config(&books.database.address) };
    let other = Ledger::open(config).await.unwrap();

    assert_eq!(other.authenticate(&token.secret).await.unwrap(), None);
    assert_eq!(books.ledger.authenticate(&token.secret).await.unwrap(), Some(token.token));
}

#[tokio::test]
async fn a_revoked_token_opens_nothing_any_more_in_any_ledger_on_the_file() {
    let books = Books::open().await;
    let second = books.reopened().await;
    let token = books.ledger.create_token(Role::Operator, None).await.unwrap();
    let kept = books.ledger.create_token(Role::Operator, None).await.unwrap();
    assert!(second.authenticate(&token.secret).await.unwrap().is_some());

    let admin = books.as_role(Role::Admin).await;
    let revoked = books.ledger.revoke_token(&token.token.id, &admin).await.unwrap();
    books.clock.set("2026-11-21T10:00:00Z");
    let again = books.ledger.revoke_token(&token.token.id, &admin).await.unwrap();

    assert_eq!(revoked.revoked_at, Some(at("2026-11-20T10:00:00Z")));
    assert_eq!(again, revoked);
    for ledger in [&books.ledger, &second] {
        assert_eq!(ledger.authenticate(&token.secret).await.unwrap(), None);
        assert!(ledger.authenticate(&kept.secret).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_text_that_is_no_token_opens_nothing() {
    let books = Books::open().await;
    let token = books.ledger.create_token(Role::Admin, None).await.unwrap();
    let text = token.secret.expose_secret();
    let shorter = &text[..text.len() - 1];
    let longer = format!("{text}x");
    let padded = format!(" {text}");

    for wrong in ["", TOKEN_PREFIX, shorter, &longer, &padded, "' or 1 = 1 --"] {
        let secret = SecretString::from(wrong.to_owned());
        assert_eq!(books.ledger.authenticate(&secret).await.unwrap(), None, "{wrong}");
    }
    assert_eq!(books.ledger.authenticate(&books.key.secret).await.unwrap(), None);
}

#[tokio::test]
async fn a_token_keeps_its_role_and_the_customer_it_is_bound_to() {
    let books = Books::open().await;
    let acme = "acme".parse().unwrap();
    for role in [
        Role::Admin,
        Role::Finance,
        Role::Operator,
        Role::Gateway,
        Role::named("customer", Some(acme)).unwrap(),
    ] {
        let made = books.ledger.create_token(role.clone(), Some(role.as_str())).await.unwrap();

        let found = books.ledger.authenticate(&made.secret).await.unwrap().unwrap();

        assert_eq!((&found.role, found.customer.as_ref()), (&role, role.customer()));
        assert_eq!(found, made.token);
    }
    let listed = books.ledger.tokens(&Page::default()).await.unwrap().items;
    assert_eq!(listed.len(), 5);
}

#[tokio::test]
async fn a_role_that_does_not_fit_its_customer_is_refused() {
    let books = Books::open().await;
    let acme = || Some("acme".parse().unwrap());

    for (role, customer, field) in [
        ("customer", None, "customer"),
        ("admin", acme(), "customer"),
        ("gateway", acme(), "customer"),
        ("root", None, "role"),
        ("Admin", None, "role"),
    ] {
        let error = Role::named(role, customer).unwrap_err();
        assert!(matches!(&error, LedgerError::Invalid { field: f, .. } if *f == field), "{role}");
    }
    let nobody = Role::Customer("nobody".parse().unwrap());
    let error = books.ledger.create_token(nobody, None).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotFound { noun: "customer", .. }));
    assert!(books.ledger.tokens(&Page::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_revoked_key_stays_known_and_revoked_since_the_first_time() {
    let books = Books::open().await;
    let id = &books.key.key.id;

    books.revoke(id).await;
    books.clock.set("2026-11-21T10:00:00Z");
    books.revoke(id).await;

    let key = books.ledger.key(id).await.unwrap();
    assert_eq!(key.revoked_at, Some(at("2026-11-20T10:00:00Z")));
    let again = books.reopened().await;
    let snapshot = again.snapshot(None).unwrap();
    assert!(snapshot.keys.len() == 1 && snapshot.keys[0].revoked);
}

#[tokio::test]
async fn who_made_and_who_ended_a_key_a_token_or_a_webhook_is_on_its_trail_once() {
    let books = Books::open().await;
    let (maker, revoker) = (books.as_role(Role::Operator).await, books.as_role(Role::Admin).await);
    let by = |entry: &AuditEntry| (entry.action.clone(), entry.token.clone());
    let expected = |last: &str| {
        [("create", &maker), (last, &revoker)]
            .map(|(action, by)| (action.to_owned(), by.by().token().to_string()))
    };

    let new = new_key(None, None);
    let key = books.ledger.create_key_by(new, LimitChanges::default(), &maker).await.unwrap();
    let token = books.ledger.create_token_by(Role::Gateway, None, &maker).await.unwrap();
    let url = "https://example.com/house".to_owned();
    let new = NewWebhook { customer: None, url, events: Vec::new(), description: None };
    let webhook = books.ledger.add_webhook(new, &maker).await.unwrap().webhook.id;
    for _ in 0..2 {
        books.ledger.revoke_key(&key.key.id, &revoker).await.unwrap();
        books.ledger.revoke_token(&token.token.id, &revoker).await.unwrap();
        books.ledger.remove_webhook(&webhook, &revoker).await.unwrap();
    }

    for (noun, id, last) in [
        ("key", key.key.id.as_str(), "revoke"),
        ("token", token.token.id.as_str(), "revoke"),
        ("webhook", webhook.as_str(), "remove"),
    ] {
        let trail = books.ledger.trail(noun, id).await.unwrap();
        assert_eq!(trail.iter().map(by).collect::<Vec<_>>(), expected(last), "{noun}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_is_refused() {
    let books = Books::open().await;
    let make = |new: NewKey| books.ledger.create_key(new);
    let other = NewKey { customer: "nobody".parse().unwrap(), ..new_key(None, None) };
    let elsewhere = NewKey { project: "nothing".parse().unwrap(), ..new_key(None, None) };

    assert!(matches!(
        make(new_key(Some(0), None)).await.unwrap_err(),
        LedgerError::Invalid { field: "rpm", .. }
    ));
    for name in ["", " ", "two\nlines", &"x".repeat(257)] {
        let error = make(new_key(None, Some(name))).await.unwrap_err();
        assert!(matches!(error, LedgerError::Invalid { field: "name", .. }), "{name}");
    }
    assert!(matches!(make(other).await.unwrap_err(), LedgerError::NotFound { .. }));
    assert!(matches!(make(elsewhere).await.unwrap_err(), LedgerError::NotFound { .. }));
    let missing = "key_none".parse().unwrap();
    let admin = books.as_role(Role::Admin).await;
    assert!(matches!(
        books.ledger.revoke_key(&missing, &admin).await.unwrap_err(),
        LedgerError::NotFound { noun: "key", .. }
    ));
    assert_eq!(books.ledger.keys(None, &Page::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn keys_are_listed_by_customer_page_by_page_in_the_order_they_were_made() {
    let books = Books::open().await;
    add_customer(&books.ledger, "other", Currency::USD, "UTC").await;
    for minute in 1..=7 {
        books.clock.set(&format!("2026-11-20T11:0{minute}:00Z"));
        let customer = if minute % 2 == 0 { "other" } else { "acme" };
        add_key(&books.ledger, customer).await;
    }
    let acme = books.key.key.customer.clone();

    let mut made = Vec::new();
    let mut cursor = None;
    loop {
        let page = Page::new(cursor, Some(2)).unwrap();
        let listing = books.ledger.keys(Some(&acme), &page).await.unwrap();
        made.extend(listing.items.into_iter().map(|key| (key.created_at, key.customer)));
        cursor = listing.next_cursor;
        if cursor.is_none() {
            break;
        }
    }

    assert_eq!(made.len(), 5);
    assert!(made.is_sorted() && made.iter().all(|(_, customer)| *customer == acme));
}
