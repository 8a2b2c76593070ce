//! One name for what the two sides call differently: classes, models, projects.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::OurCell;
use crate::{
    bill::{Bill, CellKey},
    class,
};

/// How sums of both sides are named in the comparison.
pub(super) struct Names {
    /// Our models, and those of the bill that they are.
    models: HashMap<String, String>,
    /// Models of the bill that none of ours is.
    unknown: BTreeSet<String>,
    /// Classes of the bill by its model; under none, those of lines without a model.
    classes: HashMap<Option<String>, BTreeSet<String>>,
    /// Classes that the bill has only without a model.
    without_model: BTreeSet<String>,
    /// The provider's project of each upstream; none where projects are not told apart.
    projects: HashMap<String, String>,
}

impl Names {
    pub(super) fn new(bill: &Bill, ours: &[OurCell], projects: &BTreeMap<String, String>) -> Self {
        let mut classes: HashMap<Option<String>, BTreeSet<String>> = HashMap::new();
        for cell in &bill.cells {
            let of_model = classes.entry(cell.key.model.clone()).or_default();
            of_model.insert(cell.key.class.clone());
        }
        let with_model: BTreeSet<&String> =
            classes.iter().filter(|(model, _)| model.is_some()).flat_map(|(_, of)| of).collect();
        let bare = classes.get(&None).into_iter().flatten();
        let bare = bare.filter(|name| !class::is_other(name) && !with_model.contains(name));
        let without_model = bare.cloned().collect();
        let theirs: BTreeSet<&str> =
            bill.cells.iter().filter_map(|cell| cell.key.model.as_deref()).collect();
        let own: BTreeSet<&str> = ours.iter().map(|cell| cell.model.as_str()).collect();
        let models = matched(&theirs, &own);
        let used: BTreeSet<&str> = models.values().map(String::as_str).collect();
        let unknown = theirs.iter().filter(|model| !used.contains(*model));
        let unknown = unknown.map(|model| (*model).to_owned()).collect();
        let projects =
            projects.iter().map(|(project, upstream)| (upstream.clone(), project.clone()));
        Self { unknown, models, classes, without_model, projects: projects.collect() }
    }

    /// Whether a model of the bill is none of ours, on any day.
    pub(super) fn is_unknown(&self, model: &str) -> bool {
        self.unknown.contains(model)
    }

    /// Whether the bill has the model of a sum, on any day.
    pub(super) fn is_billed(&self, key: &CellKey) -> bool {
        self.classes.contains_key(&key.model)
    }

    pub(super) fn of_bill(&self, key: &CellKey) -> CellKey {
        let mut key = key.clone();
        if self.projects.is_empty() {
            key.project = None;
        }
        key
    }

    pub(super) fn of_ours(&self, cell: &OurCell) -> CellKey {
        let model = self.models.get(&cell.model).unwrap_or(&cell.model);
        let of_model = self.classes.get(&Some(model.clone())).into_iter().flatten();
        let holding = of_model
            .chain(&self.without_model)
            .filter(|wide| class::holds(wide, &cell.class))
            .min_by_key(|wide| class::width(wide, &cell.class));
        // A model that the bill does not know has the classes that it has for others.
        let anywhere = || {
            let all = self.classes.values().flatten();
            all.filter(|wide| class::holds(wide, &cell.class))
                .min_by_key(|wide| class::width(wide, &cell.class))
        };
        let is_known = self.classes.contains_key(&Some(model.clone()));
        let found = if is_known { holding } else { holding.or_else(anywhere) };
        let class = found.unwrap_or(&cell.class).clone();
        let bare = self.without_model.contains(&class);
        let project = cell.upstream.as_ref().and_then(|upstream| self.projects.get(upstream));
        CellKey {
            day: cell.day,
            model: (!bare).then(|| model.clone()),
            class,
            project: project.cloned(),
        }
    }
}

/// Which of `theirs` each of `own` is: by its name, else by what is left of both without provider,
/// region, version and date, where that is one alone.
fn matched(theirs: &BTreeSet<&str>, own: &BTreeSet<&str>) -> HashMap<String, String> {
    let mut plain: HashMap<String, Vec<&str>> = HashMap::new();
    for model in theirs {
        plain.entry(stripped(model)).or_default().push(model);
    }
    let mut models = HashMap::new();
    for model in own {
        let same = theirs.get(model).copied();
        let like = || match plain.get(&stripped(model)).map(Vec::as_slice) {
            Some([one]) => Some(*one),
            _ => None,
        };
        if let Some(found) = same.or_else(like) {
            models.insert((*model).to_owned(), found.to_owned());
        }
    }
    models
}

/// A model's name in lower case and without provider, region, version and date.
fn stripped(model: &str) -> String {
    let digits = |part: &str, count: usize| {
        part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let model = model.to_ascii_lowercase();
    let model = model.rsplit('/').next().unwrap_or_default();
    // `us.anthropic.claude-…-v1:0`; but `gpt-4.1` keeps its point.
    let model = model.rsplit_once("anthropic.").map_or(model, |(_, name)| name);
    let version = model.rsplit_once(':').filter(|(_, rest)| digits(rest, rest.len().max(1)));
    let (model, is_versioned) = version.map_or((model, false), |(name, _)| (name, true));
    let mut parts: Vec<&str> = model.split('-').collect();
    // `-v1:0`; but the `v3` of `deepseek-v3` is its name.
    if is_versioned && parts.last().is_some_and(|last| last.starts_with('v')) {
        parts.pop();
    }
    match parts.as_slice() {
        [head @ .., year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2) => {
            head.join("-")
        }
        [head @ .., date] if digits(date, 8) || *date == "latest" => head.join("-"),
        _ => parts.join("-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_stripped_of_what_differs_between_bills_and_replies() {
        for (model, plain) in [
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("gpt-4o", "gpt-4o"),
            ("gpt-4.1-mini", "gpt-4.1-mini"),
            ("us.anthropic.claude-3-sonnet-20240229-v1:0", "claude-3-sonnet"),
            ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
            ("openai/GPT-4o", "gpt-4o"),
            ("deepseek-v3", "deepseek-v3"),
            ("o3", "o3"),
        ] {
            assert_eq!(stripped(model), plain);
        }
    }

    #[test]
    fn two_snapshots_of_one_name_are_never_taken_for_each_other() {
        let theirs = BTreeSet::from(["gpt-4o-2024-05-13", "gpt-4o-2024-08-06", "o3-2025-04-16"]);
        let own = BTreeSet::from(["gpt-4o", "gpt-4o-2024-08-06", "o3"]);

        let models = matched(&theirs, &own);

        assert_eq!(models.get("gpt-4o"), None, "it may be either");
        assert_eq!(models["gpt-4o-2024-08-06"], "gpt-4o-2024-08-06");
        assert_eq!(models["o3"], "o3-2025-04-16");
    }
}
