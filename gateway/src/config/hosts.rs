//! Whose is a contested domain? Recorded ownership keeps it; else the first in the order of names has it.

use std::collections::{BTreeMap, BTreeSet};

use super::tenant::Draft;
use crate::model::{Host, Rejection, TenantName};

/// Splits `drafts` into those that may have all their domains and a rejection for each domain that is another's.
///
/// `broken` are tenants whose files are wrong: they go on under their last good settings, and so keep what `owners` records
/// as theirs. So do those that lose here, which is why this runs until nobody else loses.
pub(super) fn settle(
    drafts: Vec<Draft>,
    broken: BTreeSet<TenantName>,
    owners: &BTreeMap<Host, TenantName>,
) -> (Vec<Draft>, Vec<Rejection>) {
    let drafts: BTreeMap<TenantName, Draft> =
        drafts.into_iter().map(|draft| (draft.tenant.name.clone(), draft)).collect();
    let mut held_back = broken;
    let mut losses: BTreeMap<TenantName, Vec<Rejection>> = BTreeMap::new();
    loop {
        let before = losses.len();
        let claims = Claims { drafts: &drafts, held_back: &held_back, owners };
        let mut taken: BTreeMap<&Host, &TenantName> = BTreeMap::new();
        for (name, draft) in drafts.iter().filter(|(name, _)| !losses.contains_key(*name)).collect::<Vec<_>>() {
            let lost: Vec<Rejection> = draft
                .domains
                .iter()
                .filter_map(|(host, place)| {
                    let winner = claims.owner(host).or_else(|| taken.get(host).copied()).filter(|it| *it != name)?;
                    Some(Rejection {
                        tenant: Some(name.clone()),
                        place: place.clone(),
                        error: format!("{host} already belongs to the tenant {winner}: remove it here, or there first"),
                        hint: None,
                    })
                })
                .collect();
            if lost.is_empty() {
                taken.extend(draft.domains.iter().map(|(host, _)| (host, name)));
            } else {
                losses.insert(name.clone(), lost);
            }
        }
        if losses.len() == before {
            break;
        }
        held_back.extend(losses.keys().cloned());
    }
    let winners = drafts.into_iter().filter(|(name, _)| !losses.contains_key(name)).map(|(_, draft)| draft).collect();
    (winners, losses.into_values().flatten().collect())
}

struct Claims<'a> {
    drafts: &'a BTreeMap<TenantName, Draft>,
    held_back: &'a BTreeSet<TenantName>,
    owners: &'a BTreeMap<Host, TenantName>,
}

impl Claims<'_> {
    /// The recorded owner of `host`, if it still wants it or still has it.
    fn owner(&self, host: &Host) -> Option<&TenantName> {
        let owner = self.owners.get(host)?;
        let wants = |draft: &Draft| draft.domains.iter().any(|(other, _)| other == host);
        (self.held_back.contains(owner) || self.drafts.get(owner).is_some_and(wants)).then_some(owner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{gateway::tests::house, tenant};

    /// Who is let in, who loses (`loser < winner`), when each of `files` lists these domains.
    fn settled(files: &[(&str, &[&str])], broken: &[&str], owners: &[(&str, &str)]) -> String {
        let house = house("");
        let drafts = files.iter().map(|(name, domains)| {
            let text = format!("domains = {domains:?}");
            tenant::read(&house, &name.parse().unwrap(), Path::new("f"), text.as_bytes()).unwrap()
        });
        let owners = owners.iter().map(|(host, name)| (host.parse().unwrap(), name.parse().unwrap())).collect();
        let broken = broken.iter().map(|name| name.parse().unwrap()).collect();
        let (winners, losses) = settle(drafts.collect(), broken, &owners);
        let winners = winners.iter().map(|draft| draft.tenant.name.to_string());
        let losses = losses.iter().map(|rejection| {
            let winner = rejection.error.split("tenant ").nth(1).unwrap().split(':').next().unwrap();
            assert_eq!(rejection.place.line, Some(1));
            format!("{} < {winner}", rejection.tenant.as_ref().unwrap())
        });
        winners.chain(losses).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_order_of_names_unless_ownership_is_recorded() {
        let both: [(&str, &[&str]); 2] = [("a", &["x.org"]), ("b", &["x.org"])];
        assert_eq!(settled(&both, &[], &[]), "a, b < a");
        assert_eq!(settled(&both, &[], &[("x.org", "b")]), "b, a < b");
        assert_eq!(settled(&both, &[], &[("x.org", "a")]), "a, b < a");
        // An owner that is gone has no say.
        assert_eq!(settled(&both, &[], &[("x.org", "gone")]), "a, b < a");
    }

    #[test]
    fn an_owner_that_lets_go_is_asked_no_more() {
        assert_eq!(settled(&[("a", &["x.org"]), ("b", &[])], &[], &[("x.org", "b")]), "a, b");
    }

    #[test]
    fn an_owner_whose_file_is_wrong_keeps_what_it_has() {
        assert_eq!(settled(&[("a", &["x.org"])], &["b"], &[("x.org", "b")]), "a < b");
    }

    #[test]
    fn an_owner_that_loses_elsewhere_keeps_what_it_has() {
        // c had y.org and now wants x.org, which it cannot have: its last good settings, y.org among them, stay in force.
        let files: [(&str, &[&str]); 3] = [("a", &["x.org"]), ("b", &["y.org"]), ("c", &["x.org"])];
        assert_eq!(settled(&files, &[], &[("y.org", "c")]), "a, b < c, c < a");
    }

    #[test]
    fn a_loser_takes_nothing_from_others() {
        let files: [(&str, &[&str]); 3] = [("a", &["x.org"]), ("b", &["x.org", "y.org"]), ("c", &["y.org"])];
        assert_eq!(settled(&files, &[], &[]), "a, c, b < a");
    }
}
