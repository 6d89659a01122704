//! Ten thousand companies with domains of their own: what their certificates cost.

use std::{fs, hint::black_box, time::Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    model::{Certificate, CertificateSet, Host},
    proxy::connection::tls::Certificates,
};

const MANY: usize = 10_000;

fn set() -> CertificateSet {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let certificates = (0..MANY).map(|number| {
        let names = vec![format!("portal.company-{number}.example")];
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names.clone()).unwrap().signed_by(&key, &authority).unwrap();
        Certificate { names, chain_pem: leaf.pem() + &authority.pem(), key_pem: key.serialize_pem() }
    });
    CertificateSet { certificates: certificates.collect() }
}

fn resident_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Prints what it measures (`--nocapture`), alone in its process: `cargo test -p landlord --lib ten_thousand`.
#[test]
#[allow(clippy::print_stdout, reason = "a measurement")]
fn ten_thousand_certificates_share_their_issuer_and_a_renewal_parses_one() {
    let mut set = set();
    let before = (Instant::now(), resident_kilobytes());
    let (first, errors) = Certificates::build(&set, &Certificates::default());
    let built = (before.0.elapsed(), resident_kilobytes() - before.1);
    assert!(errors.is_empty(), "{errors:?}");

    let hosts: Vec<Host> = set.certificates.iter().map(|made| made.names[0].parse().unwrap()).collect();
    let start = Instant::now();
    for host in &hosts {
        assert!(black_box(&first).covers(host));
    }
    let lookup = start.elapsed() / MANY as u32;
    let (one, other) = (first.find(hosts[0].as_str()).unwrap(), first.find(hosts[MANY - 1].as_str()).unwrap());
    assert_ne!(one.cert[0], other.cert[0]);
    assert_eq!(one.cert[1].as_ptr(), other.cert[1].as_ptr(), "their issuer is in memory once");

    // The last one is renewed: nothing else is parsed, and every other handshake goes on with what it had.
    let key = KeyPair::generate().unwrap();
    let renewed = set.certificates.last_mut().unwrap();
    renewed.chain_pem = CertificateParams::new(renewed.names.clone()).unwrap().self_signed(&key).unwrap().pem();
    renewed.key_pem = key.serialize_pem();
    let start = Instant::now();
    let (second, errors) = Certificates::build(&set, &first);
    let renewal = start.elapsed();
    assert!(errors.is_empty(), "{errors:?}");
    for (index, host) in hosts.iter().enumerate() {
        let same = std::sync::Arc::ptr_eq(first.find(host.as_str()).unwrap(), second.find(host.as_str()).unwrap());
        assert_eq!(same, index < MANY - 1, "{host}");
    }
    println!("{MANY} certificates: {built:?} (KB), renewal of one {renewal:?}, lookup {lookup:?}");
}
