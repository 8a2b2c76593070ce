//! `[issuer]`: who issues invoices, as their pages and electronic forms say it.

use std::path::{Path, PathBuf};

use permille_documents::{Issuer, Logo};
use serde::{Deserialize, Serialize};

use super::{ConfigError, sections::beside};

/// Largest logo, in bytes: it is part of every document.
const LOGO_BYTES_MAX: usize = 1024 * 1024;
/// Longest time to pay, in days.
const PAYMENT_DAYS_MAX: u32 = 365;

/// `[issuer]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IssuerSection {
    /// The legal name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The address, in lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    address: Vec<String>,
    /// The country of the address, an ISO 3166-1 alpha-2 code.
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    /// The tax id.
    #[serde(skip_serializing_if = "Option::is_none")]
    tax_id: Option<String>,
    /// The number in a register of companies.
    #[serde(skip_serializing_if = "Option::is_none")]
    registration: Option<String>,
    /// Where questions go.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// How to pay, in lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    payment: Vec<String>,
    /// The account that is paid to, for electronic invoices.
    #[serde(skip_serializing_if = "Option::is_none")]
    iban: Option<String>,
    /// Days from issue until an invoice is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_days: Option<u32>,
    /// A picture, PNG or SVG; a relative file lies beside the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    logo: Option<PathBuf>,
    /// Files and folders of fonts for PDF, before those of the system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fonts: Vec<PathBuf>,
}

impl IssuerSection {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the types alone cannot say.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let is_code =
            |code: &str| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        if let Some(country) = self.country.as_deref().filter(|country| !is_code(country)) {
            let problem = format!("is `{country}`, accepted: a code of two letters such as DE");
            return Err(ConfigError::value("issuer.country", problem));
        }
        if let Some(days) = self.payment_days.filter(|days| *days > PAYMENT_DAYS_MAX) {
            let problem = format!("is {days}, accepted: 0 to {PAYMENT_DAYS_MAX}");
            return Err(ConfigError::value("issuer.payment_days", problem));
        }
        Ok(())
    }

    /// Files and folders of fonts.
    pub(super) fn fonts(&self, folder: Option<&Path>) -> Vec<PathBuf> {
        self.fonts.iter().map(|file| beside(folder, file)).collect()
    }

    /// The issuer, with the logo read.
    ///
    /// # Errors
    /// [`ConfigError::Key`] when it cannot be read or is no picture.
    pub(super) fn read(&self, folder: Option<&Path>) -> Result<Issuer, ConfigError> {
        Ok(Issuer {
            name: self.name.clone(),
            address: self.address.clone(),
            country: self.country.clone(),
            tax_id: self.tax_id.clone(),
            registration: self.registration.clone(),
            email: self.email.clone(),
            payment: self.payment.clone(),
            iban: self.iban.clone(),
            payment_days: self.payment_days,
            logo: self.logo.as_deref().map(|file| logo(&beside(folder, file))).transpose()?,
        })
    }
}

fn logo(file: &Path) -> Result<Logo, ConfigError> {
    let refused = |problem: String| ConfigError::value("issuer.logo", problem);
    let shown = file.display();
    let bytes =
        std::fs::read(file).map_err(|cause| refused(format!("cannot read `{shown}`: {cause}")))?;
    if bytes.len() > LOGO_BYTES_MAX {
        let problem = format!("`{shown}` is too large, accepted: up to {LOGO_BYTES_MAX} bytes");
        return Err(refused(problem));
    }
    Logo::of(bytes).ok_or_else(|| refused(format!("`{shown}` is neither PNG nor SVG")))
}
