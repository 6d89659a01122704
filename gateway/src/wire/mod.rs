//! Messages between the roles: one enum per direction per link, JSON inside one SOCK_SEQPACKET datagram each.
//!
//! A message that is too large for a datagram (a route table, certificates) travels as a sealed memfd beside it.

mod acme;
mod control;
mod count;
mod dotenv;
mod exec;
mod link;
mod log;
mod proxy;

pub use acme::{AcmeSettings, Answers, FromAcme, HttpAnswer, Issued, JobId, Keepsake, OrderPlan, Record, ToAcme};
pub use control::{
    CertificateEntry, CertificateSource, ControlReply, ControlRequest, DomainEntry, Draining, Outcome, Started, Status,
    StatusEntry, TenantState, Wall,
};
pub use count::{CountOrder, Counted};
pub use dotenv::{DOTENV_MESSAGE_CAP, DotenvAnswer, DotenvEdit, DotenvLength, DotenvSetting};
pub use exec::{Estate, Job, Plan, ProcessLimits, Walls};
pub use link::{Link, LinkError};
pub use log::{FromLog, ToLog};
pub use proxy::{FromProxy, ListenerKind, ToProxy};

/// The version of these messages; told in `Hello` after every (re)connection.
pub const PROTOCOL: u32 = 1;
