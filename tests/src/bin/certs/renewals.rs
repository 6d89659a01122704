//! Whether anybody notices that certificates are renewed.

use std::time::{Duration, Instant};

use harness::{
    authority::Authority,
    traffic::{Kind, Load, Report, Traffic, share_of},
};

/// Custom domains, each with crowds of its own.
const DOMAINS: usize = 4;
/// Renewals of each. The budget lets through three certificates of one name a week.
const ROUNDS: usize = 2;
/// Requests a second of each crowd.
const RATE: u32 = 25;

pub(crate) fn measure() {
    let authority = Authority::start();
    let hosts: Vec<String> = (0..DOMAINS).map(|number| format!("d{number}.test")).collect();
    authority.zone().point(&hosts);
    let tenant = |number: usize| format!("domains = [{:?}]\n", hosts[number]);
    let setup = (0..DOMAINS).fold(authority.setup(), |setup, at| setup.tenant(&format!("t{at}"), &tenant(at)));
    let landlord = setup.start();
    landlord.wait_certificates(2 * harness::PATIENCE, "every certificate", |all| {
        all.len() > DOMAINS && all.iter().all(|one| one.state == "valid")
    });
    let mut crowds = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        landlord.wait_state(&format!("t{number}"), "running");
        let site = authority.site(&landlord, host);
        crowds.extend(Kind::ALL.map(|kind| Traffic::start(site.clone(), Load::new(kind, RATE))));
    }
    Traffic::wait_all_answered(&crowds, u64::from(RATE));
    let (mut took, mut windows) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for host in &hosts {
            let begun = Instant::now();
            landlord.renew(host).expect(0);
            took.push(begun.elapsed());
            windows.push((begun, Instant::now()));
        }
    }
    Traffic::wait_all_answered(&crowds, u64::from(RATE));
    let reports: Vec<Report> = crowds.into_iter().map(Traffic::stop).collect();

    println!("{} renewals of {DOMAINS} custom domains, under crowds of {RATE} requests a second and kind", took.len());
    println!("{:<38}{:>10}{:>10}{:>14}{:>14}", "", "sent", "lost", "p99.9, ms", "worst, ms");
    let handshakes = format!("{:?}", Kind::NewConnection);
    for kind in Kind::ALL {
        let of: Vec<&Report> = reports.iter().filter(|report| report.kind == kind).collect();
        let latencies: Vec<Duration> = of.iter().flat_map(|report| report.latencies_within(&windows)).collect();
        let ms = |share| share_of(latencies.clone(), share).as_secs_f64() * 1e3;
        let (sent, lost) = of.iter().fold((0, 0), |(sent, lost), report| (sent + report.sent, lost + report.lost()));
        let name = format!("{kind:?}");
        let name = if name == handshakes { format!("{name} (a handshake each)") } else { name };
        println!("{name:<38}{sent:>10}{lost:>10}{:>14.1}{:>14.1}", ms(0.999), ms(1.0));
    }
    println!();
    super::head("from `landlord certs renew` to served by every core, ms");
    super::row("a renewal", &took);
    println!();
}
