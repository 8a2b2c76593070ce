//! A thousand clients that do not read: memory stays bounded, each slows its own upstream only,
//! and others are served as before.

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
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::json;
use support::{Folder, Streamed, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const READERS: u64 = 1_000;
/// Most resident memory that one stream may cost the gateway, in bytes: what is to be written to
/// its client (64 KiB and a frame), what its upstream sent (32 KiB), 64 KiB of its text.
const STREAM_BYTES_MAX: u64 = 256 * 1024;

/// A model API that writes as fast as it is read, without an end, to whoever says `endless`; any
/// other request gets three events and an end.
async fn upstream(written: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket, Arc::clone(&written)));
        }
    });
    address
}

async fn answer(mut socket: TcpStream, written: Arc<AtomicU64>) -> Option<()> {
    let mut request = vec![0; 4_096];
    let read = socket.read(&mut request).await.ok()?;
    let endless = request[..read].windows(7).any(|word| word == b"endless");
    let event = format!(
        "data: {{\"id\":\"c\",\"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"delta\":\
         {{\"content\":\"{}\"}}}}]}}\n\n",
        "word ".repeat(40)
    );
    socket
        .write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
        )
        .await
        .ok()?;
    for _ in 0..3 {
        socket.write_all(event.as_bytes()).await.ok()?;
    }
    if !endless {
        return socket.write_all(b"data: [DONE]\n\n").await.ok();
    }
    loop {
        socket.write_all(event.as_bytes()).await.ok()?;
        written.fetch_add(event.len() as u64, Ordering::Relaxed);
    }
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_that_do_not_read_cost_bounded_memory() {
    let written = Arc::new(AtomicU64::new(0));
    let address = upstream(Arc::clone(&written)).await;
    let folder = Folder::new();
    let credential = folder.path().join("credential");
    std::fs::write(&credential, "x").unwrap();
    folder.config(&format!(
        "[[upstream]]\nname = \"endless\"\nfamily = \"openai\"\nbase_url = \"http://{address}/v1\"\n\
         api_key_file = \"{}\"\n",
        credential.display()
    ));
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    let ask = async |what: &str| -> Streamed {
        let body = json!({"model": "gpt-4o-mini", "stream": true,
            "messages": [{"role": "user", "content": what}]});
        server.web.stream(server.gateway(), "/v1/chat/completions", &headers, &body).await
    };
    assert!(ask("short").await.rest().await.1);
    let before = resident_bytes(server.pid());

    let mut readers = Vec::new();
    for _ in 0..READERS {
        let reader = ask("endless").await;
        assert_eq!(reader.status, 200);
        readers.push(reader);
    }
    // Every pipe is full when nothing more is written between two looks.
    let mut last = u64::MAX;
    eventually("all pipes are full", async || {
        let now = written.load(Ordering::Relaxed);
        (std::mem::replace(&mut last, now) == now).then_some(())
    })
    .await;

    let grown = resident_bytes(server.pid()).saturating_sub(before) / READERS;
    println!("{grown} bytes of resident memory per stream that is not read");
    assert!(grown <= STREAM_BYTES_MAX, "{grown} bytes per stream");
    let (bytes, ended) = ask("short").await.rest().await;
    assert!(ended && bytes.ends_with(b"data: [DONE]\n\n"), "others are not served");
    drop(readers);
}
