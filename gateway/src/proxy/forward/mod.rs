//! Everything behind an admitted request: its tenant, its gate or its hold, its worker, its answer.

pub(crate) mod answer;
pub(crate) mod attempt;
pub mod bucket;
pub(crate) mod core;
pub(crate) mod flight;
pub mod forwarder;
pub mod gate;
pub(crate) mod headers;
pub mod hold;
pub(crate) mod journey;
pub mod seats;
pub(crate) mod stayed;
pub(crate) mod terms;
pub(crate) mod upgrade;
pub(crate) mod upload;
pub(crate) mod waiting;

#[cfg(test)]
mod tests;
