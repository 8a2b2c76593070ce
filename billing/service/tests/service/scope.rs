//! A customer's token sees what is its customer's; the rest of the world does not exist for it.

use serde_json::{Value, json};

use crate::{
    events::{Gateway, event, request_id},
    support::{Api, column},
};

/// `acme` and `globex`, both with a key, a project, usage in a session `chat-1`, and a draft.
struct Two {
    api: Api,
    /// Of role customer, bound to `acme`.
    acme: String,
    /// The draft of `globex`.
    invoice: String,
}

impl Two {
    async fn new() -> Self {
        let api = Api::start().await;
        let mut invoice = String::new();
        for (number, customer) in (1..).zip(["acme", "globex"]) {
            api.add_customer(customer, "CNY").await;
            let project = json!({"customer": customer, "name": format!("{customer} web")});
            api.post("/api/v1/projects", &project).await.created();
            let key = api.add_key(customer).await;
            let used = event(number, customer, key["id"].as_str().unwrap());
            Gateway::of(&api, "n1").await.ship(number.into(), &[used]).await;
            let month = json!({"customer": customer, "period": "2026-11"});
            let draft = api.post("/api/v1/invoices/draft", &month).await.ok();
            draft["id"].as_str().unwrap().clone_into(&mut invoice);
        }
        let acme = api.token("customer").await;
        Self { api, acme, invoice }
    }

    async fn get(&self, path: &str) -> crate::support::Reply {
        self.api.get_as(&self.acme, &format!("/api/v1/{path}")).await
    }
}

const LISTS: [&str; 6] = ["customers", "projects", "keys", "usage", "sessions", "invoices"];

#[tokio::test]
async fn every_list_holds_its_own_customers_rows_and_no_others() {
    let two = Two::new().await;
    for list in LISTS {
        let owner = if list == "customers" { "id" } else { "customer" };
        let all = two.api.items(&format!("/api/v1/{list}")).await;
        let own: Vec<Value> = all.iter().filter(|row| row[owner] == "acme").cloned().collect();
        assert!(!own.is_empty() && own.len() < all.len(), "{list}: {all:?}");

        assert_eq!(two.get(list).await.items(), own, "{list}");
        assert_eq!(two.get(&format!("{list}?customer=acme")).await.items(), own, "{list}");
        assert!(!two.get(list).await.text().contains("globex"), "{list}");
    }
}

/// Whatever is true of `globex` must not be told apart from what is true of nobody.
#[tokio::test]
async fn another_customer_looks_like_one_that_does_not_exist() {
    let two = Two::new().await;
    let mut paths: Vec<String> = LISTS.iter().map(|list| format!("{list}?customer={{}}")).collect();
    paths.push("customers/{}".to_owned());
    paths.push("sessions/chat-1?customer={}".to_owned());
    paths.push("usage?customer={}&session=chat-1".to_owned());
    for path in paths {
        let other = two.get(&path.replace("{}", "globex")).await;
        let nobody = two.get(&path.replace("{}", "nobody")).await;

        let detail = other.problem(404, "not_found");
        assert_eq!(detail, "customer `globex` is unknown", "{path}");
        assert_eq!(other.text().replace("globex", "nobody"), nobody.text(), "{path}");
    }
    for customer in ["globex", "nobody"] {
        let month = json!({"customer": customer, "period": "2026-11"});
        let reply = two.api.post_as(&two.acme, "/api/v1/invoices/preview", &month).await;
        let detail = reply.problem(404, "not_found");
        assert_eq!(detail, format!("customer `{customer}` is unknown"));
    }
}

#[tokio::test]
async fn an_invoice_of_another_customer_is_unknown() {
    let two = Two::new().await;

    let other = two.get(&format!("invoices/{}", two.invoice)).await;

    let unknown = two.get("invoices/inv_none").await;
    let detail = other.problem(404, "not_found");
    assert_eq!(detail, format!("invoice `{}` is unknown", two.invoice));
    assert_eq!(other.text().replace(&two.invoice, "inv_none"), unknown.text());
    let own = two.get("invoices").await.items();
    two.get(&format!("invoices/{}", own[0]["id"].as_str().unwrap())).await.ok();
}

#[tokio::test]
async fn filters_and_cursors_of_another_customer_reach_nothing() {
    let two = Two::new().await;

    let request = format!("usage?request={}", request_id(2));
    assert_eq!(two.api.items(&format!("/api/v1/{request}")).await.len(), 1);
    assert!(two.get(&request).await.items().is_empty());
    let late = format!("usage?cursor=9000000000000000/{}", request_id(2));
    for cursor in [
        "projects?cursor=globex/",
        "projects?cursor=abc/",
        "keys?cursor=key_",
        "invoices?cursor=inv_",
        &late,
        "sessions?cursor=9000000000000000/globex/",
        "customers?cursor=ab",
    ] {
        let rows = two.get(cursor).await.items();
        let owner = if cursor.starts_with("customers") { "id" } else { "customer" };
        assert!(column(&rows, owner).iter().all(|id| id == "acme"), "{cursor}: {rows:?}");
    }
}

#[tokio::test]
async fn a_session_of_the_same_name_is_its_own_customers() {
    let two = Two::new().await;

    let session = two.get("sessions/chat-1").await.ok();

    assert_eq!(session["session"]["customer"], "acme");
    assert_eq!(session["session"]["requests"], 1);
    assert_eq!(column(session["turns"].as_array().unwrap(), "turn"), ["1"]);
}

#[tokio::test]
async fn prices_are_the_same_for_every_customer() {
    let two = Two::new().await;

    assert_eq!(two.get("prices").await.items(), two.api.items("/api/v1/prices").await);
}
