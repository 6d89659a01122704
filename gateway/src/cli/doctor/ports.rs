//! Addresses to listen on: whether they can be had, and who has them; the range of workers' ports.

use std::net::SocketAddr;

use super::{Finding, Level, Subject, read, service};
use crate::{
    cli::client::ClientError,
    model::PortRange,
    sys::{
        identity,
        listen::{self, ListenError},
    },
};

pub(super) fn examine(subject: &Subject, findings: &mut Vec<Finding>) {
    let Some(gateway) = &subject.gateway else { return };
    let running = subject.running.as_ref().ok();
    let ours: Vec<u32> = running.iter().flat_map(|it| [Some(it.gateway.pid), it.gateway.proxy_pid]).flatten().collect();
    for addr in gateway.listen.https.iter().chain(&gateway.listen.http) {
        findings.push(match listen::may_listen(*addr) {
            // The descriptors of a service that are to outlive it.
            Err(ListenError::AddrInUse { holder: Some(holder), .. }) if holder.pid == 1 && service::is_wanted() => {
                let found = "systemd keeps the sockets for landlord";
                Finding::ok(&format!("listen {addr}"), found, "visitors wait here while landlord is started again")
            }
            // Nobody but root may ask, so somebody runs it.
            Err(ListenError::NotPermitted { .. }) if matches!(subject.running, Err(ClientError::Denied(_))) => {
                let found = "not for this user, and a landlord of another user may have it";
                Finding::ok(&format!("listen {addr}"), found, "").but(Level::Note, "sudo landlord doctor")
            }
            tried => address(*addr, tried, &ours),
        });
    }
    let local = read("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let reserved = read("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    findings.push(worker_ports(gateway.ports, &local, &reserved));
}

fn address(addr: SocketAddr, tried: Result<(), ListenError>, ours: &[u32]) -> Finding {
    let name = format!("listen {addr}");
    match tried {
        Ok(()) => Finding::ok(&name, "free", "landlord can listen here"),
        Err(ListenError::AddrInUse { holder: Some(holder), .. }) if ours.contains(&holder.pid) => {
            Finding::ok(&name, format!("the running landlord has it, as {holder}"), "visitors are served here")
        }
        // Without root another user's process cannot be named; one of ours that listens there is landlord itself.
        Err(ListenError::AddrInUse { holder: None, .. }) if !ours.is_empty() => {
            Finding::ok(&name, "in use, most likely by the running landlord", "visitors are served here").noted()
        }
        Err(error @ ListenError::AddrInUse { .. }) => {
            let remedy = match &error {
                ListenError::AddrInUse { holder: Some(holder), .. } => {
                    format!("end pid {}, or choose another address under [listen] in landlord.toml", holder.pid)
                }
                _ => format!("sudo ss -ltnp 'sport = :{}' names it", addr.port()),
            };
            Finding::ok(&name, error.to_string(), "landlord does not start").but(Level::Problem, remedy)
        }
        Err(error @ ListenError::NotPermitted { .. }) => {
            Finding::ok(&name, error.to_string(), "landlord does not start as this user").but(
                Level::Problem,
                format!("sysctl net.ipv4.ip_unprivileged_port_start={}, or start the service", addr.port()),
            )
        }
        Err(error) => Finding::ok(&name, error.to_string(), "landlord does not start")
            .but(Level::Problem, "choose another address under [listen] in landlord.toml"),
    }
}

/// Ports that any program may be given for a connection of its own are no good for workers.
fn worker_ports(range: PortRange, local: &str, reserved: &str) -> Finding {
    let name = "worker_ports";
    let PortRange { first, last } = range;
    let found = format!("{first} to {last}, for {} workers", u32::from(last).saturating_sub(first.into()) + 1);
    let Some((low, high)) = pair(local) else {
        return Finding::ok(name, found, "the machine's own range for connections cannot be read").noted();
    };
    let taken = (first.max(low)..=last.min(high)).filter(|port| !is_reserved(*port, reserved)).count();
    if taken == 0 {
        return Finding::ok(name, found, format!("apart from {low} to {high}, which connections are given"));
    }
    let fix = match identity::is_root() {
        true => "sysctl",
        false => "sudo sysctl",
    };
    Finding::ok(
        name,
        format!("{found}; {taken} of them are among {low} to {high}, which connections are given"),
        "now and then a worker's port is taken by somebody's connection, and its start waits for another port",
    )
    .but(
        Level::Warning,
        format!("{fix} net.ipv4.ip_local_reserved_ports={first}-{last}, or other [ports] in landlord.toml"),
    )
}

/// Two numbers with space between.
fn pair(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

/// Whether a list such as `8080,9000-9100` holds `port`.
fn is_reserved(port: u16, list: &str) -> bool {
    list.split(',').any(|item| {
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let ends: (Result<u16, _>, Result<u16, _>) = (low.trim().parse(), high.trim().parse());
        matches!(ends, (Ok(low), Ok(high)) if (low..=high).contains(&port))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sys::listen::Holder;

    #[test]
    fn ranges_that_overlap_are_told_unless_reserved() {
        let level = |first, last, reserved| worker_ports(PortRange { first, last }, "32768\t60999", reserved).level;
        assert_eq!(level(20_000, 29_999, ""), Level::Ok);
        assert_eq!(level(30_000, 32_768, ""), Level::Warning);
        assert_eq!(level(60_999, 61_000, ""), Level::Warning);
        assert_eq!(level(40_000, 40_010, "80,40000-40009"), Level::Warning);
        assert_eq!(level(40_000, 40_010, "40000-40009,40010"), Level::Ok);
        assert_eq!(worker_ports(PortRange { first: 1, last: 2 }, "nonsense", "").level, Level::Note);
        assert!(
            worker_ports(PortRange { first: 32_767, last: 32_770 }, "32768 60999", "").found.contains("; 3 of them")
        );
    }

    #[test]
    fn who_has_an_address_is_named() {
        let addr: SocketAddr = "127.0.0.1:443".parse().unwrap();
        let taken =
            |pid| Err(ListenError::AddrInUse { addr, holder: Some(Holder { pid, command: "nginx: master".into() }) });
        let other = address(addr, taken(7), &[8, 9]);
        assert_eq!(other.level, Level::Problem);
        assert!(other.found.contains("pid 7 (nginx: master)"), "{other:?}");
        assert_eq!(address(addr, taken(9), &[8, 9]).level, Level::Ok);
        assert_eq!(address(addr, Ok(()), &[]).level, Level::Ok);
        assert_eq!(address(addr, Err(ListenError::NotPermitted { addr }), &[]).level, Level::Problem);
    }
}
