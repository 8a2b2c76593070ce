//! Our credential for an upstream: where it goes, and putting it there.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, Request, Uri, header, uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use permille_types::Family;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    access_token::{AccessToken, KeyPair},
    tc3::{SecretPair, Signed},
};

/// Where an upstream wants our credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CredentialPlace {
    /// `Authorization: Bearer …`.
    Bearer,
    /// A header of this name.
    Header(HeaderName),
    /// A query parameter of this name.
    Query(String),
}

impl CredentialPlace {
    /// Where the providers of a family want it.
    #[must_use]
    pub fn of(family: Family) -> Self {
        match family {
            Family::AzureOpenAi => Self::Header(HeaderName::from_static("api-key")),
            Family::Anthropic => Self::Header(HeaderName::from_static("x-api-key")),
            Family::Gemini => Self::Header(HeaderName::from_static("x-goog-api-key")),
            Family::QianfanV1 => Self::Query("access_token".to_owned()),
            Family::Pangu => Self::Header(HeaderName::from_static("x-auth-token")),
            _ => Self::Bearer,
        }
    }
}

impl FromStr for CredentialPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "credential_in `{text}` is not accepted: give bearer, header:NAME or query:NAME"
            )
        };
        match text.split_once(':') {
            None if text == "bearer" => Ok(Self::Bearer),
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| refused()),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for CredentialPlace {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CredentialPlace> for String {
    fn from(place: CredentialPlace) -> Self {
        place.to_string()
    }
}

impl fmt::Display for CredentialPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("bearer"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

/// A credential, ready to be put into requests.
pub(crate) enum Credential {
    /// This header.
    Header(HeaderName, HeaderValue),
    /// This pair of the query.
    Query(SecretString),
    /// A signature of the whole request.
    Signature(SecretPair),
    /// A token that these keys are exchanged for.
    Exchanged(KeyPair),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

impl Credential {
    /// The credential for `place`; absent when it holds characters that a header cannot carry.
    pub(crate) fn new(place: CredentialPlace, secret: &SecretString) -> Option<Self> {
        let secret = secret.expose_secret();
        let (name, text) = match place {
            CredentialPlace::Query(name) => {
                let value = utf8_percent_encode(secret, NON_ALPHANUMERIC);
                return Some(Self::Query(format!("{name}={value}").into()));
            }
            CredentialPlace::Header(name) => (name, secret.to_owned()),
            CredentialPlace::Bearer => (header::AUTHORIZATION, format!("Bearer {secret}")),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(Self::Header(name, value))
    }

    /// Puts it into `request`, which has this body and is sent `now`, with the token that it was
    /// exchanged for. Only what is signed asks for the time.
    pub(crate) fn put_into<B>(
        &self,
        request: &mut Request<B>,
        body: &[u8],
        now: &dyn Fn() -> DateTime<Utc>,
        token: Option<&AccessToken>,
    ) -> Result<(), http::Error> {
        match self {
            Self::Signature(pair) => sign(pair, request, body, now())?,
            Self::Exchanged(pair) => {
                // A refusal of the token must be readable.
                request.headers_mut().remove(header::ACCEPT_ENCODING);
                let put = token.and_then(|token| Self::new(pair.place.clone(), token));
                if let Some(credential) = put {
                    credential.put_into(request, body, now, None)?;
                }
            }
            Self::Header(name, value) => {
                request.headers_mut().insert(name, value.clone());
            }
            Self::Query(pair) => {
                let mut target = request.uri().clone().into_parts();
                let asked = target.path_and_query.as_ref();
                let asked = asked.map_or("/", uri::PathAndQuery::as_str);
                let joint = if asked.contains('?') { '&' } else { '?' };
                let with = format!("{asked}{joint}{}", pair.expose_secret());
                target.path_and_query = Some(with.parse()?);
                *request.uri_mut() = Uri::from_parts(target)?;
            }
        }
        Ok(())
    }
}

/// Signs `request`, with our time and our names for what is signed.
fn sign<B>(
    pair: &SecretPair,
    request: &mut Request<B>,
    body: &[u8],
    at: DateTime<Utc>,
) -> Result<(), http::Error> {
    let target = request.uri().clone();
    let host = target.authority().map_or("", uri::Authority::as_str);
    let kind = HeaderValue::from_static("application/json");
    let signed = Signed {
        method: request.method().as_str(),
        path: target.path(),
        query: target.query().unwrap_or_default(),
        host,
        content_type: "application/json",
        payload: body,
    };
    let mut value = HeaderValue::from_str(&pair.authorization(&signed, at))?;
    value.set_sensitive(true);
    let host = HeaderValue::from_str(host)?;
    let headers = request.headers_mut();
    // The client's own signature may have covered these.
    headers.remove("x-tc-token");
    headers.remove("x-tc-content-sha256");
    headers.insert("x-tc-timestamp", HeaderValue::from(at.timestamp()));
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::HOST, host);
    headers.insert(header::AUTHORIZATION, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(place: CredentialPlace, uri: &str) -> Request<()> {
        let mut request = Request::get(uri).body(()).unwrap();
        let credential = Credential::new(place, &"s c/1".into()).unwrap();
        credential.put_into(&mut request, b"", &|| DateTime::UNIX_EPOCH, None).unwrap();
        request
    }

    #[test]
    fn a_credential_goes_where_the_upstream_wants_it() {
        let bearer = put(CredentialPlace::Bearer, "http://h/x");
        let header = put(CredentialPlace::of(Family::AzureOpenAi), "http://h/x");
        let query = put(CredentialPlace::of(Family::QianfanV1), "http://h/x?a=1");

        assert_eq!(bearer.headers()["authorization"], "Bearer s c/1");
        assert_eq!(header.headers()["api-key"], "s c/1");
        assert_eq!(query.uri(), "http://h/x?a=1&access_token=s%20c%2F1");
        assert!(query.headers().is_empty());
    }

    #[test]
    fn a_signed_request_has_our_time_host_and_signature_and_nothing_of_the_clients() {
        let mut request = Request::post("http://hunyuan.example:8443/")
            .header("x-tc-timestamp", "1")
            .header("x-tc-token", "theirs")
            .header("x-tc-content-sha256", "UNSIGNED-PAYLOAD")
            .header("x-tc-action", "ChatCompletions")
            .body(())
            .unwrap();
        let pair = SecretPair::read(&"AKIDours:secret".into()).unwrap();
        let at = DateTime::from_timestamp(1_795_486_800, 0).unwrap();

        Credential::Signature(pair).put_into(&mut request, b"{}", &|| at, None).unwrap();

        let headers = request.headers();
        assert_eq!(headers["x-tc-timestamp"], "1795486800");
        assert_eq!(headers["host"], "hunyuan.example:8443");
        assert_eq!(headers["x-tc-action"], "ChatCompletions");
        assert!(!headers.contains_key("x-tc-token"));
        assert!(!headers.contains_key("x-tc-content-sha256"));
        let signature = headers["authorization"].to_str().unwrap();
        assert!(signature.contains("Credential=AKIDours/2026-11-24/hunyuan/"), "{signature}");
    }

    #[test]
    fn a_place_reads_as_it_is_written_and_others_are_refused() {
        for text in ["bearer", "header:x-auth-token", "query:key"] {
            assert_eq!(text.parse::<CredentialPlace>().unwrap().to_string(), text);
        }
        for bad in ["", "cookie", "header:", "header:a b", "query:", "basic:x"] {
            assert!(bad.parse::<CredentialPlace>().unwrap_err().contains("header:NAME"), "{bad}");
        }
    }

    #[test]
    fn a_secret_that_no_header_carries_is_told() {
        assert!(Credential::new(CredentialPlace::Bearer, &"a\nb".into()).is_none());
    }
}
