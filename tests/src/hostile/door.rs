//! The gateway's TLS door: connections with any name, protocol, source address and session.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// A client's TLS connection.
pub type Tls = tokio_rustls::client::TlsStream<TcpStream>;

/// Where the gateway listens, and the authority whose certificates it shows.
#[derive(Clone)]
pub struct Door {
    /// The https listener.
    pub address: SocketAddr,
    roots: Arc<RootCertStore>,
}

impl Door {
    /// A door that trusts the authority in this PEM file.
    pub fn new(address: SocketAddr, authority: &Path) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority).map_err(io::Error::other)? {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        Ok(Self { address, roots: Arc::new(roots) })
    }

    /// A client configuration that offers these protocols.
    pub fn config(&self, alpn: &[&str]) -> ClientConfig {
        self.config_for(alpn, rustls::ALL_VERSIONS)
    }

    /// The same, for one version of TLS only.
    pub fn config_of(&self, alpn: &[&str], version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
        self.config_for(alpn, &[version])
    }

    fn config_for(&self, alpn: &[&str], versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the provider has every version")
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// HTTP/1.1 under this name.
    pub async fn h1(&self, name: &str) -> io::Result<Tls> {
        self.open(name, self.config(&["http/1.1"]), Ipv4Addr::LOCALHOST.into()).await
    }

    /// HTTP/2 under this name.
    pub async fn h2(&self, name: &str) -> io::Result<Tls> {
        self.open(name, self.config(&["h2"]), Ipv4Addr::LOCALHOST.into()).await
    }

    /// A connection with this configuration, from this address of the loopback.
    pub async fn open(&self, name: &str, config: ClientConfig, source: IpAddr) -> io::Result<Tls> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config)).connect(name, self.tcp(source).await?).await
    }

    /// A bare TCP connection, from this address of the loopback.
    pub async fn tcp(&self, source: IpAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if source != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens TLS under a name and tells whether any certificate was shown, and how the handshake ended.
    pub async fn peek(&self, name: &str) -> (bool, io::Result<Tls>) {
        let peeker = Arc::new(Peeker {
            shown: AtomicBool::new(false),
            inner: WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider())
                .build()
                .expect("roots that were added above"),
        });
        let mut config = self.config(&["http/1.1", "h2"]);
        config.dangerous().set_certificate_verifier(peeker.clone());
        let outcome = self.open(name, config, Ipv4Addr::LOCALHOST.into()).await;
        (peeker.shown.load(Ordering::SeqCst), outcome)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Accepts no certificate that webpki would refuse, and remembers that one was shown.
#[derive(Debug)]
struct Peeker {
    shown: AtomicBool,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Peeker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.shown.store(true, Ordering::SeqCst);
        self.inner.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
