//! A secondary server that lags behind.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use super::{Zone, named::Named, zone};
use crate::eventually;

/// A second server of every zone. What was there at its start it has; what is new it takes when [`Lagging::catch_up`] says so.
#[derive(Debug)]
pub struct Lagging {
    named: Named,
    primary: SocketAddr,
}

impl Lagging {
    #[track_caller]
    pub(super) fn start(dir: &Path, port: u16, primary: &Zone) -> Self {
        let dir = dir.join("lagging");
        fs::create_dir(&dir).expect("a folder");
        let address = primary.address();
        let mut zones = String::new();
        for name in zone::ZONES {
            zones.push_str(&format!(
                "zone \"{name}.\" {{ type secondary; primaries {{ {} port {}; }}; min-refresh-time 3600; }};\n",
                address.ip(),
                address.port()
            ));
        }
        let lagging = Self { named: Named::start(&dir, port, &zones), primary: address };
        eventually("the secondary has every zone", || lagging.is_even().then_some(()));
        lagging
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.named.address
    }

    /// Takes what is new, once.
    #[track_caller]
    pub fn catch_up(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
        eventually("the secondary is even with the primary", || {
            for name in zone::ZONES {
                let _ = socket.send_to(&notify(name), self.address());
                let _ = socket.recv(&mut [0; 512]);
            }
            self.is_even().then_some(())
        });
    }

    /// How often it was asked for this.
    pub fn asked(&self, name: &str, kind: &str) -> usize {
        let query = format!("query: {name} IN {kind} ");
        self.named.log.lines().iter().filter(|line| line.contains(&query)).count()
    }

    fn is_even(&self) -> bool {
        let serial = |server, name: &str| zone::look(server, &format!("{name}."), "SOA");
        zone::ZONES.iter().all(|name| {
            let own = serial(self.address(), name);
            !own.is_empty() && own == serial(self.primary, name)
        })
    }
}

/// NOTIFY (RFC 1996): look whether the zone's serial is another.
fn notify(zone: &str) -> Vec<u8> {
    // Opcode 4, authoritative, one question: SOA, class IN.
    let mut message = b"\x77\x77\x24\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in zone.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).expect("a label"));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(b"\0\0\x06\0\x01");
    message
}
