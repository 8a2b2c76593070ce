//! APIs that are described by configuration: which of their paths are served, and under which
//! name.

use http::Method;
use permille_types::Family;

use crate::{config::UpstreamSection, upstream::UpstreamError};

/// What the paths of all of them begin with; the upstream's name follows.
pub(crate) const PREFIX: &str = "/generic";

/// The paths of `section`, whose `paths` and `api` must fit its family.
///
/// # Errors
/// [`UpstreamError::Generic`] when they do not.
pub(crate) fn paths(section: &UpstreamSection) -> Result<Vec<(Method, String)>, UpstreamError> {
    let refused =
        |problem: String| UpstreamError::Generic { upstream: section.name.clone(), problem };
    let described = !section.paths.is_empty() && section.api.is_some();
    let any = !section.paths.is_empty() || section.api.is_some();
    match section.family {
        Family::Generic if !described => Err(refused(
            "the family generic needs `paths`, such as [\"POST /v1/ask\"], and a table \
             `[upstream.api]`"
                .to_owned(),
        )),
        Family::Generic => section
            .paths
            .iter()
            .map(|text| {
                path(text).ok_or_else(|| {
                    refused(format!("`{text}` in `paths` is not accepted: give METHOD /path"))
                })
            })
            .collect(),
        _ if any => {
            Err(refused("`paths` and `api` are accepted for the family generic only".to_owned()))
        }
        _ => Ok(Vec::new()),
    }
}

/// `METHOD /path`. A segment in braces is any text.
fn path(text: &str) -> Option<(Method, String)> {
    let (method, path) = text.split_once(' ')?;
    let method = method.parse().ok()?;
    let path = path.trim();
    path.starts_with('/').then(|| (method, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_method_and_a_path() {
        assert_eq!(path("POST /v1/ask"), Some((Method::POST, "/v1/ask".to_owned())));
        assert_eq!(path("GET  /x"), Some((Method::GET, "/x".to_owned())));
        for bad in ["/v1/ask", "POST", "POST ask", "P@ST /x", ""] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
