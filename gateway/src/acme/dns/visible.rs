//! Waiting until a record is seen wherever the authority may look.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, time::Duration};

use hickory_resolver::proto::{
    op::ResponseCode,
    rr::{Name, RData, RecordType},
};
use tokio::{task::JoinSet, time::Instant};

use super::{
    DnsError,
    ask::{AskError, To, ask},
    lookup::{Addresses, Found, Resolver, data, is_answer, name, shown},
};
use crate::wire::Record;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where a record must be seen, and how long that may take.
#[derive(Debug)]
pub(super) struct Everywhere {
    resolvers: Vec<SocketAddr>,
    timeout: Duration,
    /// Authoritative servers that are not on port 53 of their address: tests have some.
    elsewhere: BTreeMap<IpAddr, SocketAddr>,
}

/// One server, with all its addresses.
#[derive(Clone, Debug)]
struct Server {
    /// `ns1.example.com`; empty: the addresses say it all.
    name: String,
    addresses: Vec<SocketAddr>,
}

/// What one address says of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    Shows,
    /// Other values; without any if it is 0.
    Lacks(usize),
    /// An answer that says nothing about it.
    Code(ResponseCode),
    Nothing(AskError),
}

impl Everywhere {
    pub(super) fn new(resolvers: Vec<SocketAddr>, timeout: Duration) -> Self {
        Self { resolvers, timeout, elsewhere: BTreeMap::new() }
    }

    /// Where authoritative servers really are.
    #[cfg(test)]
    pub(super) fn with_servers_at(mut self, elsewhere: BTreeMap<IpAddr, SocketAddr>) -> Self {
        self.elsewhere = elsewhere;
        self
    }

