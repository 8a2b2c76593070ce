//! A file of the API, taken piece by piece: it may be larger than memory.

use bytes::Bytes;
use http::{Response, header};
use http_body_util::BodyExt;

use super::{AnswerBody, ApiError, in_time};

/// A file that is being read.
pub(crate) struct Download {
    /// What the API calls it.
    pub(crate) file_name: Option<String>,
    body: AnswerBody,
}

impl Download {
    pub(super) fn new(answer: Response<AnswerBody>) -> Self {
        let disposition = answer.headers().get(header::CONTENT_DISPOSITION);
        let file_name = disposition
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once("filename=\""))
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(name, _)| name.to_owned());
        Self { file_name, body: answer.into_body() }
    }

    /// The next bytes; none at the end of the file.
    ///
    /// # Errors
    /// [`ApiError`] when the file breaks off.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let Some(frame) = in_time(self.body.frame()).await? else { return Ok(None) };
            if let Ok(bytes) = frame.map_err(ApiError::Body)?.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}
