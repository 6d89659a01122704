//! `[tls] provider = "files"`: certificates that somebody else puts into a folder, picked up as they change, under traffic. And the
//! laptop's own CA, as OpenSSL and curl judge it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use harness::{
    Landlord, Setup,
    client::{Alpn, Site},
    eventually, installation,
    traffic::{Kind, Load, Traffic},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Somebody else, who issues.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
struct Issued {
    chain: String,
    key: String,
    der: Vec<u8>,
}

impl Issued {
    fn whole(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "Somebody Else");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, names: &[&str]) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let leaf = CertificateParams::new(names).expect("names").signed_by(&key, &self.issuer).expect("a leaf");
        Issued { chain: leaf.pem(), key: key.serialize_pem(), der: leaf.der().to_vec() }
    }
}

/// A gateway whose certificates are in `pki` beside landlord.toml, and who issues them.
fn prepare(setup: Setup) -> (Landlord, Authority) {
    let landlord = setup.tables("[tls]\nprovider = \"files\"\nfolder = \"pki\"").prepare();
    let folder = landlord.dir().join("pki");
    fs::create_dir(&folder).expect("a folder");
    // Whatever the umask is: as root, landlord reads what only root can write.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("a mode");
    let authority = Authority::new();
    fs::write(landlord.dir().join("root.crt"), &authority.pem).expect("a root");
    (landlord, authority)
}

fn site(landlord: &Landlord, host: &str) -> Site {
    Site::new(landlord.https(), host, &landlord.dir().join("root.crt"))
}

/// The certificate that a visitor gets; nothing: the handshake fails.
fn served(site: &Site) -> Option<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stream = runtime.block_on(site.tls(Alpn::Http1)).ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

#[track_caller]
fn wait_served(site: &Site, issued: &Issued) {
    eventually(format!("{} gets its new certificate", site.host()), || {
        (served(site).as_ref() == Some(&issued.der)).then_some(())
    });
}

fn certs(landlord: &Landlord) -> Vec<serde_json::Value> {
    serde_json::from_str(&landlord.landlord(&["certs", "--json"]).expect(0).stdout).expect("a list")
}

#[test]
fn a_new_file_is_served_under_traffic_and_a_bad_one_changes_nothing() {
    let (mut landlord, authority) = prepare(Setup::new().tenant("acme", "domains = [\"www.acme.example\"]"));
    let pki = landlord.dir().join("pki");
    let first = authority.issue(&["*.apps.test", "apps.test"]);
    fs::write(pki.join("zone.pem"), first.whole()).expect("a file");
    landlord.start_again();
    landlord.wait_state("acme", "running");
    let (zone, domain) = (site(&landlord, "acme.apps.test"), site(&landlord, "www.acme.example"));
    wait_served(&zone, &first);
    assert_eq!(served(&domain), None, "nobody has given one for it");
    assert_eq!(served(&site(&landlord, "nobody.apps.test")), None, "a name that is nobody's gets no certificate");
    let said = landlord.landlord(&["status"]).expect(0);
    assert!(said.said().contains("is for www.acme.example"), "{}", said.said());

    let crowd = Traffic::start(zone.clone(), Load::new(Kind::NewConnection, 25));
    crowd.wait_answered(10);
    // The custom domain's, in two files; then the zone's anew, and anew by a file that is a bad one for a while.
    let own = authority.issue(&["www.acme.example"]);
    fs::write(pki.join("acme.crt"), &own.chain).expect("a file");
    fs::write(pki.join("acme.key"), &own.key).expect("a file");
    wait_served(&domain, &own);
    let second = authority.issue(&["*.apps.test", "apps.test"]);
    fs::write(pki.join("zone.pem"), second.whole()).expect("a file");
    wait_served(&zone, &second);
    fs::write(pki.join("zone.pem"), &second.chain).expect("a file");
    eventually("the bad file is said", || {
        landlord.landlord(&["status"]).said().contains("holds no private key").then_some(())
    });
    assert!(landlord.logs().contains("kept_previous"), "{}", landlord.logs());
    assert_eq!(served(&zone).as_ref(), Some(&second.der), "the last good one");
    let third = authority.issue(&["*.apps.test", "apps.test"]);
    fs::write(pki.join("zone.pem"), third.whole()).expect("a file");
    wait_served(&zone, &third);
    eventually("nothing is wrong any more", || {
        (!landlord.landlord(&["status"]).said().contains("certificates:")).then_some(())
    });
    crowd.wait_answered(10);
    crowd.stop().assert_none_lost(20);

    let list = certs(&landlord);
    let name = |entry: &serde_json::Value| (entry["name"].clone(), entry["source"].clone(), entry["state"].clone());
    let told: Vec<_> = list.iter().map(name).collect();
    assert_eq!(
        told,
        [("*.apps.test", "files", "valid"), ("www.acme.example", "files", "valid")].map(|(a, b, c)| (
            a.into(),
            b.into(),
            c.into()
        ))
    );
    assert_eq!(list[1]["tenant"], "acme");
}

