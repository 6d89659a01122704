//! A changed landlord.toml: what of it is in force at once, and what waits for the next start.

use super::{certificates::Certificates, house::House};
use crate::model::Gateway;

impl House {
    /// New settings of the gateway: what can change while it runs does; what cannot is told.
    pub(super) fn take_settings(&mut self, read: Gateway) {
        self.notices.remove("landlord.toml");
        let later = for_the_next_start(&read, &self.gateway);
        if !later.is_empty() {
            let sentence = format!("landlord.toml: changed, and for the next start of landlord: {}", later.join(", "));
            tracing::warn!("{sentence}");
            self.notices.insert("landlord.toml", sentence);
        }
        if (read.tls, &read.certificates) != (self.gateway.tls, &self.gateway.certificates) {
            self.take_provider(&read);
        }
        let next = following(read, &self.gateway);
        let before = std::mem::replace(&mut self.gateway, next);
        let now = &self.gateway;
        if now.http != before.http {
            tracing::info!("[http] changed: a new proxy takes over, which has it from its start");
            self.outdated = true;
        }
        if now.tenants != before.tenants {
            self.watch = super::watch::Watch::new(&now.tenants, now.file.as_deref());
        }
        self.ports.resize(now.ports);
        if now.ports != before.ports {
            self.suit_firewall();
        }
        self.sleepers.stirred = true;
        self.keep_settings();
        self.acme_changed(&before.acme.directory);
        self.untold = true;
    }

    /// Certificates from elsewhere than before. Where that cannot be, those of before stay.
    fn take_provider(&mut self, read: &Gateway) {
        let wanted = Gateway { tls: read.tls, certificates: read.certificates.clone(), ..self.gateway.clone() };
        match Certificates::open(&wanted) {
            Ok(certificates) => {
                tracing::info!("[tls] changed: certificates are from elsewhere now");
                self.certificates = certificates;
                self.gateway = wanted;
                self.uncertified = true;
                self.look_at_certificates();
            }
            Err(error) => {
                let sentence =
                    format!("landlord.toml: [tls] cannot be followed, the certificates of before stay: {error}");
                tracing::error!("{sentence}");
                self.notices.insert("landlord.toml", sentence);
            }
        }
    }
}

/// What is in force from now on: all that was read, but for what a start alone can change, and the certificates' source, which
/// is taken by itself.
fn following(read: Gateway, now: &Gateway) -> Gateway {
    Gateway {
        file: now.file.clone(),
        zone: now.zone.clone(),
        state: now.state.clone(),
        run: now.run.clone(),
        listen: now.listen.clone(),
        users: now.users,
        users_written: now.users_written,
        log_file_bytes: now.log_file_bytes,
        log_files: now.log_files,
        tls: now.tls,
        certificates: now.certificates.clone(),
        ..read
    }
}

/// What differs and cannot change while landlord runs, by its name in landlord.toml.
fn for_the_next_start(read: &Gateway, now: &Gateway) -> Vec<&'static str> {
    let differs = [
        ("zone", read.zone != now.zone),
        ("state", read.state != now.state),
        ("run", read.run != now.run),
        ("[listen]", read.listen != now.listen),
        ("[users]", (read.users, read.users_written) != (now.users, now.users_written)),
        ("[logs]", (read.log_file_bytes, read.log_files) != (now.log_file_bytes, now.log_files)),
    ];
    differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::gateway::tests::house;

    #[test]
    fn what_needs_no_start_is_in_force_and_the_rest_is_told() {
        let now = house("");
        let live = "tenants = 'elsewhere.d'\nmax_running = 3\ndisk.ballast = '1M'\nports.first = 20001\nhttp.streams = 5\n\
                    apps.workspace.version = '2'\n[defaults]\nlimits.nice = 1\nhealth.interval = '9s'\n\
                    deploy.hold_timeout = '9s'\nsleep.after = '9s'\nsandbox.read = ['/x']\ntls.hsts = '1y'\n";
        let read = house(live);
        assert!(for_the_next_start(&read, &now).is_empty());
        assert_eq!(following(read.clone(), &now), read);

        let start = "state = 'there'\nrun = 'here'\nlisten.https = ['127.0.0.1:1']\nusers = 'none'\n\
                     logs.files = 9\n";
        let read = Gateway { zone: "example.org".parse().unwrap(), ..house(start) };
        let words = ["zone", "state", "run", "[listen]", "[users]", "[logs]"];
        assert_eq!(for_the_next_start(&read, &now), words);
        assert!(for_the_next_start(&following(read, &now), &now).is_empty());
    }
}
