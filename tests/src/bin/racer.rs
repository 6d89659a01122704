//! A tenant's process that has gone wild: `racer FOLDER FILE` swaps what is in its own folder for symlinks, hard links and
//! FIFOs that lead to FILE, as fast as it can, until its standard input ends. Then it puts everything back.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::Mode,
    unistd::mkfifo,
};

/// What root, or whoever acts for it, looks at.
const NAMES: [&str; 6] = ["instance", ".env", "files", "tmp", "instance/data", "instance.restored"];

fn main() {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), Some(target)) = (args.next(), args.next()) else { std::process::exit(64) };
    let names: Vec<(PathBuf, PathBuf)> =
        NAMES.iter().map(|name| (folder.join(name), folder.join(format!("{name}.aside")))).collect();
    while !ended() {
        for (name, aside) in &names {
            swap(name, aside, &target);
        }
    }
}

/// Each step may find something else than it has left: the other side is at work too. What fails, fails.
fn swap(name: &Path, aside: &Path, target: &Path) {
    let had = fs::rename(name, aside).is_ok();
    let steps: [&dyn Fn() -> bool; 4] = [
        &|| symlink(target, name).is_ok(),
        &|| target.parent().is_some_and(|folder| symlink(folder, name).is_ok()),
        &|| fs::hard_link(target, name).is_ok(),
        &|| mkfifo(name, Mode::S_IRWXU).is_ok(),
    ];
    for step in steps {
        if step() {
            std::thread::yield_now();
            let _ = fs::remove_file(name);
        }
    }
    if had {
        let _ = fs::remove_dir(name);
        let _ = fs::rename(aside, name);
    }
}

fn ended() -> bool {
    let stdin = std::io::stdin();
    let mut asked = [PollFd::new(std::os::fd::AsFd::as_fd(&stdin), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
