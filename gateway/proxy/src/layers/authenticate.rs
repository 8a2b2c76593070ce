//! Virtual key → customer, project, limits.

use std::sync::Arc;

use crate::{
    client_key::{self, KEY_PREFIX},
    context::{Admitted, Authenticated},
    known::Knowledge,
    refusal::Refusal,
    stage::Stage,
};

/// Longest text that is looked at as a key, in bytes; ours have 55.
const KEY_BYTES_MAX: usize = 128;

pub(crate) struct Authenticate {
    pub(crate) knowledge: Knowledge,
}

impl Stage<Admitted> for Authenticate {
    type Out = Authenticated;

    fn enter(&self, admitted: Admitted) -> Result<Authenticated, Refusal> {
        let known = self.knowledge.current().ok_or(Refusal::NotReady)?;
        let secret = client_key::find(&admitted.inbound.head).ok_or(Refusal::MissingKey)?;
        if !is_well_formed(secret) {
            return Err(Refusal::UnknownKey);
        }
        let key = Arc::clone(known.key(secret).ok_or(Refusal::UnknownKey)?);
        if key.revoked {
            return Err(Refusal::RevokedKey);
        }
        Ok(Authenticated { admitted, key, known })
    }
}

fn is_well_formed(secret: &str) -> bool {
    secret.len() <= KEY_BYTES_MAX
        && secret
            .strip_prefix(KEY_PREFIX)
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_alphabet_is_looked_up() {
        assert!(is_well_formed("sk-pm_abcXYZ019"));
        assert!(!is_well_formed("sk-pm_' or 1=1"));
        assert!(!is_well_formed("sk-other"));
    }
}
