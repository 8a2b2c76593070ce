//! An upgrade under load: billing first, both processes of it, then one gateway after the other,
//! beside one of before. One hands its usage over through Redis, the other one over HTTP.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{support::PROGRAM, topology::Fleet, traffic::Traffic, truth::agree};

/// The program of before; where this variable names none, the one under test, which makes it a
/// rolling restart. `tests/upgrade COMMIT` builds an earlier one.
const EARLIER: &str = "PERMILLE_EARLIER_PROGRAM";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_upgrade_breaks_no_stream_and_loses_and_doubles_no_row() {
    let earlier = std::env::var_os(EARLIER).map_or_else(|| PROGRAM.into(), PathBuf::from);
    let now = Path::new(PROGRAM);
    let mut fleet = Fleet::run_by(&earlier, &[true, false]).await;
    let key = fleet.key();
    let traffic = Traffic::start(&fleet, &key, 12, 2);
    traffic.more(80).await;

    fleet.stop_billing().await;
    fleet.stop_second_billing().await;
    now.clone_into(&mut fleet.office.program);
    now.clone_into(&mut fleet.second_billing.as_mut().unwrap().folder.program);
    traffic.more(40).await;
    fleet.start_billing().await;
    fleet.start_second_billing().await;
    let bearer = format!("Bearer {key}");
    for gateway in 0..2 {
        // Both of before, then one of each.
        traffic.more(80).await;
        let text = "simulate:tokens=40,chunk_ms=50 A long one.";
        let long = json!({"model": "gpt-4o-mini", "stream": true,
                          "messages": [{"role": "user", "content": text}]});
        let (server, path) = (fleet.gateway(gateway), "/v1/chat/completions");
        let headers = [("authorization", bearer.as_str())];
        let mut open = server.web.stream(server.gateway(), path, &headers, &long).await;
        assert_eq!(open.status, 200);
        open.piece().await.unwrap();
        // As a balancer does: no new request goes there, what is open ends there.
        fleet.list(gateway, false);
        let ((bytes, ended), ()) = tokio::join!(open.rest(), fleet.stop_gateway(gateway));
        let bytes = String::from_utf8_lossy(&bytes).into_owned();
        assert!(ended && bytes.trim_end().ends_with("data: [DONE]"), "{bytes}");
        fleet.upgrade_gateway(gateway, now);
        fleet.start_gateway(gateway).await;
        fleet.list(gateway, true);
    }
    traffic.more(80).await;
    let seen = traffic.end().await;
    fleet.drain().await;
    let agreed = agree(&fleet, &seen).await;

    assert_eq!(seen.broken, Vec::<String>::new(), "streams were broken off");
    assert_eq!(agreed.interrupted, 0);
    assert_eq!(agreed.booked, agreed.rows);
    println!("{} -> {}: {agreed:?}", earlier.display(), now.display());
}
