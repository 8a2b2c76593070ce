//! The summary of sessions over HTTP: who reads what, and what is refused.

use serde_json::json;

use crate::{
    events::{Gateway, event},
    support::Api,
};

/// `acme` and `globex` with three requests of one session each.
async fn two() -> Api {
    let api = Api::with_acme().await;
    api.add_customer("globex", "CNY").await;
    for (first, customer) in [(1, "acme"), (4, "globex")] {
        let key = api.add_key(customer).await["id"].as_str().unwrap().to_owned();
        let events: Vec<_> = (first..first + 3).map(|n| event(n, customer, &key)).collect();
        Gateway::of(&api, "n1").await.ship(first.into(), &events).await;
    }
    api
}

#[tokio::test]
async fn a_summary_has_the_names_and_forms_of_the_interface() {
    let api = two().await;

    let path = "/api/v1/session-summary?customer=acme&flat_fee=1%20CNY";
    let summary = api.get(path).await.ok();

    let of = &summary["currencies"][0];
    assert_eq!(summary["customer"], "acme");
    assert_eq!((&of["currency"], &of["cost"]), (&json!("CNY"), &json!("0.054")));
    assert_eq!((&of["sessions"], &of["requests"]), (&json!(1), &json!(3)));
    assert_eq!(of["session_cost"]["p99"], "0.054");
    let turn = json!({"turn": "2", "requests": 1, "cost": "0.018", "mean": "0.018"});
    assert_eq!(of["turns"][1], turn);
    let outcome = json!({"outcome": "ended", "source": "inferred", "sessions": 1, "cost": "0.054"});
    assert_eq!(of["outcomes"], json!([outcome]));
    // The last reply's own text costs 0.018.
    assert_eq!(of["list_price_multiplier_inferred"], "3");
    assert!(of.get("list_price_multiplier").is_none() && of.get("cost_per_accepted").is_none());
    assert_eq!(of["break_even"], json!({"flat_fee": "1", "sessions": 19}));
    let margin = json!({"provider_cost": "0", "unknown_requests": 3});
    assert_eq!(summary["customers"][0]["margin"], margin);
}

#[tokio::test]
async fn a_customer_reads_its_own_summary_and_no_margin() {
    let api = two().await;
    let (customer, finance) = (api.token("customer").await, api.token("finance").await);
    let path = "/api/v1/session-summary";

    let own = api.get_as(&customer, path).await.ok();
    let all = api.get_as(&finance, path).await.ok();

    assert_eq!(own["currencies"][0]["requests"], 3);
    assert_eq!(own["customers"].as_array().unwrap().len(), 1);
    assert!(own["customers"][0].get("margin").is_none(), "{own}");
    assert_eq!(all["currencies"][0]["requests"], 6);
    assert!(all["customers"][1].get("margin").is_some());
    api.get_as(&customer, &format!("{path}?customer=globex")).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_fee_that_is_none_is_named_with_what_is_accepted() {
    let api = Api::with_acme().await;

    for fee in ["99", "x%20CNY", "-1%20CNY", "99%20cowries"] {
        let reply = api.get(&format!("/api/v1/session-summary?flat_fee={fee}")).await;
        let detail = reply.problem(422, "invalid");
        assert!(detail.starts_with("flat_fee `") && detail.contains("99 CNY"), "{detail}");
    }
}

#[tokio::test]
async fn a_fee_in_a_currency_that_no_session_has_is_refused_by_name() {
    let api = two().await;

    let reply = api.get("/api/v1/session-summary?customer=acme&flat_fee=99%20USD").await;

    let detail = reply.problem(422, "invalid");
    assert!(detail.contains("flat_fee is in USD") && detail.contains("a fee in CNY"), "{detail}");
    let unused = Api::with_acme().await;
    unused.get("/api/v1/session-summary?flat_fee=99%20USD").await.ok();
}

#[tokio::test]
async fn more_requests_are_summed_up_for_those_who_may_wait() {
    let api = Api::with_acme().await;
    let path = "/api/v1/session-summary?requests_max";
    let customer = api.token("customer").await;

    api.get(&format!("{path}=20000000")).await.ok();
    api.get_as(&customer, &format!("{path}=1000000")).await.ok();
    for (most, reply) in [
        ("20000000", api.get(&format!("{path}=20000001")).await),
        ("20000000", api.get(&format!("{path}=0")).await),
        ("1000000", api.get_as(&customer, &format!("{path}=1000001")).await),
    ] {
        let detail = reply.problem(422, "invalid");
        assert!(detail.starts_with("requests_max `") && detail.ends_with(most), "{detail}");
    }
}
