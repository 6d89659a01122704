//! What is spoken in a handshake: Mozilla's *intermediate* list of versions and suites, hybrid key exchange first.
//!
//! rustls knows no renegotiation, no compression, no CBC and no static RSA. Early data is off: a request that can be
//! replayed is no request.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    Error, ServerConfig, SupportedCipherSuite,
    crypto::{
        CryptoProvider, SupportedKxGroup,
        aws_lc_rs::{self, cipher_suite as suite, kx_group as group},
    },
    server::{NoServerSessionStorage, ResolvesServerCert},
};

use super::{
    challenges::{self, Challenges},
    tls::{Certificates, Snapshot},
};

/// The cheapest good one first: SHA-384 costs a fifth more per handshake. TLS 1.2: with forward secrecy and AEAD only.
const SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The hybrid one first: what is recorded today stays closed to a quantum computer.
const GROUPS: [&dyn SupportedKxGroup; 4] = [group::X25519MLKEM768, group::X25519, group::SECP256R1, group::SECP384R1];

/// aws-lc-rs with these suites and groups.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider { cipher_suites: SUITES.to_vec(), kx_groups: GROUPS.to_vec(), ..aws_lc_rs::default_provider() }
}

/// The two configurations that all cores share.
#[derive(Debug)]
pub(super) struct Configs {
    /// For everybody who wants to be served.
    pub(super) visitors: Arc<ServerConfig>,
    /// For an authority that looks for its TLS-ALPN-01 challenge.
    pub(super) validators: Arc<ServerConfig>,
}

impl Configs {
    /// TLS 1.2 and 1.3.
    ///
    /// Sessions are kept in tickets, never in a store of ours. Their keys are made anew every 6 hours and accepted for
    /// another 6, as long as a ticket lives. Every core can read what another core gave. Another process cannot: the keys
    /// leave no proxy, so that after an upgrade each client shakes hands in full once. Deriving them from something that
    /// outlives a proxy, as a certificate's key, would let whoever gets hold of it read what was recorded before.
    ///
    /// A ticket is bound to its server name by rustls itself (RFC 6066 §3): under another one it is a full handshake.
    ///
    /// # Errors
    /// When there is no randomness for the tickets' key.
    pub(super) fn new(
        certificates: &Arc<ArcSwap<Certificates>>,
        challenges: &Arc<ArcSwap<Challenges>>,
    ) -> Result<Self, Error> {
        let provider = Arc::new(provider());
        let mut visitors = config(&provider, Arc::new(Snapshot(Arc::clone(certificates))))?;
        visitors.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        visitors.ticketer = aws_lc_rs::Ticketer::new()?;
        visitors.send_tls13_tickets = 1;
        let mut validators = config(&provider, Arc::new(challenges::Snapshot(Arc::clone(challenges))))?;
        validators.alpn_protocols = vec![challenges::PROTOCOL.to_vec()];
        validators.send_tls13_tickets = 0;
        Ok(Self { visitors: Arc::new(visitors), validators: Arc::new(validators) })
    }
}

fn config(provider: &Arc<CryptoProvider>, resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