#[test]
fn certbots_folders_are_read_and_another_provider_needs_no_restart() {
    let (mut landlord, authority) = prepare(Setup::new().tenant("acme", ""));
    let (live, archive) = (landlord.dir().join("pki/acme"), landlord.dir().join("archive"));
    for folder in [&live, &archive] {
        fs::create_dir(folder).expect("a folder");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let put = |issued: &Issued, nth: u32| {
        for (name, text) in [("privkey", &issued.key), ("fullchain", &issued.chain)] {
            let (file, link) = (archive.join(format!("{name}{nth}.pem")), live.join(format!("{name}.pem")));
            fs::write(&file, text).expect("a file");
            symlink(&file, live.join("new")).expect("a link");
            fs::rename(live.join("new"), link).expect("a link in its place");
        }
    };
    let (first, second) = (authority.issue(&["acme.apps.test"]), authority.issue(&["acme.apps.test"]));
    put(&first, 1);
    landlord.start_again();
    landlord.wait_state("acme", "running");
    let acme = site(&landlord, "acme.apps.test");
    wait_served(&acme, &first);
    put(&second, 2);
    wait_served(&acme, &second);

    landlord.edit_config("provider = \"files\"\nfolder = \"pki\"", "provider = \"local\"");
    let root = landlord.state().join("certs/local-ca.pem");
    eventually("the local CA", || root.exists().then_some(()));
    eventually("the local CA's", || served(&landlord.site("acme")));
    assert_eq!(certs(&landlord)[0]["source"], "local");
    landlord.edit_config("provider = \"local\"", "provider = \"files\"\nfolder = \"pki\"");
    wait_served(&acme, &second);
}

#[test]
fn the_laptops_ca_is_one_that_openssl_and_curl_know() {
    let landlord = Setup::new().tenant("acme", "domains = [\"www.acme.com\"]").start();
    landlord.wait_state("acme", "running");
    let trust = landlord.state().join("certs/local-ca-trust.pem");
    let judge = |ca: &Path, host: &str| {
        let (port, ca) = (landlord.https().port(), ca.display());
        let resolve = format!("{host}:{port}:{}", landlord.https().ip());
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--resolve", &resolve, "--cacert", &ca.to_string()]);
        installation::run(curl.arg(format!("https://{host}:{port}/"))).expect(0);
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-verify_return_error", "-brief", "-servername", host, "-verify_hostname", host]);
        openssl.args(["-CAfile", &ca.to_string(), "-connect", &landlord.https().to_string()]);
        let said = installation::run(openssl.stdin(std::process::Stdio::null())).expect(0);
        assert!(said.said().contains("Verification: OK"), "{}", said.said());
    };
    for host in ["acme.apps.test", "www.acme.com"] {
        judge(&landlord.ca(), host);
        judge(&trust, host);
    }
    let mut text = Command::new("openssl");
    text.args(["x509", "-noout", "-ext", "nameConstraints", "-in"]).arg(&trust);
    let said = installation::run(&mut text).expect(0);
    for words in ["X509v3 Name Constraints: critical", "DNS:apps.test", "DNS:localhost", "DNS:www.acme.com"] {
        assert!(said.said().contains(words), "{words} is not in {}", said.said());
    }
}
