//! Signatures. Source: Standard Webhooks, "Webhook headers" and "Signature scheme".

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use permille_ledger::WEBHOOK_SECRET_PREFIX;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The value of `webhook-signature`: one signature for each secret that is valid, the current one
/// first.
pub(super) fn signatures(
    secrets: &[SecretString],
    id: &str,
    timestamp: i64,
    payload: &str,
) -> Option<String> {
    let each = secrets.iter().map(|secret| signature(secret, id, timestamp, payload));
    each.collect::<Option<Vec<_>>>().map(|all| all.join(" "))
}

fn signature(secret: &SecretString, id: &str, timestamp: i64, payload: &str) -> Option<String> {
    let key = secret.expose_secret().strip_prefix(WEBHOOK_SECRET_PREFIX)?;
    let key = STANDARD.decode(key).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.{payload}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // Source: Standard Webhooks' libraries, the example that each of them tests.
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let payload = r#"{"test": 2432232314}"#;
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";

        let one = signatures(std::slice::from_ref(&secret), id, 1_614_265_330, payload).unwrap();
        let two = signatures(&[secret.clone(), secret], id, 1_614_265_330, payload).unwrap();

        assert_eq!(one, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(two, format!("{one} {one}"));
    }
}
