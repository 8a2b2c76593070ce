//! The dependency direction of `docs/architecture.md`, checked over `cargo metadata`:
//! types ← (usage, rating, limits, session) ← (journal, ledger) ← (proxy, service) ← permille.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::collections::{BTreeMap, BTreeSet};

/// What each crate of the workspace may depend on, and nothing else of the workspace.
const ALLOWED: &[(&str, &[&str])] = &[
    ("permille-types", &[]),
    ("permille-usage", &["permille-types"]),
    ("permille-rating", &["permille-types"]),
    ("permille-limits", &["permille-types"]),
    ("permille-session", &["permille-types"]),
    ("permille-journal", &["permille-types"]),
    // A meter must not verify itself: the simulated provider shares nothing with the gateway.
    ("permille-simulator", &[]),
    // Nor may a bench share code with what it measures.
    ("permille-bench", &[]),
    ("permille-ledger", &["permille-types", "permille-rating"]),
    (
        "permille-proxy",
        &[
            "permille-types",
            "permille-rating",
            "permille-usage",
            "permille-journal",
            "permille-limits",
            "permille-session",
        ],
    ),
    ("permille-service", &["permille-types", "permille-rating", "permille-ledger"]),
    (
        "permille",
        &[
            "permille-types",
            "permille-rating",
            "permille-journal",
            "permille-proxy",
            "permille-simulator",
            "permille-ledger",
            "permille-service",
        ],
    ),
];

fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec().unwrap();
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let ours = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.path.is_some())
                .filter(|dependency| dependency.kind != cargo_metadata::DependencyKind::Development)
                .map(|dependency| dependency.name.clone())
                .collect();
            (package.name.to_string(), ours)
        })
        .collect()
}

#[test]
fn every_crate_depends_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();

    for (package, dependencies) in normal_dependencies() {
        let allowed = allowed
            .get(package.as_str())
            .unwrap_or_else(|| panic!("{package} has no place in the dependency direction"));
        for dependency in dependencies {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{package} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn every_listed_crate_exists() {
    let packages = normal_dependencies();

    for (package, _) in ALLOWED {
        assert!(packages.contains_key(*package), "{package} is listed and does not exist");
    }
}

#[test]
fn every_crate_inherits_the_lint_table() {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec().unwrap();

    for package in metadata.workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", package.manifest_path);
    }
}
