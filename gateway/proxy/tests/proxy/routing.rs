//! Which upstream is called for a model, and what it is asked for.

use std::time::Duration;

use http::Request;
use permille_proxy::config::{AliasSection, Choose, Unpriced};
use permille_rating::{price_book::PriceBook, rate::rate};
use permille_types::{Currency, Ended, Family, Source, UsageEvent};
use rust_decimal::Decimal;

use crate::support::{
    self, KEY, World, ask, calls_of, chat, read_all,
    scripted::{Scripted, answer, chat_reply, reply, slow_reply, stream},
    world_of,
};

fn alias(name: &str, model: &str, upstream: Option<&str>) -> AliasSection {
    AliasSection {
        name: name.parse().unwrap(),
        model: model.parse().unwrap(),
        upstream: upstream.map(|upstream| upstream.parse().unwrap()),
    }
}

/// What the built-in price book makes of a row.
fn cost(row: &UsageEvent) -> Option<Decimal> {
    let book = PriceBook::new(permille_rating::price_book::default_prices().unwrap()).unwrap();
    rate(row, &book, Currency::USD).unwrap().cost.map(|money| money.amount())
}

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

/// A chat request whose bytes are odd enough to tell whether they were written anew.
fn named(model: &str) -> serde_json::Value {
    serde_json::json!({
        "temperature": 1.0, "model": model, "x": {"model": model, "π": [1.50, "\u{7f}"]},
        "messages": [{"role": "user", "content": model}],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_changes_the_bytes_of_the_model_and_no_others() {
    let upstream = Scripted::start([reply("r1")]).await;
    let world = world_of(vec![upstream.upstream("main")], |config| {
        config.aliases = vec![alias("best", "gpt-4o", None)];
    })
    .await;
    let body = named("best");

    let asked = ask(&world, &body).await;

    assert_eq!(asked.status, 200);
    let sent =
        body.to_string().replacen("\"model\":\"best\",\"temp", "\"model\":\"gpt-4o\",\"temp", 1);
    assert_ne!(sent, body.to_string());
    assert_eq!(upstream.body(0), sent);
    assert_eq!(asked.row.model_requested.as_str(), "best");
    assert_eq!(asked.row.attempts[0].model.as_ref().unwrap().as_str(), "gpt-4o");
    // The reply names no model: the price is that of the model that was asked for.
    assert_eq!(asked.row.model_served, None);
    assert_eq!(cost(&asked.row), Some(decimal("0.0000625")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_a_part_of_a_stream_is_priced_as_the_whole_one_is() {
    let line = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"The Nile"}}]}"#;
    let usage = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#;
    let upstream =
        Scripted::start([stream(&[line], false), stream(&[line, usage, "[DONE]"], true)]).await;
    let world = world_of(vec![upstream.upstream("main")], |config| {
        config.aliases = vec![alias("best", "gpt-4o", None)];
    })
    .await;
    let mut body = named("best");
    body["stream"] = true.into();

    let part = ask(&world, &body).await.row;
    let whole = ask(&world, &body).await.row;

    assert_eq!((part.ended, part.source), (Ended::UpstreamError, Source::Estimated));
    assert_eq!((whole.ended, whole.source), (Ended::Complete, Source::Reported));
    for row in [&part, &whole] {
        assert_eq!(row.model().as_str(), "gpt-4o");
        let exact = Decimal::from(row.input_total.unwrap()) * decimal("0.0000025")
            + Decimal::from(row.output_total.unwrap()) * decimal("0.00001");
        assert_eq!(cost(row), Some(exact));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h4_each_attempt_is_named_and_priced_at_its_own_model() {
    let main = Scripted::start([answer(503, "", "{}")]).await;
    let spare = Scripted::start([answer(200, "", &chat_reply("r", ",\"model\":\"gpt-4o-mini\""))]);
    let spare = spare.await;
    let world = world_of(vec![main.upstream("main"), spare.upstream("spare")], |config| {
        config.aliases = vec![
            alias("best", "gpt-4o", Some("main")),
            alias("best", "gpt-4o-mini", Some("spare")),
        ];
    })
    .await;

    let asked = ask(&world, &named("best")).await;

    assert_eq!(
        calls_of(&asked.row),
        [("main", Some(503), Ended::UpstreamError), ("spare", Some(200), Ended::Complete)]
    );
    let models: Vec<_> =
        asked.row.attempts.iter().map(|attempt| attempt.model.as_ref().unwrap().as_str()).collect();
    assert_eq!(models, ["gpt-4o", "gpt-4o-mini"]);
    assert!(spare.body(0).contains("\"model\":\"gpt-4o-mini\",\"temp"));
    assert_eq!(asked.row.upstream.as_ref().unwrap().as_str(), "spare");
    assert_eq!(cost(&asked.row), Some(decimal("0.00000375")), "gpt-4o-mini, once");
}

/// Asks for the models of a path and gives them, and the row.
async fn models_of(world: &World, path: &str) -> (String, UsageEvent) {
    let request = Request::get(world.url(path)).header("authorization", format!("Bearer {KEY}"));
    let (head, reply) = world.send(request, "").await.into_parts();
    let body = read_all(reply).await.unwrap();
    let length: Option<usize> =
        head.headers.get("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
    assert!(length.is_none_or(|length| length == body.len()), "{:?}", head.headers);
    (String::from_utf8(body.to_vec()).unwrap(), world.row_of(&head.headers).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_models_names_the_aliases_that_can_be_asked_for_there() {
    let list = r#"{"object":"list", "data":[{"id":"gpt-4o","object":"model"}]}"#;
    let main = Scripted::start([answer(200, "", list)]).await;
    let mut deepseek = main.upstream("deepseek");
    deepseek.section.provider = Some("deepseek".to_owned());
    deepseek.section.models = vec!["deepseek-*".to_owned()];
    let mut openai = main.upstream("openai");
    openai.section.models = vec!["gpt-*".to_owned()];
    let world = world_of(vec![openai, deepseek], |config| {
        config.aliases = vec![
            alias("best", "gpt-4o", None),
            alias("best", "gpt-4o-mini", None),
            alias("gpt-4o", "gpt-4o", None),
            alias("cheap", "deepseek-chat", None),
            alias("nobody's", "claude-x", None),
        ];
    })
    .await;

    let (all, row) = models_of(&world, "/v1/models?limit=9").await;
    let (of_one, _) = models_of(&world, "/deepseek/models").await;
    let (single, _) = models_of(&world, "/v1/models/gpt-4o").await;

    let entry =
        |id: &str| format!(r#"{{"created":0,"id":"{id}","object":"model","owned_by":"permille"}}"#);
    let aliases = format!("[{},{},", entry("best"), entry("cheap"));
    assert_eq!(all, list.replacen('[', &aliases, 1), "once each, and none that is listed already");
    assert!(row.tokens.is_empty() && row.ended == Ended::Complete, "{row:?}");
    assert_eq!(of_one, list.replacen('[', &format!("[{},", entry("cheap")), 1));
    assert_eq!(single, list, "only the list is changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_models_that_cannot_be_read_passes_as_it_is() {
    let large = format!(r#"{{"data":[{{"id":"{}"}}]}}"#, "x".repeat(5 * 1024 * 1024));
    for (status, body) in [(200, large.as_str()), (200, "<html>"), (500, r#"{"data":[]}"#)] {
        let main = Scripted::start([answer(status, "", body)]).await;
        let world = world_of(vec![main.upstream("main")], |config| {
            config.aliases = vec![alias("best", "gpt-4o", None)];
        })
        .await;

        let (passed, _) = models_of(&world, "/v1/models").await;

        assert!(passed == body, "{status}: {} bytes", passed.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_hides_a_model_of_its_name_and_goes_only_where_it_says() {
    let (main, spare) = (Scripted::start([reply("a")]).await, Scripted::start([reply("b")]).await);
    let world = world_of(vec![main.upstream("main"), spare.upstream("spare")], |config| {
        config.aliases = vec![alias("gpt-4o", "gpt-4o", Some("spare"))];
    })
    .await;

    for _ in 0..6 {
        let asked = ask(&world, &named("gpt-4o")).await;
        assert_eq!(asked.row.attempts[0].model, None, "the client named it itself");
    }

    assert_eq!((main.calls(), spare.calls()), (0, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_of_one_priority_share_calls_and_a_higher_number_waits_for_failure() {
    const REQUESTS: usize = 40;
    let scripts = [Scripted::start([reply("a")]).await, Scripted::start([reply("b")]).await];
    let spare = Scripted::start([reply("c")]).await;
    let mut upstreams = vec![scripts[0].upstream("a"), scripts[1].upstream("b")];
    upstreams[0].section.weight = 3;
    upstreams.push(spare.upstream("spare"));
    upstreams[2].section.priority = 1;
    let world = world_of(upstreams, |_| {}).await;

    for _ in 0..REQUESTS {
        assert_eq!(ask(&world, &chat("", false)).await.status, 200);
    }

    let calls = [scripts[0].calls(), scripts[1].calls()];
    assert_eq!((calls[0] + calls[1], spare.calls()), (REQUESTS, 0));
    // Chances of either being out of these bounds are below one in a million.
    assert!(calls[1] > 0 && calls[0] > 14, "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_whose_replies_begin_sooner_is_preferred_where_asked() {
    let slow = Scripted::start([slow_reply("slow", Duration::from_secs(2))]).await;
    let quick = Scripted::start([reply("quick")]).await;
    let world = world_of(vec![slow.upstream("slow"), quick.upstream("quick")], |config| {
        config.routing.choose = Choose::LeastLatency;
    })
    .await;

    for _ in 0..8 {
        ask(&world, &chat("", false)).await;
    }

    // Each was tried once while nothing was known of it.
    assert_eq!((slow.calls(), quick.calls()), (1, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_quick_to_refuse_is_not_preferred_for_it() {
    // Some providers say so with a status of success.
    let of_qianfan = r#"{"error_code":336501,"error_msg":"rate limit"}"#;
    for refusal in [answer(401, "", "{}"), answer(200, "", of_qianfan)] {
        let refusing = Scripted::start([refusal]).await;
        let slow = Scripted::start([slow_reply("slow", Duration::from_millis(200))]).await;
        let world =
            world_of(vec![refusing.upstream("refusing"), slow.upstream("slow")], |config| {
                config.routing.choose = Choose::LeastLatency;
            })
            .await;

        for _ in 0..6 {
            ask(&world, &chat("", false)).await;
        }

        // Each was tried once while nothing was known of it.
        assert_eq!((refusing.calls(), slow.calls()), (1, 5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_without_a_price_is_never_called_not_even_when_another_fails() {
    let (main, spare) =
        (Scripted::start([answer(503, "", "{}")]).await, Scripted::start([reply("b")]).await);
    let aliases =
        vec![alias("best", "gpt-4o", Some("main")), alias("best", "no-price", Some("spare"))];
    let upstreams = || vec![main.upstream("main"), spare.upstream("spare")];
    let world = world_of(upstreams(), |config| config.aliases.clone_from(&aliases)).await;

    let asked = ask(&world, &named("best")).await;
    assert_eq!((asked.status, asked.row.attempts.len(), spare.calls()), (503, 1, 0));

    let world = world_of(upstreams(), |config| {
        config.aliases = vec![alias("best", "no-price", Some("spare"))];
    })
    .await;
    let refused = world.post("/v1/chat/completions", &named("best")).await;
    assert_eq!((refused.status().as_u16(), spare.calls()), (402, 0));

    let world = world_of(upstreams(), |config| {
        config.aliases = aliases;
        config.pricing.unpriced = Unpriced::Hold;
    })
    .await;
    let asked = ask(&world, &named("best")).await;
    assert_eq!((asked.status, spare.calls()), (200, 1));
    assert_eq!(cost(&asked.row), None, "held until it has a price");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_in_a_path_is_refused_before_anything_is_called() {
    let upstream = Scripted::start([reply("a")]).await;
    let mut gemini = upstream.upstream("gemini");
    gemini.section.family = Family::Gemini;
    let world = world_of(vec![gemini], |config| {
        config.aliases = vec![alias("best", "gemini-2.5-pro", None)];
    })
    .await;

    let asked = serde_json::json!({"contents": [{"parts": [{"text": "How long is the Nile?"}]}]});
    let refused = world.post("/gemini/v1beta/models/best:generateContent", &asked).await;

    assert_eq!((refused.status().as_u16(), upstream.calls()), (400, 0));
    let body = support::read_all(refused.into_body()).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("`best` is an alias"), "{body:?}");
}
