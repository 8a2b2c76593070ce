//! What an OpenTelemetry collector is told of calls: the conventions for generative AI over both
//! protocols of OTLP, no text of anybody, and never at the cost of a request.

use std::time::{Duration, Instant};

use http::Request;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use permille_proxy::config::{OtlpConfig, OtlpSection};
use permille_types::UsageEvent;
use serde_json::{Value, json};

use crate::support::{
    KEY, Setup, World,
    collector::{Collector, Mood, attribute},
    convention, eventually, read_all,
    scripted::{Scripted, answer},
};

/// What nobody else may ever see.
const CANARY: &str = "canary-of-the-prompt";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn sends(endpoint: &str, more: &Value) -> OtlpConfig {
    let mut section = json!({"endpoint": endpoint, "metrics_seconds": 1});
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let section: OtlpSection = serde_json::from_value(section).unwrap();
    OtlpConfig {
        section,
        headers: Some("authorization=Bearer%20s3cret".to_owned().into()),
        instance: "node-1".to_owned(),
        version: "0.0.0",
    }
}

/// A gateway that tells `collector`.
async fn world(collector: &Collector, more: Value) -> World {
    let otlp = sends(&collector.url(), &more);
    World::with(|setup| setup.config.otlp = Some(otlp)).await
}

fn chat(stream: bool) -> Value {
    json!({"model": "gpt-4o-mini", "stream": stream,
        "messages": [{"role": "user", "content": CANARY}]})
}

