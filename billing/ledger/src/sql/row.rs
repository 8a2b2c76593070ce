//! Rows by the names of their columns, from both engines.
//!
//! `sqlx` derives the same, but its derive macro is compiled with all of `sqlx`, both engines and
//! their C code, for the machine that builds, and once more for the program.

/// The struct, and how it is read: each field from the column of its name, one under `#[flatten]`
/// from the columns of its own fields.
macro_rules! row {
    ($(#[$about:meta])* $seen:vis struct $row:ident {
        $($(#[$whole:ident])? $field_seen:vis $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$about])*
        $seen struct $row { $($field_seen $field: $type),* }

        $crate::sql::row!(@of ::sqlx::sqlite::SqliteRow, $row, $([$($whole)?] $field),*);
        $crate::sql::row!(@of ::sqlx::postgres::PgRow, $row, $([$($whole)?] $field),*);
    };
    (@of $engine:ty, $row:ident, $([$($whole:ident)?] $field:ident),*) => {
        impl<'r> ::sqlx::FromRow<'r, $engine> for $row {
            fn from_row(row: &'r $engine) -> Result<Self, ::sqlx::Error> {
                Ok(Self { $($field: $crate::sql::row!(@field row, [$($whole)?] $field)?),* })
            }
        }
    };
    (@field $row:ident, [] $field:ident) => {
        ::sqlx::Row::try_get($row, stringify!($field))
    };
    (@field $row:ident, [flatten] $field:ident) => {
        ::sqlx::FromRow::from_row($row)
    };
}
pub(crate) use row;
