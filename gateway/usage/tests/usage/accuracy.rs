//! How far estimates are from what models' own tokenizers count, on public-domain text.
//!
//! `texts/reference.json` says of each text what it is and why it is free, and how many tokens it
//! has by tokenizers that share nothing with ours: each maker's own, made once, offline.

use std::{fs, path::PathBuf};

use permille_types::{Endpoint, Flag, Unit};
use permille_usage::{
    Ahead, Audit, Corrections, Counted, Estimator, Framing, Reading, Tap, TapConfig,
};
use serde_json::{Value, json};

use crate::common::{chat_stream, leave, run, stream};

/// What is at most between an estimate and the truth: where the vocabulary is the model's own.
const OWN_PERMILLE: u64 = 100;
/// The same where it is not, once the model's ratio has been learnt.
const LEARNT_PERMILLE: u64 = 250;

const TEXTS: [&str; 7] =
    ["luxun-zh", "mencius-zh", "udhr-zh", "udhr-ar-1", "udhr-ar-2", "alice-en", "udhr-en"];

/// A text to learn a ratio from, and the texts that are then estimated with it.
const LESSONS: [(&str, &[&str]); 3] = [
    ("udhr-zh", &["luxun-zh", "mencius-zh"]),
    ("udhr-ar-1", &["udhr-ar-2"]),
    ("udhr-en", &["alice-en"]),
];

