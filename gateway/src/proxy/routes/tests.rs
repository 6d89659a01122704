#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::model::{Environment, RouteTable, TenantRoute};

pub(crate) fn tenant(name: &str, hosts: &[&str], serving: model::Serving) -> TenantRoute {
    TenantRoute {
        name: name.parse().unwrap(),
        company: format!("{name} & Sons"),
        environment: Environment("prod".into()),
        hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(),
        canonical: None,
        serving,
        backends: vec![],
        hold_timeout: Duration::from_secs(5),
        held_requests: 10,
        body: None,
        hsts: None,
        rate: None,
        concurrent: None,
        queued: 100,
        connections_per_address: None,
        full: false,
        sleeps: false,
    }
}

pub(crate) fn backend(generation: u64, address: BackendAddress, open: bool) -> BackendRoute {
    BackendRoute {
        generation: GenerationId(generation),
        address,
        open,
        drain_timeout: Duration::from_secs(30),
        upgrade_timeout: Duration::from_secs(10),
        probe: None,
    }
}

fn at(port: u16) -> BackendAddress {
    BackendAddress::Tcp(([127, 0, 0, 1], port).into())
}

fn serve(generation: u64) -> model::Serving {
    model::Serving::Serve { generation: GenerationId(generation) }
}

fn serving(table: &Table, host: &str) -> GenerationId {
    match &table.tenant(&host.parse().unwrap()).unwrap().serving {
        Serving::Serve(backend) => backend.generation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hosts_lead_to_their_own_tenant_and_gates_outlive_tables() {
    let routes = Routes::new(2);
    let mut acme = tenant("acme", &["acme.localhost", "portal.acme.com"], serve(1));
    acme.backends = vec![backend(1, at(1), true)];
    let mut beta = tenant("beta", &["beta.localhost", "acme.localhost"], serve(2));
    beta.backends = vec![backend(2, at(2), true)];
    let reader = routes.reader();
    let first = routes.apply(RouteTable { epoch: 1, tenants: vec![acme.clone(), beta.clone()] });
    assert_eq!(serving(&first, "portal.acme.com"), GenerationId(1));
    assert_eq!(serving(&first, "acme.localhost"), GenerationId(1), "the first keeps a host told twice");
    assert!(first.tenant(&"gamma.localhost".parse().unwrap()).is_none());
    assert_eq!(reader.with(|t| t.epoch), 1);

    let old = Arc::clone(&first.backends[&GenerationId(1)].0);
    let in_flight = old.gate.enter(0);
    assert!(in_flight);
    acme.serving = serve(3);
    acme.backends = vec![backend(1, at(1), false), backend(3, at(3), true)];
    let second = routes.apply(RouteTable { epoch: 2, tenants: vec![acme, beta] });
    assert!(Arc::ptr_eq(&second.backends[&GenerationId(1)].0, &old));
    assert!(!old.gate.enter(1), "closed");
    assert!(!old.gate.is_idle());
    assert_eq!(reader.with(|t| serving(t, "acme.localhost")), GenerationId(3));
    old.gate.leave(0);
    assert!(old.gate.is_idle());
}

#[test]
fn tokens_and_seats_outlive_tables_and_follow_changed_limits() {
    let routes = Routes::new(1);
    let apply = |epoch, rate: Option<(u32, u32)>, concurrent| {
        let mut acme = tenant("acme", &["acme.localhost"], model::Serving::Hold);
        acme.rate = rate.map(|(per_second, burst)| Rate { per_second, burst });
        acme.concurrent = concurrent;
        let table = routes.apply(RouteTable { epoch, tenants: vec![acme] });
        let tenant = table.tenant(&"acme.localhost".parse().unwrap()).unwrap();
        (tenant.bucket.clone(), tenant.seats.clone())
    };
    assert!(matches!(apply(1, None, None), (None, None)));
    let (Some(bucket), Some(seats)) = apply(2, Some((1, 3)), Some(1)) else { panic!("both") };
    bucket.take().unwrap();
    let seat = seats.take().unwrap();
    let (Some(same), Some(same_seats)) = apply(3, Some((1, 3)), Some(1)) else { panic!("both") };
    assert!(Arc::ptr_eq(&bucket, &same) && Arc::ptr_eq(&seats, &same_seats));
    let (Some(changed), Some(same_seats)) = apply(4, Some((1, 100)), None) else { panic!("both") };
    assert!(Arc::ptr_eq(&seats, &same_seats), "what is in flight stays counted");
    let free = seats.take();
    assert!(free.is_some(), "no limit any more");
    assert_eq!((0..).find(|_| changed.take().is_err()), Some(2), "two were left");
    let (None, Some(_)) = apply(5, None, Some(2)) else { panic!("no rate") };
    assert!(seats.take().is_none());
    drop((seat, free));
    assert!(seats.take().is_some());
}

#[test]
fn a_generation_that_is_gone_is_closed_and_cut() {
    let routes = Routes::new(1);
    let mut acme = tenant("acme", &["acme.localhost"], serve(1));
    acme.backends = vec![backend(1, at(1), true)];
    let first = routes.apply(RouteTable { epoch: 1, tenants: vec![acme] });
    let old = Arc::clone(&first.backends[&GenerationId(1)].0);
    routes.apply(RouteTable { epoch: 2, tenants: vec![] });
    assert!(!old.gate.enter(0));
    assert!(old.gate.cuts(false) && old.gate.cuts(true));
}

#[test]
fn a_table_that_serves_a_missing_backend_or_another_tenants_holds() {
    let routes = Routes::new(1);
    let acme = tenant("acme", &["acme.localhost"], serve(7));
    let mut beta = tenant("beta", &["beta.localhost"], serve(9));
    beta.backends = vec![backend(9, at(1), true)];
    let gamma = tenant("gamma", &["gamma.localhost"], serve(9));
    let table = routes.apply(RouteTable { epoch: 1, tenants: vec![acme, beta, gamma] });
    for host in ["acme.localhost", "gamma.localhost"] {
        assert!(matches!(table.tenant(&host.parse().unwrap()).unwrap().serving, Serving::Hold), "{host}");
    }
}

#[test]
fn each_hold_is_told_of_anew_though_one_was_late_to_say_of_the_one_before() {
    let routes = Routes::new(1);
    let mut epoch = 0;
    let mut table = |serving: model::Serving| {
        let mut acme = tenant("acme", &["acme.localhost"], serving);
        acme.backends = vec![backend(1, at(1), true)];
        epoch += 1;
        routes.apply(RouteTable { epoch, tenants: vec![acme] })
    };
    let first = table(model::Serving::Hold);
    let held = Arc::clone(&first.tenants[0].held);
    let visitor = held.take().unwrap();
    assert!(visitor.first() && !visitor.first());
    assert_eq!(first.waiting().count(), 1);
    table(model::Serving::Hold);
    assert!(!visitor.first(), "it is the same hold");
    // A core that has looked at the hold just before says so just after.
    table(serve(1));
    assert!(visitor.first());
    drop(visitor);
    assert_eq!(table(model::Serving::Hold).waiting().count(), 0);
    let next = held.take().unwrap();
    assert!(next.first(), "else nobody would wake it, ever");
}