    /// See [`super::Dns::wait_visible`].
    pub(super) async fn wait(
        &self,
        resolver: &Resolver,
        record: &Record,
        progress: &mut dyn FnMut(String),
    ) -> Result<(), DnsError> {
        let end = Instant::now() + self.timeout;
        let owner = name(&record.name)?;
        let mut missing = self.servers(resolver, &name(&record.zone)?).await?;
        let all = missing.len();
        let to = if self.resolvers.is_empty() { To::Authority } else { To::Resolver };
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        loop {
            let lacking = round(&missing, &owner, &record.value, to, end).await;
            missing = lacking.iter().map(|(server, _, _)| server.clone()).collect();
            let Some((server, address, says)) = lacking.first() else { return Ok(()) };
            let line = format!("waiting for the record at {}: {}", server.shown(*address), says.words());
            if line != told {
                progress(format!("{line}; {} of {all} servers show it", all - lacking.len()));
                told = line;
            }
            if Instant::now() + pause >= end {
                return Err(self.invisible(record, &lacking));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn invisible(&self, record: &Record, lacking: &[(Server, SocketAddr, Says)]) -> DnsError {
        let why: Vec<String> = lacking
            .iter()
            .map(|(server, address, says)| format!("{}: {}", server.shown(*address), says.words()))
            .collect();
        let mut why = why.join("; ");
        // A resolver remembers for the zone's negative TTL that there was no such name before (RFC 2308).
        if !self.resolvers.is_empty() {
            why.push_str(
                " (a resolver may remember that there was none: [acme] propagation_timeout must be longer than that)",
            );
        }
        let name = record.name.trim_end_matches('.').to_owned();
        DnsError::Invisible { name, within: self.timeout, why }
    }

    /// Each of the resolvers, or each name server of the zone.
    async fn servers(&self, resolver: &Resolver, zone: &Name) -> Result<Vec<Server>, DnsError> {
        if !self.resolvers.is_empty() {
            return Ok(self
                .resolvers
                .iter()
                .map(|address| Server { name: String::new(), addresses: vec![*address] })
                .collect());
        }
        let none = |why: &str| DnsError::NoServers(shown(zone), why.to_owned());
        let Found::Records(records) = resolver.find(zone, RecordType::NS).await? else {
            return Err(none("it has no NS records"));
        };
        let mut servers = BTreeMap::new();
        for record in &records {
            let RData::NS(host) = record else { continue };
            let Addresses::Some(addresses) = resolver.addresses(&host.0).await? else {
                return Err(none(&format!("{} has no address", shown(&host.0))));
            };
            let addresses = addresses.into_iter().map(|address| self.at(address)).collect();
            servers.insert(shown(&host.0), addresses);
        }
        Ok(servers.into_iter().map(|(name, addresses)| Server { name, addresses }).collect())
    }
}

impl Everywhere {
    fn at(&self, address: IpAddr) -> SocketAddr {
        self.elsewhere.get(&address).copied().unwrap_or(SocketAddr::new(address, 53))
    }
}

impl Server {
    fn shown(&self, address: SocketAddr) -> String {
        let address = if address.port() == 53 { address.ip().to_string() } else { address.to_string() };
        if self.name.is_empty() { address } else { format!("{} ({address})", self.name) }
    }
}

impl Says {
    fn words(&self) -> String {
        match self {
            Self::Shows => "it shows it".to_owned(),
            Self::Lacks(0) => "it has no such record yet".to_owned(),
            Self::Lacks(1) => "it shows another value only".to_owned(),
            Self::Lacks(others) => format!("it shows {others} other values only"),
            Self::Code(code) => format!("it answers {code}"),
            Self::Nothing(AskError::Silent(_)) => "it does not answer".to_owned(),
            Self::Nothing(AskError::Unreachable(_, why)) => format!("it cannot be reached ({why})"),
            Self::Nothing(AskError::Garbage(_)) => "it answers with something that is no answer".to_owned(),
        }
    }
}

/// The servers that do not show it, each with the address that is to be told of and what it says. All are asked at once.
async fn round(servers: &[Server], owner: &Name, value: &str, to: To, end: Instant) -> Vec<(Server, SocketAddr, Says)> {
    let mut asked = JoinSet::new();
    for (at, server) in servers.iter().enumerate() {
        for address in server.addresses.clone() {
            let (owner, value) = (owner.clone(), value.to_owned());
            asked.spawn(async move {
                let says = tokio::time::timeout_at(end, says(address, &owner, &value, to)).await;
                (at, address, says.unwrap_or(Says::Nothing(AskError::Silent(address))))
            });
        }
    }
    let mut said: BTreeMap<usize, BTreeMap<SocketAddr, Says>> = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        // A task ends badly only when the process does.
        let Ok((at, address, says)) = answer else { continue };
        said.entry(at).or_default().insert(address, says);
    }
    let lacking = said.into_iter().filter_map(|(at, says)| {
        let (address, says) = verdict(says)?;
        Some((servers[at].clone(), address, says))
    });
    lacking.collect()
}

/// What a server lacks, with the address that says so; `None`: it shows the record. An address that cannot be reached does
/// not count where another one of the same server answers.
fn verdict(said: BTreeMap<SocketAddr, Says>) -> Option<(SocketAddr, Says)> {
    let shows = said.values().any(|says| *says == Says::Shows);
    let silent = |says: &Says| matches!(says, Says::Nothing(_));
    let lacking = said.iter().find(|(_, says)| **says != Says::Shows && !silent(says));
    let unreachable = said.iter().find(|(_, says)| silent(says));
    lacking.or(if shows { None } else { unreachable }).map(|(address, says)| (*address, says.clone()))
}

async fn says(server: SocketAddr, owner: &Name, value: &str, to: To) -> Says {
    let reply = match ask(server, owner, RecordType::TXT, to).await {
        Ok(reply) if is_answer(&reply) => reply,
        Ok(reply) => return Says::Code(reply.metadata.response_code),
        Err(error) => return Says::Nothing(error),
    };
    let mut others = 0;
    for data in data(&reply, RecordType::TXT) {
        let RData::TXT(text) = data else { continue };
        if text.txt_data.concat() == value.as_bytes() {
            return Says::Shows;
        }
        others += 1;
    }
    Says::Lacks(others)
}
