//! A gateway with ten certificates, and with ten thousand: its start, its memory, its handshakes.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use harness::{
    Landlord,
    authority::Authority,
    client::{Alpn, Site},
    process,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Custom domains of one company.
const EACH: usize = 100;
/// Handshakes that are counted, by so many visitors at once.
const HANDSHAKES: usize = 6_000;
const VISITORS: usize = 4;
/// How long a start may take before something is wrong.
const LONGEST: Duration = Duration::from_secs(300);
/// Between two tries.
const GLANCE: Duration = Duration::from_millis(5);

pub(crate) async fn measure() {
    println!(
        "{:<24}{:>18}{:>16}{:>16}{:>16}",
        "certificates on disk", "s until serving", "proxy, MiB", "master, MiB", "handshakes/s"
    );
    let mut rates = Vec::new();
    for count in [10, 10_000] {
        rates.push(with(count).await);
    }
    println!("a handshake among ten thousand costs {:.2} times one among ten", rates[0] / rates[1]);
}

/// Handshakes a second.
async fn with(count: usize) -> f64 {
    let authority = Authority::start();
    let hosts: Vec<String> = (0..count).map(|number| format!("d{number}.test")).collect();
    let companies = hosts.chunks(EACH).enumerate();
    let setup = companies.fold(authority.setup(), |setup, (number, hosts)| {
        setup.tenant(&format!("t{number}"), &format!("suspended = true\ndomains = {hosts:?}\n"))
    });
    let mut landlord = setup.prepare();
    let ca = landlord.dir().join("issuer.pem");
    issue(&landlord, &hosts, &ca);

    let launched = Instant::now();
    landlord.launch();
    for host in [&hosts[count - 1], &hosts[0]] {
        let site = Site::new(landlord.https(), host, &ca);
        while site.tls(Alpn::Http1).await.is_err() {
            assert!(launched.elapsed() < LONGEST, "{host} is not served:\n{}", landlord.logs());
            tokio::time::sleep(GLANCE).await;
        }
    }
    let served = launched.elapsed();
    // What it does behind its visitors' backs after the start is no part of the handshakes.
    harness::eventually("it answers its operator", || (landlord.landlord(&["status"]).code == 0).then_some(()));
    assert!(landlord.set_aside().is_empty(), "{:?}", landlord.set_aside());
    assert!(authority.front().placed().is_empty(), "{}", authority.front().told());
    let rate = handshakes(&landlord, &hosts, &ca).await;
    let mib = |pids: Vec<u32>| pids.into_iter().filter_map(process::resident).sum::<u64>() as f64 / f64::from(1 << 20);
    println!(
        "{count:<24}{:>18.2}{:>16.1}{:>16.1}{rate:>16.0}",
        served.as_secs_f64(),
        mib(landlord.proxies()),
        mib(vec![landlord.pid()]),
    );
    rate
}

/// One file for each of the hosts and for the zone, as the master keeps them.
fn issue(landlord: &Landlord, hosts: &[String], ca: &Path) {
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "The bench's own CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().expect("a key");
    fs::write(ca, params.self_signed(&key).expect("a CA certificate").pem()).expect("the CA is written");
    let issuer = Issuer::from_params(&params, &key);
    let folder = landlord.certificates_folder();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).expect("a folder for certificates");
    let now = SystemTime::now();
    let write = |stem: &str, names: Vec<String>| {
        let mut leaf = CertificateParams::new(names).expect("names");
        leaf.not_before = (now - Duration::from_secs(3600)).into();
        leaf.not_after = (now + Duration::from_secs(90 * 86400)).into();
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let pem = format!("{}{}", key.serialize_pem(), leaf.signed_by(&key, &issuer).expect("a leaf").pem());
        let file = folder.join(format!("{stem}.pem"));
        fs::write(&file, pem).expect("a certificate is written");
        fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    };
    write("_.apps.test", vec!["*.apps.test".into(), "apps.test".into()]);
    for host in hosts {
        write(host, vec![host.clone()]);
    }
}

/// Full handshakes, each for another host, a second.
async fn handshakes(landlord: &Landlord, hosts: &[String], ca: &Path) -> f64 {
    // Whom a visitor trusts is read once: the crowd asks for names, not for files.
    let count = hosts.len();
    let sites: Arc<Vec<Site>> = Arc::new(
        (0..count.min(500)).map(|at| Site::new(landlord.https(), &hosts[at * count / count.min(500)], ca)).collect(),
    );
    let begun = Instant::now();
    let visitors: Vec<_> = (0..VISITORS)
        .map(|visitor| {
            let sites = Arc::clone(&sites);
            tokio::spawn(async move {
                for number in 0..HANDSHAKES / VISITORS {
                    let site = &sites[(number * VISITORS + visitor) % sites.len()];
                    site.tls(Alpn::Http1).await.expect("a handshake");
                }
            })
        })
        .collect();
    for visitor in visitors {
        visitor.await.expect("no visitor panics");
    }
    HANDSHAKES as f64 / begun.elapsed().as_secs_f64()
}
