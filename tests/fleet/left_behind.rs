//! What a dead gateway left on its disk is handed over by a command, once.

use crate::{
    support::{Folder, Streamed, relay::Line},
    topology::Fleet,
    traffic::Traffic,
    truth::agree,
};

/// A folder whose configuration only says where billing is, as an operator's machine has it.
fn operator(fleet: &Fleet) -> Folder {
    let folder = Folder::new();
    let token = fleet.gateways[0].folder.path().join("token");
    std::fs::copy(token, folder.path().join("token")).unwrap();
    let url = fleet.line.address();
    folder.config(&format!("[billing]\nurl = \"http://{url}\"\ntoken_file = \"token\"\n"));
    folder
}

/// A stream at the first gateway that stands still in its midst, and our id of the request.
pub async fn begin(fleet: &Fleet, key: &str) -> (String, Streamed) {
    let gateway = fleet.gateway(0);
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    let text = "simulate:tokens=20,stall_after=4 Go on.";
    let body = serde_json::json!({"model": "gpt-4o-mini", "stream": true,
                                  "messages": [{"role": "user", "content": text}]});
    let path = "/v1/chat/completions";
    let mut reply = gateway.web.stream(gateway.gateway(), path, &headers, &body).await;
    assert_eq!(reply.status, 200);
    reply.piece().await.unwrap();
    let id = reply.headers["permille-request-id"].to_str().unwrap().to_owned();
    (id, reply)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_of_a_killed_gateway_is_shipped_by_a_command_and_only_once() {
    let mut fleet = Fleet::start(2).await;
    let key = fleet.key();
    let operator = operator(&fleet);
    let left = fleet.gateways[0].folder.data();
    let ship = ["journal", "ship", left.to_str().unwrap()];

    let traffic = Traffic::start(&fleet, &key, 12, 3);
    traffic.more(100).await;
    let refused = operator.run(&ship).refused(1);
    assert!(refused.contains("holds it, stop that one"), "{refused}");
    // What it settles from now on is on its disk only.
    fleet.line.set(Line::Cut);
    traffic.more(100).await;
    let (open, _reply) = begin(&fleet, &key).await;
    fleet.kill_gateway(0).await;
    fleet.line.set(Line::Up);
    traffic.more(100).await;
    let seen = traffic.end().await;

    let before = fleet.rows().len();
    let shipped = operator.json(&ship);
    let owed = shipped["shipped"].as_u64().unwrap();
    assert!(owed >= 30 && fleet.rows().len() > before, "{shipped} beside {before} rows");
    assert!(shipped["orphans"].as_u64().unwrap() > 0, "{shipped}");
    assert_eq!(fleet.office.usage(&["--request", &open])[0]["ended"], "orphaned");
    assert_eq!(shipped["damaged"], 0);
    fleet.drain().await;
    let agreed = agree(&fleet, &seen).await;

    let again = operator.json(&ship);
    assert_eq!((fleet.rows().len(), &again["orphans"]), (agreed.rows, &0.into()), "{again}");
    // Should its machine come back after all, its own start changes nothing either.
    fleet.start_gateway(0).await;
    fleet.drain().await;
    assert_eq!(agree(&fleet, &seen).await, agreed);
}

#[test]
fn a_journal_of_nobody_is_refused_and_nothing_is_made() {
    let folder = Folder::new();
    let path = folder.path().to_str().unwrap();

    let none = folder.run(&["journal", "ship", path]).refused(1);
    assert!(none.contains("accepted: the data folder of a gateway"), "{none}");

    std::fs::create_dir(folder.path().join("journal")).unwrap();
    let nobody = folder.run(&["journal", "ship", path]).refused(1);
    assert!(nobody.contains("restore it from a backup"), "{nobody}");
    assert!(!folder.path().join("node").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_left_by_one_server_is_booked_into_the_store_of_another_folder() {
    let (dead, living) = (Folder::new(), Folder::new());
    let postgres = crate::support::postgres::Postgres::start();
    let store = postgres.url(crate::support::postgres::DATABASE);
    let simulator = dead.simulator().await;
    for folder in [&dead, &living] {
        let upstreams = simulator.upstreams();
        folder.config(&format!("[store]\nurl = \"{store}\"\n{upstreams}"));
    }
    let mut server = dead.serve().await;
    let key = dead.key("acme", "USD");
    postgres.run("template1", &["alter database postgres allow_connections false"]);
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'postgres'";
    postgres.run("template1", &[cut]);
    for _ in 0..5 {
        assert_eq!(server.chat(&key, crate::hello("gpt-4o-mini")).await.status, 200);
    }
    server.kill().await;
    postgres.run("template1", &["alter database postgres allow_connections true"]);
    std::fs::create_dir(living.data()).unwrap();
    std::fs::copy(dead.data().join("pepper"), living.data().join("pepper")).unwrap();

    let shipped = living.json(&["journal", "ship", dead.data().to_str().unwrap()]);

    assert_eq!((&shipped["shipped"], &shipped["quarantined"]), (&5.into(), &0.into()));
    assert_eq!(living.usage(&["--customer", "acme"]).len(), 5);
}
