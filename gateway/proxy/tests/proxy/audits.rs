//! A sample of the replies that report usage is counted again: what a provider reports too much is
//! seen, and what was learnt estimates the replies that report nothing.

use permille_proxy::config::{GatewayConfig, Share, Unpriced};
use permille_types::{Flag, Source};
use permille_usage::Corrections;
use serde_json::{Value, json};

use crate::support::{
    World, ask, eventually,
    scripted::{Scripted, Step, stream},
    world_of,
};

/// 2,065 tokens of the vocabulary `o200k`, see `reference.json` beside it.
const TEXT: &str = include_str!("../../../usage/tests/texts/luxun-zh.txt");
const TOKENS: u64 = 2_065;

/// A stream that delivers `text` and reports `output` tokens for it, or nothing.
fn delivered(text: &str, output: Option<u64>) -> Step {
    let pieces: Vec<char> = text.chars().collect();
    let mut lines: Vec<String> = pieces
        .chunks(500)
        .map(|piece| {
            let content: String = piece.iter().collect();
            json!({"id": "c", "choices": [{"index": 0, "delta": {"content": content}}]}).to_string()
        })
        .collect();
    if let Some(output) = output {
        let usage = json!({"prompt_tokens": 20, "completion_tokens": output});
        lines.push(json!({"id": "c", "choices": [], "usage": usage}).to_string());
    }
    lines.push("[DONE]".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    stream(&lines, true)
}

fn asks(model: &str) -> Value {
    json!({"model": model, "stream": true,
        "messages": [{"role": "user", "content": "Read me the beginning of a story."}]})
}

fn sampled(share: f64) -> impl FnOnce(&mut GatewayConfig) {
    move |config| {
        config.metering.audit_sample = Share::try_from(share).unwrap();
        config.pricing.unpriced = Unpriced::Hold;
    }
}

/// The sum of a metric over its series that have all of `labels`.
fn metric(world: &World, name: &str, labels: &[&str]) -> f64 {
    let exported =
        prometheus::TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap();
    exported
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

async fn audited(world: &World, replies: f64) {
    eventually("the replies are audited", || {
        let done = metric(world, "permille_audited_replies_total", &[]);
        (done >= replies).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_reports_a_third_too_much_is_seen() {
    let honest = Scripted::start([delivered(TEXT, Some(TOKENS))]).await;
    let greedy = Scripted::start([delivered(TEXT, Some(TOKENS * 13 / 10))]).await;
    for (provider, percent) in [(honest, 100.0), (greedy, 130.0)] {
        let world = world_of(vec![provider.upstream("main")], sampled(1.0)).await;

        let asked = ask(&world, &asks("gpt-4o-mini")).await;

        assert_eq!(asked.row.source, Source::Reported, "what was reported is billed");
        audited(&world, 1.0).await;
        let output = ["upstream=\"main\"", "model=\"gpt-4o-mini\"", "direction=\"output\""];
        let reported = metric(&world, "permille_audited_reported_tokens_total", &output);
        let counted = metric(&world, "permille_audited_counted_tokens_total", &output);
        let drift = 100.0 * reported / counted;
        assert!((drift - percent).abs() < 1.0, "{drift} % of our count");
        let drifts = |le: &str| {
            let le = [output.as_slice(), &[le]].concat();
            metric(&world, "permille_audit_drift_ratio_bucket", &le) > 0.0
        };
        assert_eq!((drifts("le=\"1.2\""), drifts("le=\"1.35\"")), (percent < 110.0, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_sample_nothing_is_counted_twice() {
    let provider = Scripted::start([delivered(TEXT, Some(TOKENS))]).await;
    let mut world = world_of(vec![provider.upstream("main")], sampled(0.0)).await;

    ask(&world, &asks("gpt-4o-mini")).await;

    // Audits under way would be awaited.
    world.stop().await;
    assert!(metric(&world, "permille_audited_replies_total", &[]).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_report_teach_how_to_estimate_those_that_do_not() {
    const LESSONS: usize = 8;
    // A vocabulary of which nothing is known, by which Chinese has a third more tokens.
    let provider = Scripted::start(
        std::iter::once(delivered(TEXT, None))
            .chain((0..LESSONS).map(|_| delivered(TEXT, Some(2_800))))
            .chain([delivered(TEXT, None)]),
    )
    .await;
    let mut world = world_of(vec![provider.upstream("main")], sampled(1.0)).await;
    let model = asks("nobody-knows-1");

    let before = ask(&world, &model).await.row;
    for lesson in 1..=LESSONS {
        ask(&world, &model).await;
        audited(&world, f64::from(u32::try_from(lesson).unwrap())).await;
    }
    let after = ask(&world, &model).await.row;

    assert_eq!((before.source, after.source), (Source::Estimated, Source::Estimated));
    assert_eq!(
        (before.flags.as_slice(), after.flags.as_slice()),
        (&[][..], &[Flag::LearntRatio][..])
    );
    assert!(before.output_total.unwrap() < 2_200, "{before:?}");
    assert!(after.output_total.unwrap().abs_diff(2_800) < 30, "{after:?}");
    let bound = |row: &permille_types::UsageEvent| row.estimate_error_permille.unwrap();
    assert!(bound(&before) > 400 && bound(&after) < 100, "{before:?} {after:?}");

    world.stop().await;
    let kept = world.journal_folder.with_file_name("corrections.json");
    let kept = Corrections::from_json(&std::fs::read(kept).unwrap()).unwrap();
    assert!(kept.lessons() >= 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reply_that_reports_nothing_is_estimated_as_a_whole() {
    let long = TEXT.repeat(150);
    assert!(long.len() > 1024 * 1024);
    let provider = Scripted::start([delivered(&long, None)]).await;
    let world = world_of(vec![provider.upstream("main")], sampled(0.0)).await;

    let row = ask(&world, &asks("gpt-4o-mini")).await.row;

    let truth = TOKENS * 150;
    assert_eq!(row.source, Source::Estimated);
    assert!(row.output_total.unwrap().abs_diff(truth) < truth / 50, "{row:?}");
    assert!(row.estimate_error_permille.is_some());
}
