//! A crowd of handshakes for one company that is there before its neighbour's.

use std::{cell::RefCell, io::Write, rc::Rc, sync::Arc};

use rustls::ClientConnection;
use rustls_pki_types::ServerName;
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinSet};

use super::house::House;
use crate::model::HttpLimits;

const CROWD: usize = 40;

/// A connection whose first flight the kernel has, for a server that has not looked yet.
fn hello(house: &House, name: &str) -> std::net::TcpStream {
    let config = Arc::new(house.client(rustls::ALL_VERSIONS));
    let mut tls = ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut flight = Vec::new();
    tls.write_tls(&mut flight).unwrap();
    let mut socket = std::net::TcpStream::connect(house.https).unwrap();
    socket.write_all(&flight).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

#[test]
fn a_neighbours_handshake_does_not_wait_behind_a_crowd_for_one_company() {
    before_the_crowd(|_| "b.test".to_owned());
}

#[test]
fn nor_behind_a_crowd_under_names_that_are_nobodys() {
    before_the_crowd(|nth| format!("r{nth}.zone.test"));
}

fn before_the_crowd(name: fn(usize) -> String) {
    House::with(HttpLimits::default(), move |house| async move {
        // The server shares this thread: it sees nothing before all of it is there.
        let crowd = (0..CROWD).map(|nth| (name(nth), hello(&house, &name(nth))));
        let sockets: Vec<_> = crowd.chain([("a.test".to_owned(), hello(&house, "a.test"))]).collect();
        let answered = Rc::new(RefCell::new(Vec::new()));
        let mut clients = JoinSet::new();
        for (name, socket) in sockets {
            let (mut socket, answered) = (TcpStream::from_std(socket).unwrap(), Rc::clone(&answered));
            clients.spawn_local(async move {
                socket.read_u8().await.unwrap();
                answered.borrow_mut().push(name);
                // Open until all are answered.
                socket
            });
        }
        let _open = clients.join_all().await;
        let answered = answered.borrow();
        let before = answered.iter().position(|name| name == "a.test").unwrap();
        assert!(before <= 4, "{before} of the crowd went before: {answered:?}");
        assert_eq!(answered.len(), CROWD + 1);
    });
}
