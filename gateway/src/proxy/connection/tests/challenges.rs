//! An authority at both doors, and whoever only looks like one.

use std::sync::Arc;

use rustls::{
    AlertDescription, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::UnixTime,
};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::house::{House, rest};
use crate::{
    model::{Certificate, HttpLimits},
    proxy::connection::challenges::Challenges,
    wire::{Answers, HttpAnswer},
};

/// As an authority has it: the certificate is read, and not held to anybody's trust.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // webpki reads no certificate with the critical extension of RFC 8737: what is signed is not checked here.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match verify_tls12_signature(message, certificate, signed, &self.0) {
            Err(rustls::Error::InvalidCertificate(_)) => Ok(HandshakeSignatureValid::assertion()),
            other => other,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match verify_tls13_signature(message, certificate, signed, &self.0) {
            Err(rustls::Error::InvalidCertificate(_)) => Ok(HandshakeSignatureValid::assertion()),
            other => other,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// A certificate for `acme-tls/1` (RFC 8737 section 3).
fn challenge(name: &str) -> Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    parameters.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])];
    let made = parameters.self_signed(&key).unwrap();
    Certificate { names: vec![name.to_owned()], chain_pem: made.pem(), key_pem: key.serialize_pem() }
}

fn answers() -> Answers {
    let http = |host: &str, token: &str| HttpAnswer {
        host: host.parse().unwrap(),
        token: token.to_owned(),
        key_authorization: format!("{token}.{host}"),
    };
    Answers {
        http: vec![http("a.test", "one"), http("a.test", "two"), http("nowhere.example", "one")],
        tls: vec![challenge("nowhere.example"), challenge("a.test")],
    }
}

fn answer(house: &House, answers: Answers) {
    let (challenges, errors) = Challenges::build(answers);
    assert!(errors.is_empty(), "{errors:?}");
    house.shared.challenges.store(Arc::new(challenges));
}

async fn knock(
    house: &House,
    name: &str,
    protocols: &[&[u8]],
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = house.client(&[version]);
    let verifier = Anybody(aws_lc_rs::default_provider().signature_verification_algorithms);
    config.dangerous().set_certificate_verifier(Arc::new(verifier));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let socket = TcpStream::connect(house.https).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), socket).await
}

fn alert(refused: std::io::Result<TlsStream<TcpStream>>) -> Option<AlertDescription> {
    match refused.unwrap_err().into_inner()?.downcast::<rustls::Error>().map(|error| *error) {
        Ok(rustls::Error::AlertReceived(alert)) => Some(alert),
        other => panic!("{other:?}"),
    }
}

fn is_challenge(stream: &TlsStream<TcpStream>) -> bool {
    // The identifier 1.3.6.1.5.5.7.1.31, as DER has it.
    const IDENTIFIER: [u8; 10] = [6, 8, 43, 6, 1, 5, 5, 7, 1, 31];
    let leaf = &stream.get_ref().1.peer_certificates().unwrap()[0];
    leaf.windows(IDENTIFIER.len()).any(|window| window == IDENTIFIER)
}

const VALIDATOR: &[&[u8]] = &[b"acme-tls/1"];

#[test]
fn a_validator_sees_the_names_own_challenge_and_nothing_after_it() {
    House::with(HttpLimits::default(), async |house: House| {
        answer(&house, answers());
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            // One of them has no certificate, no route, nothing.
            for name in ["a.test", "nowhere.example"] {
                let mut stream = knock(&house, name, VALIDATOR, version).await.unwrap();
                assert!(is_challenge(&stream), "{name} {version:?}");
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"acme-tls/1".as_slice()));
                // A clean end, without waiting for anything.
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            }
            let refused = knock(&house, "b.test", VALIDATOR, version).await;
            assert_eq!(
                alert(refused),
                Some(AlertDescription::UnrecognisedName),
                "it has a certificate, and no challenge"
            );
        }
        house.until_open(0).await;
        assert_eq!(house.stand_in.admitted.get(), 0);
    });
}

