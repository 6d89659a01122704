//! Where a challenge's record must be written: at the end of its aliases, in the zone that this name is in.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use hickory_resolver::proto::{
    op::ResponseCode,
    rr::{Name, RData, RecordType},
};

use super::{
    DnsError,
    lookup::{HOPS, LookupError, Resolver, data, name, shown},
};

/// The name to write for a host, after aliases, and its zone (RFC 8555 section 8.4).
///
/// # Errors
/// It could not be looked up, or the aliases lead nowhere.
pub(super) async fn locate(resolver: &Resolver, host: &str) -> Result<(Name, Name), DnsError> {
    let host = host.strip_prefix("*.").unwrap_or(host);
    let start = name(&format!("_acme-challenge.{host}"))?;
    let mut at = start.clone();
    let mut seen = vec![at.clone()];
    while let Some(next) = delegated(resolver, &at).await? {
        if seen.contains(&next) || seen.len() > HOPS {
            return Err(LookupError::Loop(shown(&start)).into());
        }
        seen.push(next.clone());
        at = next;
    }
    let zone = zone(resolver, &at).await?;
    Ok((at, zone))
}

/// The alias at exactly this name. One that a wildcard beside it makes up is none: it ends as soon as a record is written.
async fn delegated(resolver: &Resolver, at: &Name) -> Result<Option<Name>, DnsError> {
    let Some(target) = alias(resolver, at).await? else { return Ok(None) };
    let unused = unused_below(&at.base_name())?;
    Ok((alias(resolver, &unused).await?.as_ref() != Some(&target)).then_some(target))
}

async fn alias(resolver: &Resolver, at: &Name) -> Result<Option<Name>, LookupError> {
    let reply = resolver.message(at, RecordType::CNAME).await?;
    Ok(reply.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *at => Some(target.0.to_lowercase()),
        _ => None,
    }))
}

/// A name that nobody has.
pub(super) fn unused_below(parent: &Name) -> Result<Name, DnsError> {
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(|_| DnsError::Random)?;
    let label = format!("landlord-{:016x}", u64::from_be_bytes(random));
    parent.prepend_label(label.as_str()).map_err(|_| LookupError::Name(shown(parent)).into())
}

/// The zone that a name is in: the owner of the nearest SOA record at or above it.
async fn zone(resolver: &Resolver, at: &Name) -> Result<Name, DnsError> {
    let mut asked = at.clone();
    while !asked.is_root() {
        let reply = resolver.message(&asked, RecordType::SOA).await?;
        let soa = reply.answers.iter().chain(&reply.authorities).find(|record| record.record_type() == RecordType::SOA);
        // Below an alias the answer is about another name.
        let aliased = data(&reply, RecordType::CNAME).next().is_some();
        match soa {
            Some(soa) if !aliased && soa.name.zone_of(&asked) && !soa.name.is_root() => {
                return Ok(soa.name.to_lowercase());
            }
            // The root says that the top-level domain is none.
            Some(soa) if soa.name.is_root() && reply.metadata.response_code == ResponseCode::NXDomain => break,
            _ => asked = asked.base_name(),
        }
    }
    Err(DnsError::NoZone(shown(at)))
}
