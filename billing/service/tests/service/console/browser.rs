//! A browser without a screen: it keeps cookies, sends forms and follows nothing.

use http::{Method, header};

use crate::support::{Api, Reply, encoded};

/// What the browser says it wants and where it comes from.
pub(super) type Headers<'h> = &'h [(&'h str, &'h str)];

/// A form of our own page.
pub(super) const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// A browser at the console.
pub(super) struct Browser<'a> {
    api: &'a Api,
    /// Its cookies, as it sends them.
    pub(super) cookies: String,
}

impl<'a> Browser<'a> {
    pub(super) fn new(api: &'a Api) -> Self {
        Self { api, cookies: String::new() }
    }

    /// One that has signed in.
    pub(super) async fn signed_in(api: &'a Api, token: &str) -> Self {
        let mut browser = Self::new(api);
        let reply = browser.sign_in(token, "/sessions").await;
        assert_eq!((reply.status, reply.header("location")), (303, "/sessions"));
        browser
    }

    /// Sends the form of signing in.
    pub(super) async fn sign_in(&mut self, token: &str, next: &str) -> Reply {
        let form = format!("token={}&next={}", encoded(token), encoded(next));
        self.submit("/signin", &[OWN], &form).await
    }

    /// Sends a form, and keeps the cookie that the answer brings.
    pub(super) async fn submit(&mut self, path: &str, headers: Headers<'_>, form: &str) -> Reply {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let all = [headers, &[kind, ("cookie", &self.cookies)]].concat();
        let reply = self.api.send(Method::POST, path, &all, form.to_owned()).await;
        if let Some(cookie) = reply.headers.get(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let ended = pair.ends_with('=');
            self.cookies = if ended { String::new() } else { pair.to_owned() };
        }
        reply
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.get_with(path, &[]).await
    }

    pub(super) async fn get_with(&self, path: &str, headers: Headers<'_>) -> Reply {
        let all = [headers, &[("cookie", &self.cookies)]].concat();
        self.api.send(Method::GET, path, &all, String::new()).await
    }

    /// The page at `path`, which must be there.
    pub(super) async fn page(&self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert_eq!(reply.header(header::CONTENT_TYPE), "text/html; charset=utf-8", "{path}");
        reply.text()
    }
}

/// The text of the element of that id, as a reader sees it.
pub(super) fn text_of(page: &str, id: &str) -> String {
    let begin = format!("id=\"{id}\"");
    let (_, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no {id} in {page}"));
    let (_, text) = rest.split_once('>').unwrap();
    unescaped(text.split('<').next().unwrap())
}

/// The texts of all cells of that class, in their order.
pub(super) fn cells(page: &str, class: &str) -> Vec<String> {
    let mut found = Vec::new();
    for cell in page.split("<td").skip(1) {
        let (attributes, text) = cell.split_once('>').unwrap();
        let classes = attributes.split('"').nth(1).unwrap_or_default();
        if classes.split(' ').any(|each| each == class) {
            found.push(unescaped(text.split('<').next().unwrap()));
        }
    }
    found
}

fn unescaped(text: &str) -> String {
    [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")]
        .iter()
        .fold(text.trim().to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}
