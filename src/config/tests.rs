//! What is refused, and in which words.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{Config, ConfigError, Overrides};

/// Loads a file of this text, without the environment of whoever runs the test.
fn load(text: &str) -> (TempDir, Result<Config, ConfigError>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("permille.toml");
    std::fs::write(&file, text).unwrap();
    let loaded = Config::load(&Overrides { file: Some(file), ..Overrides::default() });
    (dir, loaded)
}

/// The refusal of `text` holds every one of `parts`.
fn check(text: &str, parts: &[&str]) {
    let error = load(text).1.unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_typo_is_refused_with_the_file_the_key_and_the_nearest_known_one() {
    check(
        "[gateway]\nlistn = \"127.0.0.1:1\"",
        &["permille.toml", "`gateway.listn`", "did you mean `listen`?"],
    );
    check("[gatway]\nlisten = \"127.0.0.1:1\"", &["`gatway`", "did you mean `gateway`?"]);
    check(
        "[[upstream]]\nname = \"a\"\nfamly = \"openai\"\nbase_url = \"http://h\"",
        &["`upstream[0].famly`", "did you mean `family`?"],
    );
}

#[test]
fn a_wrong_value_is_refused_with_what_is_accepted() {
    check("[pricing]\nunpriced = \"refusee\"", &["`pricing.unpriced`", "refuse, hold"]);
    check("[gateway]\nlisten = \"nowhere\"", &["`gateway.listen`"]);
    check("[gateway]\nin_flight_max = \"many\"", &["`gateway.in_flight_max`", "many"]);
    check("[journal]\nsync = \"sometimes\"", &["`journal.sync`", "settle, intent+settle"]);
    check("[[upstream]]\nname = \"a\"", &["`upstream[0].family`", "is missing"]);
}

#[test]
fn a_journal_that_no_start_would_accept_is_refused() {
    for (text, accepted) in [
        ("bytes_max = 1", "at least 67108864"),
        ("segment_bytes = 1", "to 1073741824"),
        ("gather_us = 20001", "0 to 20000"),
        ("hold_max_ms = 0", "more than the 1000 microseconds"),
    ] {
        let key = format!("`journal.{}`", text.split(' ').next().unwrap());
        check(&format!("[journal]\n{text}"), &[&key, accepted]);
    }
}

#[test]
fn gateways_that_share_limits_must_be_counted() {
    let share = "[redis]\nurl = \"redis://127.0.0.1:1\"\n[limits]\naway = \"share\"\n";
    check(share, &["`limits.gateways`", "is missing", "1 for one alone"]);
    assert!(load(&format!("{share}gateways = 3")).1.is_ok());
    assert!(load(&share.replace("share", "refuse")).1.is_ok());
}

#[test]
fn conversations_are_remembered_a_minute_at_least_and_a_week_at_most() {
    for wrong in ["59", "604801"] {
        let text = format!("[session]\nremember_seconds = {wrong}");
        check(&text, &["`session.remember_seconds`", wrong, "60 to 604800"]);
    }
    let remember = |text: &str| load(text).1.unwrap().settings.session.remember().as_secs();

    assert_eq!(remember(""), 86_400);
    assert_eq!(remember("[session]\nremember_seconds = 7200"), 7_200);
}

#[test]
fn a_line_that_is_not_toml_is_named() {
    check("[gateway]\n\nlisten = 127.0.0.1:1\n", &["permille.toml:3", "not TOML"]);
}

#[test]
fn engines_that_are_not_supported_are_refused_by_name() {
    check("[store]\nurl = \"mysql://db/permille\"", &["`store.url`", "`mysql`", "postgres://"]);
    check("[redis]\nurl = \"rediss://127.0.0.1\"", &["`redis.url`", "TLS", "redis://"]);
    check("[usage_stream]\nenabled = true", &["`usage_stream.enabled`", "redis.url"]);
    let redis = "[redis]\nurl = \"redis://h\"\n[usage_stream]\nenabled = true\n";
    check(&format!("{redis}url = \"rediss://h\""), &["`usage_stream.url`", "TLS"]);
    check(&format!("{redis}batches_max = 0"), &["`usage_stream.batches_max`", "1 to 100000"]);
    check(&format!("{redis}reclaim_seconds = 0"), &["`usage_stream.reclaim_seconds`", "1 to 3600"]);
    check("[store]\nurl = \"sqlite:\"", &["`store.url`", "names no file"]);
    check("[store]\npassword_env = \"A\"", &["`store`", "a file has no password"]);
    check("[store]\nconnections = 9", &["`store.connections`", "a file has its own"]);
    check("[store]\nanswer_seconds = 9", &["`store.answer_seconds`", "a file answers"]);
    let database = "[store]\nurl = \"postgres://permille@db/permille\"\n";
    check(&format!("{database}connections = 1"), &["`store.connections`", "2 to 100"]);
    check(&format!("{database}answer_seconds = 0"), &["`store.answer_seconds`", "1 to 86400"]);
    check("[store]\nusage_days = 32", &["`store.usage_days`", "33 to 36500"]);
    let days = "[store]\nusage_days = 90\nreplay_days = 89";
    check(days, &["`store.replay_days`", "90 to 36500"]);
}

#[test]
fn the_password_of_a_database_is_in_a_variable_or_file_and_never_in_its_url() {
    let url = "postgres://permille:hunter2@db/permille";
    let error = load(&format!("[store]\nurl = \"{url}\"")).1.unwrap_err().to_string();
    assert!(error.contains("`store.url`") && error.contains("without a password"), "{error}");
    assert!(error.contains("password_env") && !error.contains("hunter2"), "{error}");

    let url = "[store]\nurl = \"postgres://permille@db/permille\"\n";
    let (dir, config) = load(&format!("{url}password_file = \"secret\""));
    let config = config.unwrap();
    let address = || config.store_address(dir.path());
    assert!(address().unwrap_err().to_string().contains("password_file"));
    std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
    let address = address().unwrap();

    assert_eq!(address.to_string(), "PostgreSQL database permille at db:5432");
    let shown = format!("{} {} {address:?}", config.to_toml().unwrap(), config.to_json().unwrap());
    assert!(shown.contains("********") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_password_of_redis_is_masked_in_what_is_printed() {
    let (_dir, config) = load("[redis]\nurl = \"redis://:hunter2@127.0.0.1:6379/1\"");
    let config = config.unwrap();

    for text in [config.to_toml().unwrap(), config.to_json().unwrap().to_string()] {
        assert!(text.contains("redis://:********@127.0.0.1:6379/1"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_password_of_a_socket_of_redis_is_not_printed_either() {
    let (_dir, config) = load("[redis]\nurl = \"unix:///run/redis.sock?pass=hun@ter2\"");
    let config = config.unwrap();

    for text in [config.to_toml().unwrap(), config.to_json().unwrap().to_string()] {
        assert!(text.contains("unix:///run/redis.sock") && !text.contains("ter2"), "{text}");
    }
}

#[test]
fn two_listeners_on_one_address_are_refused_but_port_0_is_free_for_all() {
    check(
        "[gateway]\nlisten = \"127.0.0.1:9\"\n[console]\nlisten = \"127.0.0.1:9\"",
        &["`console.listen`", "already gateway.listen"],
    );
    let free = "[gateway]\nlisten = \"127.0.0.1:0\"\n[console]\nlisten = \"127.0.0.1:0\"";
    assert!(load(free).1.is_ok());
}

#[test]
fn an_upstream_url_must_be_one_and_must_hold_no_password() {
    let entry = |url: &str| {
        format!("[[upstream]]\nname = \"a\"\nfamily = \"openai\"\nbase_url = \"{url}\"")
    };
    check(&entry("api.openai.com"), &["`upstream[0].base_url`", "accepted: http://"]);
    check(&entry("ftp://host"), &["`upstream[0].base_url`"]);
    check(&entry("https://user:hunter2@host"), &["`upstream[0].base_url`", "password"]);

    let error = load(&entry("https://user:hunter2@host")).1.unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn routing_that_cannot_work_is_refused_by_name() {
    let upstream = "[[upstream]]\nname = \"a\"\nfamily = \"openai\"\nbase_url = \"http://h\"\n";
    check(&format!("{upstream}weight = 0"), &["`upstream[0].weight`", "1 or more"]);
    check(
        &format!("{upstream}[[alias]]\nname = \"best\"\nmodel = \"m\"\nupstream = \"b\""),
        &["`alias[0].upstream`", "`b`"],
    );
    check("[routing]\ncalls_max = 0", &["`routing.calls_max`", "is 0", "1 to 20"]);
    check("[routing]\nupstream_calls_max = 21", &["`routing.upstream_calls_max`", "1 to 20"]);
    check("[routing]\nretries_percent_max = 101", &["`routing.retries_percent_max`", "0 to 100"]);
    check("[routing]\nretry_on = [\"5xx\"]", &["`routing.retry_on[0]`", "connect, reset"]);
    check("[routing]\nchoose = \"random\"", &["`routing.choose`", "weighted, least_latency"]);
}

#[test]
fn the_end_of_a_reply_is_held_for_longer_than_a_sync_gathers() {
    check("[journal]\nhold_max_ms = 0", &["`journal.hold_max_ms`", "is 0", "1000", "gather_us"]);
    check("[journal]\nhold_max_ms = 1\ngather_us = 1000", &["`journal.hold_max_ms`", "is 1"]);
}

#[test]
fn a_budget_is_an_amount_above_zero_and_one_of_a_customer() {
    let budget = |customer: &str, monthly: &str| {
        format!("[[budget]]\ncustomer = \"{customer}\"\nmonthly = \"{monthly}\"\n")
    };
    for monthly in ["500", "0 CNY", "-1 CNY", "many CNY", "500 cowries"] {
        check(&budget("acme", monthly), &["budget[0].monthly", "500 CNY"]);
    }
    let twice = budget("acme", "500 CNY") + &budget("acme", "9 CNY");
    check(&twice, &["budget[1].customer", "acme", "one"]);
    let two = budget("acme", "500 CNY") + &budget("globex", "0.5 USD");
    assert_eq!(load(&two).1.unwrap().budgets().unwrap().len(), 2);
}

#[test]
fn opentelemetry_is_off_until_it_has_an_endpoint_and_its_headers_stay_secret() {
    assert!(load("").1.unwrap().otlp("node-1".to_owned()).unwrap().is_none());
    check("[otlp]\nprotocol = \"grpc\"", &["`otlp.endpoint`", "is missing"]);
    let otlp = |more: &str| format!("[otlp]\nendpoint = \"http://127.0.0.1:4318\"\n{more}");
    check(&otlp("protocol = \"http/json\""), &["`otlp.protocol`", "http/protobuf, grpc"]);
    check(&otlp("sample_ratio = 2.0"), &["`otlp.sample_ratio`", "from 0 (none) to 1 (all)"]);
    check(&otlp("spans_max = 0"), &["`otlp.spans_max`", "is 0", "1 to 1000000"]);
    check("[otlp]\nendpoint = \"collector:4317\"", &["`otlp.endpoint`", "accepted: http://"]);

    let (dir, config) = load(&otlp("headers_file = \"headers\""));
    let config = config.unwrap();
    std::fs::write(dir.path().join("headers"), "authorization=Bearer%20hunter2\n").unwrap();
    let read = config.otlp("node-1".to_owned()).unwrap().unwrap();

    assert_eq!(read.instance, "node-1");
    let shown = format!("{read:?} {} {}", config.to_toml().unwrap(), config.to_json().unwrap());
    assert!(shown.contains("headers_file") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_missing_credential_names_the_upstream_and_the_variable() {
    let entry = |line: &str| {
        format!(
            "[[upstream]]\nname = \"openai\"\nfamily = \"openai\"\nbase_url = \"http://h\"\n{line}"
        )
    };
    let refusal = |line: &str| {
        let (dir, config) = load(&entry(line));
        let error = config.unwrap().upstreams().unwrap_err().to_string();
        drop(dir);
        error
    };

    let error = refusal("api_key_env = \"PERMILLE_TEST_KEY_THAT_NOBODY_SETS\"");
    assert!(error.contains("upstream `openai`"), "{error}");
    assert!(error.contains("PERMILLE_TEST_KEY_THAT_NOBODY_SETS"), "{error}");
    assert!(refusal("").contains("api_key_env or api_key_file"));
    assert!(refusal("api_key_file = \"absent\"").contains("absent"));
    // Whoever puts the key where its variable's name belongs does not find it in a log.
    assert!(!refusal("api_key_env = \"sk-hunter2\"").contains("hunter2"));
}

#[test]
fn a_credential_file_lies_beside_the_configuration() {
    let (dir, config) = load(
        "[[upstream]]\nname = \"openai\"\nfamily = \"openai\"\nbase_url = \"http://h\"\n\
         api_key_file = \"key\"",
    );
    std::fs::write(dir.path().join("key"), "sk-real\n").unwrap();

    let upstreams = config.unwrap().upstreams().unwrap();

    assert_eq!(secrecy::ExposeSecret::expose_secret(&upstreams[0].credential), "sk-real");
}

#[test]
fn what_is_printed_reads_back_as_the_same_configuration() {
    let (_dir, config) = load(
        "[gateway]\nlisten = \"127.0.0.1:1\"\n[metering]\nclient_gone = \"cancel\"\n\
         [journal]\nsync = \"interval:500ms\"\n\
         [routing]\nchoose = \"least_latency\"\nretry_on = [\"connect\", \"503\"]\n\
         [[alias]]\nname = \"best\"\nmodel = \"claude-x\"\nupstream = \"a\"\n\
         [[upstream]]\nname = \"a\"\nfamily = \"anthropic\"\nbase_url = \"http://h\"\n\
         api_key_env = \"A_KEY\"\nmodels = [\"claude-*\"]",
    );
    let config = config.unwrap();

    let (_dir, again) = load(&config.to_toml().unwrap());

    assert_eq!(again.unwrap().settings, config.settings);
}

#[test]
fn a_price_in_the_configuration_is_read_strictly() {
    let entry = |input: &str| {
        format!(
            "[[price]]\nmodel = \"m\"\ncurrency = \"USD\"\nfrom = 2026-01-01T00:00:00Z\n\
             source = \"contract\"\ninput = {input}\noutput = \"0.02\"\n"
        )
    };

    assert_eq!(load(&entry("\"0.01\"")).1.unwrap().prices.len(), 1);
    let error = load(&entry("0.01")).1.unwrap_err();
    assert!(crate::error::chain(&error).contains("input"), "{error}");
}

#[test]
fn a_named_file_must_exist() {
    let file = PathBuf::from("/nonexistent/permille.toml");
    let overrides = Overrides { file: Some(file), ..Overrides::default() };

    assert!(matches!(Config::load(&overrides), Err(ConfigError::Read { .. })));
}
