//! Takes connections from one listening socket, within the census, and never spins.

use std::{cell::Cell, io, net::SocketAddr, os::fd::AsRawFd, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch as news,
};

use super::{
    Core, Open,
    census::{self, Full, Place},
    events, h1, h2, redirect,
    shield::Shield,
    tls,
    turns::Whose,
    watch::{Watch, Watched},
};
use crate::{
    model::Host,
    proxy::exchange::{Connection, Forward, Protocol},
    wire::ListenerKind,
};

/// How long nobody is let in after the system was out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(250);

/// Accepts until `closing` says so, and then closes its socket.
///
/// The word is heard between two connections only: what the kernel has handed out nobody else can serve.
pub(super) async fn run<F: Forward>(
    core: Rc<Core<F>>,
    kind: ListenerKind,
    listener: TcpListener,
    mut closing: news::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            // Nobody who could say so any more is the end, too.
            _ = closing.wait_for(|&closing| closing) => return,
            // Dropped unfinished, it has taken nobody from the kernel's queue.
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, client)) => {
                let scarce = socket.as_raw_fd() as u64 >= core.shared.census.descriptors;
                let client = SocketAddr::new(client.ip().to_canonical(), client.port());
                if scarce && !core.sweep.close_oldest_idle() {
                    events::accept_paused(&io::Error::other("descriptors are nearly used up"));
                    drop(socket);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                if let Some(place) = enter(&core, client).await {
                    admit(&core, kind, socket, client, place);
                }
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                events::accept_paused(&error);
                core.sweep.close_oldest_idle();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A fault of one connection, gone with it (accept(2)).
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

/// A place for this client, where need be by closing the connection that has waited on its client for longest: one of the
/// same address where that has its share, any where all places are taken.
async fn enter<F: Forward>(core: &Core<F>, client: SocketAddr) -> Option<Place> {
    let mut full = Full::Total;
    for _ in 0..3 {
        full = match core.shared.census.enter(client.ip()) {
            Ok(place) => return Some(place),
            Err(full) => full,
        };
        let of = (full == Full::Address).then(|| census::who(client.ip()));
        if !core.sweep.close_oldest(of) {
            break;
        }
        tokio::task::yield_now().await;
    }
    events::crowded(client.ip(), if full == Full::Address { "address" } else { "all" });
    None
}

fn admit<F: Forward>(core: &Rc<Core<F>>, kind: ListenerKind, socket: TcpStream, client: SocketAddr, place: Place) {
    // Fails on a socket that is already closed, which the first read tells.
    let _set = socket.set_nodelay(true);
    let watch = Watch::new(client.ip());
    core.sweep.add(&watch);
    let shield = Shield::new(socket, Arc::clone(&watch), place, Open::new(&core.live));
    let work = serve(Rc::clone(core), kind, shield, client, Arc::clone(&watch));
    tokio::task::spawn_local(Watched::new(watch, work));
}

/// Whether its tenant lets one more connection of this address in. As everywhere, one that is too many ends without a word:
/// the tenant's page would cost the handshake that this is to save.
fn join_crowd<F: Forward>(core: &Core<F>, sni: &Host, shield: &mut Shield, watch: &Arc<Watch>) -> bool {
    let Some((tenant, most)) = core.forward.connections(sni) else { return true };
    match core.shared.crowd.enter(&tenant, most, watch) {
        Some(presence) => {
            shield.belongs(presence);
            true
        }
        None => {
            events::crowded(watch.client(), "tenant");
            false
        }
    }
}

async fn serve<F: Forward>(
    core: Rc<Core<F>>,
    kind: ListenerKind,
    shield: Shield,
    client: SocketAddr,
    watch: Arc<Watch>,
) {
    if kind == ListenerKind::Http {
        return redirect::serve(core, shield, client.ip(), watch).await;
    }
    watch.set_linger();
    let admit = |sni: &Host, shield: &mut Shield| join_crowd(&core, sni, shield, &watch);
    let socket = shield.as_raw_fd();
    let whose = |sni: &Host| Whose(core.forward.owner(sni));
    let Some(opened) = tls::open(shield, &core.shared, &core.turns, whose, admit).await else { return };
    let tls::Opened { stream, sni, protocol } = opened;
    let draining = Cell::new(core.draining.get());
    let socket = (protocol == Protocol::H1).then_some(socket);
    let connection = Rc::new(Connection { client, sni, protocol, draining, socket });
    match protocol {
        Protocol::H1 => h1::serve(core, stream, connection, watch).await,
        Protocol::H2 => h2::serve(core, stream, connection, watch).await,
    }
}
