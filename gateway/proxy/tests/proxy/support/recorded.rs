//! An upstream that answers every request with the same bytes, and keeps what it was sent.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

/// Answers with `reply`, one write per `piece` bytes. The requests come out of the channel.
pub async fn recorded(
    reply: impl Into<Bytes>,
    piece: usize,
) -> (SocketAddr, UnboundedReceiver<Vec<u8>>) {
    let reply = reply.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sent, requests) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            socket.set_nodelay(true).unwrap();
            let (sent, reply) = (sent.clone(), reply.clone());
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                let read = socket.read(&mut request).await.unwrap();
                request.truncate(read);
                // A test that does not look at the requests has dropped the other end.
                drop(sent.send(request));
                for bytes in reply.chunks(piece) {
                    socket.write_all(bytes).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
        }
    });
    (address, requests)
}
