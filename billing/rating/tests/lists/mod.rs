//! Price lists of others and what is asked of them when they are read.

use permille_rating::Meter;
use permille_rating::import::{Format, ImportOptions, Imported, import};
use permille_rating::price_book::{price_of, rates_of_band};
use permille_types::{Price, Side};

pub(crate) fn options() -> ImportOptions {
    ImportOptions {
        from: "2026-11-01T00:00:00Z".parse().unwrap(),
        source: "list of 2026-11-01".to_owned(),
        side: Side::Sale,
        providers: Vec::new(),
        models: Vec::new(),
    }
}

pub(crate) fn read(format: Format, text: &str) -> Imported {
    import(format, text, &options()).unwrap()
}

pub(crate) fn price<'i>(imported: &'i Imported, model: &str) -> &'i Price {
    imported.prices.iter().find(|price| price.model == model).unwrap()
}

/// Per thousand tokens, as text.
pub(crate) fn amount(price: &Price, band: u32, class: &str) -> Option<String> {
    let amount = price_of(rates_of_band(price, band)?, &Meter::named(class))?;
    Some(amount.to_string())
}

pub(crate) fn skipped(imported: &Imported) -> Vec<&str> {
    imported.skipped.iter().map(|skipped| skipped.model.as_str()).collect()
}

/// A list of one model with these amounts.
pub(crate) fn litellm(amounts: &str) -> Imported {
    let list = format!(r#"{{"m":{{"litellm_provider":"p","mode":"chat",{amounts}}}}}"#);
    read(Format::Litellm, &list)
}

/// A list of one provider `p` with these models.
pub(crate) fn genai(models: &str) -> Imported {
    read(Format::GenaiPrices, &format!(r#"[{{"id":"p","name":"P","models":[{models}]}}]"#))
}
