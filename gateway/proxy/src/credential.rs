//! Our credential for an upstream: where it goes, and putting it there.

use std::{fmt, str::FromStr};

use http::{HeaderName, HeaderValue, Request, Uri, header, uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use permille_types::Family;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

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

    /// Puts it into `request`.
    pub(crate) fn put_into<B>(&self, request: &mut Request<B>) -> Result<(), http::Error> {
        match self {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn put(place: CredentialPlace, uri: &str) -> Request<()> {
        let mut request = Request::get(uri).body(()).unwrap();
        Credential::new(place, &"s c/1".into()).unwrap().put_into(&mut request).unwrap();
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
