//! A provider that answers with recorded replies of its family, whose counts are known: those of
//! `permille-usage`.

use std::{fs, net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::Folder;

/// Chooses the reply, `folder/case`, to a request as it was sent.
pub type Choose = fn(&str) -> &'static str;

/// See the module's text.
pub struct Recorded {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Recorded {
    /// Starts one on a free port.
    pub async fn start(choose: Choose) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket, choose));
            }
        });
        Self { address, serving }
    }

    /// Itself as an upstream of `family`, called with `secret`.
    pub fn upstream(&self, folder: &Folder, family: &str, secret: &str) -> String {
        self.upstream_at(folder, family, ("", ""), secret)
    }

    /// As [`Recorded::upstream`], below `path` and of a `provider`, where they are not empty.
    pub fn upstream_at(
        &self,
        folder: &Folder,
        family: &str,
        (path, provider): (&str, &str),
        secret: &str,
    ) -> String {
        let credential = folder.path().join("credential");
        fs::write(&credential, secret).unwrap();
        let provider = match provider {
            "" => String::new(),
            name => format!("provider = \"{name}\"\n"),
        };
        format!(
            "[[upstream]]\nname = \"recorded\"\nfamily = \"{family}\"\n{provider}\
             base_url = \"http://{}{path}\"\napi_key_file = \"{}\"\n\
             [pricing]\nunpriced = \"hold\"\n",
            self.address,
            credential.display(),
        )
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads one request to its end and answers it.
async fn answer(mut socket: TcpStream, choose: Choose) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let name = choose(&String::from_utf8_lossy(&request));
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway/usage/tests/fixtures");
    let reply = fs::read(fixtures.join(format!("{name}.response.http"))).unwrap();
    let head = reply.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, body) = (&reply[..head], &reply[head + 4..]);
    // A client that has gone is none of its business.
    drop(socket.write_all(&[head, b"\r\nconnection: close\r\n\r\n", body].concat()).await);
}

fn is_whole(request: &[u8]) -> bool {
    let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    request.len() >= head + 4 + length
}
