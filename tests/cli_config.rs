//! `permille config check`: sources, their order, and refusals that name file and key.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use support::Folder;

const UPSTREAM: &str = "\
[[upstream]]
name = \"openai\"
family = \"openai\"
base_url = \"https://api.openai.com/v1\"
api_key_env = \"A_PROVIDERS_KEY\"
";

#[test]
fn a_typo_is_refused_with_the_nearest_key() {
    let folder = Folder::new();
    folder.config("[metering]\nclient_gon = \"drain\"\n");

    let refusal = folder.run(&["config", "check"]).refused(1);

    assert!(refusal.contains("permille.toml"), "{refusal}");
    assert!(refusal.contains("`metering.client_gon`"), "{refusal}");
    assert!(refusal.contains("did you mean `client_gone`?"), "{refusal}");
    assert_eq!(refusal.lines().count(), 1, "{refusal}");
}

#[test]
fn the_environment_is_stronger_than_the_file_and_a_flag_than_both() {
    let folder = Folder::new();
    folder.config("[metering]\nclient_gone = \"drain\"\ndrain_seconds_max = 7\n");
    let mut command = folder.command(&["config", "check", "--json"]);
    command.env("PERMILLE__METERING__CLIENT_GONE", "cancel");

    let checked = support::Finished::of(&mut command).succeeded().stdout;

    let checked: serde_json::Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(checked["metering"]["client_gone"], "cancel");
    assert_eq!(checked["metering"]["drain_seconds_max"], 7);
}

#[test]
fn a_share_beyond_all_is_refused_with_what_is_accepted() {
    let folder = Folder::new();
    folder.config("[metering]\naudit_sample = 1.5\n");

    let refusal = folder.run(&["config", "check"]).refused(1);

    assert!(refusal.contains("metering.audit_sample"), "{refusal}");
    assert!(refusal.contains("1.5 is no share: accepted is a number from 0"), "{refusal}");
}

#[test]
fn a_typo_in_a_variable_names_the_variable() {
    let folder = Folder::new();
    let mut command = folder.command(&["config", "check"]);
    command.env("PERMILLE__GATEWAY__LISTN", "127.0.0.1:1");

    let refusal = support::Finished::of(&mut command).refused(1);

    assert!(refusal.contains("PERMILLE__GATEWAY__LISTN"), "{refusal}");
    assert!(refusal.contains("did you mean `listen`?"), "{refusal}");
}

#[test]
fn a_secret_is_never_printed() {
    let folder = Folder::new();
    folder.config(UPSTREAM);

    for args in [&["config", "check"][..], &["config", "check", "--json"]] {
        let mut command = folder.command(args);
        command.env("A_PROVIDERS_KEY", "sk-hunter2");
        let printed = support::Finished::of(&mut command).succeeded().stdout;
        assert!(printed.contains("A_PROVIDERS_KEY"), "{printed}");
        assert!(printed.contains("********"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

#[test]
fn a_missing_credential_names_the_variable_and_fails_check_and_start() {
    let folder = Folder::new();
    folder.config(UPSTREAM);

    for args in [&["config", "check"][..], &["serve"]] {
        let refusal = folder.run(args).refused(1);
        assert!(refusal.contains("upstream `openai`"), "{refusal}");
        assert!(refusal.contains("A_PROVIDERS_KEY"), "{refusal}");
    }
}

#[test]
fn what_check_prints_is_a_configuration_that_means_the_same() {
    let folder = Folder::new();
    folder.config("[journal]\nsync = \"interval:500ms\"\nhold_max_ms = 50\n");
    let first = folder.json(&["config", "check"]);

    folder.config_exactly(&folder.text(&["config", "check"]));

    assert_eq!(folder.json(&["config", "check"]), first);
}

#[test]
fn a_file_that_is_named_must_exist() {
    let folder = Folder::new();
    std::fs::remove_file(folder.config_file()).unwrap();

    let refusal = folder.run(&["config", "check"]).refused(1);

    assert!(refusal.contains("permille.toml"), "{refusal}");
}

/// Whatever `serve` would stop at, a check stops at before.
#[test]
fn what_a_start_reads_beside_the_file_must_be_there() {
    let token = "[billing]\nurl = \"http://127.0.0.1:9\"\ntoken_file = \"no/token\"\n";
    let server = "[store]\nurl = \"postgres://p@127.0.0.1/p\"\npassword_env = \"NO_PASSWORD\"\n";
    let collector = "[otlp]\nendpoint = \"http://127.0.0.1:9\"\nheaders_file = \"no/headers\"\n";
    for (config, said) in [
        ("[issuer]\nlogo = \"no/logo.png\"\n", ["`issuer.logo`", "no/logo.png"]),
        ("[issuer]\nfonts = [\"no/fonts\"]\n", ["`issuer.fonts`", "no/fonts"]),
        ("[store]\nurl = \"sqlite:no/p.db\"\n", ["`store.url`", "data/no`"]),
        (server, ["`store`", "NO_PASSWORD"]),
        (token, ["`billing`", "no/token"]),
        (collector, ["`otlp`", "no/headers"]),
    ] {
        let folder = Folder::new();
        folder.config(config);
        let half = if config == token { "gateway" } else { "serve" };

        for args in [&["config", "check"][..], &[half]] {
            let refusal = folder.run(args).refused(1);

            assert!(refusal.contains("permille.toml"), "{args:?}: {refusal}");
            assert!(said.iter().all(|said| refusal.contains(said)), "{args:?}: {refusal}");
            assert_eq!(refusal.lines().count(), 1, "{refusal}");
        }
    }
}
