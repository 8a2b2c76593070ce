//! Upstreams that are called with an access token, fetched for an API key and a secret key.

use std::time::Duration;

use http::Request;
use permille_proxy::config::{Unpriced, UpstreamConfig};
use permille_types::{Ended, Family, UsageEvent};
use serde_json::{Value, json};

use crate::support::{
    KEY, World, calls_of, read_all,
    scripted::{Scripted, Step, answer, nobody},
    upstream, world_of,
};

const CHAT: &str = "/qianfan/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/completions";
const REPLY: &str = r#"{"id":"as-1","object":"chat.completion","result":"好","is_truncated":false,
    "usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#;

fn token(token: &str, seconds: u64) -> Step {
    answer(200, "", &json!({"access_token": token, "expires_in": seconds}).to_string())
}

/// A reply by which a provider refuses a token.
fn refused(code: u64) -> Step {
    answer(200, "", &json!({"error_code": code, "error_msg": "Access token invalid"}).to_string())
}

fn chat_reply() -> Step {
    answer(200, "", REPLY)
}

fn by_keys(provider: &Scripted) -> UpstreamConfig {
    let mut by_keys =
        upstream("baidu", Family::QianfanV1, format!("http://{}/private", provider.address));
    by_keys.credential = "ak1:s/k".into();
    by_keys.simulated = false;
    by_keys
}

async fn world(upstreams: Vec<UpstreamConfig>) -> World {
    world_of(upstreams, |config| config.pricing.unpriced = Unpriced::Hold).await
}

async fn ask(world: &World) -> (Value, UsageEvent) {
    let request = Request::post(format!("{}?access_token={KEY}", world.url(CHAT)));
    let body = r#"{"messages":[{"role":"user","content":"你好"}]}"#;
    let (head, reply) = world.send(request, body).await.into_parts();
    let reply = read_all(reply).await.unwrap();
    (serde_json::from_slice(&reply).unwrap(), world.row_of(&head.headers).await)
}

/// The targets of all calls, in order.
fn targets(provider: &Scripted) -> Vec<String> {
    let line = |place| provider.head(place).lines().next().unwrap().to_owned();
    (0..provider.calls()).map(line).collect()
}

const FETCH: &str = "POST /private/oauth/2.0/token?grant_type=client_credentials&client_id=ak1\
    &client_secret=s%2Fk HTTP/1.1";

