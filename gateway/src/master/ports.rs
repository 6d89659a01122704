//! Ports of workers: one per generation, out of `[ports]`.

use std::collections::BTreeSet;

use crate::model::{Gateway, PortRange};

/// Hands out ports in a circle, so that a port just released is the last to be used again.
#[derive(Debug)]
pub(super) struct Ports {
    range: PortRange,
    taken: BTreeSet<u16>,
    next: u16,
}

impl Ports {
    /// All of `[ports]` but the gateway's own.
    pub(super) fn new(gateway: &Gateway) -> Self {
        let own = gateway.listen.https.iter().chain(&gateway.listen.http).map(std::net::SocketAddr::port);
        Self { range: gateway.ports, taken: own.collect(), next: gateway.ports.first }
    }

    /// The next port that `open` succeeds with (another program may hold one), and what `open` gave.
    pub(super) fn take<T>(&mut self, mut open: impl FnMut(u16) -> std::io::Result<T>) -> Option<(u16, T)> {
        for _ in self.range.first..=self.range.last {
            let port = self.next;
            self.next = if port >= self.range.last { self.range.first } else { port + 1 };
            if self.taken.contains(&port) {
                continue;
            }
            if let Ok(opened) = open(port) {
                self.taken.insert(port);
                return Some((port, opened));
            }
        }
        None
    }

    /// One that an earlier life of ours has handed out.
    pub(super) fn keep(&mut self, port: u16) {
        self.taken.insert(port);
    }

    /// Another `[ports]`: generations that hold a port outside it keep it to their end.
    pub(super) fn resize(&mut self, range: PortRange) {
        if self.range != range {
            (self.range, self.next) = (range, range.first);
        }
    }

    /// Gives a port back.
    pub(super) fn release(&mut self, port: u16) {
        self.taken.remove(&port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_that_skips_what_is_taken() {
        let range = PortRange { first: 10, last: 12 };
        let mut ports = Ports { range, taken: [11].into(), next: 10 };
        assert_eq!(ports.take(|_| Ok(())), Some((10, ())));
        assert_eq!(ports.take(|_| Ok(())), Some((12, ())));
        assert_eq!(ports.take(|_| Ok(())), None);
        ports.release(10);
        assert_eq!(ports.take(|p| if p == 10 { Err(std::io::ErrorKind::AddrInUse.into()) } else { Ok(()) }), None);
        assert_eq!(ports.take(|_| Ok(())), Some((10, ())));
        ports.resize(PortRange { first: 10, last: 13 });
        assert_eq!(ports.take(|_| Ok(())), Some((13, ())));
    }
}
