//! A storm from a seed: files are dropped, edited, broken and removed, operators say this and that, and processes of any
//! role are killed at any instant; then everybody must come to what their files say, with all data, and nothing twice.
//!
//! The storm knows nothing of how a gateway is kept alive: a [`House`] does. On a laptop the test itself starts a killed
//! master again; in a machine, systemd does.

mod dice;
mod house;
mod ledger;
mod machine;
mod storm;
mod verdict;
mod wish;

pub use dice::Dice;
pub use house::{House, Laptop, setup, tables};
pub use ledger::Ledger;
pub use machine::Machined;
pub use storm::{Plan, Storm, Struck, Weights};
pub use verdict::{Convergence, converge, each_port_once, files_whole, no_orphan};
pub use wish::{App, Stopped, Wish, Wishes};

/// A seed: `LANDLORD_CHAOS_SEED`, or another one each time.
///
/// # Panics
/// When the variable is no number.
pub fn seed() -> u64 {
    if let Ok(text) = std::env::var("LANDLORD_CHAOS_SEED") {
        return text.parse().expect("LANDLORD_CHAOS_SEED is a number");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed again.
    u64::from(now.subsec_nanos()) ^ (now.as_secs() << 20 & 0xffff_ffff)
}

/// So many kills: `LANDLORD_CHAOS_KILLS`, else `default`.
///
/// # Panics
/// When the variable is no number.
pub fn kills(default: u32) -> u32 {
    match std::env::var("LANDLORD_CHAOS_KILLS") {
        Ok(text) => text.parse().expect("LANDLORD_CHAOS_KILLS is a number"),
        Err(_) => default,
    }
}
