//! Tencent Cloud's signature of requests, TC3-HMAC-SHA256.
//!
//! Source: Tencent Cloud API 3.0, "Signature Method v3".

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// The product whose requests are signed.
const SERVICE: &str = "hunyuan";

/// A secret id and its secret key.
pub(crate) struct SecretPair {
    id: String,
    key: SecretString,
}

/// The parts of a request that its signature covers.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) host: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) payload: &'a [u8],
}

impl SecretPair {
    /// The pair in `text`, `SecretId:SecretKey`; absent when it is none.
    pub(crate) fn read(text: &SecretString) -> Option<Self> {
        let (id, key) = text.expose_secret().split_once(':')?;
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_id && !key.is_empty()).then(|| Self { id: id.to_owned(), key: key.into() })
    }

    /// The value of `Authorization` for a request that is sent at `at`.
    pub(crate) fn authorization(&self, request: &Signed<'_>, at: DateTime<Utc>) -> String {
        let canonical = format!(
            "{}\n{}\n{}\ncontent-type:{}\nhost:{}\n\ncontent-type;host\n{}",
            request.method,
            request.path,
            request.query,
            request.content_type,
            request.host,
            hex::encode(Sha256::digest(request.payload)),
        );
        let date = at.format("%Y-%m-%d").to_string();
        let scope = format!("{date}/{SERVICE}/tc3_request");
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{scope}\n{}",
            at.timestamp(),
            hex::encode(Sha256::digest(canonical)),
        );
        let key = format!("TC3{}", self.key.expose_secret()).into_bytes();
        let steps = [date.as_str(), SERVICE, "tc3_request", &to_sign];
        let signature = steps.into_iter().fold(key, |key, text| keyed_hash(&key, text));
        format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders=content-type;host, Signature={}",
            self.id,
            hex::encode(signature),
        )
    }
}

fn keyed_hash(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC takes a key of any length, so this never falls back.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The access-key id in the `Authorization` of a request that was signed so.
pub(crate) fn access_key_id(authorization: &str) -> Option<&str> {
    let rest = authorization.strip_prefix(ALGORITHM)?.trim_start();
    let credential = rest.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
    credential.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "TC3-HMAC-SHA256 \
        Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2026-11-24/hunyuan/tc3_request, \
        SignedHeaders=content-type;host, \
        Signature=22c389d2fac02765e3817a0e0f002dfccdc8a9506812d5f51a2ee0c46d2c045e";

    #[test]
    fn a_request_is_signed_as_the_official_sdk_signs_it() {
        // Made with tencentcloud-sdk-python-common 3.1.195 and its clock at this second.
        let secret = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE:Gu5t9xGARNpq86cd98joQYCN3EXAMPLE".into();
        let pair = SecretPair::read(&secret).unwrap();
        let request = Signed {
            method: "POST",
            path: "/",
            query: "",
            host: "hunyuan.tencentcloudapi.com",
            content_type: "application/json",
            payload: br#"{"Model": "hunyuan-lite", "Messages": [{"Role": "user", "Content": "\u4f60\u597d"}], "Stream": true}"#,
        };

        let header =
            pair.authorization(&request, DateTime::from_timestamp(1_795_486_800, 0).unwrap());

        assert_eq!(header, HEADER);
    }

    #[test]
    fn the_key_of_a_signed_request_is_its_access_key_id() {
        assert_eq!(access_key_id(HEADER), Some("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE"));
        assert_eq!(
            access_key_id("TC3-HMAC-SHA256 Credential=sk-pm_a/2026-11-24/x"),
            Some("sk-pm_a")
        );
        for other in ["Bearer sk-pm_a", "TC3-HMAC-SHA256 SignedHeaders=host", "AWS4 Credential=a/b"]
        {
            assert_eq!(access_key_id(other), None, "{other}");
        }
    }

    #[test]
    fn a_pair_without_both_parts_is_refused() {
        for bad in ["", "AKID", "AKID:", ":key", "AK ID:key"] {
            assert!(SecretPair::read(&bad.into()).is_none(), "{bad}");
        }
        assert!(SecretPair::read(&"AKID:k:ey".into()).is_some());
    }
}
