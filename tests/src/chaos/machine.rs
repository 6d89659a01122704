//! A gateway in a machine, where systemd starts its master again and everybody else lives on meanwhile.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use super::{House, house, storm::does};
use crate::{
    client::Site,
    machine::{Install, SCRIPTED, Service},
};

/// Where the programs that it may become are.
const PROGRAMS: &str = "/usr/lib/landlord-tests/programs";

/// landlord as its package installs it, under a storm.
#[derive(Debug)]
pub struct Machined(pub Service);

impl Machined {
    /// Boots, starts the gateway with these tenants, and puts the programs there that it may become.
    ///
    /// # Panics
    /// When that does not succeed.
    #[track_caller]
    pub fn start(install: Install, tenants: &BTreeMap<String, String>) -> Self {
        let install = install.tables(&house::tables(Path::new(SCRIPTED)));
        let install = tenants.iter().fold(install, |install, (name, toml)| install.tenant(name, toml));
        let service = install.start();
        for program in house::programs(Path::new(PROGRAMS)) {
            let folder = program.parent().expect("a folder").display();
            // A copy: a link would be the same file.
            let make = format!(
                "mkdir -p {folder} && cp /usr/bin/landlord {folder} && ln -s /usr/bin/landlord-worker {folder}"
            );
            service.machine().shell(&make).expect(0);
        }
        Self(service)
    }

    /// How often systemd has started a master that had ended by itself or was killed.
    #[track_caller]
    pub fn restarts(&self) -> u32 {
        self.0.machine().property("landlord", "NRestarts").parse().expect("a number")
    }
}

impl House for Machined {
    fn command(&self, args: &[&str]) -> Command {
        self.0.machine().command(&[&["landlord"], args].concat())
    }

    fn config(&self) -> PathBuf {
        self.0.machine().path("/etc/landlord/landlord.toml")
    }

    fn tenants(&self) -> PathBuf {
        self.0.machine().path("/etc/landlord/tenants.d")
    }

    fn state(&self) -> PathBuf {
        self.0.machine().path("/var/lib/landlord")
    }

    fn site(&self, tenant: &str) -> Site {
        self.0.site(tenant)
    }

    fn worker_ports(&self) -> std::ops::RangeInclusive<u16> {
        self.0.ports().workers()
    }

    fn master(&self) -> Option<u32> {
        self.processes().into_iter().find(|pid| does(*pid, "run"))
    }

    fn processes(&self) -> Vec<u32> {
        self.0.machine().seen_outside("system.slice/landlord.service")
    }

    fn revive(&mut self) {
        // systemd does, after RestartSec=.
    }

    fn gave_up(&mut self) -> Option<String> {
        // It would be started again: [`Machined::restarts`] tells.
        None
    }

    fn programs(&self) -> Vec<PathBuf> {
        house::programs(Path::new(PROGRAMS))
    }
}
