//! The API in this process, while no server holds the data folder.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use permille_service::{Billing, router};
use prometheus::Registry;
use secrecy::SecretString;
use tower::ServiceExt;

use super::{AnswerBody, ApiError, answer_body};
use crate::{
    config::Config,
    data_folder::{DataFolder, FolderLock},
    error::CliError,
    output::remark,
    store::Store,
};

/// The routes of a server, called without one.
pub(super) struct InProcess {
    router: axum::Router,
    /// Nobody else may write the folder meanwhile.
    _lock: FolderLock,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

impl InProcess {
    /// Opens the store; also gives the token to use.
    pub(super) async fn open(
        folder: &DataFolder,
        lock: FolderLock,
        config: &Config,
    ) -> Result<(Self, SecretString), CliError> {
        let is_new = !folder.pepper().exists() && folder.made_node()?.is_none();
        let store = Store::open(folder, &lock, config).await?;
        if is_new {
            remark(&format!(
                "data folder `{}` was empty: if another one was meant, name it with --data",
                folder.path().display()
            ));
        }
        // Nobody scrapes a command: its metrics end with it.
        let billing = Billing::new(store.ledger, &Registry::new())
            .map_err(|cause| ApiError::Store(Box::new(cause)))?
            .issuing(config.issuer()?, config.fonts())
            .telling(config.settings.webhooks.settings());
        Ok((Self { router: router(billing), _lock: lock }, store.token))
    }

    /// Calls the routes; the answer is read as it comes.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Response<AnswerBody> {
        let Ok(answer) = self.router.clone().oneshot(request).await;
        answer.map(answer_body)
    }
}
