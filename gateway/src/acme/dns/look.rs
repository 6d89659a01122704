//! Whether the authority would find a custom domain here, and may issue for it.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    DnsError,
    caa::{self, Permission},
    locate::unused_below,
    lookup::{Addresses, Resolver, name},
};
use crate::model::{Finding, Host};

/// What is ours.
pub(super) struct Here<'a> {
    pub(super) zone: &'a Host,
    pub(super) addresses: &'a [IpAddr],
    pub(super) directory: &'a str,
}

/// See [`super::Dns::look`].
pub(super) async fn look(resolver: &Resolver, host: &Host, here: &Here<'_>) -> Finding {
    match found(resolver, host, here).await {
        Ok(finding) => finding,
        Err(error) => Finding::Unknown(error.to_string()),
    }
}

async fn found(resolver: &Resolver, host: &Host, here: &Here<'_>) -> Result<Finding, DnsError> {
    let owner = name(host.as_str())?;
    let ours = here.ours(resolver).await?;
    if ours.addresses.is_empty() {
        return Ok(Finding::Missing(format!(
            "nobody knows where {host} must point, since {} has no address itself: set [acme] addresses, or give {} an A or \
             AAAA record",
            here.zone, here.zone
        )));
    }
    let theirs = match resolver.addresses(&owner).await? {
        Addresses::Some(theirs) => theirs,
        Addresses::NoData => {
            return Ok(missing(format!("{host} has no A, AAAA or CNAME record: add"), host, here, &ours));
        }
        Addresses::NoName => return Ok(missing(format!("{host} is not in DNS: add"), host, here, &ours)),
    };
    let strangers: BTreeSet<IpAddr> = theirs.difference(&ours.addresses).copied().collect();
    if strangers.len() == theirs.len() {
        let (there, here_are) = (list(&strangers), list(&ours.addresses));
        let what = format!("{host} resolves to {there}, which is not this landlord ({here_are}): replace that by");
        return Ok(missing(what, host, here, &ours));
    }
    if !strangers.is_empty() {
        // Some visitors, and the authority now and then, go elsewhere.
        return Ok(Finding::Missing(format!(
            "{host} resolves also to {}, which is not this landlord ({}): remove {}",
            list(&strangers),
            list(&ours.addresses),
            if strangers.len() == 1 { "that record" } else { "those records" }
        )));
    }
    Ok(match caa::permission(resolver, &owner, caa::issuer(here.directory)).await {
        Permission::Granted => Finding::Ready(None),
        Permission::Unsure(remark) => Finding::Ready(Some(remark)),
        Permission::Denied(why) => Finding::Missing(why),
    })
}

/// A sentence that ends with the records that would be right.
fn missing(what: String, host: &Host, here: &Here<'_>, ours: &Ours) -> Finding {
    let mut right = Vec::new();
    if ours.apex {
        right.push(format!("\"{host}. CNAME {}.\"", here.zone));
    }
    if let Some(address) = ours.addresses.first() {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        right.push(format!("\"{host}. {kind} {address}\""));
    }
    Finding::Missing(format!("{what} {}", right.join(" or ")))
}

fn list(addresses: &BTreeSet<IpAddr>) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Where a custom domain must point.
struct Ours {
    /// Empty: nobody knows.
    addresses: BTreeSet<IpAddr>,
    /// Whether the zone's apex is such a place, so that an alias to it is right.
    apex: bool,
}

impl Here<'_> {
    /// What is set; else what the zone's apex resolves to, else what a tenant's host does.
    async fn ours(&self, resolver: &Resolver) -> Result<Ours, DnsError> {
        let apex = name(self.zone.as_str())?;
        let at_apex = match resolver.addresses(&apex).await {
            Ok(Addresses::Some(found)) => found,
            Ok(Addresses::NoData | Addresses::NoName) => BTreeSet::new(),
            // What is set does not depend on it.
            Err(_) if !self.addresses.is_empty() => BTreeSet::new(),
            Err(error) => return Err(error.into()),
        };
        if !self.addresses.is_empty() {
            let addresses: BTreeSet<IpAddr> = self.addresses.iter().copied().collect();
            let apex = !at_apex.is_empty() && at_apex.is_subset(&addresses);
            return Ok(Ours { addresses, apex });
        }
        if !at_apex.is_empty() {
            return Ok(Ours { addresses: at_apex, apex: true });
        }
        Ok(match resolver.addresses(&unused_below(&apex)?).await? {
            Addresses::Some(addresses) => Ours { addresses, apex: false },
            Addresses::NoData | Addresses::NoName => Ours { addresses: BTreeSet::new(), apex: false },
        })
    }
}
