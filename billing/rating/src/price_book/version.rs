//! The name of a price, derived from its content.

use chrono::{DateTime, Utc};
use permille_types::{
    Band, Currency, CustomerId, Derived, IdError, Price, PricePerThousand, PriceVersion, Rates,
    Relative, Side,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The version of `price`: `<model>@<date of from>.<12 hexadecimal digits>`, the digits being the
/// first 48 bits of the SHA-256 of the entry's canonical JSON without `version` and `until`.
///
/// The same content always has the same version, wherever it was read and however its decimals
/// were written (`0.0120` is `0.012`).
///
/// # Errors
/// [`IdError`] when the model pattern is too long or holds control characters.
pub fn price_version(price: &Price) -> Result<PriceVersion, IdError> {
    let content = Content {
        customer: price.customer.clone(),
        side: price.side,
        relative: price.relative.clone(),
        derived: price.derived.clone(),
        model: price.model.clone(),
        provider: price.provider.clone(),
        currency: price.currency,
        from: price.from,
        until: price.until,
        source: price.source.clone(),
        rates: price.rates.clone(),
        bands: price.bands.clone(),
    };
    content.into_price().map(|price| price.version)
}

/// An entry before it has its version. The order of the fields is the order of canonical JSON.
#[derive(Clone, Serialize)]
pub(super) struct Content {
    pub(super) model: String,
    pub(super) provider: Option<String>,
    pub(super) currency: Currency,
    pub(super) from: DateTime<Utc>,
    /// Not part of the version: an open price that ends later is still the price that the rows
    /// before it name, and B3 wants them to keep that name.
    #[serde(skip)]
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) source: String,
    pub(super) rates: Rates,
    pub(super) bands: Vec<Band>,
    // What came later is left out where it says nothing: earlier versions keep their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) customer: Option<CustomerId>,
    #[serde(skip_serializing_if = "is_sale")]
    pub(super) side: Side,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) relative: Option<Relative>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) derived: Option<Derived>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_sale(side: &Side) -> bool {
    *side == Side::Sale
}

impl Content {
    /// The entry, its decimals normalized, with its version.
    pub(super) fn into_price(mut self) -> Result<Price, IdError> {
        normalize(&mut self.rates);
        self.bands.iter_mut().for_each(|band| normalize(&mut band.rates));
        if let Some(Relative::DiscountPercent(percent) | Relative::MarkupPercent(percent)) =
            &mut self.relative
        {
            *percent = percent.normalize();
        }
        // Structs with text keys always serialise; an empty text could only merge versions of one
        // model and day, which the price book refuses.
        let json = serde_json::to_vec(&self).unwrap_or_default();
        let mut digits = hex::encode(Sha256::digest(&json));
        digits.truncate(12);
        let version = format!("{}@{}.{digits}", self.model, self.from.format("%Y-%m-%d"));
        Ok(Price {
            version: version.parse()?,
            customer: self.customer,
            side: self.side,
            relative: self.relative,
            derived: self.derived,
            model: self.model,
            provider: self.provider,
            currency: self.currency,
            from: self.from,
            until: self.until,
            source: self.source,
            rates: self.rates,
            bands: self.bands,
        })
    }
}

fn normalize(rates: &mut Rates) {
    for price in rates.per_thousand.values_mut() {
        *price = PricePerThousand::new(price.amount().normalize());
    }
    for price in rates.per_unit.values_mut() {
        *price = price.normalize();
    }
}
