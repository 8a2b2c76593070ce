//! Reads plan files.
//!
//! ```toml
//! [[plan]]
//! name = "team"
//! kind = "subscription"              # metered | subscription | prepaid | commitment
//! currency = "CNY"
//! fee = "99"                         # each month
//! minimum = "120"                    # of everything, each month
//! commitment = "500"                 # of usage, each month
//! threshold = "200"                  # unbilled usage that is invoiced before the month ends
//! credit = "after_tax"               # or "before_tax"
//! grant_order = "priority"           # or "expiry"
//! trial = { days = 14 }              # or { credit = "10" }, or both
//! [plan.allowance]
//! tokens = 5000000                   # or amount = "50"
//! models = "gpt-*"                   # every model when absent
//! classes = ["input_uncached"]       # every token class when absent
//! first = "dearest"                  # or "cheapest"
//! overage_per_1k = "0.02"            # the usage's own price when absent
//! [[plan.charge]]                    # as in a charge file, without customer, from and until
//! ```

use rust_decimal::Decimal;
use toml::Table;

use super::{
    Allowance, CreditTaken, CreditTerms, First, Included, Overage, Plan, PlanError, PlanKind, Trial,
};
use crate::{
    FieldError,
    charge::{Cover, Meters, Per, Whose, entry_version, models, period_charge, token_classes},
    fields::{Fields, currency, texts},
    grant::GrantOrder,
};

const KEYS: [&str; 12] = [
    "name",
    "kind",
    "currency",
    "fee",
    "minimum",
    "commitment",
    "threshold",
    "credit",
    "grant_order",
    "trial",
    "allowance",
    "charge",
];
const ALLOWANCE_KEYS: [&str; 6] =
    ["tokens", "amount", "models", "classes", "first", "overage_per_1k"];
/// Longest trial, in days: two years.
const TRIAL_DAYS_MAX: u64 = 731;

/// Reads the plans of a file. `origin` names the file in errors.
///
/// # Errors
/// [`PlanError`], naming the plan and the key.
pub fn parse_plans(text: &str, origin: &str) -> Result<Vec<Plan>, PlanError> {
    let document: Table = text
        .parse()
        .map_err(|cause| PlanError::Syntax { origin: origin.to_owned(), cause: Box::new(cause) })?;
    let refused = |entry: String| {
        let origin = origin.to_owned();
        move |cause| PlanError::Entry { origin, entry, cause }
    };
    let fields = Fields(&document);
    fields.refuse_unknown(&["plan"]).map_err(refused("top level".to_owned()))?;
    let entries = fields.tables("plan").map_err(refused("top level".to_owned()))?;
    if entries.is_empty() {
        return Err(PlanError::None { origin: origin.to_owned() });
    }
    let read = |(place, entry): (u32, Fields<'_>)| {
        let name = entry.text("name").ok().flatten().unwrap_or("?");
        plan(entry).map_err(refused(format!("plan {place} (`{name}`)")))
    };
    (1_u32..).zip(entries).map(read).collect()
}

fn plan(entry: Fields<'_>) -> Result<Plan, FieldError> {
    entry.refuse_unknown(&KEYS)?;
    let name = entry.required_text("name", "what the plan is called")?;
    if !is_name(name) {
        let reason = format!("`{name}` is no name; accepted: 1 to 63 of a-z, 0-9, `-`, `_`, `.`");
        return Err(FieldError::invalid("name", reason));
    }
    let (version, content) = entry_version("plan", name, entry.0)?;
    let kinds = PlanKind::ALL.map(|(_, name)| name);
    let kind = entry.required_text("kind", "one of metered, subscription, prepaid, commitment")?;
    let (kind, _) = PlanKind::ALL
        .into_iter()
        .find(|(_, name)| *name == kind)
        .ok_or_else(|| other("kind", kind, &kinds))?;
    let charges = entry
        .tables("charge")?
        .into_iter()
        .map(|charge| period_charge(charge, Whose::Plan))
        .collect::<Result<Vec<_>, _>>()?;
    let plan = Plan {
        name: name
            .parse()
            .map_err(|cause| FieldError::invalid("name", format!("`{name}`: {cause}")))?,
        kind,
        currency: currency(entry)?,
        fee: entry.decimal("fee")?,
        allowance: entry.table("allowance")?.map(allowance).transpose()?,
        charges,
        commitment: entry.decimal("commitment")?,
        minimum: entry.decimal("minimum")?,
        threshold: threshold(entry)?,
        trial: entry.table("trial")?.map(trial).transpose()?,
        credit: credit(entry)?,
        version,
        content,
    };
    check(&plan)?;
    Ok(plan)
}

