//! A background response is billed once, to whom it belongs, whatever was killed in between.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::json;
use support::{Folder, Recorded, Server, eventually};

async fn read(server: &Server, key: &str) -> u16 {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    server.web.get_with(server.gateway(), "/v1/responses/resp_C1", &headers).await.status
}

#[tokio::test]
async fn a_response_that_outlives_its_gateway_is_settled_once() {
    let folder = Folder::new();
    let choose = |request: &str| match request {
        _ if request.starts_with("GET") => "openai-responses/nonstream",
        _ => "openai-responses/nonstream-background-accepted",
    };
    let provider = Recorded::start(choose).await;
    folder.config(&provider.upstream_at(&folder, "openai", ("/v1", ""), "sk-theirs"));
    let mut server = folder.serve().await;
    let (key, other) = (folder.key("acme", "USD"), folder.key("other", "USD"));
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    let body = json!({"model": "gpt-5.6", "input": "Which river?", "background": true});
    let created = server.web.post(server.gateway(), "/v1/responses", &headers, &body).await;
    assert_eq!(created.status, 200);
    server.kill().await;

    let mut server = folder.serve().await;
    assert_eq!(read(&server, &other).await, 404);
    assert_eq!(read(&server, &key).await, 200);
    server.kill().await;
    let server = folder.serve().await;
    assert_eq!(read(&server, &key).await, 200);

    let rows = eventually("the creation, its settlement and two reads are there", async || {
        let rows = folder.usage(&["--customer", "acme"]);
        (rows.len() == 4).then_some(rows)
    })
    .await;
    let billed: Vec<_> = rows.iter().filter(|row| !row["input_total"].is_null()).collect();
    let [settlement] = billed.as_slice() else { panic!("{rows:?}") };
    assert_eq!(
        (&settlement["input_total"], &settlement["output_total"]),
        (&1500.into(), &210.into())
    );
    let created = rows.iter().find(|row| row["endpoint"] == "responses").unwrap();
    assert_eq!(created["flags"], json!(["background"]));
    assert_eq!(settlement["settles"], created["request_id"]);
    assert_eq!(settlement["at"], created["at"]);
    assert!(folder.usage(&["--customer", "other"]).is_empty());
}
