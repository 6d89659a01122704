//! Everything that a hostile client, and a hostile worker, says: byte-exact clients, tables of bad input, and a worker that tells what reached it.

pub mod answers;
pub mod canary;
pub mod case;
pub mod chunks;
pub mod door;
pub mod encodings;
pub mod flood;
pub mod frames;
pub mod h1;
pub mod h2_cases;
pub mod heads;
pub mod lengths;
pub mod process;
pub mod stage;
pub mod witness;
pub mod worker;

/// A figure for whoever reads the test's output.
#[allow(clippy::print_stdout, reason = "a test's figures are shown with --nocapture and when it fails")]
pub fn tell(figure: impl std::fmt::Display) {
    println!("{figure}");
}
