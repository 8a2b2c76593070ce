//! One recorded reply of a wire family through real sockets: bytes, counts, keys, credentials and
//! the refusal of a request without a key.

use http::{Request, StatusCode};
use permille_proxy::config::Unpriced;
use permille_types::{Ended, Family, ModelName};
use secrecy::SecretString;
use serde_json::Value;

use super::{KEY, World, read_all, recorded::recorded, upstream};

/// One request of one family, and what becomes of it.
pub struct Case<'a> {
    pub family: Family,
    /// `provider` of the upstream; absent means the family's name.
    pub provider: Option<&'a str>,
    /// Path of the upstream's base URL.
    pub base: &'a str,
    /// What the client sends: path with query, where its key goes, body.
    pub path: &'a str,
    pub key: (&'a str, &'a str),
    pub body: &'a str,
    /// A recorded reply of `permille-usage`.
    pub fixture: &'a str,
    /// What the upstream is sent: target, and the line that holds our credential.
    pub target: &'a str,
    pub credential_in: Option<&'a str>,
    pub credential: &'a str,
    /// The row's names.
    pub model: (&'a str, Option<&'a str>),
    pub streamed: bool,
    /// Where the code of a refusal stands.
    pub refusal: &'a str,
    /// What else the client sends in its head.
    pub headers: &'a [(&'a str, &'a str)],
    /// The one model of the upstream, where a request names none.
    pub own_model: Option<&'a str>,
}

impl Case<'_> {
    /// Our credential, as the upstream is configured with it.
    fn secret(&self) -> SecretString {
        match self.family {
            Family::Hunyuan => "AKIDours:provider-secret".into(),
            _ => "provider-secret".into(),
        }
    }

    /// The status of a refusal for want of a key.
    fn refused(&self) -> StatusCode {
        match self.family {
            Family::QianfanV1 | Family::Hunyuan => StatusCode::OK,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

pub fn fixture(name: &str, suffix: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../usage/tests/fixtures");
    std::fs::read(format!("{folder}/{name}{suffix}")).unwrap()
}

/// The recorded reply as a server sends it: closed at its end, because it announces no length.
pub fn reply(name: &str) -> (Vec<u8>, Vec<u8>) {
    let recorded = fixture(name, ".response.http");
    let end = recorded.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, body) = (&recorded[..end], recorded[end + 4..].to_vec());
    ([head, b"\r\nconnection: close\r\n\r\n", body.as_slice()].concat(), body)
}

fn send(world: &World, case: &Case<'_>, with_key: bool) -> (http::request::Builder, String) {
    let mut uri = world.url(case.path);
    let mut request = Request::post("/");
    for (name, value) in case.headers {
        request = request.header(*name, *value);
    }
    match case.key {
        ("query", name) if with_key => {
            let joint = if uri.contains('?') { '&' } else { '?' };
            uri = format!("{uri}{joint}{name}={KEY}");
        }
        (name, scheme) if with_key => request = request.header(name, format!("{scheme}{KEY}")),
        _ => {}
    }
    (request.uri(uri), case.body.to_owned())
}

pub async fn check(case: Case<'_>) {
    let (answer, body) = reply(case.fixture);
    let (address, mut requests) = recorded(answer, 11).await;
    let world = World::with(|setup| {
        let mut of_case =
            upstream("recorded", case.family, format!("http://{address}{}", case.base));
        of_case.section.provider = case.provider.map(str::to_owned);
        of_case.section.credential_in = case.credential_in.map(|place| place.parse().unwrap());
        // Another upstream of the same family, which must not be taken.
        let mut other = upstream("other", case.family, "http://127.0.0.1:9".to_owned());
        match case.provider {
            Some(_) => other.section.provider = Some("another-provider".to_owned()),
            None => other.section.models = vec!["another-model".to_owned()],
        }
        for upstream in [&mut of_case, &mut other] {
            upstream.credential = case.secret();
        }
        setup.config.upstreams = match case.own_model {
            None => vec![other, of_case],
            Some(own) => {
                of_case.section.models = vec![own.to_owned()];
                vec![of_case, other]
            }
        };
        setup.config.pricing.unpriced = Unpriced::Hold;
    })
    .await;

    let (request, sent) = send(&world, &case, true);
    let response = world.send(request, sent).await;
    let (head, reply) = response.into_parts();
    assert_eq!(head.status, 200, "{}", case.path);
    let bytes = read_all(reply).await.unwrap();
    assert_eq!(bytes, body, "{}: bytes", case.path);

    let request = String::from_utf8(requests.recv().await.unwrap()).unwrap();
    let (request_head, request_body) = request.split_once("\r\n\r\n").unwrap();
    assert!(request_head.contains(&format!(" {} HTTP/1.1", case.target)), "{request_head}");
    assert!(!request.contains("sk-pm_"), "our key went upstream: {request_head}");
    assert!(request_head.contains(case.credential), "{request_head}");
    assert_eq!(request_body, case.body, "a request is not written anew");

    let row = world.row_of(&head.headers).await;
    let expected: Value = serde_json::from_slice(&fixture(case.fixture, ".expected.json")).unwrap();
    assert_eq!(
        (row.family, row.ended, row.streamed),
        (case.family, Ended::Complete, case.streamed)
    );
    assert_eq!(row.model_requested.as_str(), case.model.0);
    assert_eq!(row.model_served.as_ref().map(ModelName::as_str), case.model.1);
    assert_eq!(row.source.as_str(), expected["source"], "{}", case.path);
    assert_eq!(row.input_total, expected["input_total"].as_u64(), "{}", case.path);
    assert_eq!(row.output_total, expected["output_total"].as_u64(), "{}", case.path);
    assert!(row.flags.iter().all(|flag| *flag == permille_types::Flag::Simulated), "{row:?}");

    let (request, sent) = send(&world, &case, false);
    let refused = world.send(request, sent).await;
    assert_eq!(refused.status(), case.refused());
    let refused = read_all(refused.into_body()).await.unwrap();
    let refused: Value = serde_json::from_slice(&refused).unwrap();
    assert_eq!(refused.pointer(case.refusal).unwrap(), "permille_missing_key", "{refused}");
}
