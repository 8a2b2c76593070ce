//! What a client or an upstream may try to get past the gateway: secrets, unmetered operations,
//! replies without usage.

use http::{HeaderMap, Request};
use permille_proxy::config::{Unpriced, UpstreamConfig};
use permille_types::{Ended, Family};

use crate::support::{
    KEY, World, calls_of, read_all,
    scripted::{Scripted, answer},
    upstream, world_of,
};

const GEMINI: &str = "/gemini/v1beta/models/gemini-2.5-flash:generateContent";
const QIANFAN: &str = "/qianfan/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/completions";
const DASHSCOPE: &str = "/dashscope/api/v1/services/aigc/text-generation/generation";

async fn world_before(scripted: &Scripted, family: Family) -> World {
    let mut only: UpstreamConfig = upstream("only", family, format!("http://{}", scripted.address));
    if family == Family::Hunyuan {
        only.credential = "AKIDours:provider-secret".into();
    }
    world_of(vec![only], |config| config.pricing.unpriced = Unpriced::Hold).await
}

/// Sends `body` to `path` with these headers: the status, the headers and the body of the answer.
async fn send(
    world: &World,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, HeaderMap, String) {
    let request = Request::post(world.url(path)).header("api-key", KEY);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let (head, body) = world.send(request, body.to_owned()).await.into_parts();
    let body = String::from_utf8(read_all(body).await.unwrap().into()).unwrap();
    (head.status.as_u16(), head.headers, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_never_leads_a_client_past_the_gateway_nor_shows_our_credential() {
    for status in [301, 302, 307, 308] {
        let elsewhere = "https://provider.example/chat?access_token=provider%2Dsecret";
        let redirect = answer(status, &format!("location: {elsewhere}\r\n"), elsewhere);
        let provider = Scripted::start([redirect]).await;
        let world = world_before(&provider, Family::QianfanV1).await;

        let (_, headers, body) = send(&world, QIANFAN, &[], r#"{"messages":[]}"#).await;

        assert!(provider.head(0).contains("access_token=provider%2Dsecret"), "not in the query");
        assert!(
            !body.contains("secret") && !headers.contains_key("location"),
            "{headers:?} {body}"
        );
        assert!(body.contains("permille_upstream_redirects"), "{body}");
        let row = world.row_of(&headers).await;
        assert_eq!(calls_of(&row), [("only", Some(status), Ended::UpstreamError)]);
        assert_eq!((row.ended, row.tokens.len()), (Ended::UpstreamError, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_decides_what_is_done_is_not_given_twice() {
    let provider = Scripted::start([answer(200, "", "{}")]).await;
    let hunyuan = world_before(&provider, Family::Hunyuan).await;
    let dashscope = world_before(&provider, Family::Dashscope).await;
    let of_hunyuan = r#"{"Model":"hunyuan-lite","Messages":[]}"#;
    let of_dashscope = r#"{"model":"qwen-plus","input":{"messages":[]}}"#;

    for (world, path, name, values, body) in [
        (&hunyuan, "/hunyuan", "x-tc-action", ["ChatCompletions", "RunThread"], of_hunyuan),
        (&dashscope, DASHSCOPE, "x-dashscope-async", ["disable", "enable"], of_dashscope),
        (&dashscope, DASHSCOPE, "x-dashscope-async", ["disable", "disable,enable"], of_dashscope),
    ] {
        let (_, _, answer) = send(world, path, &values.map(|value| (name, value)), body).await;

        assert!(answer.contains("permille_invalid_request"), "{name} {values:?}: {answer}");
        assert!(answer.to_lowercase().contains(name), "{answer}");
    }
    assert_eq!(provider.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_of_google_is_not_asked_for_without_its_usage() {
    let reply = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],
        "usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1,"totalTokenCount":4}}"#;
    let provider = Scripted::start([answer(200, "", reply)]).await;
    let world = world_before(&provider, Family::Gemini).await;
    let body = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;

    for (query, header) in [
        ("fields=candidates", None),
        ("x=1&%24fields=candidates", None),
        ("%66ields=candidates", None),
        ("alt=proto", None),
        ("$alt=media", None),
        ("callback=f", None),
        ("alt=json&alt=proto", None),
        ("", Some(("x-goog-fieldmask", "candidates"))),
    ] {
        let path = format!("{GEMINI}?{query}");
        let (status, _, answer) = send(&world, &path, &Vec::from_iter(header), body).await;

        assert_eq!(status, 400, "{query} {header:?}");
        assert!(answer.contains("permille_invalid_request"), "{answer}");
    }
    assert_eq!(provider.calls(), 0);
    for query in ["", "alt=json", "$alt=json;enum-encoding=int", "prettyPrint=false", "alt=sse"] {
        let (status, headers, _) = send(&world, &format!("{GEMINI}?{query}"), &[], body).await;

        assert_eq!(status, 200, "{query}");
        assert_eq!(world.row_of(&headers).await.output_total, Some(1));
    }
}
