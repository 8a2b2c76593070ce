//! `[archive]`: where `permille usage archive` writes files of old usage.

use permille_archive::{Place, S3Options};
use serde::{Deserialize, Serialize};

use super::{ConfigError, sections::check_url};

/// `[archive]`. Credentials of a bucket are in the environment: `AWS_ACCESS_KEY_ID` and its kin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ArchiveSection {
    /// `file:///FOLDER` or `s3://BUCKET[/PREFIX]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Base URL of an S3 server that is not Amazon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Region of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
}

impl ArchiveSection {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    /// [`ConfigError::Key`] names the key and what is accepted.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(endpoint) = &self.endpoint {
            check_url("archive.endpoint", endpoint)?;
        }
        if let Some(url) = &self.url {
            Place::new(url, &self.options())
                .map_err(|cause| ConfigError::value("archive.url", cause.to_string()))?;
        }
        Ok(())
    }

    /// How a bucket is reached.
    pub(crate) fn options(&self) -> S3Options {
        S3Options { endpoint: self.endpoint.clone(), region: self.region.clone() }
    }
}
