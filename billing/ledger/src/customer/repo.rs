//! All SQL of customers.

use permille_rating::invoice::TaxTerms;
use permille_types::CustomerId;

use super::Customer;
use crate::{
    LedgerError, Limits, column,
    error::{Constraint, During, changed, on_constraint},
    sql::{self, Connection},
};

const PKEY: Constraint = Constraint { name: "customer_pkey", columns: "customer.id" };

sql::row! {
    struct Row {
        id: String,
        name: String,
        currency: String,
        time_zone: String,
        tax: Option<String>,
        tax_id: Option<String>,
        billing_address: Option<String>,
        purchase_order: Option<String>,
        notes: Option<String>,
        created_at: i64,
    }
}

impl TryFrom<Row> for Customer {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            id: column::parsed("customer.id", &row.id)?,
            currency: column::parsed("customer.currency", &row.currency)?,
            time_zone: column::parsed("customer.time_zone", &row.time_zone)?,
            tax: match &row.tax {
                Some(tax) => column::json("customer.tax", tax)?,
                None => TaxTerms::None,
            },
            tax_id: row.tax_id,
            billing_address: row.billing_address,
            purchase_order: row.purchase_order,
            notes: row.notes,
            limits: Limits::default(),
            created_at: column::instant("customer.created_at", row.created_at)?,
            name: row.name,
        })
    }
}

pub(super) async fn insert(
    connection: &mut Connection,
    customer: &Customer,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert customer";
    let done = sql::query(
        "insert into customer (
             id,
             name,
             currency,
             time_zone,
             tax,
             tax_id,
             billing_address,
             purchase_order,
             notes,
             created_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(customer.id.as_str())
    .bind(&customer.name)
    .bind(customer.currency.code())
    .bind(customer.time_zone.name())
    .bind(tax_text(customer)?)
    .bind(customer.tax_id.as_deref())
    .bind(customer.billing_address.as_deref())
    .bind(customer.purchase_order.as_deref())
    .bind(customer.notes.as_deref())
    .bind(column::micros(customer.created_at))
    .execute(connection)
    .await;
    let done = on_constraint(done, OPERATION, &PKEY, || LedgerError::AlreadyExists {
        noun: "customer",
        id: customer.id.to_string(),
    })?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Writes what may change of a customer.
pub(super) async fn update(
    connection: &mut Connection,
    customer: &Customer,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "update customer";
    let done = sql::query(
        "update customer
         set name = $2,
             tax = $3,
             tax_id = $4,
             billing_address = $5,
             purchase_order = $6,
             notes = $7
         where id = $1",
    )
    .bind(customer.id.as_str())
    .bind(&customer.name)
    .bind(tax_text(customer)?)
    .bind(customer.tax_id.as_deref())
    .bind(customer.billing_address.as_deref())
    .bind(customer.purchase_order.as_deref())
    .bind(customer.notes.as_deref())
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

fn tax_text(customer: &Customer) -> Result<Option<String>, LedgerError> {
    let said = !customer.tax.is_none();
    said.then(|| column::to_json("tax of a customer", &customer.tax)).transpose()
}

pub(crate) async fn find(
    connection: &mut Connection,
    id: &CustomerId,
) -> Result<Option<Customer>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             name,
             currency,
             time_zone,
             tax,
             tax_id,
             billing_address,
             purchase_order,
             notes,
             created_at
         from customer
         where id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await
    .during("find customer")?
    .map(Customer::try_from)
    .transpose()
}

pub(super) async fn list(
    connection: &mut Connection,
    after: &str,
    rows: i64,
) -> Result<Vec<Customer>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             name,
             currency,
             time_zone,
             tax,
             tax_id,
             billing_address,
             purchase_order,
             notes,
             created_at
         from customer
         where id > $1
         order by id
         limit $2",
    )
    .bind(after)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list customers")?
    .into_iter()
    .map(Customer::try_from)
    .collect()
}

/// Every customer: the catalogue holds them all in memory.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<Customer>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             name,
             currency,
             time_zone,
             tax,
             tax_id,
             billing_address,
             purchase_order,
             notes,
             created_at
         from customer",
    )
    .fetch_all(connection)
    .await
    .during("read all customers")?
    .into_iter()
    .map(Customer::try_from)
    .collect()
}
