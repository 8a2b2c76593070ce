//! Where files lie: a folder, or a bucket that speaks S3.

use std::{path::PathBuf, sync::Arc};

use chrono::NaiveDate;
use object_store::{ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, path::Path as Key};
use permille_ledger::ArchiveFile;
use url::Url;

use crate::{
    ArchiveError,
    connector::Connector,
    upload::{Upload, remote},
};

/// What the environment does not say of a bucket, or otherwise.
///
/// The rest is as everywhere: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
/// `AWS_REGION`, `AWS_ENDPOINT_URL` and a machine's own role.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// Base URL of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
}

/// A place for the files of many days.
#[derive(Debug, Clone)]
pub struct Place {
    kind: Kind,
    url: String,
}

#[derive(Debug, Clone)]
enum Kind {
    Folder(PathBuf),
    Bucket { store: Arc<dyn ObjectStore>, prefix: Key },
}

/// Where a file can be read.
pub(crate) enum Source {
    Folder(PathBuf),
    Bucket(Arc<dyn ObjectStore>, Key),
}

impl Place {
    /// The place that `url` names: `file:///FOLDER` or `s3://BUCKET[/PREFIX]`. Nothing is made or
    /// asked yet.
    ///
    /// # Errors
    /// [`ArchiveError::Url`] when it names none.
    pub fn new(url: &str, options: &S3Options) -> Result<Self, ArchiveError> {
        let refused = |reason: String| ArchiveError::Url { url: url.to_owned(), reason };
        let parsed = Url::parse(url).map_err(|cause| refused(cause.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            // URLs are shown and stored.
            return Err(ArchiveError::Url {
                url: "(one with a login)".to_owned(),
                reason: "credentials come from the environment".to_owned(),
            });
        }
        let url = url.trim_end_matches('/').to_owned();
        match parsed.scheme() {
            "file" => {
                let relative = || refused("it names no absolute folder".to_owned());
                // A URL without slashes is read as if it had them.
                if !url.starts_with("file:///") {
                    return Err(relative());
                }
                let folder = parsed.to_file_path().map_err(|()| relative())?;
                Ok(Self { kind: Kind::Folder(folder), url })
            }
            "s3" => {
                let bucket = parsed.host_str().filter(|bucket| !bucket.is_empty());
                let bucket = bucket.ok_or_else(|| refused("it names no bucket".to_owned()))?;
                let prefix = Key::from_url_path(parsed.path())
                    .map_err(|cause| refused(cause.to_string()))?;
                let store = s3(bucket, options).map_err(|cause| refused(cause.to_string()))?;
                Ok(Self { kind: Kind::Bucket { store: Arc::new(store), prefix }, url })
            }
            other => Err(refused(format!("`{other}` is not supported"))),
        }
    }

    /// The place of a file that was written.
    pub(crate) fn of(file: &ArchiveFile, options: &S3Options) -> Result<Self, ArchiveError> {
        let [folder, name] = names(file.day, file.part);
        let url = file.location.strip_suffix(&format!("/{folder}/{name}"));
        let url = url.ok_or_else(|| ArchiveError::Url {
            url: file.location.clone(),
            reason: format!("it does not end in `{folder}/{name}`"),
        })?;
        Self::new(url, options)
    }

    /// Begins a day's file.
    pub(crate) async fn begin(&self, day: NaiveDate, part: u32) -> Result<Upload, ArchiveError> {
        let location = self.location(day, part);
        match self.source(day, part) {
            Source::Folder(path) => Upload::to_folder(path, location),
            Source::Bucket(store, key) => match store.put_multipart(&key).await {
                Ok(upload) => Ok(Upload::to_bucket(upload, location)),
                Err(cause) => Err(remote("begin to write", &location, cause)),
            },
        }
    }

    /// Where a day's file lies.
    pub(crate) fn source(&self, day: NaiveDate, part: u32) -> Source {
        let [folder, name] = names(day, part);
        match &self.kind {
            Kind::Folder(root) => Source::Folder(root.join(folder).join(name)),
            Kind::Bucket { store, prefix } => {
                Source::Bucket(Arc::clone(store), prefix.clone().join(folder).join(name))
            }
        }
    }

    /// Its URL.
    pub(crate) fn location(&self, day: NaiveDate, part: u32) -> String {
        let [folder, name] = names(day, part);
        format!("{}/{folder}/{name}", self.url)
    }
}

/// Folder and file of a day, as readers of partitioned data expect them.
fn names(day: NaiveDate, part: u32) -> [String; 2] {
    [format!("day={day}"), format!("part-{part}.parquet")]
}

fn s3(bucket: &str, options: &S3Options) -> object_store::Result<impl ObjectStore> {
    let mut builder =
        AmazonS3Builder::from_env().with_bucket_name(bucket).with_http_connector(Connector);
    if let Some(endpoint) = &options.endpoint {
        let plain = endpoint.starts_with("http://");
        builder = builder.with_endpoint(endpoint).with_allow_http(plain);
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<Place, ArchiveError> {
        Place::new(url, &S3Options::default())
    }

    #[test]
    fn a_day_has_one_folder_below_the_place() {
        let day = "2026-11-03".parse().unwrap();
        for (url, path) in [
            ("file:///var/usage", "/var/usage/day=2026-11-03/part-0.parquet"),
            ("file:///var/usage%20old/", "/var/usage old/day=2026-11-03/part-0.parquet"),
            ("s3://bucket/a/b", "a/b/day=2026-11-03/part-0.parquet"),
            ("s3://bucket", "day=2026-11-03/part-0.parquet"),
        ] {
            let place = place(url).unwrap();

            let found = match place.source(day, 0) {
                Source::Folder(path) => path.display().to_string(),
                Source::Bucket(_, key) => key.to_string(),
            };
            assert_eq!(found, path);
            let base = url.trim_end_matches('/');
            assert_eq!(place.location(day, 0), format!("{base}/day=2026-11-03/part-0.parquet"));
        }
    }

    #[test]
    fn what_names_no_place_is_refused_and_a_login_not_repeated() {
        for url in ["usage", "file:relative", "https://h/x", "s3:///x"] {
            let refusal = place(url).unwrap_err().to_string();
            assert!(refusal.contains(url) && refusal.contains("accepted: file:///"), "{refusal}");
        }
        let refusal = place("s3://me:hunter2@bucket/x").unwrap_err().to_string();
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }
}
