//! The digest of all that makes a new generation necessary.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Branding, Digest, Environment, Host, Listen, Sandbox, Tenant};

/// What a worker sees or is started with, and nothing else. The order of the fields is part of the digest.
#[derive(Serialize)]
struct Seen<'a> {
    command: &'a [String],
    migrate: &'a Option<Vec<String>>,
    root: &'a Option<std::path::PathBuf>,
    version: &'a Option<String>,
    listen: Listen,
    stop_signal: &'a str,
    stop_timeout_ms: u128,
    company: &'a str,
    environment: &'a Environment,
    features: &'a [String],
    max_users: Option<u32>,
    branding: &'a Branding,
    env: &'a BTreeMap<String, String>,
    url_host: Option<&'a Host>,
    nice: u32,
    user: &'a Option<String>,
    sandbox: &'a Sandbox,
}

/// SHA-256 in hex. Health, deploy, sleep, other hosts and what only the proxy acts on are left out, and what a control group
/// can change under a worker that runs: memory, processor and processes.
pub(super) fn of(tenant: &Tenant) -> Digest {
    let app = &tenant.app;
    let seen = Seen {
        command: &app.command,
        migrate: &app.migrate,
        root: &app.root,
        version: &app.version,
        listen: app.listen,
        stop_signal: &app.stop_signal,
        stop_timeout_ms: app.stop_timeout.as_millis(),
        company: &tenant.company,
        environment: &tenant.environment,
        features: &tenant.features,
        max_users: tenant.max_users,
        branding: &tenant.branding,
        env: &tenant.env,
        url_host: tenant.canonical.as_ref().or(tenant.hosts.first()),
        nice: tenant.limits.nice,
        user: &tenant.user,
        sandbox: &tenant.sandbox,
    };
    // Only a path that is no UTF-8 could fail, and all paths come from TOML; its debug text is as unique.
    let bytes = serde_json::to_vec(&seen).unwrap_or_else(|_| format!("{tenant:?}").into_bytes());
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    Digest(hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{gateway::tests::house, tenant};

    fn digest(house_text: &str, text: &str) -> Digest {
        let name = "acme".parse().unwrap();
        tenant::read(&house(house_text), &name, Path::new("acme.toml"), text.as_bytes()).unwrap().digest
    }

    #[test]
    fn what_the_worker_sees_is_in_it() {
        let plain = digest("", "");
        assert_eq!(plain.0.len(), 64);
        for text in [
            "company = 'x'",
            "environment = 'dev'",
            "features = ['a']",
            "max_users = 1",
            "env.A = 1",
            "branding.contact = 'x'",
            "limits.nice = 1",
            "user = 'x'",
            "sandbox.read = ['/x']",
            "sandbox.egress = ['443']",
            "domains = ['a.example.org']\ncanonical = 'a.example.org'",
        ] {
            assert_ne!(digest("", text), plain, "{text}");
        }
        for house in [
            "apps.workspace.version = '2'",
            "apps.workspace.command = ['x']",
            "apps.workspace.migrate = ['x']",
            "apps.workspace.listen = 'port'",
            "apps.workspace.root = '/x'",
            "apps.workspace.env.A = 1",
            "apps.workspace.stop_signal = 'SIGINT'",
            "apps.workspace.stop_timeout = '1s'",
            "defaults.limits.nice = 1",
        ] {
            assert_ne!(digest(house, ""), plain, "{house}");
        }
    }

    #[test]
    fn what_needs_no_other_process_is_not() {
        let plain = digest("", "");
        for text in [
            "company = 'acme'",
            "# a comment",
            "domains = ['a.example.org']",
            "suspended = true",
            "limits = { body = 1, held_requests = 1, requests_per_second = 1, concurrent_requests = 1, storage = '1G', cpu_weight = 1 }",
            "limits = { memory = '1G', memory_high = '1G', cpu = 1, processes = 1, io_weight = 1 }",
            "health = { path = '/x', interval = '9s' }",
            "deploy.strategy = 'hold'",
            "sleep.after = '5m'",
            "backup.keep = 1",
            "tls.hsts = '1y'",
        ] {
            assert_eq!(digest("", text), plain, "{text}");
        }
        assert_eq!(
            digest(
                "defaults.health.interval = '9s'\ndefaults.tls.hsts = '1y'\nhttp.streams = 5\napps.workspace.health = '/x'",
                ""
            ),
            plain
        );
    }
}
