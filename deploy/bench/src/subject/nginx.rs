//! nginx as a reverse proxy for streams, from wherever the system keeps it.

use std::{
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use super::{NGINX, Process, Subject, accepts, create_folder, write};
use crate::{
    error::BenchError,
    fleet::{Fleet, guarded},
};

/// How to get it.
pub(crate) const REMEDY: &str = "not on PATH; install it with `apt-get install nginx-light`";

/// Where distributions put it although PATH of ordinary users may lack the folder.
const SYSTEM_FOLDER: &str = "/usr/sbin";

/// Finds the program.
pub(crate) fn find() -> Option<PathBuf> {
    find_in(&std::env::var_os("PATH").unwrap_or_default())
}

fn find_in(path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .chain([PathBuf::from(SYSTEM_FOLDER)])
        .map(|folder| folder.join("nginx"))
        .find(|program| program.is_file())
}

/// Starts it with everything it writes in `folder`.
///
/// # Errors
/// [`BenchError`] when it does not come up.
pub(crate) async fn start(
    fleet: &mut Fleet,
    program: &Path,
    folder: &Path,
    upstream: SocketAddr,
) -> Result<Subject, BenchError> {
    create_folder(folder)?;
    let address = free_address().map_err(BenchError::during("find a free port for nginx"))?;
    let file = folder.join("nginx.conf");
    write(&file, &configuration(folder, address, upstream))?;
    let mut command = guarded(program)?;
    command.arg("-p").arg(folder).arg("-c").arg(&file).args(["-e", "stderr"]);
    let member = fleet.start(NGINX, command)?;
    member.until(async || accepts(address).await).await?;
    let processes = vec![Process { name: NGINX, pid: member.pid() }];
    Ok(Subject { name: NGINX, address, key: None, processes })
}

/// nginx cannot say which port it was given, so one is taken and given back. Another program may
/// take it in between; then nginx ends and the run says so.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// One worker, in one process with the master: a master that is killed leaves its worker behind.
/// Source: nginx documentation, `ngx_core_module`, `ngx_http_proxy_module`,
/// `ngx_http_upstream_module`.
fn configuration(folder: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        r#"daemon off;
master_process off;
worker_processes 1;
pid "{folder}/nginx.pid";
events {{
    worker_connections 1024;
}}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 100000000;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    upstream provider {{
        server {upstream};
        keepalive 512;
        keepalive_requests 100000000;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_is_taken_from_the_first_folder_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, full) = (folder.path().join("empty"), folder.path().join("full"));
        std::fs::create_dir_all(&empty).unwrap();
        std::fs::create_dir_all(&full).unwrap();
        std::fs::write(full.join("nginx"), "").unwrap();
        let path = std::env::join_paths([&empty, &full]).unwrap();

        assert_eq!(find_in(&path), Some(full.join("nginx")));
    }
}