/// Models whose vocabulary stands in another's, and the tokenizer that is their own.
const STRANGERS: [(&str, &str); 6] = [
    ("deepseek-chat", "deepseek"),
    ("qwen3.6-plus", "qwen3_6"),
    ("gemini-2.5-flash", "gemma_3"),
    ("claude-2.1", "claude_2"),
    ("llama-2-70b", "llama_2"),
    ("meta-llama-3-70b", "llama_3"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/texts")
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap()
}

fn reference() -> Value {
    serde_json::from_slice(&fs::read(folder().join("reference.json")).unwrap()).unwrap()
}

fn truth(reference: &Value, name: &str, tokenizer: &str) -> u64 {
    reference["texts"][name]["tokens"][tokenizer].as_u64().unwrap()
}

/// The body of a stream of `model` that delivers `text`.
fn body(model: &str, text: &str, usage: Option<(u64, u64)>) -> Vec<u8> {
    let pieces: Vec<char> = text.chars().collect();
    let mut events: Vec<String> = pieces
        .chunks(40)
        .map(|piece| {
            let content: String = piece.iter().collect();
            json!({"model": model, "choices": [{"delta": {"content": content}}]}).to_string()
        })
        .collect();
    if let Some((input, output)) = usage {
        let usage = json!({"prompt_tokens": input, "completion_tokens": output});
        events.push(json!({"model": model, "choices": [], "usage": usage}).to_string());
        events.push("[DONE]".to_owned());
    }
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    stream(&events)
}

/// A reply of `model` that delivered `text` and reported nothing.
fn unreported(model: &str, text: &str) -> Reading {
    leave(chat_stream(true), [body(model, text, None).as_slice()])
}

fn estimate(model: &str, text: &str, corrections: Option<&Corrections>) -> Counted {
    let estimator = Estimator { corrections, ahead: None };
    estimator.count(&unreported(model, text), Endpoint::ChatCompletions, b"{}")
}

/// A reply of `model` that delivered `text` and reported `output` tokens for it, audited.
fn audit(model: &str, text: &str, request: &[u8], usage: (u64, u64)) -> Audit {
    let mut tap = Tap::new(chat_stream(true));
    tap.push(body(model, text, Some(usage)).into(), &mut Vec::new());
    let reading = tap.reading_with_text();
    Audit::of(&model.parse().unwrap(), &reading, Endpoint::ChatCompletions, request, None).unwrap()
}

/// What is between `estimate` and `truth`, in thousandths of the truth.
fn off_permille(estimate: u64, truth: u64) -> u64 {
    estimate.abs_diff(truth) * 1_000 / truth
}

#[test]
fn with_a_models_own_vocabulary_every_text_is_within_a_tenth() {
    let reference = reference();
    let mut models = vec![
        ("gpt-4o-mini", "o200k"),
        ("gpt-4-turbo", "cl100k"),
        ("qwen-max", "qwen2"),
        ("mistral-medium-2508", "mistral_tekken"),
    ];
    if cfg!(feature = "vocabulary-deepseek") {
        models.push(("deepseek-chat", "deepseek"));
    }
    if cfg!(feature = "vocabulary-llama3") {
        models.push(("meta-llama-3-70b", "llama_3"));
    }
    for (model, tokenizer) in models {
        for name in TEXTS {
            let counted = estimate(model, &text(name), None);

            let truth = truth(&reference, name, tokenizer);
            let off = off_permille(counted.output_total.unwrap(), truth);
            println!("{model} {name}: {off} ‰ off {truth}");
            assert!(off <= OWN_PERMILLE, "{model} {name}: {off} ‰ off {truth}");
            let bound = u64::from(counted.estimate_error_permille.unwrap());
            assert!(off <= bound, "{model} {name}: {off} ‰ off, {bound} ‰ promised");
        }
    }
}

#[test]
fn without_it_every_text_is_within_a_quarter_once_the_model_has_reported_a_few_times() {
    let reference = reference();
    for (model, tokenizer) in STRANGERS {
        let corrections = Corrections::default();
        for (lesson, _) in LESSONS {
            let text = text(lesson);
            let truth = truth(&reference, lesson, tokenizer);
            for _ in 0..10 {
                let audit = audit(model, &text, b"{}", (0, truth));
                audit.teach(&model.parse().unwrap(), &corrections);
            }
        }
        for name in LESSONS.iter().flat_map(|(_, others)| *others) {
            let before = estimate(model, &text(name), None);
            let after = estimate(model, &text(name), Some(&corrections));

            let truth = truth(&reference, name, tokenizer);
            let [before_off, off] =
                [&before, &after].map(|counted| off_permille(counted.output_total.unwrap(), truth));
            println!("{model} {name}: {before_off} ‰, learnt {off} ‰ off {truth}");
            assert!(off <= LEARNT_PERMILLE, "{model} {name}: {off} ‰ off {truth}");
            let bound = u64::from(after.estimate_error_permille.unwrap());
            let off = off_permille(truth, after.output_total.unwrap());
            assert!(off <= bound, "{model} {name}: {off} ‰ off, {bound} ‰ promised");
            if !cfg!(any(feature = "vocabulary-deepseek", feature = "vocabulary-llama3")) {
                assert_eq!(after.flags, [Flag::LearntRatio], "{model} {name}");
            }
        }
    }
}

#[test]
fn before_anything_is_learnt_the_truth_is_within_the_bound_on_the_row() {
    let reference = reference();
    let tokenizers = reference["made_with"].as_object().unwrap();
    for tokenizer in tokenizers.keys() {
        let known = STRANGERS.iter().find(|(_, own)| own == tokenizer);
        let model = known.map_or("some-model", |(model, _)| model);
        for name in TEXTS {
            let counted = estimate(model, &text(name), None);

            let truth = truth(&reference, name, tokenizer);
            let tokens = counted.output_total.unwrap();
            let bound = u64::from(counted.estimate_error_permille.unwrap());
            // Of the estimate, as the row says it.
            let off = off_permille(truth, tokens);
            assert!(off <= bound, "{tokenizer} {name}: {off} ‰ off, {bound} ‰ promised");
        }
    }
}

#[test]
fn a_provider_that_reports_too_much_is_seen_and_one_that_does_not_is_not() {
    let reference = reference();
    let (name, prompt) = ("luxun-zh", text("udhr-zh"));
    let request = json!({"model": "qwen-max", "messages": [{"role": "user", "content": prompt}]});
    let request = request.to_string();
    let honest = (truth(&reference, "udhr-zh", "qwen2") + 7, truth(&reference, name, "qwen2"));
    for (percent, seen) in [(100, 1_000), (130, 1_300)] {
        let reported = (honest.0 * percent / 100, honest.1 * percent / 100);

        let audit = audit("qwen-max", &text(name), request.as_bytes(), reported);

        assert!(audit.is_own_vocabulary);
        for compared in [audit.input.unwrap(), audit.output.unwrap()] {
            let drift = compared.reported * 1_000 / compared.counted;
            assert!(drift.abs_diff(seen) <= 20, "{drift} ‰ of what was counted");
        }
    }
}

#[test]
fn what_cannot_be_counted_here_is_not_compared() {
    let image = json!({"messages": [{"content": [{"image_url": {"url": "x"}}]}]}).to_string();
    let with_image = audit("qwen-max", "The Nile.", image.as_bytes(), (900, 3));
    assert_eq!(with_image.input, None);
    assert_eq!(with_image.output.map(|output| output.counted), Some(3));

    let model = "qwen-max".parse().unwrap();
    let error = br#"{"error":{"message":"m"}}"#;
    let reading = run(chat_stream(true), [error.as_slice()]).reading;
    assert_eq!(Audit::of(&model, &reading, Endpoint::ChatCompletions, b"{}", None), None);
}

#[test]
fn a_reply_that_was_not_read_whole_or_contradicts_itself_is_not_compared() {
    let model = "qwen-max".parse().unwrap();
    let body = body("qwen-max", "The Nile.", Some((900, 3)));
    let mut tap = Tap::new(chat_stream(true));
    tap.push(body.into(), &mut Vec::new());
    let whole = tap.reading_with_text();
    let of = |reading: &Reading| Audit::of(&model, reading, Endpoint::ChatCompletions, b"{}", None);
    assert!(of(&whole).is_some());

    let spoil: [fn(&mut Reading); 4] = [
        |reading| reading.tap_error = true,
        |reading| reading.unreadable = true,
        |reading| reading.usage.as_mut().unwrap().is_tokenless = true,
        |reading| reading.usage.as_mut().unwrap().mismatch = true,
    ];
    for (place, spoil) in spoil.into_iter().enumerate() {
        let mut reading = whole.clone();
        spoil(&mut reading);
        assert_eq!(of(&reading), None, "{place}");
    }
}

#[test]
fn media_and_what_a_search_adds_are_left_out_of_what_is_compared() {
    let request = br#"{"messages":[{"role":"user","content":"How long is the Nile?"}]}"#;
    let body = r#"{"model":"gpt-4o","choices":[{"message":{"content":"The Nile."}}],
        "usage":{"prompt_tokens":100,"completion_tokens":30,
            "prompt_tokens_details":{"audio_tokens":40,"image_tokens":7},
            "completion_tokens_details":{"audio_tokens":27}}}"#;
    let mut tap = Tap::new(TapConfig { framing: Framing::Json, ..chat_stream(false) });
    tap.push(body.into(), &mut Vec::new());
    let mut reading = tap.reading_with_text();
    let model = "gpt-4o".parse().unwrap();
    let of = |reading: &Reading| {
        Audit::of(&model, reading, Endpoint::ChatCompletions, request, None).unwrap()
    };

    let with_media = of(&reading);
    assert_eq!(with_media.input.unwrap().reported, 53);
    assert_eq!(with_media.output.unwrap().reported, 3);

    reading.usage.as_mut().unwrap().units.insert(Unit::Searches, 1);
    let with_search = of(&reading);
    assert_eq!(with_search.input, None);
    assert_eq!(with_search.output, with_media.output);
}

