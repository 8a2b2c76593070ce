//! Prepaid credit behind three gateways that count together.

use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    support::{Web, eventually, prepaid},
    topology::Fleet,
};

const GATEWAYS: usize = 3;
/// A busy machine is no outage, which is another subject.
const LIMITS: &str = "away = \"refuse\"\nwait_ms = 10000\n";

/// What rows cost together, in 10⁻⁹ of a dollar.
fn spent(rows: &[Value]) -> u64 {
    let cost =
        |row: &Value| row["cost"].as_str().unwrap().parse::<rust_decimal::Decimal>().unwrap();
    let sum: rust_decimal::Decimal = rows.iter().map(cost).sum();
    u64::try_from(sum * rust_decimal::Decimal::from(1_000_000_000)).unwrap()
}

/// Sixty clients ask at once, each of one of the gateways; the replies that were served.
async fn storm(fleet: &Fleet, key: &str) -> usize {
    let web = Web::new();
    let mut asking = JoinSet::new();
    for number in 0..60 {
        let (web, bearer) = (web.clone(), format!("Bearer {key}"));
        let gateway = fleet.gateway(number % GATEWAYS).gateway();
        asking.spawn(async move {
            let headers = [("authorization", &*bearer)];
            let body = prepaid::dear().to_string().into();
            let path = "/v1/chat/completions";
            let sent = web.send(http::Method::POST, gateway, path, &headers, body).await;
            sent.unwrap().whole().await.status
        });
    }
    let mut served = 0;
    while let Some(status) = asking.join_next().await {
        match status.unwrap() {
            200 => served += 1,
            402 => {}
            status => panic!("{status}"),
        }
    }
    served
}

/// Waits until every gateway answers a request that costs next to nothing so.
async fn every_gateway_answers(fleet: &Fleet, key: &str, status: u16) {
    for number in 0..GATEWAYS {
        eventually("the gateway knows", async || {
            let reply = fleet.gateway(number).chat(key, prepaid::cheap()).await;
            (reply.status == status).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_share_a_customers_credit_and_hear_of_more() {
    let fleet = Fleet::limiting(GATEWAYS, LIMITS, "").await;
    let key = prepaid::customer(&fleet.office, "acme");
    every_gateway_answers(&fleet, &key, 402).await;

    prepaid::grant(&fleet.office, "acme", "1", &[]);
    every_gateway_answers(&fleet, &key, 200).await;
    let mut served = 0;
    // What was reserved and not used serves the next ones.
    loop {
        match storm(&fleet, &key).await {
            0 => break,
            more => served += more,
        }
    }

    let rows = eventually("every reply is booked", async || {
        let rows = fleet.office.usage(&["--customer", "acme"]);
        (rows.iter().filter(|row| row["model_requested"] == "gpt-4").count() == served)
            .then_some(rows)
    })
    .await;
    let nano = spent(&rows);
    assert!(nano <= 1_000_000_000, "{nano} of one dollar");
    assert!(nano + prepaid::dear_worst() > 1_000_000_000, "{nano}: room for one more");
    let first = served;
    prepaid::grant(&fleet.office, "acme", "1", &[]);
    eventually("more is served", async || {
        let more = storm(&fleet, &key).await;
        served += more;
        (more > 0).then_some(())
    })
    .await;
    assert!(served > first);
}