#[test]
fn who_offers_the_challenges_protocol_among_others_is_a_visitor() {
    House::with(HttpLimits::default(), async |house: House| {
        answer(&house, answers());
        let version = &rustls::version::TLS13;
        for protocols in [[b"acme-tls/1".as_slice(), b"http/1.1"], [b"http/1.1", b"acme-tls/1"]] {
            let mut stream = knock(&house, "a.test", &protocols, version).await.unwrap();
            assert!(!is_challenge(&stream));
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
            assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "));
        }
        let two = [b"acme-tls/1".as_slice(), b"acme-tls/1"];
        assert_eq!(alert(knock(&house, "a.test", &two, version).await), Some(AlertDescription::NoApplicationProtocol));
        let refused = knock(&house, "nowhere.example", &[b"acme-tls/1", b"h2"], version).await;
        assert_eq!(alert(refused), Some(AlertDescription::UnrecognisedName));
    });
}

#[test]
fn challenges_that_are_withdrawn_are_nobodys_any_more() {
    House::with(HttpLimits::default(), async |house: House| {
        answer(&house, answers());
        assert!(knock(&house, "a.test", VALIDATOR, &rustls::version::TLS13).await.is_ok());
        answer(&house, Answers::default());
        let refused = knock(&house, "a.test", VALIDATOR, &rustls::version::TLS13).await;
        assert_eq!(alert(refused), Some(AlertDescription::UnrecognisedName));
        assert!(ask(&house, "GET", "/.well-known/acme-challenge/one", "a.test").await.starts_with("HTTP/1.1 404 "));
    });
}

async fn ask(house: &House, method: &str, path: &str, host: &str) -> String {
    let mut client = TcpStream::connect(house.http).await.unwrap();
    client.write_all(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    rest(&mut client).await
}

#[test]
fn a_token_is_answered_at_its_own_host_from_memory_only() {
    House::with(HttpLimits::default(), async |house: House| {
        answer(&house, answers());
        let one = "/.well-known/acme-challenge/one";
        for (host, body) in
            [("a.test", "one.a.test"), ("A.test:80", "one.a.test"), ("nowhere.example", "one.nowhere.example")]
        {
            let got = ask(&house, "GET", one, host).await;
            assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with(&format!("\r\n\r\n{body}")), "{got}");
            assert!(got.contains("content-type: application/octet-stream\r\n"), "{got}");
            let head = ask(&house, "HEAD", one, host).await;
            assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        }
        let long = format!("/.well-known/acme-challenge/{}", "x".repeat(4000));
        for (method, path, host) in [
            ("GET", one, "b.test"),
            ("GET", one, "evil.example"),
            ("POST", one, "a.test"),
            ("GET", "/.well-known/acme-challenge/three", "a.test"),
            ("GET", "/.well-known/acme-challenge/", "a.test"),
            ("GET", "/.well-known/acme-challenge", "a.test"),
            ("GET", "/.well-known/acme-challenge/one/", "a.test"),
            ("GET", "/.well-known/acme-challenge//one", "a.test"),
            ("GET", "/.well-known/acme-challenge/x/../one", "a.test"),
            ("GET", "/.well-known/acme-challenge/../../etc/passwd", "a.test"),
            ("GET", "/.well-known/acme-challenge/..%2f..%2fetc%2fpasswd", "a.test"),
            ("GET", "/.well-known/acme-challenge%2fone", "a.test"),
            ("GET", "/.well-known/acme-challenge/ON%65", "a.test"),
            ("GET", "/.well-known/acme-challenge/ONE", "a.test"),
            ("GET", &long, "a.test"),
        ] {
            let got = ask(&house, method, path, host).await;
            assert!(got.starts_with("HTTP/1.1 404 ") && !got.contains("location:"), "{method} {path} {host}: {got}");
        }
        // Whatever else is there goes to https, as ever.
        for path in
            ["/.well-known/security.txt", "/x/.well-known/acme-challenge/one", "/?/.well-known/acme-challenge/one"]
        {
            let got = ask(&house, "GET", path, "a.test").await;
            assert!(got.contains(&format!("location: https://a.test:8443{path}\r\n")), "{got}");
        }
        assert_eq!(house.stand_in.admitted.get(), 0);
    });
}

#[test]
fn a_challenge_that_cannot_be_used_leaves_the_others() {
    let mut answers = answers();
    answers.tls[0].key_pem = "none".to_owned();
    let (challenges, errors) = Challenges::build(answers);
    assert_eq!(errors.iter().map(|error| error.names.clone()).collect::<Vec<_>>(), [["nowhere.example"]]);
    assert!(challenges.covers(&"a.test".parse().unwrap()));
    assert!(challenges.http(&"nowhere.example".parse().unwrap(), "one").is_some());
}
