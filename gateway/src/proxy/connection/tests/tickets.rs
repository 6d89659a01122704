//! A session ticket of one name opens nothing under another.

use std::sync::Arc;

use rustls::{
    NamedGroup,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    },
};
use rustls_pki_types::ServerName;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::TlsConnector;

use super::house::{House, until};
use crate::model::HttpLimits;

/// Offers whatever ticket it has to whomever it meets.
#[derive(Debug)]
struct Mixed(ClientSessionMemoryCache);

fn everybody() -> ServerName<'static> {
    ServerName::try_from("everybody.test").unwrap()
}

impl ClientSessionStore for Mixed {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(everybody(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&everybody())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(everybody(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&everybody())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&everybody());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(everybody(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&everybody())
    }
}

#[test]
fn a_ticket_is_good_for_its_own_name_only() {
    House::with(HttpLimits::default(), async |house: House| {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let mut config = house.client(&[version]);
            config.resumption = Resumption::store(Arc::new(Mixed(ClientSessionMemoryCache::new(8))));
            let connector = TlsConnector::from(Arc::new(config));
            let mut resumed = Vec::new();
            for name in ["a.test", "a.test", "b.test"] {
                let socket = TcpStream::connect(house.https).await.unwrap();
                let mut client = connector.connect(ServerName::try_from(name).unwrap(), socket).await.unwrap();
                client.write_all(format!("GET /x HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes()).await.unwrap();
                until(&mut client, &format!("{name} /x")).await;
                resumed.push(client.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed));
            }
            assert_eq!(resumed, [false, true, false], "{version:?}");
        }
    });
}
