//! nginx: `limit_req` and `limit_conn` in the flooded company's server.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use harness::{peers, process};

use crate::{
    BURST, CONCURRENT, FLOODED, Gateway, NEIGHBOUR,
    peer::{Peer, Place},
};

/// nginx in the foreground, with its master.
pub(crate) struct Nginx {
    peer: Peer,
    program: PathBuf,
}

impl Nginx {
    pub(crate) fn start(rate: u32) -> Self {
        let program = peers::program("nginx").expect("it was looked for before");
        let peer = Peer::start(
            |place| settings(place, rate),
            |dir, file| {
                let mut command = process::leashed(&program);
                command.arg("-e").arg(dir.join("error.log")).arg("-p").arg(dir).arg("-c").arg(file);
                command
            },
        );
        Self { peer, program }
    }
}

impl Gateway for Nginx {
    fn name(&self) -> String {
        format!("nginx {}, limit_req and limit_conn", peers::version(&self.program, "-v"))
    }

    fn place(&self) -> (SocketAddr, PathBuf) {
        self.peer.place()
    }
}

/// It has no line for requests at once: what is above is refused.
fn settings(place: &Place, rate: u32) -> String {
    let Place { https, flooded, neighbour, dir } = place;
    let burst = rate * BURST;
    let limits = format!("limit_req zone=rate burst={burst} nodelay; limit_conn conns {CONCURRENT};");
    let servers = [(FLOODED, flooded, limits.as_str()), (NEIGHBOUR, neighbour, "")]
        .map(|(host, worker, limits)| server(host, https, worker, dir, limits));
    let dir = dir.display();
    format!(
        "daemon off;
worker_processes auto;
pid {dir}/nginx.pid;
error_log stderr crit;
events {{
    worker_connections 4096;
}}
http {{
    access_log {dir}/access.log;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 1000000;
    limit_req_zone $server_name zone=rate:1m rate={rate}r/s;
    limit_conn_zone $server_name zone=conns:1m;
    limit_req_status 429;
    limit_conn_status 429;
{}}}
",
        servers.concat()
    )
}

fn server(host: &str, https: &SocketAddr, worker: &SocketAddr, dir: &Path, limits: &str) -> String {
    let (dir, upstream) = (dir.display(), host.split('.').next().unwrap_or(host));
    format!(
        "    upstream {upstream} {{
        server {worker};
        keepalive 64;
        keepalive_requests 1000000;
    }}
    server {{
        listen {https} ssl http2;
        server_name {host};
        ssl_certificate {dir}/site.pem;
        ssl_certificate_key {dir}/site.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        {limits}
        location / {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
        }}
    }}
"
    )
}
