//! TLS: which certificate for which name, and the handshake.

use std::{collections::HashMap, iter, rc::Rc, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::{
    crypto::CryptoProvider,
    server::{Acceptor, ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    Shared, challenges, issuers, policy,
    turns::{Turns, Whose},
};
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
        let provider = policy::provider();
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
    pub(super) fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
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
    let (chain, key) = read_pem(certificate)?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())
}

/// The chain, leaf first, and its key. What is wrong is said without quoting the key.
pub(super) fn read_pem(
    certificate: &Certificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("its chain is no PEM: {error}"))?;
    let mut chain = chain.into_iter();
    let leaf = chain.next().ok_or("its chain is empty")?;
    let chain = iter::once(leaf).chain(chain.map(issuers::shared)).collect();
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())
        .map_err(|_| "its key is no PEM of a private key".to_owned())?;
    Ok((chain, key))
}

/// Reads the snapshot at each handshake.
#[derive(Debug)]
pub(super) struct Snapshot(pub(super) Arc<ArcSwap<Certificates>>);

impl ResolvesServerCert for Snapshot {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = host(hello.server_name()?)?;
        self.0.load().find(name.as_str()).cloned()
    }
}

pub(super) fn host(server_name: &str) -> Option<Host> {
    server_name.parse().ok()
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
/// Or it was an authority's, which wanted no more than the handshake; or `admit`, asked for its name's sake before anything
/// costly is done, did not let it in. What is costly is done by turns, which go round by `whose` the name is.
pub(super) async fn open<S>(
    io: S,
    shared: &Shared,
    turns: &Rc<Turns>,
    whose: impl Fn(&Host) -> Whose,
    admit: impl FnOnce(&Host, &mut S) -> bool,
) -> Option<Opened<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), io).await.ok()?;
    let hello = start.client_hello();
    let validator = challenges::is_validator(&hello);
    let sni = hello.server_name().and_then(host).filter(|name| match validator {
        true => shared.challenges.load().covers(name),
        false => shared.certificates.load().covers(name),
    });
    let Some(sni) = sni else {
        let mut io = start.io;
        // Whether it arrives is the client's affair: the connection ends here.
        let _told = io.write_all(&UNRECOGNIZED_NAME).await;
        let _closed = io.shutdown().await;
        return None;
    };
    if !validator && !admit(&sni, &mut start.io) {
        return None;
    }
    let config = Arc::clone(if validator { &shared.tls.validators } else { &shared.tls.visitors });
    let mut stream = turns.drive(|| whose(&sni), async { start.into_stream(config).await }).await.ok()?;
    if validator {
        // RFC 8737 §3: closed at once, and nothing is exchanged.
        let _closed = stream.shutdown().await;
        return None;
    }
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::H2,
        _ => Protocol::H1,
    };
    Some(Opened { stream, sni, protocol })
}
