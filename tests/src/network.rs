//! A network of a test's own, for tests that change the rules of one: nothing of them is ever done to the machine's.

use std::process::Command;

/// Set in a test that has one.
const MARK: &str = "LANDLORD_TESTS_OWN_NETWORK";

/// Whether this process has a network of its own.
pub fn is_own() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs the test `name`, which calls this first, once more in a network namespace of its own (unshare(1) is in util-linux),
/// and holds it to success. `true`: this is that one, go on; `false`: it is done.
///
/// The namespace has loopback alone, with `192.0.2.1` (RFC 5737) as another address of the machine's own.
///
/// # Panics
/// Not as root, or without ip(8), or when the test fails there.
#[track_caller]
pub fn alone(name: &str) -> bool {
    if is_own() {
        sh("ip link set lo up && ip address add 192.0.2.1/32 dev lo");
        return true;
    }
    assert!(nix::unistd::geteuid().is_root(), "this test changes the rules of a network, which root alone may");
    let program = std::env::current_exe().expect("the test's own program");
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(program).args(["--exact", name, "--nocapture"]).env(MARK, "1");
    let output = command.output().expect("unshare can be started (it is in util-linux)");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "in a network of its own:\n{said}");
    false
}

/// A shell's text, which must succeed; what it wrote.
#[track_caller]
pub fn sh(text: &str) -> String {
    let output = Command::new("sh").args(["-c", text]).output().expect("a shell");
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
