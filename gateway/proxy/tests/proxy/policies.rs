//! Who pays for a reply that is none, and what happens when a client leaves, by policy.

use permille_proxy::config::{ClientGone, MeteringSection, Payer, PolicySection};
use permille_rating::{price_book::PriceBook, rate::rate};
use permille_types::{Currency, Ended, Family, Flag, Source, UsageEvent};
use rust_decimal::Decimal;

use crate::support::{
    World, ask,
    case::reply,
    chat, read_all, read_events,
    scripted::{Scripted, Step, answer, stream},
    world_of,
};

/// What the built-in price book makes of a row.
fn cost(row: &UsageEvent) -> Decimal {
    let book = PriceBook::new(permille_rating::price_book::default_prices().unwrap()).unwrap();
    rate(row, &book, Currency::USD).unwrap().cost.unwrap().amount()
}

/// A whole reply of one choice, with this many tokens out.
fn choice(message: &str, finish: &str, output: u32) -> Step {
    let choice = format!(r#"{{"index":0,"message":{message},"finish_reason":"{finish}"}}"#);
    let usage = format!(r#"{{"prompt_tokens":9,"completion_tokens":{output}}}"#);
    let body = format!(r#"{{"id":"r","choices":[{choice}],"usage":{usage}}}"#);
    answer(200, "", &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_reply_is_marked_and_paid_for_as_the_policy_says() {
    let text = r#"{"content":"The Ni"}"#;
    let refused = r#"{"content":null,"refusal":"I cannot help with that."}"#;
    let delta = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"The Nile is"}}]}"#;
    let nobody = |change: fn(&mut MeteringSection)| change;
    for (step, mark, spare) in [
        (
            choice(text, "content_filter", 3),
            Some(Flag::ContentFilter),
            nobody(|metering| {
                metering.content_filter = Payer::Nobody;
            }),
        ),
        (
            choice(refused, "stop", 6),
            Some(Flag::Refusal),
            nobody(|metering| {
                metering.refusal = Payer::Nobody;
            }),
        ),
        (
            choice(r#"{"content":""}"#, "stop", 0),
            Some(Flag::EmptyReply),
            nobody(|metering| {
                metering.empty_reply = Payer::Nobody;
            }),
        ),
        (
            stream(&[delta], false),
            None,
            nobody(|metering| {
                metering.failed_reply = Payer::Nobody;
            }),
        ),
    ] {
        let streamed = mark.is_none();
        let upstream = Scripted::start([step]).await;
        let mut tokens = Vec::new();
        for spared in [false, true] {
            let world = world_of(vec![upstream.upstream("main")], |config| {
                if spared {
                    spare(&mut config.metering);
                }
            })
            .await;

            let row = ask(&world, &chat("", streamed)).await.row;

            let expected: Vec<Flag> =
                mark.into_iter().chain(spared.then_some(Flag::NotBilled)).collect();
            assert_eq!(row.flags, expected);
            assert!(row.input_total.unwrap() > 0, "the tokens stay: {row:?}");
            assert_eq!(row.attempts[0].tokens, row.tokens, "for the provider's account");
            assert_eq!(cost(&row).is_zero(), spared, "{row:?}");
            tokens.push(row.tokens);
        }
        assert_eq!(tokens[0], tokens[1], "the policy changes no count");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_azures_filter_rejects_is_billed_as_the_policy_says() {
    let (_, rejected) = reply("azure-openai/error-content-filter");
    let rejected = String::from_utf8(rejected).unwrap();
    let other = r#"{"error":{"message":"x","code":"invalid_prompt","status":400}}"#;
    for (family, status, body, expected) in [
        (Family::AzureOpenAi, 400, rejected.as_str(), Some(Payer::Customer)),
        (Family::AzureOpenAi, 400, rejected.as_str(), Some(Payer::Nobody)),
        (Family::AzureOpenAi, 429, rejected.as_str(), None),
        (Family::AzureOpenAi, 400, other, None),
        // OpenAI itself charges nothing for an error.
        (Family::OpenAi, 400, rejected.as_str(), None),
    ] {
        let upstream = Scripted::start([answer(status, "", body)]).await;
        let mut of_family = upstream.upstream("main");
        of_family.section.family = family;
        let world = world_of(vec![of_family], |config| {
            config.metering.content_filter = expected.unwrap_or(Payer::Customer);
            // What was rejected is no reply that broke off, and not an empty one.
            config.metering.failed_reply = Payer::Nobody;
            config.metering.empty_reply = Payer::Nobody;
        })
        .await;
        let path = match family {
            Family::AzureOpenAi => "/azure/openai/v1/chat/completions",
            _ => "/v1/chat/completions",
        };

        for streamed in [false, true] {
            let response = world.post(path, &chat("", streamed)).await;
            assert_eq!(response.status().as_u16(), status);
            let (head, reply) = response.into_parts();
            assert_eq!(read_all(reply).await.unwrap(), body, "the error passes unchanged");
            let row = world.row_of(&head.headers).await;

            let Some(payer) = expected else {
                assert_eq!((row.ended, row.source), (Ended::UpstreamError, Source::Missing));
                assert!(row.tokens.is_empty(), "an error is free: {row:?}");
                continue;
            };
            assert_eq!((row.ended, row.source), (Ended::Complete, Source::Estimated));
            assert_eq!((row.status, row.output_total), (Some(400), None));
            assert!(row.input_total.unwrap() > 5 && row.estimate_error_permille.is_some());
            assert_eq!(row.attempts[0].tokens, row.tokens, "for the provider's account");
            let spared = payer == Payer::Nobody;
            let not_billed = spared.then_some(Flag::NotBilled);
            let flags: Vec<Flag> = [Flag::ContentFilter].into_iter().chain(not_billed).collect();
            assert_eq!(row.flags, flags);
            assert_eq!(cost(&row).is_zero(), spared, "{row:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_reply_is_never_spared() {
    let upstream = Scripted::start([choice(r#"{"content":"Yes."}"#, "stop", 2)]).await;
    let world = world_of(vec![upstream.upstream("main")], |config| {
        let metering = &mut config.metering;
        for payer in [
            &mut metering.failed_reply,
            &mut metering.empty_reply,
            &mut metering.content_filter,
            &mut metering.refusal,
        ] {
            *payer = Payer::Nobody;
        }
    })
    .await;

    let row = ask(&world, &chat("", false)).await.row;

    assert!(row.flags.is_empty(), "{:?}", row.flags);
    assert!(!cost(&row).is_zero());
}

/// Leaves a stream after two events and gives its row.
async fn abort(world: &World, model: &str) -> UsageEvent {
    let mut body = chat("tokens=60,chunk_ms=5", true);
    body["model"] = model.into();
    let response = world.post("/v1/chat/completions", &body).await;
    let (head, mut reply) = response.into_parts();
    read_events(&mut reply, 2).await;
    drop(reply);
    world.row_of(&head.headers).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_of_some_models_holds_for_them_alone_and_an_abort_is_never_free() {
    let world = World::with(|setup| {
        setup.config.metering.failed_reply = Payer::Nobody;
        setup.config.policies = vec![
            PolicySection {
                customer: Some("acme".to_owned()),
                model: Some("gpt-4o".to_owned()),
                client_gone: Some(ClientGone::Cancel),
                ..PolicySection::default()
            },
            PolicySection {
                endpoint: Some("chat_*".to_owned()),
                model: Some("gpt-4.1".to_owned()),
                drain_bytes_max: Some(100),
                ..PolicySection::default()
            },
        ];
    })
    .await;

    let cancelled = abort(&world, "gpt-4o").await;
    let drained = abort(&world, "gpt-4o-mini").await;
    let bounded = abort(&world, "gpt-4.1").await;

    assert_eq!(cancelled.flags, [Flag::Simulated, Flag::Cancelled]);
    assert_eq!(drained.flags, [Flag::Simulated, Flag::Drained]);
    assert_eq!(bounded.flags, [Flag::Simulated, Flag::Drained, Flag::DrainBound]);
    assert_eq!((drained.source, drained.output_total), (Source::Reported, Some(60)));
    for row in [cancelled, drained, bounded] {
        assert_eq!(row.ended, Ended::ClientGone);
        assert!(!cost(&row).is_zero(), "an abort was free: {row:?}");
    }
}
