//! What `deploy/` holds is accepted by the programs that read it, and says what it should.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::{
    Folder, PROGRAM, eventually,
    prometheus::{program, root, succeeded},
    sdk::python,
};

/// Of 10: what `systemd-analyze security` finds left open. The network is: a gateway calls
/// providers, billing a database.
const EXPOSURE_MAX: f64 = 1.2;

fn deploy(file: &str) -> PathBuf {
    root().join("deploy").join(file)
}

/// A program that `tests/requirements.txt` brings.
fn tool(name: &str) -> Command {
    Command::new(python().with_file_name(name))
}

#[test]
fn the_dockerfile_follows_good_practice() {
    succeeded(tool("hadolint").arg("--failure-threshold=style").arg(deploy("Dockerfile")));
}

/// What the image is built from, laid out by the ignore file, is a workspace as it is locked.
#[test]
fn the_dockerfile_is_given_every_member_of_the_workspace() {
    let context = tempfile::tempdir().unwrap();
    let tracked = succeeded(Command::new("git").args(["ls-files"]).current_dir(root()));
    let ignored = std::fs::read_to_string(deploy("Dockerfile.dockerignore")).unwrap();
    for file in tracked.lines().filter(|file| is_sent(file, &ignored)) {
        let to = context.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(root().join(file), to).unwrap();
    }

    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(context.path())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    assert!(context.path().join("deploy/dist").exists(), "what builds the image's program");
    assert!(!context.path().join("tests/fleet").exists(), "all is sent: nothing was tried");
}

/// Whether a file is sent to the build: the last line of an ignore file that matches it decides.
/// Its lines are folders and files, `*`, and `**/` before the name of a folder.
fn is_sent(file: &str, ignored: &str) -> bool {
    let within = |folder: &str| file == folder || file.starts_with(&format!("{folder}/"));
    let lines = ignored.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.fold(true, |is_sent, line| {
        let (sends, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        let matches = match (pattern, pattern.strip_prefix("**/")) {
            ("*", _) => true,
            (_, Some(name)) => file.split('/').any(|part| part == name),
            _ => within(pattern),
        };
        if matches { sends } else { is_sent }
    })
}

/// The compose file as Docker Compose understands it, every default filled in.
fn compose() -> Value {
    let text = succeeded(
        tool("docker-compose")
            .arg("--file")
            .arg(deploy("compose/compose.yaml"))
            .args(["config", "--format", "json"]),
    );
    serde_json::from_str(&text).unwrap()
}

fn services(compose: &Value) -> impl Iterator<Item = (&String, &Value)> {
    compose["services"].as_object().unwrap().iter()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn every_container_of_permille_is_shut_in_and_mounts_what_is_here() {
    let compose = compose();

    let mut ours = BTreeSet::new();
    for (name, service) in services(&compose) {
        for volume in list(&service["volumes"]).iter().filter(|volume| volume["type"] == "bind") {
            let source = Path::new(volume["source"].as_str().unwrap());
            assert!(source.exists(), "{name} mounts {} that is not here", source.display());
            assert_eq!(volume["read_only"], true, "{name}: {volume}");
        }
        for port in list(&service["ports"]) {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name} is published beyond: {port}");
        }
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            assert_eq!(how["condition"], "service_healthy", "{name} on {needed}");
        }
        let built = service["build"]["dockerfile"].as_str() == Some("deploy/Dockerfile");
        if built {
            ours.insert(name.as_str());
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(list(&service["cap_drop"]), ["ALL"], "{name}");
            assert_eq!(list(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
            // More than the default grace of open replies.
            assert_eq!(service["stop_grace_period"], "1m0s", "{name}");
        }
    }
    assert_eq!(ours, BTreeSet::from(["billing", "gateway-1", "gateway-2"]));

    let dockerfile = std::fs::read_to_string(deploy("Dockerfile")).unwrap();
    assert!(dockerfile.contains("USER 65532:65532"), "{dockerfile}");
    assert!(dockerfile.contains(r#"CMD ["/usr/local/bin/permille", "health"]"#), "{dockerfile}");
}

#[test]
fn each_gateway_keeps_its_journal_apart() {
    let compose = compose();

    let mut kept = BTreeSet::new();
    for (name, service) in services(&compose).filter(|(name, _)| name.starts_with("gateway")) {
        let volumes = list(&service["volumes"]);
        let data = volumes.iter().find(|volume| volume["target"] == "/permille/permille-data");
        let data = data.unwrap_or_else(|| panic!("{name} keeps no journal: {volumes:?}"));
        assert!(kept.insert(data["source"].as_str().unwrap().to_owned()), "{name}: {data}");
    }
    assert_eq!(kept.len(), 2);
}

#[test]
fn the_configurations_of_both_halves_are_accepted() {
    for half in ["gateway", "billing"] {
        let folder = tempfile::tempdir().unwrap();
        let secrets = folder.path().to_str().unwrap();
        for name in ["gateway.token", "postgres.password", "openai.key"] {
            std::fs::write(folder.path().join(name), "secret").unwrap();
        }
        let text = std::fs::read_to_string(deploy(&format!("compose/{half}.toml"))).unwrap();
        let file = folder.path().join("permille.toml");
        std::fs::write(&file, text.replace("/run/secrets", secrets)).unwrap();
        let shown =
            succeeded(Command::new(PROGRAM).args(["config", "check", "--config"]).arg(file));

        // Listeners that only the container itself could reach would serve nobody.
        assert!(shown.contains("listen = \"0.0.0.0:9464\""), "{half}: {shown}");
    }
}

#[test]
fn prometheus_scrapes_every_half_with_our_rules() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("dashboards/rules"), folder.path().join("rules"))
        .unwrap();
    let config = folder.path().join("prometheus.yml");
    std::fs::copy(deploy("compose/prometheus.yml"), &config).unwrap();

    let said = succeeded(program("promtool").args(["check", "config"]).arg(&config));

    assert!(said.contains("alerts.yml") && said.contains("recording.yml"), "{said}");
    let text = std::fs::read_to_string(config).unwrap();
    let compose = compose();
    let halves = services(&compose).filter(|(_, service)| service["build"].is_object());
    for (name, _) in halves {
        assert!(text.contains(&format!("{name}:9464")), "{name} is not scraped");
    }
}

/// Units as a machine would have them where `permille` is installed where it is built here.
fn installed_units(folder: &Path) -> Vec<PathBuf> {
    ["permille-gateway.service", "permille-billing.service"]
        .into_iter()
        .map(|name| {
            let text = std::fs::read_to_string(deploy("systemd").join(name)).unwrap();
            assert!(text.contains("ExecStart=/usr/local/bin/permille "), "{text}");
            let unit = folder.join(name);
            std::fs::write(&unit, text.replace("/usr/local/bin/permille", PROGRAM)).unwrap();
            unit
        })
        .collect()
}

#[test]
fn units_are_accepted_by_systemd_and_shut_in() {
    let folder = tempfile::tempdir().unwrap();
    let units = installed_units(folder.path());

    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(&units)
        .output()
        .expect("systemd-analyze: `bash tests/run` installs it");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "", "a warning");

    for unit in units {
        let said = succeeded(
            Command::new("systemd-analyze")
                .args(["security", "--offline=yes", "--no-pager"])
                .arg(&unit),
        );
        let exposure = said.split("exposure level for").nth(1).unwrap();
        let exposure = exposure.split_whitespace().nth(1).unwrap();
        let exposure: f64 = exposure.parse().unwrap_or_else(|error| panic!("{error}: {said}"));
        assert!(exposure <= EXPOSURE_MAX, "{}: {said}", unit.display());
    }
}

#[test]
fn a_unit_that_systemd_does_not_understand_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let unit = installed_units(folder.path()).remove(0);
    let text = std::fs::read_to_string(&unit).unwrap();
    std::fs::write(&unit, text.replace("ProtectSystem=", "ProtectSystems=")).unwrap();

    let verified =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();

    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(said.contains("ProtectSystems"), "{said}");
}

