//! Amounts of money on the command line: `12.50`, or with the currency that is meant, `12.50 CNY`.

use std::{convert::Infallible, str::FromStr};

/// An amount as it was typed. Whether it is one is the API's to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Amount {
    /// The number.
    pub(crate) number: String,
    /// The currency, where one is given.
    pub(crate) currency: Option<String>,
}

impl FromStr for Amount {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let text = text.trim();
        let (number, currency) = match text.split_once(char::is_whitespace) {
            Some((number, currency)) => (number, Some(currency.trim_start().to_owned())),
            None => (text, None),
        };
        Ok(Self { number: number.to_owned(), currency })
    }
}

/// The number and the currency of an amount that may be left out.
pub(crate) fn parts(amount: Option<&Amount>) -> (Option<&str>, Option<&str>) {
    let number = amount.map(|amount| amount.number.as_str());
    (number, amount.and_then(|amount| amount.currency.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_may_follow_the_number() {
        for (text, number, currency) in [
            ("12.50", "12.50", None),
            ("12.50 CNY", "12.50", Some("CNY")),
            (" -1  usd ", "-1", Some("usd")),
            ("", "", None),
        ] {
            let amount: Amount = text.parse().unwrap();
            assert_eq!(parts(Some(&amount)), (Some(number), currency), "{text}");
        }
        assert_eq!(parts(None), (None, None));
    }
}
