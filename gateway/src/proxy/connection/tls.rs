//! TLS: which certificate for which name, and one configuration for all cores.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs as provider},
    server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{
    model::{Certificate, CertificateSet, Host},
    proxy::exchange::Protocol,
};

/// Every certificate, by name. Immutable: an update is a new one.
#[derive(Debug, Default)]
pub struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what comes after `*`, with its dot.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// By the digest of chain and key: an update parses only what is new.
    known: HashMap<[u8; 32], Arc<CertifiedKey>>,
}

/// One certificate that cannot be served; the others are.
#[derive(Debug, thiserror::Error)]
#[error("the certificate of {names:?} cannot be used: {reason}")]
pub struct CertificateError {
    /// Its names.
    pub names: Vec<String>,
    /// Why.
    pub reason: String,
}

impl Certificates {
    /// All that can be used of `set`, and what is wrong with the others. What `before` knows is not parsed again.
    pub fn build(set: &CertificateSet, before: &Certificates) -> (Self, Vec<CertificateError>) {
        let (mut new, mut errors) = (Self::default(), Vec::new());
        let provider = provider();
        for certificate in &set.certificates {
            let digest = content(certificate);
            let key = match new.known.get(&digest).or_else(|| before.known.get(&digest)) {
                Some(key) => Arc::clone(key),
                None => match parse(certificate, &provider) {
                    Ok(key) => Arc::new(key),
                    Err(reason) => {
                        errors.push(CertificateError { names: certificate.names.clone(), reason });
                        continue;
                    }
                },
            };
            for name in &certificate.names {
                let name = name.to_ascii_lowercase();
                match name.strip_prefix('*') {
                    Some(suffix) => new.wildcard.insert(suffix.to_owned(), Arc::clone(&key)),
                    None => new.exact.insert(name, Arc::clone(&key)),
                };
            }
            new.known.insert(digest, key);
        }
        (new, errors)
    }

    /// The exact name's, then that of the wildcard one label up (RFC 6125 §6.4.3).
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let exact = self.exact.get(name);
        exact.or_else(|| self.wildcard.get(&name[name.find('.')?..]))
    }

    /// Whether a handshake for this name can be answered.
    pub fn covers(&self, name: &Host) -> bool {
        self.find(name.as_str()).is_some()
    }
}

fn content(certificate: &Certificate) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(certificate.chain_pem.len() as u64).to_be_bytes());
    context.update(certificate.chain_pem.as_bytes());
    context.update(certificate.key_pem.as_bytes());
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn parse(certificate: &Certificate, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("its chain is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("its chain is empty".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())
        .map_err(|_| "its key is no PEM of a private key".to_owned())?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())
}

/// aws-lc-rs, the cheapest good suite first (SHA-384 costs a fifth more per handshake); hybrid key exchange first.
fn provider() -> CryptoProvider {
    let mut provider = provider::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider.kx_groups.sort_by_key(|group| group.name() != rustls::NamedGroup::X25519MLKEM768);
    provider
}

/// Reads the snapshot at each handshake.
#[derive(Debug)]
struct Snapshot(Arc<ArcSwap<Certificates>>);

impl ResolvesServerCert for Snapshot {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = host(hello.server_name()?)?;
        self.0.load().find(name.as_str()).cloned()
    }
}

fn host(server_name: &str) -> Option<Host> {
    server_name.parse().ok()
}

/// The one configuration: TLS 1.2 and 1.3; tickets that every core can read, and no store of sessions.
/// A ticket is bound to its server name by rustls itself (RFC 6066 §3): under another one it is a full handshake.
pub(super) fn config(certificates: Arc<ArcSwap<Certificates>>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Snapshot(certificates)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = provider::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// A client whose handshake is done.
pub(super) struct Opened<S> {
    pub(super) stream: TlsStream<S>,
    pub(super) sni: Host,
    pub(super) protocol: Protocol,
}

/// A fatal `unrecognized_name` (RFC 6066 §3), in clear text: there are no keys yet.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The handshake. `None`: it failed, or the name is nobody's; the client has been told by an alert, and has seen no certificate.
pub(super) async fn open<S>(io: S, config: Arc<ServerConfig>, certificates: &ArcSwap<Certificates>) -> Option<Opened<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), io).await.ok()?;
    let sni = start.client_hello().server_name().and_then(host);
    let Some(sni) = sni.filter(|name| certificates.load().covers(name)) else {
        let mut io = start.io;
        // Whether it arrives is the client's affair: the connection ends here.
        let _told = io.write_all(&UNRECOGNIZED_NAME).await;
        let _closed = io.shutdown().await;
        return None;
    };
    let stream = start.into_stream(config).await.ok()?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::H2,
        _ => Protocol::H1,
    };
    Some(Opened { stream, sni, protocol })
}
