//! nginx: `nginx -s reload`.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use harness::{client::Site, process};

use crate::{
    Gateway, HOST, IDLE_TIMEOUT,
    peer::{self, Peer, Place},
};

/// nginx in the foreground, with its master.
pub(crate) struct Nginx {
    peer: Peer,
    program: PathBuf,
}

impl Nginx {
    pub(crate) fn start() -> Self {
        let program = peer::program("nginx").expect("it was looked for before");
        let peer = Peer::start(settings, |place, file| {
            let mut command = process::leashed(&program);
            command.arg("-p").arg(place.dir).arg("-c").arg(file);
            command
        });
        Self { peer, program }
    }
}

impl Gateway for Nginx {
    fn name(&self) -> String {
        format!("nginx {}, nginx -s reload", peer::version(&self.program, "-v"))
    }

    fn site(&self) -> Site {
        self.peer.site()
    }

    fn upgrade(&mut self) -> Result<(), String> {
        self.peer.another_child(|| {
            let mut command = Command::new(&self.program);
            command
                .args(["-s", "reload", "-p"])
                .arg(self.peer.dir())
                .arg("-c")
                .arg(self.peer.dir().join("settings.conf"));
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().map_err(|e| e.to_string())?;
            if status.success() { Ok(()) } else { Err(format!("nginx -s reload: {status}")) }
        })
    }
}

/// Old workers may drain for as long as landlord's proxies; a kept connection is not closed for its age.
fn settings(place: &Place) -> String {
    let Place { https, worker, dir } = place;
    let (dir, idle) = (dir.display(), IDLE_TIMEOUT.as_secs());
    format!(
        "daemon off;
worker_processes auto;
worker_shutdown_timeout 30s;
pid {dir}/nginx.pid;
error_log stderr warn;
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
    keepalive_timeout {idle}s;
    keepalive_requests 1000000;
    upstream worker {{
        server {worker};
        keepalive 64;
        keepalive_requests 1000000;
    }}
    server {{
        listen {https} ssl http2;
        server_name {HOST};
        ssl_certificate {dir}/site.pem;
        ssl_certificate_key {dir}/site.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://worker;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
        }}
    }}
}}
"
    )
}
