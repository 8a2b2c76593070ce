//! Lists of usage, customers and projects: whole, in order, page by page, and what may be in them.

use permille_ledger::{DEFAULT_PROJECT, LedgerError, NewCustomer, NewProject, Page, UsageFilter};
use permille_types::{Currency, RequestId, UsageEvent};

use crate::support::{Books, add_customer, add_key, at, event};

/// Requests of the filter in the order listed, read in pages of 3.
async fn listed(books: &Books, filter: &UsageFilter) -> Vec<RequestId> {
    let mut requests = Vec::new();
    let mut cursor = None;
    loop {
        let page = Page::new(cursor, Some(3)).unwrap();
        let listing = books.ledger.usage(filter, &page).await.unwrap();
        assert!(listing.items.len() <= 3);
        requests.extend(listing.items.into_iter().map(|row| row.request_id));
        cursor = listing.next_cursor;
        if cursor.is_none() {
            return requests;
        }
    }
}

/// Ten events of two customers; several were admitted in the same instant.
async fn two_customers() -> (Books, Vec<UsageEvent>) {
    let books = Books::open().await;
    add_customer(&books.ledger, "other", Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "other").await.key;
    let events: Vec<_> = (1..=10_u32)
        .map(|number| {
            let mut event = if number % 3 == 0 {
                event(number, "other", key.id.as_str())
            } else {
                books.event(number)
            };
            event.at = at("2026-11-20T09:00:00Z") + chrono::Duration::hours((number / 4).into());
            event.session = format!("chat-{}", number % 2).parse().unwrap();
            event
        })
        .collect();
    books.accept(&events).await;
    (books, events)
}

