//! One host of the gateway, as a visitor's client sees it.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{ClientError, Http2, Raw, Response, Result, WebSocket, bounded};

/// What a client offers in ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1`
    Http1,
    /// `h2`
    Http2,
    /// `h2`, `http/1.1`, as a browser does.
    Both,
    /// No such extension.
    None,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Both => &[b"h2", b"http/1.1"],
            Self::None => &[],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// A host, where it is, and whom its visitor trusts.
#[derive(Clone, Debug)]
pub struct Site {
    address: SocketAddr,
    host: String,
    trust: Arc<RootCertStore>,
}

impl Site {
    /// # Panics
    /// When the CA's file is not there.
    #[track_caller]
    pub fn new(address: SocketAddr, host: &str, ca: &Path) -> Self {
        Self { address, host: host.to_owned(), trust: Arc::new(trusting(ca)) }
    }

    /// Its name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A TLS connection with this host as its SNI.
    pub async fn tls(&self, alpn: Alpn) -> Result<TlsStream<TcpStream>> {
        self.tls_with(self.config(alpn)).await
    }

    fn config(&self, alpn: Alpn) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has every protocol version")
            .with_root_certificates(Arc::clone(&self.trust))
            .with_no_client_auth();
        config.alpn_protocols = alpn.protocols();
        Arc::new(config)
    }

    /// A TLS connection with settings of the test's own: session resumption, no SNI, old versions.
    pub async fn tls_with(&self, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
        self.tls_over(self.connect().await?, config).await
    }

    /// A TCP connection, as it stands in the kernel's queue until somebody accepts it.
    pub async fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address).await.map_err(ClientError::Connect)?;
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        Ok(stream)
    }

    async fn tls_over(&self, stream: TcpStream, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.host.clone()).expect("a host name");
        bounded("TLS handshake", async {
            TlsConnector::from(config).connect(name, stream).await.map_err(ClientError::Tls)
        })
        .await
    }

    /// An HTTP/1.1 connection, to be written byte for byte.
    pub async fn h1(&self) -> Result<Raw> {
        Ok(Raw::over(self.tls(Alpn::Http1).await?))
    }

    /// The same over a connection that is there already.
    pub async fn h1_over(&self, stream: TcpStream) -> Result<Raw> {
        Ok(Raw::over(self.tls_over(stream, self.config(Alpn::Http1)).await?))
    }

    /// An HTTP/2 connection.
    pub async fn h2(&self) -> Result<Http2> {
        Http2::over(self.tls(Alpn::Http2).await?, &self.host).await
    }

    /// A WebSocket at `path`.
    pub async fn websocket(&self, path: &str) -> Result<WebSocket> {
        WebSocket::open(self.h1().await?, &self.host, path).await
    }

    /// GET, HTTP/1.1, on a connection of its own.
    pub async fn get(&self, path: &str) -> Result<Response> {
        self.request("GET", path, &[], b"").await
    }

    /// Any request, HTTP/1.1, on a connection of its own.
    pub async fn request(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Result<Response> {
        let mut raw = self.h1().await?;
        raw.send(self.message(method, path, fields, body)).await?;
        raw.response_to(method).await
    }

    /// The bytes of a request to this host. A body comes with its length.
    pub fn message(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut message = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host).into_bytes();
        for (name, value) in fields {
            message.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !body.is_empty() {
            message.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(body);
        message
    }
}

/// Trust in the certificates of a PEM file and in no other.
///
/// # Panics
/// When it cannot be read.
#[track_caller]
pub fn trusting(ca: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(ca).unwrap_or_else(|error| panic!("no CA in {}: {error}", ca.display()));
    for certificate in certificates {
        roots.add(certificate.expect("PEM")).expect("a CA certificate");
    }
    roots
}
