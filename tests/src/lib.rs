//! The end-to-end tests' house: it starts the real binaries on loopback, talks to them as visitors and operators do,
//! waits for events and never for time, and leaves no process behind.
//!
//! It knows landlord only from outside: its files, its command line, its sockets. A test reads like this:
//!
//! ```no_run
//! # async fn example() {
//! let landlord = harness::Landlord::start();
//! landlord.drop_tenant("acme", "");
//! landlord.wait_state("acme", "running");
//! let answer = landlord.site("acme").get("/").await.expect("an answer");
//! assert_eq!(answer.status, 200);
//! # }
//! ```

pub mod authority;
pub mod binaries;
pub mod chaos;
pub mod client;
pub mod hostile;
pub mod installation;
mod landlord;
pub mod machine;
pub mod network;
mod output;
pub mod peers;
pub mod ports;
pub mod process;
mod setup;
pub mod small_disk;
mod status;
pub mod traffic;
pub mod wait;
pub mod websocket;

pub use landlord::{Certificate, Landlord, Ran};
pub use output::Output;
pub use setup::Setup;
pub use status::{Entry, Storage, Watch};
pub use wait::{PATIENCE, eventually, eventually_async};
