//! landlord: `[limits]` in the flooded company's file.

use std::{net::SocketAddr, path::PathBuf};

use harness::{Landlord, Setup};

use crate::{BURST, CONCURRENT, Gateway};

/// All visitors come from one address here.
const CROWDS: &str = "[http]\nconnections_per_address = 16384\n";

/// Two companies on scripted workers.
pub(crate) struct House(Landlord);

impl House {
    pub(crate) fn start(rate: u32) -> Self {
        let burst = rate * BURST;
        let limits = format!(
            "[limits]\nrequests_per_second = {rate}\nburst = {burst}\nconcurrent_requests = {CONCURRENT}\n\
             queued_requests = 100\n"
        );
        let landlord = Setup::new().tables(CROWDS).tenant("acme", &limits).tenant("beta", "").start();
        landlord.wait_state("acme", "running");
        landlord.wait_state("beta", "running");
        Self(landlord)
    }
}

impl Gateway for House {
    fn name(&self) -> String {
        format!("landlord {}", env!("CARGO_PKG_VERSION"))
    }

    fn place(&self) -> (SocketAddr, PathBuf) {
        (self.0.https(), self.0.ca())
    }
}