#[test]
fn a_prompt_that_is_not_kept_whole_is_compared_by_its_length() {
    let counted = |words: usize| {
        let prompt = "river ".repeat(words);
        let request = json!({"messages": [{"role": "user", "content": prompt}]}).to_string();
        let audit = audit("gpt-4o", "The Nile.", request.as_bytes(), (900, 3));
        audit.input.unwrap().counted
    };

    assert!(counted(40_000).abs_diff(4 * counted(10_000)) < 400, "{}", counted(40_000));
}

#[test]
fn what_was_learnt_of_one_script_is_not_said_of_a_text_without_it() {
    let (model, corrections) = ("claude-2.1", Corrections::default());
    let lesson = "尼罗河是非洲最长的河流。".repeat(20);
    for _ in 0..10 {
        audit(model, &lesson, b"{}", (0, 400)).teach(&model.parse().unwrap(), &corrections);
    }

    assert_eq!(estimate(model, &lesson, Some(&corrections)).flags, [Flag::LearntRatio]);
    assert_eq!(estimate(model, "The Nile is long", Some(&corrections)).flags, []);
}

#[test]
fn a_long_text_is_counted_while_it_comes_and_little_is_left_for_the_end() {
    let long = text("udhr-en").repeat(100);
    assert!(long.len() > 1024 * 1024);
    let mut tap = Tap::new(chat_stream(true));
    let (mut ahead, mut pieces, mut out) = (Ahead::of("gpt-4o"), 0, Vec::new());
    for bytes in body("gpt-4o", &long, None).chunks(1_000) {
        tap.push(bytes.to_vec().into(), &mut out);
        out.clear();
        if tap.is_text_due() {
            assert!(ahead.is_free());
            ahead.put(tap.take_text());
            assert!(!ahead.is_free() && !tap.is_text_due());
            ahead.count();
            pieces += 1;
        }
    }

    let reading = tap.reading();
    assert_eq!(reading.opening, long[..1_024], "what was counted is still how it began");
    let left = reading.text.visible.kept().len();
    assert!(pieces >= 32 && left < 33 * 1024, "{pieces} pieces, {left} bytes left");
    let estimator = Estimator { ahead: Some(&ahead), ..Estimator::default() };
    let counted = estimator.count(&reading, Endpoint::ChatCompletions, b"{}");
    let whole = truth(&reference(), "udhr-en", "o200k") * 100;
    assert!(off_permille(counted.output_total.unwrap(), whole) <= 1, "{counted:?} {whole}");
    assert_eq!(counted.estimate_error_permille, Some(20), "nothing is extrapolated");
}