#[tokio::test]
async fn every_filter_lists_exactly_its_rows_newest_first_in_any_pages() {
    let (books, events) = two_customers().await;
    let everything = UsageFilter::default();
    let (acme, other) = ("acme".parse().unwrap(), "other".parse().unwrap());
    let filters = [
        everything.clone(),
        UsageFilter { customer: Some(acme), ..everything.clone() },
        UsageFilter { session: Some("chat-1".parse().unwrap()), ..everything.clone() },
        UsageFilter {
            customer: Some(other),
            session: Some("chat-1".parse().unwrap()),
            ..everything.clone()
        },
        UsageFilter {
            since: Some(at("2026-11-20T10:00:00Z")),
            until: Some(at("2026-11-20T11:00:00Z")),
            ..everything.clone()
        },
        UsageFilter { request: Some(events[4].request_id), ..everything },
    ];
    for filter in filters {
        let lets_pass = |event: &&UsageEvent| {
            filter.customer.as_ref().is_none_or(|customer| event.customer == *customer)
                && filter.session.as_ref().is_none_or(|session| event.session == *session)
                && filter.request.is_none_or(|request| event.request_id == request)
                && filter.since.is_none_or(|since| event.at >= since)
                && filter.until.is_none_or(|until| event.at < until)
        };
        let mut expected: Vec<_> =
            events.iter().filter(lets_pass).map(|event| (event.at, event.request_id)).collect();
        expected.sort();
        expected.reverse();
        assert!(!expected.is_empty());

        let found = listed(&books, &filter).await;

        let expected: Vec<_> = expected.into_iter().map(|(_, request)| request).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn a_request_of_another_customer_is_not_found_under_ones_own() {
    let (books, events) = two_customers().await;
    let theirs = &events[2];
    let filter = UsageFilter {
        customer: Some("acme".parse().unwrap()),
        request: Some(theirs.request_id),
        ..UsageFilter::default()
    };

    assert_eq!(theirs.customer.as_str(), "other");
    assert!(listed(&books, &filter).await.is_empty());
}

#[tokio::test]
async fn rows_that_arrive_between_two_pages_neither_repeat_nor_hide_others() {
    let (books, events) = two_customers().await;
    let first = Page::new(None, Some(5)).unwrap();
    let first = books.ledger.usage(&UsageFilter::default(), &first).await.unwrap();
    let mut newest = books.event(99);
    newest.at = at("2026-11-20T20:00:00Z");

    books.accept(&[newest]).await;

    let next = Page::new(first.next_cursor, Some(100)).unwrap();
    let next = books.ledger.usage(&UsageFilter::default(), &next).await.unwrap();
    let mut seen: Vec<_> =
        first.items.iter().chain(&next.items).map(|row| row.request_id).collect();
    seen.sort();
    assert_eq!(seen, events.iter().map(|event| event.request_id).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused() {
    let books = Books::open().await;

    for cursor in ["x", "x/y", "9999999999999999999/y"] {
        let page = Page::new(Some(cursor.to_owned()), None).unwrap();
        let error = books.ledger.usage(&UsageFilter::default(), &page).await.unwrap_err();
        assert!(matches!(error, LedgerError::Invalid { field: "cursor", .. }), "{cursor}");
    }
}

#[tokio::test]
async fn a_customer_has_a_project_from_the_start_and_an_id_from_its_name() {
    let books = Books::open().await;
    let new = NewCustomer {
        id: None,
        name: "  Baidu (Beijing) Ltd. ".to_owned(),
        currency: Currency::CNY,
        time_zone: "Asia/Shanghai".parse().unwrap(),
    };

    let made = books.ledger.create_customer(new.clone()).await.unwrap();

    assert_eq!((made.id.as_str(), made.name.as_str()), ("baidu-beijing-ltd", new.name.trim()));
    assert_eq!(books.ledger.customer(&made.id).await.unwrap(), made);
    let projects = books.ledger.projects(Some(&made.id), &Page::default()).await.unwrap().items;
    assert_eq!((projects.len(), projects[0].id.as_str()), (1, DEFAULT_PROJECT));
    let error = books.ledger.create_customer(new).await.unwrap_err();
    assert!(matches!(error, LedgerError::AlreadyExists { noun: "customer", .. }), "{error}");
}

#[tokio::test]
async fn what_cannot_be_a_customer_or_a_project_is_refused_and_leaves_nothing() {
    let books = Books::open().await;
    let customer = |id: Option<&str>, name: &str| NewCustomer {
        id: id.map(str::to_owned),
        name: name.to_owned(),
        currency: Currency::CNY,
        time_zone: "UTC".parse().unwrap(),
    };
    let project = |customer: &str, id: &str| NewProject {
        customer: customer.parse().unwrap(),
        id: Some(id.to_owned()),
        name: "Web".to_owned(),
    };

    for (id, name, named) in [
        (Some("A/B"), "Acme", "id"),
        (Some(""), "Acme", "id"),
        (None, "百度", "id"),
        (Some("ok"), " ", "name"),
        (Some("ok"), "two\nlines", "name"),
    ] {
        let error = books.ledger.create_customer(customer(id, name)).await.unwrap_err();
        let LedgerError::Invalid { field, .. } = error else { panic!("{error}") };
        assert_eq!(field, named, "{id:?} {name}");
    }
    let error = books.ledger.create_project(project("nobody", "web")).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotFound { noun: "customer", .. }), "{error}");
    let error = books.ledger.create_project(project("acme", "default")).await.unwrap_err();
    assert!(matches!(error, LedgerError::AlreadyExists { noun: "project", .. }), "{error}");

    assert_eq!(books.value("select count(*) from customer").await, 1);
    assert_eq!(books.value("select count(*) from project").await, 1);
}

#[tokio::test]
async fn pages_of_projects_cross_customers_without_a_gap() {
    let books = Books::open().await;
    for customer in ["beta", "gamma"] {
        add_customer(&books.ledger, customer, Currency::CNY, "UTC").await;
        for id in ["app", "web"] {
            let new = NewProject {
                customer: customer.parse().unwrap(),
                id: Some(id.to_owned()),
                name: id.to_owned(),
            };
            books.ledger.create_project(new).await.unwrap();
        }
    }

    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = Page::new(cursor, Some(2)).unwrap();
        let listing = books.ledger.projects(None, &page).await.unwrap();
        found.extend(listing.items.iter().map(|row| format!("{}/{}", row.customer, row.id)));
        cursor = listing.next_cursor;
        if cursor.is_none() {
            break;
        }
    }

    let expected = [
        "acme/default",
        "beta/app",
        "beta/default",
        "beta/web",
        "gamma/app",
        "gamma/default",
        "gamma/web",
    ];
    assert_eq!(found, expected);
    let customers = books.ledger.customers(&Page::default()).await.unwrap().items;
    let ids: Vec<_> = customers.iter().map(|customer| customer.id.as_str()).collect();
    assert_eq!(ids, ["acme", "beta", "gamma"]);
}
