//! Who has signed in: the visits of browsers, in memory. A restart ends them, and so does another
//! process.
//!
//! A cookie holds the random id of a visit, never a token. Here only the id's digest is kept, and
//! of the token only its public id, so that nothing in memory opens the API.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use permille_ledger::TokenId;
use rand::{TryRng, rngs::SysRng};
use sha2::{Digest as _, Sha256};

use super::cookies;
use crate::problem::Problem;

/// Name of the cookie.
const COOKIE: &str = "permille_visit";
/// How long a visit lasts: a working day.
const VISIT_SECONDS: u32 = 12 * 60 * 60;
/// Most visits at once, 1 MB. The one that would end first makes room.
const VISITS_MAX: usize = 4_096;
/// Most visits of one token, so that one cannot end those of others.
const VISITS_OF_TOKEN_MAX: usize = 16;

/// The digest of a visit's id.
type VisitKey = [u8; 32];

/// The visits of this process.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    open: Mutex<HashMap<VisitKey, Visit>>,
}

#[derive(Debug)]
struct Visit {
    token: TokenId,
    until: DateTime<Utc>,
}

impl Visits {
    /// Begins a visit in the place of the one that the browser may have, and gives the cookie.
    pub(super) fn begin(
        &self,
        headers: &HeaderMap,
        token: &TokenId,
        now: DateTime<Utc>,
    ) -> Result<HeaderValue, Problem> {
        self.end(headers);
        let mut id = [0_u8; 32];
        SysRng.try_fill_bytes(&mut id).map_err(|error| {
            tracing::error!(%error, "the system gives no random bytes");
            Problem::failed()
        })?;
        let id = hex::encode(id);
        let lasts = TimeDelta::seconds(VISIT_SECONDS.into());
        let until = now.checked_add_signed(lasts).unwrap_or(now);
        let mut open = self.open.lock();
        open.retain(|_, visit| visit.until > now);
        make_room(&mut open, VISITS_OF_TOKEN_MAX, |visit| visit.token == *token);
        make_room(&mut open, VISITS_MAX, |_| true);
        open.insert(key_of(&id), Visit { token: token.clone(), until });
        drop(open);
        cookie(headers, &id, VISIT_SECONDS)
    }

    /// Ends the visit of the browser, and gives the cookie that says so.
    pub(super) fn end(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if let Some(id) = id(headers) {
            self.open.lock().remove(&key_of(id));
        }
        cookie(headers, "", 0).ok()
    }

    /// The token with which the browser signed in, which may have been revoked since.
    pub(super) fn token(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Option<TokenId> {
        let key = key_of(id(headers)?);
        let open = self.open.lock();
        open.get(&key).filter(|visit| visit.until > now).map(|visit| visit.token.clone())
    }
}

/// Ends the oldest of the visits that are `counted`, until there is room for one more.
fn make_room(open: &mut HashMap<VisitKey, Visit>, most: usize, counted: impl Fn(&Visit) -> bool) {
    while open.values().filter(|visit| counted(visit)).count() >= most {
        let those = open.iter().filter(|(_, visit)| counted(visit));
        let Some(oldest) = those.min_by_key(|(_, visit)| visit.until).map(|(key, _)| *key) else {
            return;
        };
        open.remove(&oldest);
    }
}

/// Whether the browser sent a cookie of a visit, one that has ended too.
pub(super) fn has_cookie(headers: &HeaderMap) -> bool {
    id(headers).is_some()
}

fn id(headers: &HeaderMap) -> Option<&str> {
    cookies::cookie(headers, COOKIE)
}

fn key_of(id: &str) -> VisitKey {
    Sha256::digest(id.as_bytes()).into()
}

/// The cookie for `seconds`, kept from scripts and from requests that other sites cause; over HTTPS
/// it is sent over HTTPS only.
fn cookie(headers: &HeaderMap, id: &str, seconds: u32) -> Result<HeaderValue, Problem> {
    let protos = headers.get("x-forwarded-proto").and_then(|protos| protos.to_str().ok());
    // Of several proxies the first is the browser's.
    let first = protos.and_then(|protos| protos.split(',').next()).unwrap_or_default();
    let secure = if first.trim().eq_ignore_ascii_case("https") { "; Secure" } else { "" };
    let text =
        format!("{COOKIE}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).map_err(|_| Problem::failed())
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn token(name: &str) -> TokenId {
        format!("tok_{name}").parse().unwrap()
    }

    /// Begins a visit, and gives what the browser sends from then on.
    fn begin(visits: &Visits, of: &str, now: &str) -> HeaderMap {
        let cookie = visits.begin(&HeaderMap::new(), &token(of), at(now)).unwrap();
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(pair).unwrap())])
    }

    #[test]
    fn a_visit_lasts_twelve_hours_and_not_beyond_its_end() {
        let visits = Visits::default();
        let browser = begin(&visits, "a", "2026-11-20T08:00:00Z");
        let other = begin(&visits, "a", "2026-11-20T08:00:00Z");

        let last = visits.token(&browser, at("2026-11-20T19:59:59Z"));
        assert_eq!(last, Some(token("a")));
        assert_eq!(visits.token(&browser, at("2026-11-20T20:00:00Z")), None);

        visits.end(&other);
        assert_eq!(visits.token(&other, at("2026-11-20T08:00:01Z")), None);
        assert_eq!(visits.token(&HeaderMap::new(), at("2026-11-20T08:00:01Z")), None);
    }

    #[test]
    fn many_visits_of_one_token_end_its_oldest_and_no_others() {
        let visits = Visits::default();
        let now = "2026-11-20T08:00:00Z";
        let other = begin(&visits, "b", now);
        let first = begin(&visits, "a", now);
        let rest: Vec<HeaderMap> =
            (0..VISITS_OF_TOKEN_MAX).map(|_| begin(&visits, "a", "2026-11-20T08:00:01Z")).collect();

        let now = at("2026-11-20T08:00:02Z");
        assert_eq!(visits.token(&first, now), None);
        assert_eq!(visits.token(&other, now), Some(token("b")));
        assert!(rest.iter().all(|browser| visits.token(browser, now).is_some()));
    }

    #[test]
    fn the_cookie_is_marked_secure_where_the_request_came_over_https() {
        let visits = Visits::default();
        let now = at("2026-11-20T08:00:00Z");
        for (protos, secure) in
            [("https", "; Secure"), ("HTTPS, http", "; Secure"), ("http, https", ""), ("", "")]
        {
            let name = "x-forwarded-proto".parse().unwrap();
            let proxied = HeaderMap::from_iter([(name, HeaderValue::from_static(protos))]);

            let cookie = visits.begin(&proxied, &token("a"), now).unwrap();

            let end = format!("; HttpOnly; SameSite=Strict{secure}");
            assert!(cookie.to_str().unwrap().ends_with(&end), "{protos}: {cookie:?}");
        }
    }
}
