//! Twenty deploys in a row through traffic, each old worker gone for good as soon as its gate is idle.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::model::GenerationId;

const DEPLOYS: u64 = 20;

/// Serves keep-alive connections until told to die; then everything of it is closed at once.
fn worker(listener: TcpListener) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(async move {
        let mut lines = tokio::task::JoinSet::new();
        loop {
            let mut line = Line::accept(&listener).await;
            lines.spawn_local(async move {
                loop {
                    while !line.read.ends_with(b"\r\n\r\n") && !line.read.ends_with(b"data") {
                        if !line.more().await {
                            return;
                        }
                    }
                    line.read.clear();
                    tokio::task::yield_now().await;
                    line.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            });
        }
    })
}

/// With a place for every visitor.
fn roomy(serving: Serving, backends: Vec<BackendRoute>) -> TenantRoute {
    TenantRoute { held_requests: 100, ..acme(serving, backends) }
}

#[test]
fn nothing_is_lost_in_deploys() {
    core(async {
        let mut house = House::new();
        let mut workers = VecDeque::new();
        let mut ports = Vec::new();
        for _ in 0..=DEPLOYS {
            let (listener, port) = listener().await;
            ports.push(port);
            workers.push_back(worker(listener));
        }
        house.serve(ports[0]);

        // Tables come from another thread, as they do from the control thread.
        let (routes, handle) = (house.routes.clone(), tokio::runtime::Handle::current());
        let (retire, mut retired) = mpsc::unbounded_channel();
        let count = Arc::new(AtomicU32::new(0));
        let answered = Arc::clone(&count);
        let deploys = std::thread::spawn(move || {
            for n in 1..=DEPLOYS {
                let held = n % 2 == 0;
                let old = at(n, ports[n as usize - 1], false);
                if held {
                    routes.apply(RouteTable { epoch: 10 * n, tenants: vec![roomy(Serving::Hold, vec![old.clone()])] });
                }
                let serving = Serving::Serve { generation: GenerationId(n + 1) };
                let tenant = roomy(serving, vec![old, at(n + 1, ports[n as usize], true)]);
                if !held {
                    routes.apply(RouteTable { epoch: 10 * n + 1, tenants: vec![tenant.clone()] });
                }
                let idle = || routes.current().backends().any(|(b, _)| b.generation.0 == n && b.gate.is_idle());
                while !idle() {
                    handle.block_on(routes.idle().notified());
                }
                retire.send(()).unwrap();
                if held {
                    routes.apply(RouteTable { epoch: 10 * n + 1, tenants: vec![tenant] });
                }
                // Traffic flows on the new one before the next comes.
                let seen = answered.load(Ordering::Relaxed);
                while answered.load(Ordering::Relaxed) < seen + 48 {
                    std::thread::yield_now();
                }
            }
        });

        let done = Rc::new(Cell::new(false));
        let visitors: Vec<_> = (0..24)
            .map(|n| {
                let (forwarder, done, count) = (house.forwarder.clone(), Rc::clone(&done), Arc::clone(&count));
                tokio::task::spawn_local(async move {
                    while !done.get() {
                        let request = if n % 3 == 0 {
                            let (send, body) = piped();
                            send.send(Ok(Bytes::from_static(b"data"))).unwrap();
                            drop(send);
                            let mut post = request(Method::POST, "/", body);
                            post.headers_mut().insert("content-length", "4".parse().unwrap());
                            post
                        } else {
                            request(Method::GET, "/", RequestBody::Empty)
                        };
                        let response = forwarder.forward(admitted(request, Protocol::H1)).await;
                        assert_eq!(response.status(), 200);
                        assert_eq!(text(response).await, "ok");
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        while retired.recv().await.is_some() {
            workers.pop_front().unwrap().abort();
        }
        deploys.join().unwrap();
        done.set(true);
        for visitor in visitors {
            visitor.await.unwrap();
        }
        assert_eq!(workers.len(), 1);
    });
}
