//! The DNS of a test: `apps.test`, which landlord may write challenge records into, and everything else below `test`.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{DNS_KEY_NAME, named::Named, pebble::program};
use crate::Output;

/// The key that changes everything, for the test itself.
const HOUSE_KEY: &str = "house";
/// The zones, their names without the last dot.
pub(super) const ZONES: [&str; 4] = ["apps.test", "delegated.test", "test", ""];

/// A primary server of these zones:
///
/// * `apps.test`, whose apex and wildcard point at 127.0.0.1; landlord's key may write TXT records there;
/// * `delegated.test`, where it may too, for CNAMEs;
/// * `test`, where it may write nothing: custom domains of a test's own;
/// * the root, so that no other name exists.
#[derive(Debug)]
pub struct Zone {
    named: Named,
    dir: PathBuf,
}

impl Zone {
    #[track_caller]
    pub(super) fn start(dir: &Path, port: u16) -> Self {
        let dir = dir.join("dns");
        fs::create_dir(&dir).expect("a folder");
        let mut text = String::new();
        for name in [DNS_KEY_NAME, HOUSE_KEY] {
            let key = keygen(name);
            let secret = key.split('"').nth(3).expect("key \"NAME\" { … secret \"SECRET\"; }").to_owned();
            super::secret(&dir, &format!("{name}.key"), &secret);
            fs::write(dir.join(format!("{name}.conf")), &key).expect("a key is written");
            text.push_str(&key);
        }
        for zone in ZONES {
            let landlord = if ["apps.test", "delegated.test"].contains(&zone) {
                format!("grant {DNS_KEY_NAME} zonesub TXT; ")
            } else {
                String::new()
            };
            fs::write(dir.join(file(zone)), records(zone)).expect("a zone is written");
            text.push_str(&format!(
                "zone \"{zone}.\" {{\n  type primary;\n  file {:?};\n  \
                 update-policy {{ {landlord}grant {HOUSE_KEY} zonesub ANY; }};\n}};\n",
                file(zone)
            ));
        }
        Self { named: Named::start(&dir, port, &text), dir }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.named.address
    }

    /// What it says.
    pub fn log(&self) -> &Output {
        &self.named.log
    }

    /// landlord's TSIG key, base64, alone in this file.
    pub fn key_file(&self) -> PathBuf {
        self.dir.join(format!("{DNS_KEY_NAME}.key"))
    }

    /// The same key as nsupdate reads it.
    pub fn key_conf(&self) -> PathBuf {
        self.dir.join(format!("{DNS_KEY_NAME}.conf"))
    }

    /// Makes these the only records of the name and kind: `set("shop.test", "A", &["127.0.0.1"])`.
    #[track_caller]
    pub fn set(&self, name: &str, kind: &str, values: &[&str]) {
        let mut lines = format!("update delete {name}. {kind}\n");
        for value in values {
            lines.push_str(&format!("update add {name}. 1 {kind} {value}\n"));
        }
        self.update(&lines);
    }

    /// No record of this name and kind any more.
    #[track_caller]
    pub fn remove(&self, name: &str, kind: &str) {
        self.set(name, kind, &[]);
    }

    /// Points all these custom domains at the gateway.
    #[track_caller]
    pub fn point(&self, hosts: &[String]) {
        let mut lines = String::new();
        for (number, host) in hosts.iter().enumerate() {
            lines.push_str(&format!("update add {host}. 1 A 127.0.0.1\n"));
            // A message has an end.
            if number % 100 == 99 {
                lines.push_str("send\n");
            }
        }
        self.update(&lines);
    }

    /// What dig finds, without the rest.
    #[track_caller]
    pub fn look(&self, name: &str, kind: &str) -> Vec<String> {
        look(self.address(), name, kind)
    }

    /// Every challenge record that is there, in any zone.
    #[track_caller]
    pub fn challenges(&self) -> Vec<String> {
        let zones = ["apps.test", "delegated.test"];
        let all = zones.iter().flat_map(|zone| dig(self.address(), &["+onesoa", "AXFR", zone]));
        all.filter(|line| line.split_whitespace().nth(3) == Some("TXT")).collect()
    }

    /// Every challenge record that was ever written: `name value`, in that order.
    pub fn written(&self) -> Vec<String> {
        let adding = |line: &String| Some(line.split("adding an RR at '").nth(1)?.replacen("' TXT ", " ", 1));
        self.log().lines().iter().filter(|line| line.contains("/key landlord:")).filter_map(adding).collect()
    }

    #[track_caller]
    fn update(&self, lines: &str) {
        let mut command = Command::new(program("nsupdate", "bind9-dnsutils"));
        command.arg("-k").arg(self.dir.join(format!("{HOUSE_KEY}.conf")));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsupdate starts");
        let address = self.address();
        let text = format!("server {} {}\n{lines}send\n", address.ip(), address.port());
        child.stdin.take().expect("stdin is piped").write_all(text.as_bytes()).expect("nsupdate reads");
        let output = child.wait_with_output().expect("nsupdate ends");
        assert!(output.status.success(), "nsupdate of\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What dig finds at any server, without the rest.
#[track_caller]
pub(super) fn look(server: SocketAddr, name: &str, kind: &str) -> Vec<String> {
    dig(server, &["+short", kind, name])
}

#[track_caller]
fn dig(server: SocketAddr, words: &[&str]) -> Vec<String> {
    let mut command = Command::new(program("dig", "bind9-dnsutils"));
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]).args(words);
    let output = command.output().expect("dig starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "dig {words:?}: {said}");
    said.lines().filter(|line| !line.starts_with(';') && !line.is_empty()).map(str::to_owned).collect()
}

/// A new TSIG key, as bind9's programs read it.
#[track_caller]
fn keygen(name: &str) -> String {
    let mut command = Command::new(program("tsig-keygen", "bind9"));
    let output = command.args(["-a", "hmac-sha256", name]).output().expect("tsig-keygen starts");
    String::from_utf8(output.stdout).expect("a key in ASCII")
}

/// The file of a zone.
fn file(zone: &str) -> String {
    format!("{}.zone", if zone.is_empty() { "root" } else { zone })
}

/// What a zone holds at first.
fn records(zone: &str) -> String {
    let head = "$TTL 1\n@ SOA ns.test. ops.test. 1 3600 3600 86400 1\n@ NS ns.test.\n";
    let more = match zone {
        "apps.test" => "@ A 127.0.0.1\n* A 127.0.0.1\n",
        "test" => "ns A 127.0.0.1\napps NS ns\ndelegated NS ns\n",
        "" => "test. NS ns.test.\nns.test. A 127.0.0.1\n",
        _ => "",
    };
    format!("{head}{more}")
}