/// A chat with these headers beside its key, read to its end.
async fn say(world: &World, body: &Value, headers: &[(&str, &str)]) -> UsageEvent {
    let mut request = Request::post(world.url("/v1/chat/completions"))
        .header("authorization", format!("Bearer {KEY}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = world.send(request, body.to_string()).await;
    let head = reply.headers().clone();
    read_all(reply.into_body()).await.unwrap();
    world.row_of(&head).await
}

/// The value of a counter of ours.
fn spans(world: &World, result: &str) -> f64 {
    world.counted("permille_otlp_spans_total", result)
}

async fn a_call_is_told(protocol: &str, paths: [&str; 2]) {
    let collector = Collector::start().await;
    let mut world = world(&collector, json!({"protocol": protocol})).await;
    let traceparent = format!("00-{TRACE}-{CALLER}-01");

    let headers = [("traceparent", traceparent.as_str()), ("permille-session", "talk-1")];
    let row = say(&world, &chat(true), &headers).await;
    world.stop().await;

    let taken = collector.taken.lock();
    let [(resource, span)] = &taken.spans[..] else { panic!("{:?}", taken.spans) };
    assert_eq!(attribute(&resource.attributes, "service.name").unwrap(), "permille");
    assert_eq!(attribute(&resource.attributes, "service.instance.id").unwrap(), "node-1");
    assert_eq!(span.name, "chat gpt-4o-mini");
    assert_eq!(span.kind, 3, "a client's span");
    assert_eq!(hex::encode(&span.trace_id), TRACE);
    assert_eq!(hex::encode(&span.parent_span_id), CALLER);
    assert!(span.status.as_ref().is_none_or(|status| status.code == 0), "{:?}", span.status);
    let told = |key: &str| attribute(&span.attributes, key);
    let number = |tokens: u64| Some(tokens.to_string());
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-4o-mini"),
        ("gen_ai.request.stream", "true"),
        ("gen_ai.conversation.id", "talk-1"),
        ("server.address", "127.0.0.1"),
        ("permille.turn", "1"),
        ("permille.ended", "complete"),
    ] {
        assert_eq!(told(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(told("server.port"), Some(world.provider.port().to_string()));
    assert_eq!(told("gen_ai.response.model"), row.model_served.as_ref().map(ToString::to_string));
    assert_eq!(told("gen_ai.response.id"), row.attempts[0].provider_id);
    assert_eq!(told("permille.request.id"), Some(row.request_id.to_string()));
    assert_eq!(told("gen_ai.usage.input_tokens"), number(row.input_total.unwrap()));
    assert_eq!(told("gen_ai.usage.output_tokens"), number(row.output_total.unwrap()));
    assert!(told("gen_ai.response.time_to_first_chunk").is_some());
    assert_eq!(told("error.type"), None);
    let lasted = Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano);
    assert_eq!(lasted, Duration::from_millis(row.latency_ms));

    let seen: Vec<&str> = taken.exports.iter().map(|(path, _)| path.as_str()).collect();
    assert!(paths.iter().all(|path| seen.contains(path)), "{seen:?}");
    assert!(taken.exports.iter().all(|(_, head)| head["authorization"] == "Bearer s3cret"));
    assert!(!format!("{:?}", taken.spans).contains(CANARY));
    assert_eq!(spans(&world, "sent"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_client_span_of_its_caller_over_http() {
    a_call_is_told("http/protobuf", ["/v1/traces", "/v1/metrics"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_client_span_of_its_caller_over_grpc() {
    let service = |signal: &str, name: &str| {
        format!("/opentelemetry.proto.collector.{signal}.v1.{name}Service/Export")
    };
    let paths = [service("trace", "Trace"), service("metrics", "Metrics")];
    a_call_is_told("grpc", [&paths[0], &paths[1]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_every_call_by_the_bounds_of_the_convention() {
    let collector = Collector::start().await;
    // Not one span: metrics do not depend on what is sampled.
    let mut world = world(&collector, json!({"sample_ratio": 0.0})).await;

    let mut rows = Vec::new();
    for stream in [true, false, true] {
        rows.push(say(&world, &chat(stream), &[]).await);
    }
    world.stop().await;

    let taken = collector.taken.lock();
    assert!(taken.spans.is_empty());
    let of = |name: &str| {
        let found = taken.histograms.iter().find(|(found, ..)| found == name);
        let (_, unit, points) = found.unwrap_or_else(|| panic!("{name}"));
        (unit.as_str(), points)
    };
    for (direction, modality, tokens) in [
        ("input", "unknown", rows.iter().filter_map(|row| row.input_total).sum::<u64>()),
        ("output", "text", rows.iter().filter_map(|row| row.output_total).sum()),
    ] {
        assert!(tokens > 0, "{direction}");
        let name = format!("gen_ai.client.inference.usage.{direction}_tokens");
        let used = counted(&taken.counters, &name);
        assert_eq!(used, [(modality.to_owned(), tokens)]);

        let (unit, points) = of(&format!("gen_ai.client.inference.operation.{direction}_tokens"));
        let [point] = &points[..] else { panic!("{points:?}") };
        assert_eq!(unit, "{token}");
        assert_eq!((point.count, point.sum), (3, Some(f64::from(u32::try_from(tokens).unwrap()))));
        assert_eq!(point.explicit_bounds[..4], [1.0, 4.0, 16.0, 64.0]);
        assert_eq!(point.explicit_bounds.len(), 14);
        let told = |key: &str| attribute(&point.attributes, key);
        assert_eq!(told("gen_ai.request.model").as_deref(), Some("gpt-4o-mini"));
        assert_eq!(told("gen_ai.conversation.id"), None, "never a label");
    }
    let (unit, points) = of("gen_ai.client.inference.duration");
    assert_eq!((unit, points[0].count), ("s", 3));
    assert_eq!(points[0].explicit_bounds[..2], [0.01, 0.02]);
    let (_, points) = of("gen_ai.client.inference.time_to_first_chunk");
    assert_eq!(points[0].count, 2, "streams only");
}

/// What a counter of tokens has come to, by modality, without what is nothing.
fn counted(counters: &[(String, String, Vec<NumberDataPoint>)], name: &str) -> Vec<(String, u64)> {
    let found = counters.iter().find(|(found, ..)| found == name);
    let (_, unit, points) = found.unwrap_or_else(|| panic!("{name}"));
    assert_eq!(unit, "{token}");
    let mut all: Vec<_> = points
        .iter()
        .map(|point| {
            let Some(number_data_point::Value::AsInt(tokens)) = point.value else {
                panic!("{point:?}")
            };
            let modality = attribute(&point.attributes, "gen_ai.token.modality").unwrap();
            (modality, u64::try_from(tokens).unwrap())
        })
        .collect();
    all.retain(|(_, tokens)| *tokens > 0);
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_usage_go_by_the_names_of_the_convention_and_by_no_other() {
    let collector = Collector::start().await;
    let usage = json!({
        "prompt_tokens": 1_000, "completion_tokens": 300, "total_tokens": 1_300,
        "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 50},
        "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 20},
    });
    let reply = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini", "usage": usage,
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "yes"}}],
    });
    let replies = [answer(200, "", &reply.to_string())];
    let upstream = Scripted::start(replies.into_iter().chain([answer(503, "", "{}")])).await;
    let otlp = sends(&collector.url(), &json!({}));
    let upstreams = vec![upstream.upstream("scripted")];
    let mut world = World::with(|setup: &mut Setup| {
        setup.config.otlp = Some(otlp);
        setup.config.upstreams = upstreams;
        setup.config.routing.calls_max = 1;
    })
    .await;

    say(&world, &chat(false), &[]).await;
    say(&world, &chat(false), &[]).await;
    world.stop().await;

    let taken = collector.taken.lock();
    let [(_, span), _] = &taken.spans[..] else { panic!("{:?}", taken.spans) };
    for (key, tokens) in [
        ("input_tokens", "1000"),
        ("output_tokens", "300"),
        ("cache_read.input_tokens", "400"),
        ("audio.input_tokens", "50"),
        ("reasoning.output_tokens", "100"),
        ("audio.output_tokens", "20"),
    ] {
        let told = attribute(&span.attributes, &format!("gen_ai.usage.{key}"));
        assert_eq!(told.as_deref(), Some(tokens), "{key}");
    }
    let usage = |name: &str| {
        let name = format!("gen_ai.client.inference.usage.{name}");
        counted(&taken.counters, &name)
    };
    let parts = |parts: &[(&str, u64)]| -> Vec<(String, u64)> {
        parts.iter().map(|(name, tokens)| ((*name).to_owned(), *tokens)).collect()
    };
    assert_eq!(usage("input_tokens"), parts(&[("audio", 50), ("unknown", 950)]));
    assert_eq!(usage("output_tokens"), parts(&[("audio", 20), ("text", 280)]));
    assert_eq!(usage("cache_read.input_tokens"), parts(&[("unknown", 400)]));
    assert_eq!(usage("reasoning.output_tokens"), parts(&[("text", 100)]));
    assert_eq!(usage("cache_write.input_tokens"), []);
    // Of the one that failed there is a count of 0, with its error.
    let (_, _, points) = &taken
        .histograms
        .iter()
        .find(|(name, ..)| name == "gen_ai.client.inference.operation.output_tokens")
        .unwrap();
    let failed = points.iter().find(|point| attribute(&point.attributes, "error.type").is_some());
    assert_eq!(failed.map(|point| (point.count, point.sum)), Some((1, Some(0.0))));

    let names = taken.histograms.iter().map(|(name, ..)| name);
    for name in names.chain(taken.counters.iter().map(|(name, ..)| name)) {
        assert!(
            convention::METRICS.contains(&name.as_str()),
            "{name} is no name of the convention"
        );
    }
    let spans = taken.spans.iter().flat_map(|(_, span)| &span.attributes);
    let points = taken.histograms.iter().flat_map(|(.., points)| points);
    let counts = taken.counters.iter().flat_map(|(.., points)| points);
    let attributes = spans
        .chain(points.flat_map(|point| &point.attributes))
        .chain(counts.flat_map(|point| &point.attributes));
    for attribute in attributes.filter(|attribute| !attribute.key.starts_with("permille.")) {
        let key = attribute.key.as_str();
        assert!(convention::ATTRIBUTES.contains(&key), "{key} is no name of the convention");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_goes_on_from_our_span_and_failures_say_what_failed() {
    let collector = Collector::start().await;
    let upstream = Scripted::start([answer(503, "", "{}")]).await;
    let otlp = sends(&collector.url(), &json!({}));
    let upstreams = vec![upstream.upstream("broken")];
    let mut world = World::with(|setup: &mut Setup| {
        setup.config.otlp = Some(otlp);
        setup.config.upstreams = upstreams;
        setup.config.routing.calls_max = 1;
    })
    .await;

    // Two callers: one that is recorded and one that is not.
    for (flags, state) in [("01", "a=1"), ("00", "b=2")] {
        let parent = format!("00-{TRACE}-{CALLER}-{flags}");
        let headers = [("traceparent", parent.as_str()), ("tracestate", state)];
        say(&world, &chat(false), &headers).await;
    }
    world.stop().await;

    let taken = collector.taken.lock();
    let [(_, span)] = &taken.spans[..] else { panic!("{:?}", taken.spans) };
    assert_eq!(span.status.as_ref().unwrap().code, 2, "an error");
    assert_eq!(attribute(&span.attributes, "error.type").unwrap(), "503");
    assert_eq!(attribute(&span.attributes, "permille.upstream").unwrap(), "broken");
    let ours = format!("00-{TRACE}-{}-01", hex::encode(&span.span_id));
    let (recorded, other) = (upstream.head(0), upstream.head(1));
    assert!(recorded.contains(&format!("traceparent: {ours}")), "{recorded}");
    assert!(recorded.contains("tracestate: a=1"), "{recorded}");
    // Not ours to change.
    assert!(other.contains(&format!("traceparent: 00-{TRACE}-{CALLER}-00")), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_nobody_back_and_what_it_misses_is_counted() {
    let collector = Collector::start().await;
    *collector.mood.lock() = Mood::Hangs;
    let mut world = world(&collector, json!({"spans_max": 4, "timeout_ms": 1_000})).await;

    for _ in 0..10 {
        say(&world, &chat(false), &[]).await;
    }

    // Four wait, or are in an export that hangs.
    assert_eq!(spans(&world, "sent"), 0.0);
    let lost = spans(&world, "dropped") + spans(&world, "failed");
    assert!(lost >= 6.0, "{lost}");
    let begun = Instant::now();
    world.stop().await;
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    assert_eq!(spans(&world, "dropped") + spans(&world, "failed"), 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_asked_again_with_the_next_spans() {
    let collector = Collector::start().await;
    *collector.mood.lock() = Mood::Refuses;
    let mut world = world(&collector, json!({})).await;

    say(&world, &chat(false), &[]).await;
    eventually("the refusal is counted", || (spans(&world, "failed") == 1.0).then_some(())).await;
    *collector.mood.lock() = Mood::Takes;
    say(&world, &chat(false), &[]).await;
    world.stop().await;

    assert_eq!((spans(&world, "sent"), spans(&world, "failed")), (1.0, 1.0));
    assert_eq!(collector.taken.lock().spans.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_told_as_the_model_that_was_asked_for() {
    let collector = Collector::start().await;
    let otlp = sends(&collector.url(), &json!({}));
    let mut world = World::with(|setup: &mut Setup| {
        setup.config.otlp = Some(otlp);
        let alias = json!({"name": "house-model", "model": "gpt-4o-mini"});
        setup.config.aliases = vec![serde_json::from_value(alias).unwrap()];
    })
    .await;
    let mut body = chat(false);
    body["model"] = "house-model".into();

    say(&world, &body, &[]).await;
    world.stop().await;

    assert_eq!(collector.taken.lock().spans[0].1.name, "chat gpt-4o-mini");
}
