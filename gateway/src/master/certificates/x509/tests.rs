use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    SerialNumber,
};

use super::*;

/// A chain and its key, as an authority with one intermediate certificate would give.
pub(in crate::master::certificates) struct Made {
    pub(in crate::master::certificates) leaf: String,
    pub(in crate::master::certificates) intermediate: String,
    pub(in crate::master::certificates) key: String,
}

impl Made {
    pub(in crate::master::certificates) fn chain(&self) -> String {
        format!("{}{}", self.leaf, self.intermediate)
    }

    pub(in crate::master::certificates) fn check(&self, names: &[&str]) -> Result<Read, String> {
        check(&self.chain(), &self.key, &owned(names))
    }
}

pub(in crate::master::certificates) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// One for these names, changed as wanted before it is signed.
pub(in crate::master::certificates) fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.distinguished_name.push(DnType::CommonName, "Root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = Issuer::new(root, root_key);
    let key = KeyPair::generate().unwrap();
    let mut intermediate = CertificateParams::new(Vec::new()).unwrap();
    intermediate.distinguished_name = rcgen::DistinguishedName::new();
    intermediate.distinguished_name.push(DnType::OrganizationName, "Trust & Co");
    intermediate.distinguished_name.push(DnType::CommonName, "R1");
    intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    intermediate.key_identifier_method = KeyIdMethod::PreSpecified(KEY_ID.to_vec());
    let pem = intermediate.signed_by(&key, &root).unwrap().pem();
    let issuer = Issuer::new(intermediate, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(owned(names)).unwrap();
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (SystemTime::now() - Duration::from_secs(3600)).into();
    params.not_after = (SystemTime::now() + Duration::from_secs(90 * 86_400)).into();
    change(&mut params);
    Made { leaf: params.signed_by(&key, &issuer).unwrap().pem(), intermediate: pem, key: key.serialize_pem() }
}

/// Of the example in RFC 9773 section 4.1.
const KEY_ID: [u8; 20] = [
    0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C, 0xDE, 0x01, 0xC8,
    0xD4,
];

#[test]
fn what_a_leaf_says() {
    let made = made(&["*.Apps.Example.com", "apps.example.com"], |params| {
        params.serial_number = Some(SerialNumber::from(vec![0x87, 0x65, 0x43, 0x21]));
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2026, 4, 2);
    });
    let read = made.check(&["*.apps.example.com", "apps.example.com", "acme.apps.example.com"]).unwrap();
    assert_eq!(
        read,
        Read {
            names: owned(&["*.apps.example.com", "apps.example.com"]),
            issuer: "R1".into(),
            serial: "0087654321".into(),
            not_before: "2026-01-02T00:00:00Z".parse().unwrap(),
            not_after: "2026-04-02T00:00:00Z".parse().unwrap(),
            renewal_id: Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".into()),
        }
    );
    for other in ["a.b.apps.example.com", "example.com", "*.example.com", "xapps.example.com"] {
        assert!(made.check(&[other]).unwrap_err().contains(&format!("not for {other}")), "{other}");
    }
    let at = |text: &str| read.is_valid_at(text.parse().unwrap());
    assert!(!at("2026-01-01T23:59:59Z") && at("2026-01-02T00:00:00Z"));
    assert!(at("2026-04-02T00:00:00Z") && !at("2026-04-02T00:00:01Z"));
}

#[test]
fn what_cannot_be_served_is_refused_in_a_sentence() {
    let (one, two) = (made(&["a.test"], |_| {}), made(&["a.test"], |_| {}));
    let names = owned(&["a.test"]);
    let error = |chain: &str, key: &str| check(chain, key, &names).unwrap_err();
    one.check(&["a.test"]).unwrap();
    check(&one.leaf, &one.key, &names).unwrap();
    assert_eq!(error("", &one.key), "it holds no certificate");
    assert_eq!(error(&one.chain(), &two.key), "its private key is not that of the certificate");
    assert_eq!(error(&one.chain(), "nothing"), "its private key is no PEM of one");
    let garbage = error(&one.chain(), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert!(garbage.starts_with("its private key cannot be used"), "{garbage}");
    // The right name, and another's signature: the intermediates of both have the same one.
    let stranger = error(&format!("{}{}", one.leaf, two.intermediate), &one.key);
    assert_eq!(stranger, "certificate 1 of its chain was not signed by the one that comes after it");
    let turned = error(&format!("{}{}", one.intermediate, one.leaf), &one.key);
    assert!(turned.contains("no DNS name"), "{turned}");
    let doubled = error(&format!("{}{}{}", one.leaf, one.leaf, one.intermediate), &one.key);
    assert!(doubled.contains(r#"was issued by "R1""#), "{doubled}");
    let client = made(&["a.test"], |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(client.check(&["a.test"]).unwrap_err(), "it is not for servers (serverAuth)");
    let nameless = made(&[], |_| {});
    assert!(nameless.check(&[]).unwrap_err().contains("no DNS name"));
}

#[test]
fn a_flipped_bit_is_never_served() {
    let made = made(&["a.test"], |_| {});
    let der = CertificateDer::from_pem_slice(made.leaf.as_bytes()).unwrap();
    let mut served = Vec::new();
    for at in 0..der.len() {
        let mut bytes = der.to_vec();
        bytes[at] ^= 1 << (at % 8);
        let text = data_encoding::BASE64.encode(&bytes);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n{}", made.intermediate);
        if check(&pem, &made.key, &owned(&["a.test"])).is_ok() {
            served.push(at);
        }
    }
    assert_eq!(served, [] as [usize; 0]);
}
