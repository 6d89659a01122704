use std::{os::unix::fs::MetadataExt, process::Command, sync::Arc};

use rcgen::Issuer;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use rustls_pki_types::{ServerName, UnixTime};

use super::*;
use crate::master::certificates::local::LocalCa;

fn host(name: &str) -> Host {
    name.parse().unwrap()
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Whether who trusts `root` alone trusts `leaf` for `name`: as rustls judges.
fn trusts(root: &str, leaf: &str, name: &str) -> Result<(), String> {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der(root)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let visitor = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    visitor.verify_server_cert(&der(leaf), &[], &name, &[], UnixTime::now()).map(drop).map_err(|e| e.to_string())
}

/// The same, as OpenSSL judges.
fn openssl_trusts(folder: &Path, root: &str, leaf: &str) -> Result<(), String> {
    std::fs::write(folder.join("leaf.pem"), leaf).unwrap();
    let root = folder.join(root);
    let tool = Command::new("openssl").args(["verify", "-CAfile"]).arg(root).arg(folder.join("leaf.pem")).output();
    let said = tool.expect("openssl is not there: apt-get install openssl");
    if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
}

#[test]
fn who_trusts_either_trusts_our_leaves_and_the_constrained_one_speaks_for_no_other_site() {
    let temp = tempfile::tempdir().unwrap();
    let zone = host("apps.zone.org");
    let mut ca = LocalCa::open(temp.path(), &zone).unwrap();
    let hosts = [host("acme.apps.zone.org"), host("acme.localhost"), host("www.acme.com"), host("a.test")];
    let set = ca.cover(hosts.iter()).unwrap();
    let (root, trust) = (read(temp.path(), "local-ca.pem"), read(temp.path(), "local-ca-trust.pem"));
    assert_eq!(std::fs::metadata(temp.path().join("local-ca-trust.pem")).unwrap().mode() & 0o7777, 0o644);
    for certificate in &set.certificates {
        for (pem, file) in [(&root, "local-ca.pem"), (&trust, "local-ca-trust.pem")] {
            trusts(pem, &certificate.chain_pem, &certificate.names[0]).unwrap();
            openssl_trusts(temp.path(), file, &certificate.chain_pem).unwrap();
        }
    }

    // A thief's leaf, by the very key.
    let key = KeyPair::from_pem(&read(temp.path(), "local-ca.key")).unwrap();
    let thief = Issuer::from_ca_cert_pem(&root, key).unwrap();
    for name in ["bank.com", "acme.com", "zone.org", "xapps.zone.org"] {
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&leaf_key, &thief).unwrap().pem();
        trusts(&root, &leaf, name).unwrap();
        let error = trusts(&trust, &leaf, name).unwrap_err();
        assert!(error.contains("NameConstraintViolation"), "{name}: {error}");
        let error = openssl_trusts(temp.path(), "local-ca-trust.pem", &leaf).unwrap_err();
        assert!(error.contains("permitted subtree violation"), "{name}: {error}");
    }
}

#[test]
fn the_constrained_one_is_written_anew_only_where_it_permits_too_little() {
    let temp = tempfile::tempdir().unwrap();
    let zone = host("zone.org");
    let open = || LocalCa::open(temp.path(), &zone).unwrap();
    let trust = || read(temp.path(), "local-ca-trust.pem");
    let mut ca = open();
    let first = trust();
    ca.cover([host("a.zone.org"), host("b.localhost")].iter()).unwrap();
    assert_eq!(trust(), first, "both are permitted already");
    ca.cover([host("www.acme.com")].iter()).unwrap();
    let second = trust();
    assert_ne!(second, first);
    ca.cover([].iter()).unwrap();
    drop(open());
    assert_eq!(trust(), second, "nobody has to be asked again");
    let serial = |pem: &str| {
        parse_x509_certificate(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap()
            .1
            .raw_serial()
            .to_vec()
    };
    let root = read(temp.path(), "local-ca.pem");
    assert!(serial(&first) != serial(&second) && serial(&first) != serial(&root));

    // One of another key, or none at all, is written anew.
    for other in [root.as_str(), "nothing"] {
        std::fs::write(temp.path().join("local-ca-trust.pem"), other).unwrap();
        drop(open());
        assert_eq!(serial(&trust()), serial(&first));
    }
    std::fs::remove_file(temp.path().join("local-ca.pem")).unwrap();
    drop(open());
    assert!(permitted(trust().as_bytes(), &read(temp.path(), "local-ca.pem")).is_some(), "it follows a new root");
}
