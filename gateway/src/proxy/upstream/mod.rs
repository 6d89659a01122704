//! Connections to workers: one pool per core, and a guard that reads each answer's framing before hyper does.

pub(crate) mod chunk;
pub(crate) mod head;
pub(crate) mod io;
pub(crate) mod pool;
