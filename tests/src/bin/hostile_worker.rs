//! The hostile worker as a program.

fn main() -> std::io::Result<()> {
    harness::hostile::worker::serve()
}