fn called_with(token: &str) -> String {
    format!(
        "POST /private/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/completions?access_token={token} \
         HTTP/1.1"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_exchanged_for_a_token_which_is_kept() {
    let provider = Scripted::start([token("24.a-b", 2_592_000), chat_reply()]).await;
    let world = world(vec![by_keys(&provider)]).await;

    for _ in 0..2 {
        let (reply, row) = ask(&world).await;
        assert_eq!(reply["result"], "好");
        assert_eq!(calls_of(&row), [("baidu", Some(200), Ended::Complete)]);
        assert_eq!((row.input_total, row.output_total), (Some(9), Some(4)));
    }

    let with = called_with("24%2Ea%2Db");
    assert_eq!(targets(&provider), [FETCH.to_owned(), with.clone(), with]);
    for call in 1..3 {
        let sent = provider.head(call) + &provider.body(call);
        assert!(!sent.contains("ak1") && !sent.contains("sk-pm_"), "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_together_wait_for_one_token() {
    let Step::Say(granted) = token("t", 2_592_000) else { unreachable!() };
    let slow = Step::SayAfter(Duration::from_millis(200), granted);
    let provider = Scripted::start([slow, chat_reply()]).await;
    let world = world(vec![by_keys(&provider)]).await;

    let asked = tokio::join!(ask(&world), ask(&world), ask(&world), ask(&world));

    for (reply, _) in [asked.0, asked.1, asked.2, asked.3] {
        assert_eq!(reply["result"], "好");
    }
    let fetched = targets(&provider).iter().filter(|target| *target == FETCH).count();
    assert_eq!((fetched, provider.calls()), (1, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_about_to_expire_is_not_used_again() {
    let fetched = |name| token(name, 0);
    let provider =
        Scripted::start([fetched("t1"), chat_reply(), fetched("t2"), chat_reply()]).await;
    let world = world(vec![by_keys(&provider)]).await;

    ask(&world).await;
    ask(&world).await;

    let (first, second) = (called_with("t1"), called_with("t2"));
    assert_eq!(targets(&provider), [FETCH.to_owned(), first, FETCH.to_owned(), second]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_replaced_once_and_both_calls_are_on_the_row() {
    for code in [110, 111] {
        let provider = Scripted::start([
            token("old", 2_592_000),
            refused(code),
            token("new", 2_592_000),
            chat_reply(),
        ])
        .await;
        let world = world(vec![by_keys(&provider)]).await;

        let (reply, row) = ask(&world).await;

        assert_eq!(reply["result"], "好", "{code}");
        assert_eq!(
            calls_of(&row),
            [("baidu", Some(200), Ended::UpstreamError), ("baidu", Some(200), Ended::Complete)]
        );
        assert_eq!((row.input_total, row.output_total), (Some(9), Some(4)));
        assert_eq!(targets(&provider)[3], called_with("new"));
        ask(&world).await;
        assert_eq!(provider.calls(), 5, "the new token is kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_refusal_in_a_row_goes_to_the_client() {
    let fetched = |name| token(name, 2_592_000);
    let provider =
        Scripted::start([fetched("t1"), refused(110), fetched("t2"), refused(110)]).await;
    let world = world(vec![by_keys(&provider)]).await;

    let (reply, row) = ask(&world).await;

    assert_eq!(reply, json!({"error_code": 110, "error_msg": "Access token invalid"}));
    assert_eq!((row.ended, provider.calls()), (Ended::UpstreamError, 4));
    assert!(row.tokens.is_empty(), "{row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_error_of_the_provider_leaves_the_token_alone() {
    let busy = answer(200, "", r#"{"error_code":336501,"error_msg":"Rpm rate limit reached"}"#);
    let provider = Scripted::start([token("t", 2_592_000), busy, chat_reply()]).await;
    let world = world(vec![by_keys(&provider)]).await;

    let (reply, _) = ask(&world).await;
    assert_eq!(reply["error_code"], 336_501);
    ask(&world).await;

    assert_eq!(targets(&provider)[1..], [called_with("t"), called_with("t")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reply_passes_the_look_for_a_refusal_unchanged() {
    let long = REPLY.replace('好', &"好".repeat(3_000));
    let provider = Scripted::start([token("t", 2_592_000), answer(200, "", &long)]).await;
    let world = world(vec![by_keys(&provider)]).await;

    let (reply, row) = ask(&world).await;

    assert_eq!(reply["result"].as_str().unwrap().chars().count(), 3_000);
    assert_eq!((row.ended, row.output_total), (Ended::Complete, Some(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_not_accepted_are_the_operators_to_mend_and_cost_nothing() {
    let unknown = r#"{"error":"invalid_client","error_description":"unknown client id"}"#;
    let provider = Scripted::start([answer(401, "", unknown)]).await;
    let world = world(vec![by_keys(&provider)]).await;

    let (reply, row) = ask(&world).await;

    assert_eq!(reply["code"], "permille_upstream_credential");
    assert_eq!(reply["retryable"], false);
    assert!(!reply.to_string().contains("ak1"), "{reply}");
    assert_eq!(calls_of(&row), [("baidu", None, Ended::UpstreamError)]);
    assert!(row.tokens.is_empty(), "{row:?}");
    assert_eq!(targets(&provider), [FETCH], "the prompt was not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_token_can_be_had_another_upstream_answers() {
    let second = Scripted::start([chat_reply()]).await;
    let mut away = by_keys(&second);
    away.section.base_url = format!("http://{}", nobody().await);
    let mut other = upstream("other", Family::QianfanV1, format!("http://{}", second.address));
    other.section.priority = 1;
    let world = world(vec![away, other]).await;

    let (reply, row) = ask(&world).await;

    assert_eq!(reply["result"], "好");
    assert_eq!(
        calls_of(&row),
        [("baidu", None, Ended::UpstreamError), ("other", Some(200), Ended::Complete)]
    );
}
