//! A bind9 of a test's own, on a free port.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
};

/// 32 octets, base64.
pub(super) const SECRET: &str = "bGFuZGxvcmQgbGFuZGxvcmQgbGFuZGxvcmQgMTIzNDU=";

/// Servers that are on port 53 of documentation addresses as far as DNS knows, and on free ports of ours in truth: bind9
/// listens only on addresses that an interface has.
#[derive(Clone, Debug)]
pub(super) struct Net {
    ports: Vec<u16>,
}

impl Net {
    const SERVERS: usize = 10;

    pub(super) fn new() -> Self {
        // All at once, so that no two are the same; each free for UDP too.
        let mut held = Vec::new();
        while held.len() < Self::SERVERS {
            let tcp = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let at = tcp.local_addr().expect("its address");
            if let Ok(udp) = std::net::UdpSocket::bind(at) {
                held.push((at.port(), tcp, udp));
            }
        }
        Self { ports: held.iter().map(|(port, _, _)| *port).collect() }
    }

    /// In DNS.
    pub(super) fn ip(&self, last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    /// In truth.
    pub(super) fn at(&self, last: u8) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.ports[usize::from(last)])
    }

    /// From the one to the other.
    pub(super) fn map(&self) -> BTreeMap<IpAddr, SocketAddr> {
        (0..10).map(|last| (self.ip(last), self.at(last))).collect()
    }
}

/// Ends with the test.
pub(super) struct Named {
    child: Child,
    _folder: tempfile::TempDir,
}

/// One zone.
pub(super) enum Zone<'a> {
    /// Its name, and its records below SOA and NS.
    Primary(&'a str, &'a str),
    /// Its name, and where its primary is.
    Secondary(&'a str, SocketAddr),
}

impl Named {
    /// A server that is ready.
    pub(super) fn start(at: SocketAddr, zones: &[Zone<'_>]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let mut conf = format!(
            r#"options {{ directory "{}"; pid-file none; lock-file none; session-keyfile none; recursion no; notify no;
              dnssec-validation no; empty-zones-enable no; listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }};
              allow-query {{ any; }}; allow-transfer {{ any; }}; allow-notify {{ any; }}; }};
              controls {{ }};
              key "landlord" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
              key "elsewhere" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
            "#,
            path.display(),
            at.port(),
            at.ip(),
        );
        for zone in zones {
            conf.push_str(&zone.write(path));
        }
        let file = path.join("named.conf");
        std::fs::write(&file, conf).expect("named.conf");
        let mut child = Command::new("named")
            .args(["-g", "-n", "1", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("named cannot be run ({error}): apt-get install bind9"));
        let log = BufReader::new(child.stderr.take().expect("its stderr"));
        let (ready, wait) = std::sync::mpsc::channel();
        // Read on to the end, so that it never waits for us.
        std::thread::spawn(move || {
            let mut seen = String::new();
            for line in log.lines().map_while(Result::ok) {
                let _ = writeln!(seen, "{line}");
                if line.ends_with(" running") {
                    let _ = ready.send(Ok(()));
                }
            }
            let _ = ready.send(Err(seen));
        });
        if let Err(log) = wait.recv().expect("a word of named") {
            panic!("named has ended:\n{log}");
        }
        Self { child, _folder: folder }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Zone<'_> {
    fn write(&self, folder: &Path) -> String {
        match self {
            Self::Primary(name, records) => {
                let file = folder.join(format!("{name}.db"));
                let text = format!("$TTL 60\n@ SOA ns1 root 1 86400 86400 864000 60\n{records}\n");
                std::fs::write(&file, text).expect("a zone");
                format!(
                    "zone \"{name}\" {{ type primary; file \"{}\"; update-policy {{ grant landlord zonesub TXT; }}; }};\n",
                    file.display()
                )
            }
            Self::Secondary(name, primary) => format!(
                "zone \"{name}\" {{ type secondary; primaries {{ {} port {}; }}; }};\n",
                primary.ip(),
                primary.port()
            ),
        }
    }
}
