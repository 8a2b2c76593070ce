//! `permille customer add|set|limit|list|show|plans|history`: who is billed, and what their
//! invoices say.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use permille_ledger::{TaxRate, TaxTerms};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{Context, history, limits, moment, plan, view};
use crate::{
    api::{Api, Path},
    error::CliError,
    table::{Align, Grid},
};

/// What to do with customers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a customer.
    Add(Box<Add>),
    /// Change what a customer's next invoices say.
    Set(Box<Set>),
    /// Show or change the limits of a customer, over all its projects and keys.
    Limit {
        /// Id of the customer.
        id: String,
        #[command(flatten)]
        limits: Box<limits::Flags>,
    },
    /// List the customers.
    List,
    /// Show one customer.
    Show {
        /// Id of the customer.
        id: String,
    },
    /// Show which plans a customer has had and will have.
    Plans {
        /// Id of the customer.
        id: String,
    },
    /// Show who changed what a customer's invoices say, and when.
    History {
        /// Id of the customer.
        id: String,
    },
}

/// The new customer.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Name on invoices.
    name: String,
    /// Id on rows and in the API; made from the name when absent.
    #[arg(long)]
    id: Option<String>,
    /// Billing currency: a code (ISO 4217), such as CNY.
    #[arg(long, default_value = "USD")]
    currency: String,
    /// Billing time zone: where a month begins and ends, such as Asia/Shanghai.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    plan: Plan,
}

/// A plan, and from when on.
#[derive(Debug, Args)]
struct Plan {
    /// The plan's name or version; `none`: usage at its own prices.
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
    /// From when on, the start of an hour (RFC 3339); of this hour when absent.
    #[arg(long, value_name = "TIME", requires = "plan")]
    plan_from: Option<DateTime<Utc>>,
}

impl Plan {
    /// Gives the customer the plan that was told.
    async fn assign(&self, api: &Api, id: &str) -> Result<(), CliError> {
        let Some(plan) = &self.plan else { return Ok(()) };
        let body = json!({"plan": plan, "from": self.plan_from});
        api.post(&Path::of(&["customers", id, "plans"]), &body).await.map(drop)?;
        Ok(())
    }
}

/// What changes.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The customer's id.
    id: String,
    /// Name on invoices.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    plan: Plan,
    /// Say nothing of taxes.
    #[arg(long, conflicts_with_all = ["tax", "reverse_charge", "tax_exempt"])]
    no_tax: bool,
    /// Take a text away.
    #[arg(long, value_name = "TEXT")]
    clear: Vec<Cleared>,
}

/// What invoices say beside their lines.
#[derive(Debug, Args)]
struct Terms {
    /// A tax and its rate in percent, such as VAT=6; once for each tax.
    #[arg(long, value_name = "NAME=PERCENT")]
    tax: Vec<String>,
    /// The customer accounts for the tax; needs a tax id.
    #[arg(long, conflicts_with_all = ["tax", "tax_exempt"])]
    reverse_charge: bool,
    /// No tax is due, and why.
    #[arg(long, value_name = "REASON", conflicts_with = "tax")]
    tax_exempt: Option<String>,
    /// The customer's tax id.
    #[arg(long)]
    tax_id: Option<String>,
    /// Where invoices are sent; once for each line of the address.
    #[arg(long, value_name = "LINE")]
    billing_address: Vec<String>,
    /// The purchase order that invoices name.
    #[arg(long)]
    purchase_order: Option<String>,
    /// What else stands on invoices.
    #[arg(long)]
    notes: Option<String>,
}

/// A text that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cleared {
    TaxId,
    BillingAddress,
    PurchaseOrder,
    Notes,
}

impl Cleared {
    /// Its name in the API.
    fn field(self) -> &'static str {
        match self {
            Self::TaxId => "tax_id",
            Self::BillingAddress => "billing_address",
            Self::PurchaseOrder => "purchase_order",
            Self::Notes => "notes",
        }
    }
}

impl Terms {
    /// Adds what was given to the body of a call.
    fn insert_into(&self, body: &mut Map<String, Value>) -> Result<(), CliError> {
        if let Some(tax) = self.tax()? {
            body.insert("tax".to_owned(), tax);
        }
        let address = self.billing_address.join("\n");
        for (field, text) in [
            ("tax_id", self.tax_id.as_deref()),
            ("billing_address", (!self.billing_address.is_empty()).then_some(&*address)),
            ("purchase_order", self.purchase_order.as_deref()),
            ("notes", self.notes.as_deref()),
        ] {
            if let Some(text) = text {
                body.insert(field.to_owned(), text.into());
            }
        }
        Ok(())
    }

