//! Look-ups through resolvers, with nothing kept between two of them.

use std::{collections::BTreeSet, net::IpAddr, net::SocketAddr};

use hickory_resolver::{
    proto::{
        op::{Message, ResponseCode},
        rr::{Name, RData, RecordType},
    },
    system_conf::read_system_conf,
};

use super::ask::{AskError, To, ask};

/// A chain of aliases that is longer leads nowhere.
pub(super) const HOPS: usize = 8;

/// Why a look-up brought neither records nor their absence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::acme) enum LookupError {
    /// No resolver answered; what the last one did.
    #[error("{0} {1} could not be looked up: {2}")]
    NoAnswer(RecordType, String, AskError),
    /// SERVFAIL and its kind.
    #[error("{0} {1} could not be looked up: {2} says {3}{hint}", hint = hint(.3))]
    Failed(RecordType, String, SocketAddr, ResponseCode),
    /// More than [`HOPS`], or in a circle.
    #[error("the CNAME records of {0} lead in a circle or over more than {HOPS} names: make them lead to one name")]
    Loop(String),
    /// `/etc/resolv.conf` names none, or cannot be read.
    #[error("this machine knows no resolver ({0}): put one into /etc/resolv.conf or set [dns] resolvers")]
    NoResolver(String),
    /// No name in DNS.
    #[error("{0:?} is no name in DNS")]
    Name(String),
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// At the end of the aliases.
    Records(Vec<RData>),
    /// There is such a name, without such a record.
    NoData,
    /// There is no such name.
    NoName,
}

/// The resolvers that `[dns]` names, else the system's.
#[derive(Debug)]
pub(super) struct Resolver {
    given: Vec<SocketAddr>,
}

impl Resolver {
    pub(super) fn new(given: Vec<SocketAddr>) -> Self {
        Self { given }
    }

    /// Read anew each time: a machine may change networks.
    fn servers(&self) -> Result<Vec<SocketAddr>, LookupError> {
        if !self.given.is_empty() {
            return Ok(self.given.clone());
        }
        let (system, _) = read_system_conf().map_err(|error| LookupError::NoResolver(error.to_string()))?;
        let mut servers = Vec::new();
        for server in &system.name_servers {
            let port = server.connections.first().map_or(53, |connection| connection.port);
            servers.push(SocketAddr::new(server.ip, port));
        }
        servers.dedup();
        if servers.is_empty() {
            return Err(LookupError::NoResolver("/etc/resolv.conf has no nameserver".to_owned()));
        }
        Ok(servers)
    }

    /// The first answer that is one: records, or that there are none.
    ///
    /// # Errors
    /// No resolver has one.
    pub(super) async fn message(&self, name: &Name, kind: RecordType) -> Result<Message, LookupError> {
        let mut failed = LookupError::NoResolver(String::new());
        for server in self.servers()? {
            match ask(server, name, kind, To::Resolver).await {
                Ok(reply) if is_answer(&reply) => return Ok(reply),
                Ok(reply) => failed = LookupError::Failed(kind, shown(name), server, reply.metadata.response_code),
                Err(error) => failed = LookupError::NoAnswer(kind, shown(name), error),
            }
        }
        Err(failed)
    }

    /// The records of one kind, after aliases.
    ///
    /// # Errors
    /// It could not be found out.
    pub(super) async fn find(&self, name: &Name, kind: RecordType) -> Result<Found, LookupError> {
        let mut at = name.clone();
        for _ in 0..=HOPS {
            let reply = self.message(&at, kind).await?;
            let records: Vec<RData> = data(&reply, kind).cloned().collect();
            if !records.is_empty() {
                return Ok(Found::Records(records));
            }
            // A resolver follows aliases itself; one that is an authority of the first name only does not.
            let end = end_of_aliases(&reply, &at)?;
            if end == at || reply.metadata.response_code == ResponseCode::NXDomain {
                let none = reply.metadata.response_code == ResponseCode::NXDomain;
                return Ok(if none { Found::NoName } else { Found::NoData });
            }
            at = end;
        }
        Err(LookupError::Loop(shown(name)))
    }

    /// Every address of a host, IPv4 and IPv6. `NoName` where there is no such name in either.
    ///
    /// # Errors
    /// One of the two could not be found out.
    pub(super) async fn addresses(&self, name: &Name) -> Result<Addresses, LookupError> {
        let mut found = BTreeSet::new();
        let mut exists = false;
        for kind in [RecordType::A, RecordType::AAAA] {
            match self.find(name, kind).await? {
                Found::Records(records) => found.extend(records.iter().filter_map(address)),
                Found::NoData => exists = true,
                Found::NoName => {}
            }
        }
        Ok(if !found.is_empty() {
            Addresses::Some(found)
        } else if exists {
            Addresses::NoData
        } else {
            Addresses::NoName
        })
    }
}

/// The addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    /// At least one.
    Some(BTreeSet<IpAddr>),
    /// There is such a name, with other records.
    NoData,
    /// There is no such name.
    NoName,
}

/// The data of the records of one kind in an answer.
pub(super) fn data(reply: &Message, kind: RecordType) -> impl Iterator<Item = &RData> {
    reply.answers.iter().filter(move |record| record.record_type() == kind).map(|record| &record.data)
}

/// Where the aliases in an answer lead; the name itself where there is none.
fn end_of_aliases(reply: &Message, name: &Name) -> Result<Name, LookupError> {
    let mut at = name.clone();
    for _ in 0..=HOPS {
        let next = reply.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == at => Some(target.0.clone()),
            _ => None,
        });
        match next {
            Some(next) => at = next,
            None => return Ok(at),
        }
    }
    Err(LookupError::Loop(shown(name)))
}

/// NOERROR and NXDOMAIN say what is; everything else says that it is not known.
pub(super) fn is_answer(reply: &Message) -> bool {
    matches!(reply.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

/// A name from a text, with or without its trailing dot.
///
/// # Errors
/// It is none.
pub(super) fn name(text: &str) -> Result<Name, LookupError> {
    let mut name = Name::from_ascii(text).map_err(|_| LookupError::Name(text.to_owned()))?;
    name.set_fqdn(true);
    Ok(name.to_lowercase())
}

/// As sentences have it: no trailing dot.
pub(super) fn shown(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(&text).to_owned()
}

fn hint(code: &ResponseCode) -> &'static str {
    match *code {
        ResponseCode::ServFail => " (its authoritative servers do not answer, or DNSSEC is broken)",
        ResponseCode::Refused => " (it does not look up names for this machine: see [dns] resolvers)",
        _ => "",
    }
}
