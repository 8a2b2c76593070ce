//! The dependency direction of `docs/architecture.md`, checked over `cargo metadata`:
//! (types, json) ← (usage, rating, limits, session, otlp)
//! ← (journal, ledger, documents, reconcile)
//! ← (proxy, service, archive)
//! ← permille.

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
    ("permille-json", &[]),
    ("permille-usage", &["permille-types", "permille-json"]),
    ("permille-rating", &["permille-types"]),
    ("permille-limits", &["permille-types"]),
    ("permille-session", &["permille-types", "permille-json"]),
    ("permille-otlp", &["permille-types"]),
    ("permille-allocator", &[]),
    ("permille-journal", &["permille-types"]),
    // A meter must not verify itself: the simulated provider shares nothing with the gateway.
    ("permille-simulator", &[]),
    // Nor may a bench share code with what it measures.
    ("permille-bench", &[]),
    ("permille-test-redis", &[]),
    ("permille-ledger", &["permille-types", "permille-rating"]),
    ("permille-archive", &["permille-types", "permille-ledger"]),
    ("permille-documents", &["permille-types", "permille-rating"]),
    ("permille-reconcile", &["permille-types", "permille-rating"]),
    (
        "permille-proxy",
        &[
            "permille-types",
            "permille-rating",
            "permille-usage",
            "permille-journal",
            "permille-limits",
            "permille-session",
            "permille-otlp",
        ],
    ),
    (
        "permille-service",
        &[
            "permille-types",
            "permille-rating",
            "permille-ledger",
            "permille-documents",
            "permille-reconcile",
        ],
    ),
    (
        "permille",
        &[
            "permille-allocator",
            "permille-types",
            "permille-rating",
            "permille-journal",
            "permille-proxy",
            "permille-simulator",
            "permille-archive",
            "permille-ledger",
            "permille-documents",
            "permille-reconcile",
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

/// Overrides of packages are inherited with a profile, so what ships names them again.
#[test]
fn what_ships_is_optimised_throughout() {
    let manifest: toml::Table =
        std::fs::read_to_string("Cargo.toml").unwrap().parse().expect("Cargo.toml is TOML");
    let packages = |profile: &str| manifest["profile"][profile]["package"].as_table().unwrap();
    let setting = |packages: &toml::Table, package: &str, setting: &str| {
        packages.get(package).and_then(|package| package.get(setting)?.as_integer())
    };

    let (first, ships) = (packages("release"), packages("dist"));
    for package in first.keys() {
        assert_eq!(setting(ships, package, "opt-level"), Some(3), "{package}");
        let units = setting(ships, package, "codegen-units");
        let inherited = setting(first, package, "codegen-units");
        assert_eq!(units.or(inherited).unwrap_or(1), 1, "{package}");
    }
}

/// What `deny.toml` says, which `cargo deny check` reads too.
fn rules() -> toml::Table {
    std::fs::read_to_string("deny.toml").unwrap().parse().unwrap()
}

/// A package that a build for one of our targets holds.
struct Built {
    name: String,
    /// Where it comes from, in the words of `cargo tree`: nothing for the registry.
    origin: String,
    licence: String,
}

/// `cargo tree` and not `cargo metadata`, which also lists what no feature turns on.
fn built(rules: &toml::Table) -> Vec<Built> {
    let targets =
        texts(rules, "graph", "targets").into_iter().flat_map(|target| ["--target", target]);
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--workspace", "--all-features", "--prefix", "none"])
        .args(["--format", "{p}|{l}|"])
        .args(targets)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let built = String::from_utf8(tree.stdout).unwrap();
    let lines: BTreeSet<_> = built.lines().filter(|line| !line.is_empty()).collect();
    let built = lines.into_iter().map(|line| {
        let mut parts = line.split('|');
        let package = parts.next().unwrap().replace("(proc-macro)", "");
        let (name, rest) = package.split_once(' ').unwrap();
        let origin = rest.split_once(' ').map_or("", |(_version, origin)| origin.trim());
        let licence = parts.next().unwrap().to_owned();
        Built { name: name.to_owned(), origin: origin.to_owned(), licence }
    });
    built.collect()
}

fn texts<'r>(rules: &'r toml::Table, table: &str, list: &str) -> Vec<&'r str> {
    let entries = rules[table][list].as_array().unwrap();
    entries.iter().map(|entry| entry.get("name").unwrap_or(entry).as_str().unwrap()).collect()
}

/// Whether `allowed` licences suffice to use what `licence` covers.
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    // Old manifests write "MIT/Apache-2.0" for an offer of both.
    let mode = spdx::ParseMode { allow_slash_as_or_operator: true, ..spdx::ParseMode::STRICT };
    let expression = spdx::Expression::parse_mode(licence, mode);
    expression.is_ok_and(|expression| {
        expression.evaluate(|needed| allowed.contains(&needed.to_string().as_str()))
    })
}

#[test]
fn no_dependency_has_a_licence_that_is_not_allowed() {
    let rules = rules();
    let allowed = texts(&rules, "licenses", "allow");

    let refused: Vec<_> = built(&rules)
        .into_iter()
        .filter(|package| !is_allowed(&package.licence, &allowed))
        .map(|package| format!("{}: {:?}", package.name, package.licence))
        .collect();

    assert!(refused.is_empty(), "not allowed by deny.toml:\n{}", refused.join("\n"));
    assert!(is_allowed("MIT/GPL-3.0-only", &allowed) && is_allowed("MIT AND ISC", &allowed));
    assert!(!is_allowed("MIT AND GPL-3.0-only", &allowed) && !is_allowed("", &allowed));
}

#[test]
fn no_dependency_is_banned_or_of_unknown_origin() {
    let rules = rules();
    let banned = texts(&rules, "bans", "deny");
    let ours = format!("({}", std::env::current_dir().unwrap().display());

    for Built { name, origin, .. } in built(&rules) {
        assert!(!banned.contains(&name.as_str()), "{name} is banned by deny.toml");
        assert!(origin.is_empty() || origin.starts_with(&ours), "{name} comes from {origin}");
    }
}
