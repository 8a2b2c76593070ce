//! Which metering policy holds for a request: what happens when its client leaves, and who pays
//! for a reply that is none.

use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use permille_types::{Ended, Endpoint, Flag, UsageEvent};

use crate::config::{BudgetEnd, ClientGone, MeteringSection, Payer, PolicySection};

/// Why a `[[policy]]` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("policy: `{key}` `{pattern}` is not a glob")]
pub struct PolicyError {
    /// Which key.
    key: &'static str,
    /// What was given.
    pattern: String,
    /// What is wrong with it.
    #[source]
    cause: globset::Error,
}

/// What holds for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) client_gone: ClientGone,
    pub(crate) drain_time_max: Duration,
    pub(crate) drain_bytes_max: u64,
    pub(crate) budget_end: BudgetEnd,
    failed_reply: Payer,
    empty_reply: Payer,
    content_filter: Payer,
    refusal: Payer,
}

impl Policy {
    /// Marks an event for which nobody pays. A client that leaves never makes its own reply free
    /// (M7): its ending is none of those that a policy can spare.
    pub(crate) fn apply(&self, event: &mut UsageEvent) {
        if self.spares(event) {
            event.flag(Flag::NotBilled);
        }
    }

    /// Whether the customer pays nothing for it.
    pub(crate) fn spares(&self, event: &UsageEvent) -> bool {
        let has = |flag: Flag| event.flags.contains(&flag);
        let broken = matches!(
            event.ended,
            Ended::UpstreamError | Ended::Deadline | Ended::Shutdown | Ended::Orphaned
        );
        let spared = [
            (broken, self.failed_reply),
            (has(Flag::EmptyReply), self.empty_reply),
            (has(Flag::ContentFilter), self.content_filter),
            (has(Flag::Refusal), self.refusal),
        ];
        spared.into_iter().any(|(applies, payer)| applies && payer == Payer::Nobody)
    }
}

/// All policies of a gateway.
#[derive(Debug)]
pub(crate) struct Policies {
    default: Policy,
    overrides: Vec<Override>,
}

#[derive(Debug)]
struct Override {
    customer: Option<GlobMatcher>,
    model: Option<GlobMatcher>,
    endpoint: Option<GlobMatcher>,
    section: PolicySection,
}

impl Policies {
    pub(crate) fn new(
        default: &MeteringSection,
        sections: &[PolicySection],
    ) -> Result<Self, PolicyError> {
        let default = Policy {
            client_gone: default.client_gone,
            drain_time_max: seconds(default.drain_seconds_max),
            drain_bytes_max: default.drain_bytes_max,
            budget_end: default.budget_end,
            failed_reply: default.failed_reply,
            empty_reply: default.empty_reply,
            content_filter: default.content_filter,
            refusal: default.refusal,
        };
        let overrides = sections.iter().map(|section| {
            Ok(Override {
                customer: matcher("customer", section.customer.as_deref())?,
                model: matcher("model", section.model.as_deref())?,
                endpoint: matcher("endpoint", section.endpoint.as_deref())?,
                section: section.clone(),
            })
        });
        Ok(Self { default, overrides: overrides.collect::<Result<_, _>>()? })
    }

    /// What holds for a request of `customer` for `model`, as the client names it.
    pub(crate) fn of(&self, customer: &str, model: &str, endpoint: Endpoint) -> Policy {
        let fits = |glob: &Option<GlobMatcher>, text: &str| {
            glob.as_ref().is_none_or(|glob| glob.is_match(text))
        };
        let matching = self.overrides.iter().filter(|found| {
            fits(&found.customer, customer)
                && fits(&found.model, model)
                && fits(&found.endpoint, endpoint.as_str())
        });
        // The first one decides, so it is laid on last.
        matching.rev().fold(self.default, |policy, found| found.section.over(policy))
    }
}

impl PolicySection {
    fn over(&self, policy: Policy) -> Policy {
        Policy {
            client_gone: self.client_gone.unwrap_or(policy.client_gone),
            drain_time_max: self.drain_seconds_max.map_or(policy.drain_time_max, seconds),
            drain_bytes_max: self.drain_bytes_max.unwrap_or(policy.drain_bytes_max),
            budget_end: self.budget_end.unwrap_or(policy.budget_end),
            failed_reply: self.failed_reply.unwrap_or(policy.failed_reply),
            empty_reply: self.empty_reply.unwrap_or(policy.empty_reply),
            content_filter: self.content_filter.unwrap_or(policy.content_filter),
            refusal: self.refusal.unwrap_or(policy.refusal),
        }
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn matcher(key: &'static str, pattern: Option<&str>) -> Result<Option<GlobMatcher>, PolicyError> {
    let Some(pattern) = pattern else { return Ok(None) };
    // Names are not paths: `*` crosses slashes.
    let glob = GlobBuilder::new(pattern).literal_separator(false).build();
    let refused = |cause| PolicyError { key, pattern: pattern.to_owned(), cause };
    glob.map(|glob| Some(glob.compile_matcher())).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_policy_that_matches_decides_each_setting() {
        let cancel = PolicySection {
            customer: Some("acme-*".to_owned()),
            client_gone: Some(ClientGone::Cancel),
            ..PolicySection::default()
        };
        let strict = PolicySection {
            model: Some("gpt-*".to_owned()),
            endpoint: Some("chat*".to_owned()),
            client_gone: Some(ClientGone::Drain),
            drain_seconds_max: Some(7),
            refusal: Some(Payer::Nobody),
            ..PolicySection::default()
        };
        let default = MeteringSection::default();
        let policies = Policies::new(&default, &[cancel, strict]).unwrap();
        let of = |customer, model| policies.of(customer, model, Endpoint::ChatCompletions);

        let both = of("acme-eu", "gpt-4o");
        assert_eq!(both.client_gone, ClientGone::Cancel);
        assert_eq!((both.drain_time_max, both.refusal), (seconds(7), Payer::Nobody));
        assert_eq!(of("globex", "gpt-4o").client_gone, ClientGone::Drain);
        assert_eq!(of("globex", "o3"), policies.default);
        assert_eq!(policies.of("globex", "gpt-4o", Endpoint::Messages), policies.default);
    }

    #[test]
    fn a_pattern_that_is_no_glob_is_refused_by_name() {
        let bad = PolicySection { model: Some("gpt-[".to_owned()), ..PolicySection::default() };

        let refused = Policies::new(&MeteringSection::default(), &[bad]).unwrap_err().to_string();

        assert!(refused.contains("`model`") && refused.contains("gpt-["), "{refused}");
    }
}
