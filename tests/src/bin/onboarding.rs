//! How long a company waits: from the close of its file to the first 200 over HTTPS, with the bundled worker.
//! And what a routed company costs: the proxy's resident memory with 0, 100 and 1,000 of them.
//!
//! `scripts/bench onboarding` builds it and runs it; it uses the programs beside itself.

#![allow(clippy::print_stdout, reason = "its figures are its output")]

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Stdio,
    time::{Duration, Instant},
};

use harness::{Landlord, Setup, binaries, client::Site, ports::Ports, process};

/// Companies that are let in one by one.
const COMPANIES: usize = 50;
/// Starts of a worker without a gateway.
const ALONE: usize = 10;
/// Between two tries of a visitor who is not let in yet.
const GLANCE: Duration = Duration::from_millis(1);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        println!("{:<46}{:>10}{:>10}{:>10}", "from file close to the first 200, ms", "median", "p90", "worst");
        row(&format!("{COMPANIES} companies, one by one"), onboard().await);
        row("of which: the worker's own start, alone", (0..ALONE).map(|_| alone()).collect());
        println!();
        println!("{:<46}{:>10}{:>16}", "companies routed", "RSS, MiB", "KiB a company");
        let mut empty = None;
        for count in [0, 100, 1000] {
            let bytes = routed(count).await;
            let base = *empty.get_or_insert(bytes);
            let each = if count == 0 { 0.0 } else { bytes.saturating_sub(base) as f64 / 1024.0 / count as f64 };
            println!("{count:<46}{:>10.1}{each:>16.1}", bytes as f64 / f64::from(1 << 20));
        }
    });
}

fn row(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    println!("{what:<46}{:>10.1}{:>10.1}{:>10.1}", at(0.5), at(0.9), at(1.0));
}

async fn onboard() -> Vec<Duration> {
    let landlord = Setup::new().default_app("workspace").start();
    let mut took = Vec::new();
    for number in 0..COMPANIES {
        let name = format!("company-{number}");
        let site = landlord.site(&name);
        fs::write(landlord.tenant_file(&name), format!("company = \"Company {number}\"\n")).expect("a file is dropped");
        let closed = Instant::now();
        first_page(&landlord, &site, closed).await;
        took.push(closed.elapsed());
    }
    took
}

/// Returns at the first 200.
async fn first_page(landlord: &Landlord, site: &Site, since: Instant) {
    loop {
        // Until the certificate is there the handshake fails; from then on the request waits for the worker.
        if site.get("/").await.is_ok_and(|page| page.status == 200) {
            return;
        }
        assert!(since.elapsed() < harness::PATIENCE, "{} never came:\n{}", site.host(), landlord.logs());
        tokio::time::sleep(GLANCE).await;
    }
}

/// The bundled worker without a gateway: from its spawn to its listening.
fn alone() -> Duration {
    let (dir, ports) = (tempfile::tempdir().expect("a folder"), Ports::take());
    let port = *ports.workers().start();
    fs::create_dir(dir.path().join("instance")).expect("a folder");
    let mut command = process::leashed(&binaries::program("landlord-worker"));
    command.arg("serve").current_dir(dir.path()).env("PORT", port.to_string()).env("TENANT_DIR", dir.path());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = process::spawn(command).expect("the worker starts");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < harness::PATIENCE, "the worker never listens");
        std::thread::sleep(GLANCE);
    }
    let took = start.elapsed();
    let _ = child.kill();
    let _ = child.wait();
    took
}

/// The proxy's resident memory with so many companies in its table. Suspended ones are routed like any other, to a
/// page, so that no thousand workers are needed.
async fn routed(count: usize) -> u64 {
    let name = |number: usize| format!("company-{number}");
    let setup = (0..count).fold(Setup::new(), |setup, number| setup.tenant(&name(number), "suspended = true\n"));
    let landlord = setup.start();
    landlord.watch().until("every company is known", |fleet| {
        fleet.iter().filter(|entry| entry.state == "suspended").count() == count
    });
    if let Some(last) = count.checked_sub(1) {
        for number in [0, last] {
            let site = landlord.site(&name(number));
            let page = harness::eventually_async("it is routed", async || site.get("/").await.ok()).await;
            assert_eq!(page.status, 503, "a suspended company's page");
        }
    }
    landlord.proxies().into_iter().filter_map(process::resident).sum()
}