#[tokio::test]
async fn health_says_whether_a_server_would_serve() {
    let folder = Folder::new();
    let none = folder.run(&["health"]).refused(1);
    assert!(none.contains("no server runs"), "{none}");
    assert!(!folder.data().exists(), "a question makes no folder");

    let mut server = folder.serve().await;
    assert_eq!(folder.text(&["health"]), "ready\n");
    assert_eq!(folder.json(&["health", "--live"]), serde_json::json!({"live": true}));

    server.kill().await;
    let killed = folder.run(&["health"]).refused(1);
    assert!(killed.contains(&server.metrics().to_string()), "{killed}");

    let mut server = folder.serve().await;
    assert!(server.stop().await.success());
    let stopped = folder.run(&["health", "--live"]).refused(1);
    assert!(stopped.contains("no server runs"), "{stopped}");
}

#[tokio::test]
async fn a_gateway_that_knows_no_keys_is_alive_and_not_ready() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("token"), "pmt_none").unwrap();
    // Nobody listens on port 1.
    folder.config("[billing]\nurl = \"http://127.0.0.1:1\"\ntoken_file = \"token\"\n");
    let mut gateway = folder.command(&["gateway"]).spawn().unwrap();

    eventually("it is alive", async || (folder.run(&["health", "--live"]).code == 0).then_some(()))
        .await;
    let said = folder.run(&["health"]).refused(1);
    gateway.kill().unwrap();
    gateway.wait().unwrap();

    assert!(said.contains("/readyz: ") && said.contains("keys"), "{said}");
}
