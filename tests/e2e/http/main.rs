//! HTTP from end to end: both versions, both directions, streaming, and what the gateway adds, drops and refuses.

mod bodies;
mod fields;
mod hosts;
mod protocols;

use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{
    Landlord, Setup,
    client::{Alpn, Ending, Http2, Raw, Response, Site, send_body},
    process,
    websocket::{Frame, Opcode},
};
use serde_json::Value;

/// A gateway with one company on the scripted worker, and its site.
fn open() -> (Landlord, Site) {
    open_with(Setup::new(), "")
}

fn open_with(setup: Setup, toml: &str) -> (Landlord, Site) {
    let landlord = setup.tenant("acme", toml).start();
    landlord.wait_state("acme", "running");
    let site = landlord.site("acme");
    (landlord, site)
}

/// The values of a field as the worker received them.
fn received(answer: &Response, name: &str) -> Vec<String> {
    let seen: Value = answer.json();
    let fields = seen["fields"].as_array().expect("fields");
    fields
        .iter()
        .filter(|pair| pair[0].as_str().is_some_and(|field| field.eq_ignore_ascii_case(name)))
        .map(|pair| pair[1].as_str().expect("a value").to_owned())
        .collect()
}

async fn seen(site: &Site) -> Value {
    site.get("/seen").await.expect("counts").json()
}
