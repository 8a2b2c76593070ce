//! What many rows of usage have in common, kept once: how they were asked for, answered and priced.
//!
//! Nothing here is chosen by a client freely: its model stands in the row itself. So there are as
//! many kinds as combinations that occur, some thousands, however many rows there are.

mod repo;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use permille_types::{PriceVersion, TurnKind, UpstreamName, UsageEvent};

use super::Pricing;
use crate::{
    LedgerError, column,
    sql::{Connection, Value},
};

/// The numbers of kinds, by their content.
#[derive(Debug)]
pub(super) struct Kinds(HashMap<String, i64>);

/// A kind that a row has.
pub(super) struct Kind<'a> {
    event: &'a UsageEvent,
    version: Option<&'a PriceVersion>,
    band: Option<i64>,
    flags: Option<String>,
}

impl<'a> Kind<'a> {
    pub(super) fn of(event: &'a UsageEvent, pricing: &'a Pricing) -> Result<Self, LedgerError> {
        let (version, band) = match pricing {
            Pricing::Priced { version: Some(version), band, .. } => {
                (Some(version), Some(i64::from(*band)))
            }
            Pricing::Priced { version: None, .. } | Pricing::Held => (None, None),
        };
        let flags = (!event.flags.is_empty()).then(|| column::to_json("flags", &event.flags));
        Ok(Self { event, version, band, flags: flags.transpose()? })
    }

    /// Its columns behind number and content, in the order of the table.
    fn columns(&self) -> [Value<'_>; 15] {
        let Self { event, version, band, flags } = self;
        [
            i64::from(event.session_explicit).into(),
            event.turn_kind.map(TurnKind::as_str).into(),
            event.family.as_str().into(),
            event.endpoint.as_str().into(),
            i64::from(is_served_as_asked(event)).into(),
            event.service_tier.as_deref().into(),
            event.region.as_deref().into(),
            event.upstream.as_ref().map(UpstreamName::as_str).into(),
            event.status.map(i64::from).into(),
            i64::from(event.streamed).into(),
            event.ended.as_str().into(),
            event.source.as_str().into(),
            flags.as_deref().into(),
            version.map(PriceVersion::as_str).into(),
            (*band).into(),
        ]
    }

    /// All columns in one text, as migration 40 writes it: like SQL's literals, so that no two
    /// kinds have the same.
    fn content(&self) -> String {
        let mut content = String::new();
        for (place, value) in self.columns().iter().enumerate() {
            if place > 0 {
                content.push(',');
            }
            match value {
                Value::Text(Some(text)) => {
                    content.push('\'');
                    content.push_str(&text.replace('\'', "''"));
                    content.push('\'');
                }
                // Writing into a text does not fail.
                Value::Integer(Some(number)) => drop(write!(content, "{number}")),
                Value::Text(None) | Value::Integer(None) | Value::Bytes(_) => {
                    content.push_str("NULL");
                }
            }
        }
        content
    }
}

/// Whether the reply names the very model that was asked for.
pub(super) fn is_served_as_asked(event: &UsageEvent) -> bool {
    event.model_served.as_ref() == Some(&event.model_requested)
}

impl Kinds {
    /// Those of some rows; what is not there yet is added. Nobody else writes until the
    /// transaction ends.
    pub(super) async fn of(
        connection: &mut Connection,
        kinds: &[Kind<'_>],
    ) -> Result<Self, LedgerError> {
        let wanted: BTreeMap<String, &Kind<'_>> =
            kinds.iter().map(|kind| (kind.content(), kind)).collect();
        let mut known = repo::find(connection, wanted.keys()).await?;
        let new: Vec<_> =
            wanted.into_iter().filter(|(content, _)| !known.contains_key(content)).collect();
        if !new.is_empty() {
            known.extend(repo::add(connection, new).await?);
        }
        Ok(Self(known))
    }

    /// The number of one of them.
    pub(super) fn number(&self, kind: &Kind<'_>) -> Result<i64, LedgerError> {
        let content = kind.content();
        let number = self.0.get(&content).copied();
        number.ok_or_else(|| LedgerError::not_found("kind of usage", &content))
    }
}
