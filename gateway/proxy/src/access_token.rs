//! Baidu's access tokens: what a provider gives for an API key and a secret key, and what its calls
//! are then made with. Kept until shortly before it expires, or until the provider refuses it.
//!
//! Source: Baidu Qianfan documentation, "Access token", "Error codes".

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::{config::CredentialPlace, known::chain, refusal::Refusal, upstream::Upstream};

/// Path of the token endpoint, below an upstream's base URL.
const PATH: &str = "/oauth/2.0/token";
/// Longest wait for a token: a provider answers within a second, and requests wait for it.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest accepted answer, in bytes. Baidu's have some 400.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// After a failure nobody asks again for so long: the requests of a burst fail together.
const REST: Duration = Duration::from_secs(1);
/// So long before a token expires another one is fetched: longer than a request is on its way.
/// At most a tenth of the token's life.
const EARLY_MAX: Duration = Duration::from_mins(5);
/// Longest time that a token is used, whatever the provider says: Baidu's last 30 days.
const LIFE_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;
/// The codes of an error by which a provider refuses a token: invalid, expired.
const REFUSED_CODES: [u64; 2] = [110, 111];

/// A token. Whoever holds it can tell which one a provider has refused.
pub(crate) type AccessToken = Arc<SecretString>;

/// An API key with its secret key, and the token that they were last exchanged for.
pub(crate) struct KeyPair {
    api_key: SecretString,
    secret_key: SecretString,
    /// Where a token goes in a request.
    pub(crate) place: CredentialPlace,
    /// Locked while a token is fetched, so that all others wait for that one.
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Nothing,
    Held {
        token: AccessToken,
        until: Instant,
    },
    Failed {
        failure: Failure,
        at: Instant,
    },
}

/// Why there is no token.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// No answer in time, or one that says that it is not our fault.
    Unreachable,
    /// The provider does not accept the keys.
    Refused,
}

/// What the token endpoint answers.
#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    /// Seconds.
    expires_in: u64,
}

impl KeyPair {
    /// The pair in `text`, `ApiKey:SecretKey`; absent when it is none. A token has no colon.
    pub(crate) fn read(text: &SecretString, place: CredentialPlace) -> Option<Self> {
        let (api_key, secret_key) = text.expose_secret().split_once(':')?;
        Some(Self {
            api_key: api_key.into(),
            secret_key: secret_key.into(),
            place,
            state: Mutex::default(),
        })
    }

    /// Whether neither of the two is empty.
    pub(crate) fn is_whole(&self) -> bool {
        !self.api_key.expose_secret().is_empty() && !self.secret_key.expose_secret().is_empty()
    }

    /// The token for calls of `upstream`, fetched where there is none that lasts.
    ///
    /// # Errors
    /// [`Refusal`] when there is none to be had.
    pub(crate) async fn token(&self, upstream: &Upstream) -> Result<AccessToken, Refusal> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Held { token, until } if Instant::now() < *until => return Ok(token.clone()),
            State::Failed { failure, at } if at.elapsed() < REST => {
                return Err(failure.refusal(upstream));
            }
            _ => {}
        }
        let fetched = tokio::time::timeout(FETCH_TIME_MAX, self.fetch(upstream)).await;
        match fetched.unwrap_or(Err(Failure::Unreachable)) {
            Ok(granted) => {
                let token = AccessToken::new(granted.access_token);
                let until = Instant::now() + lasts(granted.expires_in);
                *state = State::Held { token: token.clone(), until };
                Ok(token)
            }
            Err(failure) => {
                *state = State::Failed { failure, at: Instant::now() };
                Err(failure.refusal(upstream))
            }
        }
    }

    /// Forgets `refused`, unless another token has taken its place.
    pub(crate) async fn forget(&self, refused: &AccessToken) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Held { token, .. } if Arc::ptr_eq(token, refused)) {
            *state = State::Nothing;
        }
    }

    /// Asks for a token. The keys are in the target, as the provider wants it, so that the target
    /// stands in no message.
    async fn fetch(&self, upstream: &Upstream) -> Result<Granted, Failure> {
        let encoded = |secret: &SecretString| {
            utf8_percent_encode(secret.expose_secret(), NON_ALPHANUMERIC).to_string()
        };
        let target = upstream.target(&format!(
            "{PATH}?grant_type=client_credentials&client_id={}&client_secret={}",
            encoded(&self.api_key),
            encoded(&self.secret_key),
        ));
        let target = target.map_err(|_| Failure::Refused)?;
        let kind = HeaderValue::from_static("application/json");
        let request = Request::post(target)
            .header(header::CONTENT_TYPE, kind.clone())
            .header(header::ACCEPT, kind)
            .body(Full::new(Bytes::new()))
            .map_err(|_| Failure::Refused)?;
        let (client, _room) = upstream.lanes.enter();
        let response = client.request(request).await.map_err(|cause| {
            tracing::warn!(upstream = %upstream.name, error = %chain(&cause), "no access token");
            Failure::Unreachable
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Failure::Unreachable)?.to_bytes();
        if let (true, Ok(granted)) = (status.is_success(), serde_json::from_slice(&body)) {
            return Ok(granted);
        }
        tracing::warn!(
            upstream = %upstream.name, %status, error = named(&body), "no access token"
        );
        let busy = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if busy { Failure::Unreachable } else { Failure::Refused })
    }
}

