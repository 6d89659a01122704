//! A real authority, and the world that it looks at: names, and somebody who answers challenges.

use std::{
    cell::RefCell,
    fmt,
    net::{TcpListener as StdListener, TcpStream as StdStream},
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::spawn_local,
};
use tokio_rustls::TlsAcceptor;

use crate::wire::Answers;

pub(super) const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A pebble, ended with this value.
pub(super) struct Pebble {
    process: Child,
    _folder: tempfile::TempDir,
    pub(super) directory: String,
    pub(super) root: String,
    pub(super) world: World,
}

/// What the authority sees of us.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) answers: Rc<RefCell<Answers>>,
    certificates: Arc<Certificates>,
}

#[derive(Default)]
struct Certificates(Mutex<Vec<(String, Arc<CertifiedKey>)>>);

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?;
        self.0.lock().unwrap().iter().find(|(host, _)| host == name).map(|(_, key)| key.clone())
    }
}

impl World {
    /// As every proxy would.
    pub(super) fn answer(&self, answers: Answers) {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        *self.certificates.0.lock().unwrap() = answers
            .tls
            .iter()
            .map(|one| {
                let chain = CertificateDer::pem_slice_iter(one.chain_pem.as_bytes()).collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(one.key_pem.as_bytes()).unwrap();
                // Not `from_der`: it parses the leaf, and knows no extension of RFC 8737.
                let key = provider.key_provider.load_private_key(key).unwrap();
                (one.names[0].clone(), Arc::new(CertifiedKey::new(chain, key)))
            })
            .collect();
        *self.answers.borrow_mut() = answers;
    }

    async fn open() -> (Self, u16, u16, u16) {
        let world = Self::default();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let names = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let ports =
            (http.local_addr().unwrap().port(), tls.local_addr().unwrap().port(), names.local_addr().unwrap().port());
        spawn_local(world.clone().http(http));
        spawn_local(world.clone().tls(tls));
        spawn_local(everything_is_here(names));
        (world, ports.0, ports.1, ports.2)
    }

    async fn http(self, listener: TcpListener) {
        loop {
            let (mut visitor, _) = listener.accept().await.unwrap();
            let world = self.clone();
            spawn_local(async move {
                let mut head = vec![0; 4096];
                let read = visitor.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).to_ascii_lowercase();
                let body = world.answers.borrow().http.iter().find_map(|answer| {
                    let line = format!("get /.well-known/acme-challenge/{} ", answer.token.to_ascii_lowercase());
                    let host = format!("\r\nhost: {}", answer.host);
                    (head.starts_with(&line) && head.contains(&host)).then(|| answer.key_authorization.clone())
                });
                let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
                let body = body.unwrap_or_default();
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = visitor.write_all(answer.as_bytes()).await;
            });
        }
    }

    async fn tls(self, listener: TcpListener) {
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(self.certificates.clone());
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (visitor, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            spawn_local(async move {
                if let Ok(mut stream) = acceptor.accept(visitor).await {
                    let _ = stream.shutdown().await;
                }
            });
        }
    }
}

/// A name server for which every name is at 127.0.0.1.
async fn everything_is_here(socket: UdpSocket) {
    let mut query = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut query).await.unwrap();
        let Some(end) = query[12..length].iter().position(|byte| *byte == 0).map(|at| 12 + at + 5) else { continue };
        let is_a = query[end - 4..end - 2] == [0, 1];
        let mut answer = vec![query[0], query[1], 0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0];
        answer.extend_from_slice(&query[12..end]);
        if is_a {
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, from).await.unwrap();
    }
}

impl Pebble {
    /// Rejects every other nonce. `settings` are set in pebble's environment.
    pub(super) async fn start(eab: bool, settings: &[(&str, &str)]) -> Self {
        let (world, http, tls, names) = World::open().await;
        let folder = tempfile::tempdir().unwrap();
        let root = certificates(folder.path());
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"), "managementListenAddress": "",
            "certificate": folder.path().join("leaf.pem"), "privateKey": folder.path().join("leaf.key"),
            "httpPort": http, "tlsPort": tls, "ocspResponderURL": "",
            "externalAccountBindingRequired": eab, "externalAccountMACKeys": { "kid-1": EAB_KEY },
        }});
        std::fs::write(folder.path().join("pebble.json"), config.to_string()).unwrap();
        let process = Command::new("pebble")
            .arg("-config")
            .arg(folder.path().join("pebble.json"))
            .args(["-dnsserver", &format!("127.0.0.1:{names}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "50")
            .env("PEBBLE_AUTHZREUSE", "0")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble cannot be started: apt-get install pebble");
        let start = Instant::now();
        while StdStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "pebble does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { process, _folder: folder, directory: format!("https://127.0.0.1:{port}/dir"), root, world }
    }

    /// From now on nobody answers.
    pub(super) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A leaf for the authority's own server; gives the root that it is to be trusted by.
fn certificates(folder: &std::path::Path) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    std::fs::write(folder.join("leaf.pem"), leaf.pem()).unwrap();
    std::fs::write(folder.join("leaf.key"), leaf_key.serialize_pem()).unwrap();
    root
}
