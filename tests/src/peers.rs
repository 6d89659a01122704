//! Programs that others wrote, for benches that compare: Debian's, found where Debian puts them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where a program is: `PATH`, and the folders of administrators' programs that a user's `PATH` may lack.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Says what to install when a program is missing.
///
/// # Errors
/// The sentence that says it.
pub fn require(names: &[&str]) -> Result<(), String> {
    let missing: Vec<&str> = names.iter().filter(|name| program(name).is_none()).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} missing. Install the peers that landlord is compared with:\n    \
         sudo apt-get install --no-install-recommends nginx-light haproxy",
        missing.join(" and ")
    ))
}

/// What a program says of its version: the first line's word that has a number in it.
pub fn version(program: &Path, option: &str) -> String {
    let Ok(output) = Command::new(program).arg(option).output() else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    said.split([' ', '/', '-', '\n'])
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or("")
        .to_owned()
}
