//! Programs that use an official SDK, and the rows of what they did.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;

use super::{Folder, Server, eventually};

/// The interpreter that `tests/run` prepares with `tests/requirements.txt`.
pub fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.venv/bin/python");
    assert!(python.exists(), "no {}: `bash tests/run` installs it", python.display());
    python
}

/// Runs one SDK program against the gateway and gives the cases it printed.
pub async fn drive(program: &str, server: &Server, base: &str, key: &str) -> Vec<Value> {
    drive_with(program, &[], server, base, key).await
}

/// As [`drive`], with more variables.
pub async fn drive_with(
    program: &str,
    variables: &[(&str, &str)],
    server: &Server,
    base: &str,
    key: &str,
) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(program);
    let output = tokio::process::Command::new(python())
        .arg(script)
        .env("PERMILLE_BASE_URL", format!("http://{}{base}", server.gateway()))
        .env("PERMILLE_KEY", key)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All rows by request id, once those of the given cases are settled and shipped.
pub async fn rows(folder: &Folder, cases: &[Value]) -> HashMap<String, Value> {
    eventually("the rows are there", async || {
        let rows: HashMap<String, Value> = folder
            .usage(&[])
            .into_iter()
            .map(|row| (row["request_id"].as_str().unwrap().to_owned(), row))
            .collect();
        let all = cases.iter().all(|case| rows.contains_key(case["request_id"].as_str().unwrap()));
        all.then_some(rows)
    })
    .await
}

/// Every case is the turn that its program says, of the conversation that it says; how many
/// sessions that makes.
pub fn assert_recognised(cases: &[Value], rows: &HashMap<String, Value>) -> usize {
    let (mut found, mut truth) = (HashMap::new(), HashMap::new());
    for case in cases {
        let row = &rows[case["request_id"].as_str().unwrap()];
        let talk = case["case"].as_str().unwrap();
        println!("{case} {} {} {}", row["session"], row["turn"], row["turn_kind"]);
        assert_eq!((&row["turn"], &row["turn_kind"]), (&case["turn"], &case["kind"]), "{case}");
        assert_eq!(case["told"].as_str().unwrap(), case["turn"].to_string());
        let session = row["session"].as_str().unwrap();
        assert_eq!(*found.entry(session).or_insert(talk), talk, "{session} has strangers");
        assert_eq!(*truth.entry(talk).or_insert(session), session, "{talk} is split");
    }
    found.len()
}