impl Failure {
    fn refusal(self, upstream: &Upstream) -> Refusal {
        let upstream = upstream.name.to_string();
        match self {
            Self::Unreachable => Refusal::UpstreamUnreachable { upstream },
            Self::Refused => Refusal::UpstreamCredential { upstream },
        }
    }
}

/// How long a token is used that is good for `seconds`.
fn lasts(seconds: u64) -> Duration {
    let life = Duration::from_secs(seconds.min(LIFE_SECONDS_MAX));
    life.saturating_sub(EARLY_MAX.min(life / 10))
}

/// The name of the error in `body`: never its text, which may repeat what was sent.
fn named(body: &[u8]) -> String {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let name = body.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
    let is_plain =
        |name: &&str| name.len() <= 40 && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
    name.filter(is_plain).unwrap_or("unnamed").to_owned()
}

/// Whether this reply refuses the token that it was called with.
pub(crate) fn is_refused(body: &[u8]) -> bool {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let code = body.as_ref().and_then(|body| body.get("error_code"));
    code.is_some_and(|code| {
        let number = code.as_u64().or_else(|| code.as_str()?.parse().ok());
        number.is_some_and(|number| REFUSED_CODES.contains(&number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_shortly_before_it_expires() {
        assert_eq!(lasts(30 * 24 * 3_600), Duration::from_mins(30 * 24 * 60 - 5));
        assert_eq!(lasts(100), Duration::from_secs(90));
        assert_eq!(lasts(0), Duration::ZERO);
        assert_eq!(lasts(u64::MAX), lasts(LIFE_SECONDS_MAX), "an instant has an end");
    }

    #[test]
    fn a_pair_has_a_colon_and_two_sides() {
        let read = |text: &str| KeyPair::read(&text.into(), CredentialPlace::Bearer);

        assert!(read("24.abc-282335.123").is_none());
        assert!(read("key:secret").unwrap().is_whole());
        assert!(!read(":secret").unwrap().is_whole());
        assert!(!read("key:").unwrap().is_whole());
    }

    #[test]
    fn only_a_refused_token_is_one() {
        assert!(is_refused(br#"{"error_code":110,"error_msg":"Access token invalid"}"#));
        assert!(is_refused(br#"{"error_code":"111","error_msg":"Access token expired"}"#));
        for other in [r#"{"error_code":336501}"#, r#"{"error_code":0}"#, "{}", "<html>", "110"] {
            assert!(!is_refused(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn an_error_of_the_token_endpoint_is_named_and_its_text_is_not_shown() {
        let body = br#"{"error":"invalid_client","error_description":"unknown client id hunter2"}"#;

        assert_eq!(named(body), "invalid_client");
        assert_eq!(named(br#"{"error":"Key hunter2 unknown"}"#), "unnamed");
        assert_eq!(named(b"hunter2"), "unnamed");
    }
}
