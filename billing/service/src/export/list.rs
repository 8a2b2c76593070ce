//! Everyone's price of what a customer has at a discount, for forms that tell both.

use std::collections::BTreeMap;

use permille_documents::Document;
use permille_ledger::{Ledger, LedgerError};
use permille_rating::price_book::{price_of, rates_of_band};
use permille_types::{Price, PriceVersion, Side};

/// Tells the lines of `document` what everyone is charged where their price is a discount off it.
/// A discounted price names the entry that it is taken off, so it is the one of that time.
///
/// # Errors
/// The store's failure.
pub(super) async fn tell(ledger: &Ledger, document: &mut Document) -> Result<(), LedgerError> {
    let mut lists: BTreeMap<PriceVersion, Option<Price>> = BTreeMap::new();
    for line in document.lines.iter_mut().filter(|line| line.meter.is_usage()) {
        let Some(usage) = &mut line.usage else { continue };
        if !lists.contains_key(&usage.price_version) {
            let list = discounted(ledger, &usage.price_version).await?;
            lists.insert(usage.price_version.clone(), list);
        }
        let list = lists.get(&usage.price_version).and_then(Option::as_ref);
        let rates = list.and_then(|price| rates_of_band(price, usage.band));
        usage.list_price = rates.and_then(|rates| price_of(rates, &line.meter));
    }
    Ok(())
}

/// The price that `version` is a discount off. A markup is on what the provider takes, which no
/// document tells.
async fn discounted(ledger: &Ledger, version: &PriceVersion) -> Result<Option<Price>, LedgerError> {
    let Some(derived) = ledger.price(version).await?.price.derived else { return Ok(None) };
    let of = ledger.price(&derived.of).await?.price;
    Ok((of.side == Side::Sale).then_some(of))
}
