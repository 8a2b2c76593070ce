//! `permille project add|limit|list`: cost centres of a customer.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, limits, moment, or_dash, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with projects.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a project to a customer.
    Add {
        /// Name on invoices.
        name: String,
        /// Whose cost centre it is.
        #[arg(long)]
        customer: String,
        /// Id on rows and in the API; made from the name when absent.
        #[arg(long)]
        id: Option<String>,
    },
    /// Show or change the limits of a project, over all its keys.
    Limit {
        /// Its id.
        id: String,
        /// Whose cost centre it is.
        #[arg(long)]
        customer: String,
        #[command(flatten)]
        limits: Box<limits::Flags>,
    },
    /// List the projects of a customer, or of all of them.
    List {
        /// Only those of this customer, by its id.
        #[arg(long)]
        customer: Option<String>,
    },
}

/// The part of a project that a table shows.
#[derive(Debug, Deserialize)]
struct Project {
    id: String,
    customer: String,
    name: String,
    #[serde(default)]
    limits: limits::Limits,
    created_at: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::Add { name, customer, id } => {
            let mut body = json!({ "name": name, "customer": customer });
            if let (Some(id), Some(body)) = (id, body.as_object_mut()) {
                body.insert("id".to_owned(), json!(id));
            }
            let added = api.post(&Path::of(&["projects"]), &body).await?;
            context.output.one(&added, |added| table(std::iter::once(added)))
        }
        Command::Limit { id, customer, limits } => {
            limits.run(context, &api, &Path::of(&["projects", customer, id, "limits"])).await
        }
        Command::List { customer } => {
            let path = Path::of(&["projects"]).with("customer", customer.as_deref());
            let projects = api.list(&path).await?;
            context.output.list(&projects, |items| table(items.iter().map(AsRef::as_ref)))
        }
    }
}

fn table<'a>(projects: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("customer", Align::Left),
        ("name", Align::Left),
        ("budget", Align::Left),
        ("created (UTC)", Align::Left),
    ]);
    for project in projects {
        let project: Project = view(project)?;
        let created = moment(&project.created_at);
        let budget = or_dash(project.limits.budget.as_ref());
        grid.row([project.id, project.customer, project.name, budget, created]);
    }
    Ok(grid.render("no projects"))
}