/// What the kind asks for is there, and nothing that has no meaning in it.
fn check(plan: &Plan) -> Result<(), FieldError> {
    let kind = plan.kind.as_str();
    let has = [
        ("fee", plan.fee.is_some(), plan.kind == PlanKind::Subscription),
        ("commitment", plan.commitment.is_some(), plan.kind == PlanKind::Commitment),
    ];
    for (key, is_there, is_needed) in has {
        if is_needed && !is_there {
            let expected = "an amount for each month, which this kind of plan is about";
            return Err(FieldError::Missing { key: key.to_owned(), expected });
        }
        if is_there && !is_needed {
            return Err(FieldError::invalid(key, format!("has no meaning in kind `{kind}`")));
        }
    }
    if plan.allowance.is_some() && plan.kind != PlanKind::Subscription {
        return Err(FieldError::invalid("allowance", format!("has no meaning in kind `{kind}`")));
    }
    if let Some(charge) = plan.charges.iter().find(|c| c.charge.currency != plan.currency) {
        let (given, own) = (charge.charge.currency.code(), plan.currency.code());
        let reason =
            format!("`{}` is in {given}, accepted is {own}, the plan's currency", charge.name);
        return Err(FieldError::invalid("charge", reason));
    }
    let mut versions: Vec<_> = plan.charges.iter().map(|charge| &charge.version).collect();
    versions.sort();
    if let Some([twice, _]) = versions.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(FieldError::invalid("charge", format!("`{twice}` stands twice")));
    }
    Ok(())
}

fn allowance(entry: Fields<'_>) -> Result<Allowance, FieldError> {
    entry.refuse_unknown(&ALLOWANCE_KEYS)?;
    let first = match entry.text("first")? {
        None | Some("dearest") => First::Dearest,
        Some("cheapest") => First::Cheapest,
        Some(text) => return Err(other("first", text, &["dearest", "cheapest"])),
    };
    let overage = entry.decimal("overage_per_1k")?;
    let included = match (entry.integer("tokens")?, entry.decimal("amount")?) {
        (Some(count), None) => Included::Tokens { count, first },
        (None, Some(amount)) => {
            if let Some(key) = ["first", "overage_per_1k"].into_iter().find(|key| entry.has(key)) {
                return Err(FieldError::invalid(key, "has no meaning beside `amount`"));
            }
            Included::Amount(amount)
        }
        (None, None) => {
            let expected = "a whole number, or `amount` with an amount of money";
            return Err(FieldError::Missing { key: "tokens".to_owned(), expected });
        }
        (Some(_), Some(_)) => {
            return Err(FieldError::invalid("amount", "stands beside `tokens`: give one"));
        }
    };
    let classes = texts(entry, "classes", "a token class, or a list of them")?;
    let meters = match (classes, included) {
        (Some(classes), _) => Meters::Only(token_classes(&classes)?),
        (None, Included::Tokens { .. }) => Meters::Tokens,
        (None, Included::Amount(_)) => Meters::Usage,
    };
    Ok(Allowance {
        included,
        cover: Cover { models: models(entry)?, meters, per: Per::ThousandTokens },
        overage: overage.map_or(Overage::List, Overage::PerThousand),
    })
}

fn threshold(entry: Fields<'_>) -> Result<Option<Decimal>, FieldError> {
    let threshold = entry.decimal("threshold")?;
    if threshold.is_some_and(|threshold| threshold.is_zero()) {
        return Err(FieldError::invalid("threshold", "0 is not accepted; accepted: above 0"));
    }
    Ok(threshold)
}

fn trial(entry: Fields<'_>) -> Result<Trial, FieldError> {
    entry.refuse_unknown(&["days", "credit"])?;
    let (days, credit) = (entry.integer("days")?, entry.decimal("credit")?);
    if days.is_none() && credit.is_none() {
        let expected = "a number of days, or `credit` with an amount of money";
        return Err(FieldError::Missing { key: "trial.days".to_owned(), expected });
    }
    if credit.is_some_and(|credit| credit == Decimal::ZERO) {
        return Err(FieldError::invalid("trial.credit", "is zero"));
    }
    let days = days.map(|days| {
        u32::try_from(days).ok().filter(|_| (1..=TRIAL_DAYS_MAX).contains(&days)).ok_or_else(|| {
            let reason = format!("{days} is not accepted; accepted: 1 to {TRIAL_DAYS_MAX}");
            FieldError::invalid("trial.days", reason)
        })
    });
    Ok(Trial { days: days.transpose()?, credit })
}

fn credit(entry: Fields<'_>) -> Result<CreditTerms, FieldError> {
    let taken = match entry.text("credit")? {
        None | Some("after_tax") => CreditTaken::AfterTax,
        Some("before_tax") => CreditTaken::BeforeTax,
        Some(text) => return Err(other("credit", text, &["after_tax", "before_tax"])),
    };
    let order = match entry.text("grant_order")? {
        None => GrantOrder::default(),
        Some(text) => GrantOrder::ALL
            .into_iter()
            .find(|(_, name)| *name == text)
            .map(|(order, _)| order)
            .ok_or_else(|| other("grant_order", text, &GrantOrder::ALL.map(|(_, name)| name)))?,
    };
    Ok(CreditTerms { taken, order })
}

fn is_name(name: &str) -> bool {
    let reads = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    (1..=63).contains(&name.len()) && name.chars().all(reads)
}

fn other(key: &str, text: &str, known: &[&str]) -> FieldError {
    FieldError::invalid(key, format!("`{text}` is unknown, accepted are {}", known.join(", ")))
}
