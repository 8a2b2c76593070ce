//! `permille health`: whether the server of this data folder would serve, for supervisors that run
//! a command, such as the health check of a container.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;

use super::Context;
use crate::{
    data_folder::DataFolder,
    error::{CliError, chain},
};

/// Longest wait for an answer: supervisors give up as soon.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(4);
/// Longest answer in bytes: one sentence.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What to ask the server.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Health {
    /// Ask only whether the process runs (`/livez`), not whether it would serve (`/readyz`).
    #[arg(long)]
    live: bool,
}

/// Runs the command: succeeds if the server answers that all is well.
///
/// # Errors
/// [`CliError::Refused`] says what keeps the server from serving, or that there is none.
pub(crate) async fn run(context: &Context, health: Health) -> Result<(), CliError> {
    let path = if health.live { "/livez" } else { "/readyz" };
    let folder = context.data.display();
    let server = DataFolder::existing(&context.data).server()?;
    let Some(metrics) = server.and_then(|server| server.metrics) else {
        return Err(CliError::Refused(format!("no server runs on data folder `{folder}`")));
    };
    let address = reachable(metrics);
    let asked = tokio::time::timeout(ANSWER_TIME_MAX, ask(address, path)).await;
    let problem = match asked {
        Ok(Ok((StatusCode::OK, _))) => {
            let word = if health.live { "live" } else { "ready" };
            return if context.output.is_json() {
                context.output.document(&json!({ word: true }))
            } else {
                context.output.line(word)
            };
        }
        Ok(Ok((_, said))) => said,
        Ok(Err(cause)) => cause,
        Err(_) => format!("no answer within {} s", ANSWER_TIME_MAX.as_secs()),
    };
    Err(CliError::Refused(format!("the server on {address}{path}: {problem}")))
}

/// A server that listens on every address is asked on this machine's own.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// What it answers; or why it does not.
async fn ask(address: SocketAddr, path: &str) -> Result<(StatusCode, String), String> {
    let uri: Uri = format!("http://{address}{path}").parse().map_err(|cause| chain(&cause))?;
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let answer = client.get(uri).await.map_err(|cause| chain(&cause))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|cause| cause.to_string())?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_loopback() {
        let asked = |listener: &str| reachable(listener.parse().unwrap()).to_string();

        assert_eq!(asked("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(asked("[::]:9464"), "[::1]:9464");
        assert_eq!(asked("10.0.0.7:9464"), "10.0.0.7:9464");
    }
}
