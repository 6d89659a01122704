//! What a handshake may agree on, and what it may not.

use std::sync::Arc;

use rustls::{
    AlertDescription, CipherSuite, ClientConfig, NamedGroup,
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::house::{House, certificate, until};
use crate::{
    model::{CertificateSet, HttpLimits},
    proxy::connection::{policy, tls::Certificates},
};

async fn shake(house: &House, config: ClientConfig) -> Result<TlsStream<TcpStream>, AlertDescription> {
    let socket = TcpStream::connect(house.https).await.unwrap();
    let name = ServerName::try_from("a.test").unwrap();
    match TlsConnector::from(Arc::new(config)).connect(name, socket).await {
        Ok(stream) => Ok(stream),
        Err(error) => match error.into_inner().and_then(|error| error.downcast::<rustls::Error>().ok()).as_deref() {
            Some(rustls::Error::AlertReceived(alert)) => Err(*alert),
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn exactly_these_suites_and_groups() {
    let provider = policy::provider();
    let suites: Vec<CipherSuite> = provider.cipher_suites.iter().map(|suite| suite.suite()).collect();
    let all = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    assert_eq!(suites, all);
    let groups: Vec<NamedGroup> = provider.kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1]);
}

#[test]
fn ours_is_the_order_and_hybrid_exchange_comes_first() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut reversed = aws_lc_rs::default_provider();
        reversed.cipher_suites.reverse();
        for (groups, expected) in [
            (vec![NamedGroup::X25519MLKEM768, NamedGroup::X25519], NamedGroup::X25519MLKEM768),
            (vec![NamedGroup::X25519, NamedGroup::secp256r1], NamedGroup::X25519),
            (vec![NamedGroup::secp384r1], NamedGroup::secp384r1),
        ] {
            let mut provider = reversed.clone();
            provider.kx_groups = aws_lc_rs::ALL_KX_GROUPS.to_vec();
            provider.kx_groups.retain(|group| groups.contains(&group.name()));
            let config = house.client_by(Arc::new(provider), rustls::ALL_VERSIONS);
            let stream = shake(&house, config).await.unwrap();
            let (_, session) = stream.get_ref();
            let suite = session.negotiated_cipher_suite().unwrap().suite();
            let group = session.negotiated_key_exchange_group().unwrap().name();
            assert_eq!((suite, group), (CipherSuite::TLS13_AES_128_GCM_SHA256, expected));
        }
        let old = house.client_by(Arc::new(reversed), &[&rustls::version::TLS12]);
        let stream = shake(&house, old).await.unwrap();
        let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
        // A group that is not offered is not agreed upon.
        let mut provider: CryptoProvider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![aws_lc_rs::kx_group::SECP256R1MLKEM768];
        let config = house.client_by(Arc::new(provider), &[&rustls::version::TLS13]);
        assert_eq!(shake(&house, config).await.unwrap_err(), AlertDescription::HandshakeFailure);
    });
}

#[test]
fn protocols_without_a_common_one_are_refused() {
    House::with(HttpLimits::default(), async |house: House| {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let mut config = house.client(&[version]);
            config.alpn_protocols = vec![b"http/1.0".to_vec(), b"spdy/3".to_vec()];
            assert_eq!(shake(&house, config).await.unwrap_err(), AlertDescription::NoApplicationProtocol);
            // Who says nothing about it speaks HTTP/1.1.
            let mut stream = shake(&house, house.client(&[version])).await.unwrap();
            stream.write_all(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
            until(&mut stream, "a.test /x").await;
        }
    });
}

#[test]
fn nobody_without_a_name() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut config = house.client(rustls::ALL_VERSIONS);
        config.enable_sni = false;
        assert_eq!(shake(&house, config).await.unwrap_err(), AlertDescription::UnrecognisedName);
    });
}

#[test]
fn a_renewed_certificate_is_seen_by_the_next_handshake_and_by_no_open_connection() {
    House::with(HttpLimits::default(), async |mut house: House| {
        let mut before = house.h1().await;
        before.write_all(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        until(&mut before, "a.test /x").await;
        let old = house.shared.certificates.load_full();
        let set = CertificateSet { certificates: vec![certificate(&["a.test"]), certificate(&["*.zone.test"])] };
        let (new, errors) = Certificates::build(&set, &old);
        assert!(errors.is_empty(), "{errors:?}");
        house.shared.certificates.store(Arc::new(new));
        house.trust(&set);
        let after = house.h1().await;
        let leaf = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        assert_ne!(leaf(&before), leaf(&after));
        for mut stream in [before, after] {
            stream.write_all(b"GET /y HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
            until(&mut stream, "a.test /y").await;
        }
        // A name that the newer set does not have is nobody's.
        assert!(house.tls("b.test", "h2").await.is_err());
        assert!(house.tls("x.zone.test", "h2").await.unwrap().read(&mut [0]).await.is_ok());
    });
}
