//! How long a custom domain waits for its padlock.

use std::{
    fs,
    time::{Duration, Instant},
};

use harness::authority::Authority;

/// Companies that are let in one by one.
const COMPANIES: usize = 20;
/// Between two tries of a visitor who is not let in yet.
const GLANCE: Duration = Duration::from_millis(2);
/// How long one may take before something is wrong.
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) async fn measure() {
    super::head("from file close to the first 200 over HTTPS, ms");
    for (challenge, word) in [("tls-alpn-01", "in a handshake"), ("http-01", "in clear text")] {
        let took = each(challenge).await;
        super::row(&format!("{COMPANIES} custom domains, one by one, looked at {word}"), &took);
    }
    println!();
}

async fn each(challenge: &str) -> Vec<Duration> {
    let authority = Authority::start();
    let hosts: Vec<String> = (0..COMPANIES).map(|number| format!("d{number}.test")).collect();
    authority.zone().point(&hosts);
    let acme = format!("challenges = [{challenge:?}]\n");
    let landlord = authority.setup_with(&acme, &authority.dns_table()).start();
    landlord.wait_certificate("*.apps.test", "valid");
    let mut took = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let site = authority.site(&landlord, host);
        let file = landlord.tenant_file(&format!("company-{number}"));
        fs::write(file, format!("domains = [{host:?}]\n")).expect("a file is dropped");
        let closed = Instant::now();
        while !site.get("/").await.is_ok_and(|page| page.status == 200) {
            assert!(closed.elapsed() < LONGEST, "{host} never came:\n{}", landlord.logs());
            tokio::time::sleep(GLANCE).await;
        }
        took.push(closed.elapsed());
    }
    took
}
