//! Projects: cost centres inside a customer.

mod repo;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use permille_types::{CustomerId, ProjectId};
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use repo::{all, exists, names};

use crate::{
    Customer, Instruction, Ledger, LedgerError, Limits, Listing, Page,
    audit::{self, Subject},
    customer,
    limit::Owner,
    slug,
    store::Connection,
};

/// The project that every customer has from the start.
pub const DEFAULT_PROJECT: &str = "default";

/// A cost centre inside a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Project {
    /// Whose it is.
    pub customer: CustomerId,
    /// Its id, a slug, unique inside the customer.
    pub id: ProjectId,
    /// Its name, as an invoice shows it.
    pub name: String,
    /// Its limits, over all its keys.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// A project to add.
#[derive(Debug, Clone)]
pub struct NewProject {
    /// Whose it is.
    pub customer: CustomerId,
    /// The id; derived from the name when absent.
    pub id: Option<String>,
    /// The name.
    pub name: String,
}

impl Ledger {
    /// Adds a project to a customer.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] for an unknown customer, [`LedgerError::Invalid`] for a bad id or
    /// name, [`LedgerError::AlreadyExists`] for a taken id, else the store's failure.
    pub async fn create_project(&self, new: NewProject) -> Result<Project, LedgerError> {
        self.make_project(new, None).await
    }

    /// The same in somebody's name: under their idempotency key it is added once.
    ///
    /// # Errors
    /// As [`Ledger::create_project`]; [`LedgerError::Refused`] when the key was spent on another
    /// call.
    pub async fn create_project_by(
        &self,
        new: NewProject,
        instruction: &Instruction,
    ) -> Result<Project, LedgerError> {
        self.make_project(new, Some(instruction)).await
    }

    async fn make_project(
        &self,
        new: NewProject,
        instruction: Option<&Instruction>,
    ) -> Result<Project, LedgerError> {
        let request = audit::digest(&new);
        let name = slug::checked_name(&new.name)?.to_owned();
        let id = match &new.id {
            Some(id) => slug::checked("id", id)?.to_owned(),
            None => slug::derived("id", &name)?,
        };
        let id = id.parse().map_err(|cause| LedgerError::invalid("id", &id, format!("{cause}")))?;
        let limits = Limits::default();
        let project = Project { customer: new.customer, id, name, limits, created_at: self.now() };

        let mut tx = self.store.write().await?;
        customer::find(&mut tx, &project.customer)
            .await?
            .ok_or_else(|| LedgerError::not_found("customer", &project.customer))?;
        let id = format!("{}/{}", project.customer, project.id);
        let made = Subject { noun: "project", id: &id };
        if let Some(instruction) = instruction {
            let repeated = audit::repeated(&mut tx, made, audit::CREATE, &request, instruction);
            if repeated.await?.is_some() {
                let found = repo::find(&mut tx, &project.customer, &project.id).await?;
                return found.ok_or_else(|| LedgerError::not_found("project", &project.id));
            }
        }
        repo::insert(&mut tx, &project).await?;
        if let Some(instruction) = instruction {
            let at = project.created_at;
            audit::note_made(&mut tx, made, &request, &id, instruction, at).await?;
        }
        self.commit_change(tx).await?;
        Ok(project)
    }

    /// Projects by customer and id, of one customer or of all.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a bad cursor, else the store's failure.
    pub async fn projects(
        &self,
        customer: Option<&CustomerId>,
        page: &Page,
    ) -> Result<Listing<Project>, LedgerError> {
        let after = page.after_parts::<2>()?.unwrap_or_default();
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, customer, after, page.rows()).await?;
        let catalogue = Arc::clone(&self.catalogue.borrow());
        let limited = |project: Project| {
            let owner = Owner::of_project(&project.customer, &project.id);
            Project { limits: catalogue.limits_of(&owner), ..project }
        };
        let rows = rows.into_iter().map(limited).collect();
        Ok(Listing::cut(page, rows, |project: &Project| {
            format!("{}/{}", project.customer, project.id)
        }))
    }
}

pub(crate) async fn insert_default(
    connection: &mut Connection,
    customer: &Customer,
) -> Result<(), LedgerError> {
    let id = DEFAULT_PROJECT
        .parse()
        .map_err(|_| LedgerError::invalid("id", DEFAULT_PROJECT, "a project id"))?;
    let project = Project {
        customer: customer.id.clone(),
        id,
        name: DEFAULT_PROJECT.to_owned(),
        limits: Limits::default(),
        created_at: customer.created_at,
    };
    repo::insert(connection, &project).await
}
