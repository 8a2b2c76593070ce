//! Customers on a prepaid plan, and what they ask for.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{Folder, Reply, Server};

/// Tokens of a reply, which are also its limit: at 60 dollars for a million one costs 0.06.
const OUTPUT: u64 = 1_000;

/// Adds a customer on a prepaid plan, without credit; the answer is its key's secret.
pub fn customer(folder: &Folder, id: &str) -> String {
    let plan = folder.path().join("prepaid.toml");
    let terms = "[[plan]]\nname = \"credit\"\nkind = \"prepaid\"\ncurrency = \"USD\"\n";
    std::fs::write(&plan, terms).unwrap();
    folder.text(&["plan", "add", plan.to_str().unwrap()]);
    folder.text(&["customer", "add", id, "--id", id, "--currency", "USD", "--plan", "credit"]);
    // Who knows the key knows the plan.
    let key = folder.json(&["key", "create", "--customer", id]);
    key["secret"].as_str().unwrap().to_owned()
}

/// Grants dollars to a customer.
pub fn grant(folder: &Folder, id: &str, dollars: &str, more: &[&str]) {
    let grant = ["grant", "add", "--customer", id, "--amount", dollars, "--reason", "top-up"];
    folder.text(&[&grant[..], more].concat());
}

/// A reply of 0.06 dollars and a little.
pub fn dear() -> Value {
    json!({"model": "gpt-4", "max_tokens": OUTPUT, "messages": [
        {"role": "user", "content": format!("simulate:tokens={OUTPUT} Which river?")},
    ]})
}

/// The most that it may cost, in 10⁻⁹ of a dollar: a byte of its body for a token.
pub fn dear_worst() -> u64 {
    dear().to_string().len() as u64 * 30_000 + OUTPUT * 60_000
}

/// A reply that costs next to nothing.
pub fn cheap() -> Value {
    json!({"model": "gpt-4o-mini", "max_tokens": 3, "messages": [
        {"role": "user", "content": "simulate:tokens=3 Hello"},
    ]})
}

/// Asks one after the other until there is no credit for another; the replies, and the refusal.
pub async fn spend(server: &Server, key: &str) -> (Vec<Reply>, Reply) {
    let mut replies = Vec::new();
    loop {
        let reply = server.chat(key, dear()).await;
        match reply.status {
            200 => replies.push(reply),
            // The one before is settled in a moment.
            402 if reply.header("x-should-retry") == Some("true") => {}
            402 => return (replies, reply),
            status => panic!("{status}: {}", reply.text()),
        }
    }
}

/// What a refusal says is left, in dollars.
pub fn left(refusal: &Reply) -> Decimal {
    let told = refusal.text();
    let left = told.split_once(" USD of prepaid credit left").expect(&told).0;
    left.rsplit_once(' ').expect(&told).1.parse().expect(&told)
}
