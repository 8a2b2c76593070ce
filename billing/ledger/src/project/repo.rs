//! All SQL of projects.

use permille_types::{CustomerId, ProjectId};

use super::Project;
use crate::{
    LedgerError, Limits, column,
    error::{Constraint, During, changed, on_constraint},
    sql::{self, Connection},
};

const PKEY: Constraint =
    Constraint { name: "project_pkey", columns: "project.customer, project.id" };

sql::row! {
    struct Row {
        customer: String,
        id: String,
        name: String,
        created_at: i64,
    }
}

impl TryFrom<Row> for Project {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            customer: column::parsed("project.customer", &row.customer)?,
            id: column::parsed("project.id", &row.id)?,
            limits: Limits::default(),
            created_at: column::instant("project.created_at", row.created_at)?,
            name: row.name,
        })
    }
}

pub(super) async fn insert(
    connection: &mut Connection,
    project: &Project,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert project";
    let done = sql::query(
        "insert into project (
             customer,
             id,
             name,
             created_at
         ) values ($1, $2, $3, $4)",
    )
    .bind(project.customer.as_str())
    .bind(project.id.as_str())
    .bind(&project.name)
    .bind(column::micros(project.created_at))
    .execute(connection)
    .await;
    let done = on_constraint(done, OPERATION, &PKEY, || LedgerError::AlreadyExists {
        noun: "project",
        id: project.id.to_string(),
    })?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(crate) async fn exists(
    connection: &mut Connection,
    customer: &CustomerId,
    id: &ProjectId,
) -> Result<bool, LedgerError> {
    sql::query_scalar::<i64>(
        "select count(*)
         from project
         where customer = $1
           and id = $2",
    )
    .bind(customer.as_str())
    .bind(id.as_str())
    .fetch_one(connection)
    .await
    .during("find project")
    .map(|count| count == 1)
}

pub(super) async fn find(
    connection: &mut Connection,
    customer: &CustomerId,
    id: &ProjectId,
) -> Result<Option<Project>, LedgerError> {
    sql::query_as::<Row>(
        "select
             customer,
             id,
             name,
             created_at
         from project
         where customer = $1
           and id = $2",
    )
    .bind(customer.as_str())
    .bind(id.as_str())
    .fetch_optional(connection)
    .await
    .during("find project")?
    .map(Project::try_from)
    .transpose()
}

pub(super) async fn list(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
    after: [&str; 2],
    rows: i64,
) -> Result<Vec<Project>, LedgerError> {
    sql::query_as::<Row>(
        "select
             customer,
             id,
             name,
             created_at
         from project
         where ($1 is null or customer = $1)
           and (customer, id) > ($2, $3)
         order by
             customer,
             id
         limit $4",
    )
    .bind(customer.map(CustomerId::as_str))
    .bind(after[0])
    .bind(after[1])
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list projects")?
    .into_iter()
    .map(Project::try_from)
    .collect()
}

/// Every project: the catalogue holds them all in memory.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<Project>, LedgerError> {
    sql::query_as::<Row>(
        "select
             customer,
             id,
             name,
             created_at
         from project",
    )
    .fetch_all(connection)
    .await
    .during("read all projects")?
    .into_iter()
    .map(Project::try_from)
    .collect()
}

/// The names of a customer's projects.
pub(crate) async fn names(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<Vec<(ProjectId, String)>, LedgerError> {
    sql::query_as::<(String, String)>(
        "select
             id,
             name
         from project
         where customer = $1",
    )
    .bind(customer.as_str())
    .fetch_all(connection)
    .await
    .during("read names of projects")?
    .into_iter()
    .map(|(id, name)| Ok((column::parsed("project.id", &id)?, name)))
    .collect()
}
