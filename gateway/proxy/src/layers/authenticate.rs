//! Virtual key → customer, project, limits. Reads the key wherever an official SDK puts its own.

use http::{HeaderMap, header};

use crate::{
    context::{Admitted, Authenticated},
    known::Knowledge,
    refusal::Refusal,
    stage::Stage,
};

/// What every virtual key begins with.
const KEY_PREFIX: &str = "sk-pm_";
/// Longest text that is looked at as a key, in bytes; ours have 55.
const KEY_BYTES_MAX: usize = 128;

pub(crate) struct Authenticate {
    pub(crate) knowledge: Knowledge,
}

impl Stage<Admitted> for Authenticate {
    type Out = Authenticated;

    async fn enter(&self, admitted: Admitted) -> Result<Authenticated, Refusal> {
        let known = self.knowledge.current().ok_or(Refusal::NotReady)?;
        let secret = secret(&admitted.inbound.head.headers).ok_or(Refusal::MissingKey)?;
        if !is_well_formed(secret) {
            return Err(Refusal::UnknownKey);
        }
        let key = known.key(secret).ok_or(Refusal::UnknownKey)?.clone();
        if key.revoked {
            return Err(Refusal::RevokedKey);
        }
        Ok(Authenticated { admitted, key, known })
    }
}

/// The key in the place where OpenAI (`Authorization: Bearer`), Anthropic (`x-api-key`) or Azure
/// (`api-key`) clients put it.
fn secret(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    [text("x-api-key"), bearer, text("api-key")].into_iter().flatten().find(|key| !key.is_empty())
}

fn is_well_formed(secret: &str) -> bool {
    secret.len() <= KEY_BYTES_MAX
        && secret
            .strip_prefix(KEY_PREFIX)
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_found_where_each_sdk_puts_it() {
        for (name, value) in
            [("authorization", "Bearer sk-pm_a"), ("x-api-key", "sk-pm_a"), ("api-key", "sk-pm_a")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));

            assert_eq!(secret(&headers), Some("sk-pm_a"), "{name}");
        }
    }

    #[test]
    fn only_our_alphabet_is_looked_up() {
        assert!(is_well_formed("sk-pm_abcXYZ019"));
        assert!(!is_well_formed("sk-pm_' or 1=1"));
        assert!(!is_well_formed("sk-other"));
    }
}
