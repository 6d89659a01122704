//! Which of several certificates serves which host.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::x509::Read;
use crate::model::Host;

/// What serves what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice<K> {
    /// The hosts of each certificate that serves any.
    pub(super) chosen: BTreeMap<K, Vec<String>>,
    /// Hosts that none is for.
    pub(super) uncovered: BTreeSet<Host>,
}

/// For each host the certificate that is for it and can be used now, and of several the one that ends last. The hosts are named
/// one by one, where the certificate has a wildcard too: a name that is nobody's gets no handshake.
pub(super) fn choose<'h, 'c, K: Ord + Clone>(
    hosts: impl Iterator<Item = &'h Host>,
    certificates: impl Iterator<Item = (K, &'c Read)>,
    now: Timestamp,
) -> Choice<K> {
    let mut best: HashMap<&str, (Rank, K)> = HashMap::new();
    for (key, read) in certificates {
        let rank = (read.is_valid_at(now), read.not_after);
        for name in &read.names {
            let there = best.entry(name.as_str()).or_insert_with(|| (rank, key.clone()));
            if there.0 < rank {
                *there = (rank, key.clone());
            }
        }
    }
    let mut choice = Choice { chosen: BTreeMap::new(), uncovered: BTreeSet::new() };
    for host in hosts {
        let above = host.as_str().split_once('.').map(|(_, above)| format!("*.{above}"));
        let exact = best.get(host.as_str());
        let wildcard = above.and_then(|name| best.get(name.as_str()));
        // Of two that are as good, the very name's.
        let better = match (exact, wildcard) {
            (Some(exact), Some(wildcard)) if wildcard.0 > exact.0 => Some(wildcard),
            (exact, wildcard) => exact.or(wildcard),
        };
        match better {
            Some((_, key)) => {
                let names = choice.chosen.entry(key.clone()).or_default();
                if !names.iter().any(|name| name == host.as_str()) {
                    names.push(host.to_string());
                }
            }
            None => drop(choice.uncovered.insert(host.clone())),
        }
    }
    choice
}

/// One that can be used now before one that cannot, then by the end.
type Rank = (bool, Timestamp);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(names: &[&str], not_before: &str, not_after: &str) -> Read {
        Read {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            issuer: String::new(),
            serial: String::new(),
            not_before: format!("{not_before}T00:00:00Z").parse().unwrap(),
            not_after: format!("{not_after}T00:00:00Z").parse().unwrap(),
            renewal_id: None,
        }
    }

    #[test]
    fn the_one_that_ends_last_among_those_of_today() {
        let all = [
            ("old", read(&["a.test", "b.test"], "2026-01-01", "2026-03-01")),
            ("new", read(&["a.test"], "2026-01-20", "2026-04-01")),
            ("early", read(&["a.test"], "2026-03-01", "2026-06-01")),
            ("ended", read(&["c.test", "a.test"], "2025-01-01", "2025-03-01")),
            ("wild", read(&["*.test"], "2026-01-01", "2026-02-20")),
        ];
        let hosts: Vec<Host> =
            ["a.test", "b.test", "c.test", "d.test", "x.d.test", "test", "a.test"].map(|it| it.parse().unwrap()).into();
        let now = "2026-02-01T00:00:00Z".parse().unwrap();
        let Choice { chosen, uncovered } = choose(hosts.iter(), all.iter().map(|(key, read)| (*key, read)), now);
        let chosen: Vec<_> = chosen.into_iter().map(|(key, names)| format!("{key}: {}", names.join(" "))).collect();
        assert_eq!(chosen, ["new: a.test", "old: b.test", "wild: c.test d.test"]);
        assert_eq!(uncovered.iter().map(Host::as_str).collect::<Vec<_>>(), ["test", "x.d.test"]);
    }
}
