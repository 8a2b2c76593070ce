//! A price that follows from another one by a percentage.

use permille_types::{Band, Derived, MoneyError, Price, PricePerThousand, Rates, Relative, Side};
use rust_decimal::Decimal;

use super::version::Content;
use crate::exact;

/// The price that `rule` makes of `base`: every amount of it, in every band, times the same
/// factor, exact. It holds where both hold.
///
/// `None` when `rule` is no percentage or an amount would have too many digits: then there is no
/// price, and what it would have priced is unpriced (B4).
pub(super) fn derived(rule: &Price, base: &Price) -> Option<Price> {
    let (percent, source) = match rule.relative.as_ref()? {
        Relative::DiscountPercent(off) => {
            let source = format!("{}: {off} % off {}", rule.source, base.version);
            (exact::sub(Decimal::ONE_HUNDRED, *off).ok()?, source)
        }
        // Whoever pays it reads this, and is not told what it is put on.
        Relative::MarkupPercent(on) => {
            (exact::add(Decimal::ONE_HUNDRED, *on).ok()?, rule.source.clone())
        }
    };
    let bands = base
        .bands
        .iter()
        .map(|band| Ok(Band { when: band.when.clone(), rates: scaled(&band.rates, percent)? }))
        .collect::<Result<Vec<_>, MoneyError>>();
    let content = Content {
        customer: rule.customer.clone(),
        side: Side::Sale,
        relative: None,
        derived: Some(Derived { of: base.version.clone(), by: rule.version.clone() }),
        model: base.model.clone(),
        provider: base.provider.clone(),
        currency: base.currency,
        from: rule.from.max(base.from),
        until: rule.until.into_iter().chain(base.until).min(),
        source,
        rates: scaled(&base.rates, percent).ok()?,
        bands: bands.ok()?,
    };
    content.into_price().ok()
}

fn scaled(rates: &Rates, percent: Decimal) -> Result<Rates, MoneyError> {
    let times = |amount| exact::shift_right(exact::mul(amount, percent)?, 2);
    Ok(Rates {
        per_thousand: rates
            .per_thousand
            .iter()
            .map(|(class, price)| {
                Ok((class.clone(), PricePerThousand::new(times(price.amount())?)))
            })
            .collect::<Result<_, MoneyError>>()?,
        per_unit: rates
            .per_unit
            .iter()
            .map(|(unit, price)| Ok((*unit, times(*price)?)))
            .collect::<Result<_, MoneyError>>()?,
    })
}
