//! The configuration, read again while a server runs.

use super::{Running, ServeError};
use crate::{
    config::{Config, Settings},
    error::CliError,
};

/// Sections that a gateway can change while it serves.
pub(super) const CHANGEABLE: &str = "upstream, alias, routing, pricing, policy";

/// Puts another configuration in force; what it takes the place of is in `before`, and stays there
/// when it is refused.
///
/// # Errors
/// [`CliError`] names the sections that only a restart changes, or what cannot be used; nothing has
/// changed then.
pub(super) fn reload(
    running: &Running,
    before: &mut Config,
    after: Config,
) -> Result<(), CliError> {
    let fixed = fixed(before, &after)?;
    if !fixed.is_empty() {
        return Err(ServeError::Setting(format!(
            "{}: changes with a restart only; accepted while a gateway serves: {CHANGEABLE}",
            fixed.join(", ")
        ))
        .into());
    }
    running.reload(&after)?;
    *before = after;
    Ok(())
}

/// The sections that differ and cannot change.
fn fixed(before: &Config, after: &Config) -> Result<Vec<String>, CliError> {
    // As if all that can change had not.
    let settings = Settings {
        upstream: before.settings.upstream.clone(),
        alias: before.settings.alias.clone(),
        routing: before.settings.routing.clone(),
        pricing: before.settings.pricing,
        policy: before.settings.policy.clone(),
        ..after.settings.clone()
    };
    let unchanged = Config { settings, ..after.clone() };
    let (before, after) = (before.to_json()?, unchanged.to_json()?);
    let sections = before.as_object().into_iter().chain(after.as_object());
    let mut fixed: Vec<_> = sections
        .flat_map(|document| document.keys())
        .filter(|name| before.get(name) != after.get(name))
        .cloned()
        .collect();
    fixed.sort();
    fixed.dedup();
    Ok(fixed)
}
