//! Text to model: `landlord.toml`, `tenants.d/*.toml`, `.env`. Errors are places in files.
//!
//! A file is read whole: what is wrong is collected by the [`document`] while the readers go on, so that a person sees all
//! of it at once.

mod apps;
mod bounds;
mod certificates;
mod digest;
mod dns;
mod document;
pub mod dotenv;
pub mod duration;
mod files;
pub mod gateway;
mod hosts;
mod limits;
mod place;
mod readers;
mod sandbox;
mod sections;
pub mod size;
mod sockets;
mod tenant;
pub mod tenants;