    fn tax(&self) -> Result<Option<Value>, CliError> {
        if self.reverse_charge {
            return Ok(Some(json!({"treatment": "reverse_charge"})));
        }
        if let Some(reason) = &self.tax_exempt {
            return Ok(Some(json!({"treatment": "exempt", "reason": reason})));
        }
        if self.tax.is_empty() {
            return Ok(None);
        }
        let rate = |text: &String| {
            let (name, percent) = text.split_once('=').ok_or_else(|| {
                let wanted = "a tax and its rate in percent, such as VAT=6";
                CliError::Usage(format!("--tax `{text}` is not accepted; accepted: {wanted}"))
            })?;
            Ok(json!({"name": name.trim(), "percent": percent.trim()}))
        };
        let rates = self.tax.iter().map(rate).collect::<Result<Vec<_>, CliError>>()?;
        Ok(Some(json!({"treatment": "standard", "rates": rates})))
    }
}

/// The part of a customer that a table shows.
#[derive(Debug, Deserialize)]
struct Customer {
    id: String,
    name: String,
    currency: String,
    time_zone: String,
    created_at: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::Add(add) => {
            let mut body = Map::new();
            body.insert("name".to_owned(), json!(add.name));
            body.insert("currency".to_owned(), json!(add.currency));
            body.insert("time_zone".to_owned(), json!(add.time_zone));
            if let Some(id) = &add.id {
                body.insert("id".to_owned(), json!(id));
            }
            add.terms.insert_into(&mut body)?;
            let added = api.post(&Path::of(&["customers"]), &body).await?;
            add.plan.assign(&api, &view::<Customer>(&added)?.id).await?;
            context.output.one(&added, |added| table(std::iter::once(added)))
        }
        Command::List => {
            let customers = api.list(&Path::of(&["customers"])).await?;
            context.output.list(&customers, |items| table(items.iter().map(AsRef::as_ref)))
        }
        Command::Show { id } => {
            let found = api.get(&Path::of(&["customers", id])).await?;
            context.output.one(&found, |found| {
                let parts = [whole(found)?, limits::of(found)?];
                let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                Ok(parts.join("\n\n"))
            })
        }
        Command::Limit { id, limits } => {
            limits.run(context, &api, &Path::of(&["customers", id, "limits"])).await
        }
        Command::Set(set) => {
            let mut body = Map::new();
            if let Some(name) = &set.name {
                body.insert("name".to_owned(), json!(name));
            }
            set.terms.insert_into(&mut body)?;
            if set.no_tax {
                body.insert("tax".to_owned(), json!({"treatment": "none"}));
            }
            for text in &set.clear {
                body.insert(text.field().to_owned(), Value::Null);
            }
            let changed = api.post(&Path::of(&["customers", &set.id]), &body).await?;
            set.plan.assign(&api, &set.id).await?;
            context.output.one(&changed, whole)
        }
        Command::Plans { id } => {
            let plans = api.list(&Path::of(&["customers", id, "plans"])).await?;
            context.output.list(&plans, plan::of_customer)
        }
        Command::History { id } => {
            let entries = api.list(&Path::of(&["customers", id, "history"])).await?;
            context.output.list(&entries, history::table)
        }
    }
}

/// What a customer's invoices say.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    tax: TaxTerms,
    tax_id: Option<String>,
    billing_address: Option<String>,
    purchase_order: Option<String>,
    notes: Option<String>,
}

/// One customer with everything that its invoices say.
fn whole(customer: &RawValue) -> Result<String, CliError> {
    let said: Said = view(customer)?;
    let tax = match said.tax {
        TaxTerms::None => None,
        TaxTerms::ReverseCharge => Some("reverse charge".to_owned()),
        TaxTerms::Exempt { reason } => Some(format!("exempt: {reason}")),
        TaxTerms::Standard { rates } => {
            let rate = |rate: &TaxRate| format!("{} {}%", rate.name, rate.percent.normalize());
            Some(rates.iter().map(rate).collect::<Vec<_>>().join(", "))
        }
    };
    let mut grid = Grid::new(&[("on invoices", Align::Left), ("", Align::Left)]);
    let mut told = false;
    for (title, text) in [
        ("tax", tax),
        ("tax id", said.tax_id),
        ("bill to", said.billing_address),
        ("purchase order", said.purchase_order),
        ("notes", said.notes),
    ] {
        for (place, line) in text.iter().flat_map(|text| text.lines()).enumerate() {
            grid.row([if place == 0 { title } else { "" }, line]);
            told = true;
        }
    }
    let head = table(std::iter::once(customer))?;
    Ok(if told { format!("{head}\n\n{}", grid.render("")) } else { head })
}

fn table<'a>(customers: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("name", Align::Left),
        ("currency", Align::Left),
        ("time zone", Align::Left),
        ("created (UTC)", Align::Left),
    ]);
    for customer in customers {
        let customer: Customer = view(customer)?;
        let created = moment(&customer.created_at);
        grid.row([customer.id, customer.name, customer.currency, customer.time_zone, created]);
    }
    Ok(grid.render("no customers yet; add one with `permille customer add NAME`"))
}
