//! Ports and sockets of others.

use std::{
    net::{SocketAddr as Address, TcpListener, TcpStream},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    time::Duration,
};

use super::{Attack, Victims, refused, told};

fn port(victims: &Victims, key: &str) -> Result<u16, String> {
    told(victims, key)?.parse().map_err(|_| "no port".to_owned())
}

fn bind(name: &'static str, address: &'static str, key: &'static str) -> Attack {
    Attack::new(name, &["files"], move |victims| {
        let bound = TcpListener::bind((address, port(victims, key)?));
        bound.map(|_| "bound".to_owned()).map_err(|error| refused(&error))
    })
}

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        Attack::new("connect-to-neighbour", &["loopback"], |victims| {
            let address = Address::from(([127, 0, 0, 1], port(victims, "port")?));
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5));
            stream.map(|_| "connected".to_owned()).map_err(|error| refused(&error))
        }),
        bind("bind-in-the-range", "127.0.0.1", "free_port"),
        bind("bind-everywhere", "0.0.0.0", "free_port"),
        bind("bind-neighbours-port", "127.0.0.1", "port"),
        // Landlock has no word for connecting to a socket that has a name: of one user, the house itself says no.
        Attack::new("ask-the-house", &[], |victims| {
            let path = format!("{}/state/run/control.sock", told(victims, "dir")?);
            super::calls::perl(&format!(
                r#"use Socket; $SIG{{PIPE}} = 'IGNORE';
                socket(my $s, AF_UNIX, 5, 0) or die $!+0;
                connect($s, pack_sockaddr_un("{path}")) or die $!+0;
                send($s, '{{"verb":"status","tenant":null}}', 0);
                recv($s, my $b, 65536, 0);
                die 1 if !length $b or $b =~ /"ok":false/;
                print $b"#
            ))
        }),
        Attack::new("connect-to-abstract", &["files"], |victims| {
            let address =
                SocketAddr::from_abstract_name(told(victims, "abstract")?).map_err(|error| refused(&error))?;
            UnixStream::connect_addr(&address).map(|_| "connected".to_owned()).map_err(|error| refused(&error))
        }),
    ]
}
