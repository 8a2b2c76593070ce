//! House rules that a machine can check, over every file that git tracks.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::{collections::BTreeSet, path::Path, process::Command};

/// Longest file, in lines. Past 600 nobody reads a file as a whole.
const FILE_LINES_MAX: usize = 600;
/// Longest line, in characters. Wide string literals and tables in tests included.
const LINE_CHARACTERS_MAX: usize = 100;

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The part before `mod tests`, where the rules for shipped code hold.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/")
    }
}

fn tracked(ending: &str) -> Vec<Source> {
    let root = env!("CARGO_MANIFEST_DIR");
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().unwrap();
    assert!(listed.status.success(), "git ls-files failed");
    let sources: Vec<Source> = String::from_utf8(listed.stdout)
        .unwrap()
        .split('\0')
        .filter(|path| path.ends_with(ending))
        .filter_map(|path| {
            let text = std::fs::read_to_string(Path::new(root).join(path)).ok()?;
            Some(Source { path: path.to_owned(), text })
        })
        .collect();
    assert!(!sources.is_empty(), "no file ends in {ending}");
    sources
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn no_rust_file_is_too_long() {
    let broken: Vec<String> = tracked(".rs")
        .iter()
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(source, lines)| format!("{} has {lines} lines", source.path))
        .collect();

    assert_none("at most 600 lines a file", &broken);
}

#[test]
fn no_line_is_too_wide() {
    let broken: Vec<String> = tracked(".rs")
        .iter()
        .flat_map(|source| {
            source.text.lines().enumerate().filter_map(|(index, line)| {
                let wide = line.chars().count() > LINE_CHARACTERS_MAX;
                // A literal cannot always be broken; a comment and code can.
                (wide && !line.contains('"')).then(|| format!("{}:{}", source.path, index + 1))
            })
        })
        .collect();

    assert_none("at most 100 characters a line", &broken);
}

#[test]
fn every_module_says_what_it_is_for() {
    let broken: Vec<String> = tracked(".rs")
        .iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path.clone())
        .collect();

    assert_none("every file opens with a module doc", &broken);
}

#[test]
fn nothing_is_left_unfinished() {
    // Written in two parts, so that this file does not find itself.
    let words = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];
    let ignored = concat!("#[", "ignore");
    let broken: Vec<String> = tracked(".rs")
        .iter()
        .filter(|source| words.iter().chain([&ignored]).any(|word| source.text.contains(word)))
        .map(|source| source.path.clone())
        .collect();

    assert_none("no unfinished code, no ignored tests", &broken);
}

#[test]
fn no_float_comes_near_money() {
    let float = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "f64" || word == "f32")
    };
    let broken: Vec<String> = tracked(".rs")
        .iter()
        .filter(|source| {
            ["billing/types/", "billing/rating/", "billing/ledger/"]
                .iter()
                .any(|folder| source.path.starts_with(folder))
        })
        .flat_map(|source| {
            source
                .shipped()
                .filter(|(_, line)| float(line) && !line.trim_start().starts_with("//"))
                .map(|(index, _)| format!("{}:{}", source.path, index + 1))
                .collect::<Vec<_>>()
        })
        .collect();

    assert_none("no floats in types, rating and ledger", &broken);
}

#[test]
fn tests_wait_for_conditions_instead_of_sleeping() {
    // A pause between two looks at a condition lives in the one helper that has a deadline.
    let helper = "tests/support/";
    let broken: Vec<String> = tracked(".rs")
        .iter()
        .filter(|source| source.is_test() && !source.path.starts_with(helper))
        .flat_map(|source| {
            source
                .text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains(concat!("sleep", "(")))
                .map(|(index, _)| format!("{}:{}", source.path, index + 1))
                .collect::<Vec<_>>()
        })
        .collect();

    assert_none("no sleeps in tests", &broken);
}

#[test]
fn sql_stands_only_in_the_repo_file_of_its_noun() {
    let statement = |text: &str| text.contains("sql::query") || text.contains("sqlx::query(");
    let broken: Vec<String> = tracked(".rs")
        .iter()
        .filter(|source| source.path.starts_with("billing/ledger/src/"))
        .filter(|source| !source.path.starts_with("billing/ledger/src/sql/"))
        .filter(|source| !source.path.ends_with("repo.rs") && statement(&source.text))
        .map(|source| source.path.clone())
        .collect();

    assert_none("statements live in repo.rs", &broken);
}

#[test]
fn metrics_and_their_documentation_agree() {
    // Names with a quote before them are defined here; names in documents are spoken of.
    let names = |text: &str, defined: bool| -> BTreeSet<String> {
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        text.match_indices("permille_")
            .filter(|(at, _)| {
                let before = text[..*at].chars().next_back();
                if defined { before == Some('"') } else { !before.is_some_and(is_name) }
            })
            .map(|(at, _)| text[at..].chars().take_while(|c| is_name(*c)).collect::<String>())
            .map(|name| name.trim_end_matches("_bucket").to_owned())
            .collect()
    };
    let of = |ending: &str, defined: bool| -> BTreeSet<String> {
        tracked(ending).iter().flat_map(|source| names(&source.text, defined)).collect()
    };
    let mut defined = of("src/metrics.rs", true);
    defined.extend(of("src/session_metrics.rs", true));
    defined.extend(of("src/metrics/limited.rs", true));
    defined.extend(of("src/metrics/conversations.rs", true));
    defined.extend(of("otlp/src/counters.rs", true));
    defined.extend(of("src/webhooks/metrics.rs", true));
    defined.extend(of("src/usage_stream/metrics.rs", true));
    defined.extend(of("src/serve/running.rs", true));
    let codes = of("src/refusal/mod.rs", true);
    let mut documented = of("docs/operations.md", false);
    documented.retain(|name| !codes.contains(name));
    let queried = of("dashboards/README.md", false);

    assert!(defined.len() > 20, "{defined:?}");
    assert_eq!(defined, documented, "docs/operations.md lists every metric, and no other");
    assert!(queried.is_subset(&defined), "{:?}", queried.difference(&defined));
}

#[test]
fn every_decision_record_has_its_parts() {
    for record in tracked(".md").iter().filter(|source| source.path.starts_with("docs/decisions/"))
    {
        for part in ["## Context", "## Options", "## Choice", "## Revisit"] {
            assert!(record.text.contains(part), "{} has no part `{part}`", record.path);
        }
    }
}
