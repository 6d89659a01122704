//! What fills a disk, and what only looks as if it did. Nobody forbids any of it: that it is found, and whom it hurts, is what
//! counts. Each is bounded by [`BYTES`] or by `bytes=`, and gives everything back, at once or with `keep=` at `/tidy`.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::{Mode, mkdirat},
};

use super::{Attack, refused};

/// Bytes of each.
const BYTES: usize = 12 << 20;
/// Of a small file.
const SMALL: usize = 4096;
/// Where all of it is.
const PLACE: &str = "files/filler";

type Filler = fn(&Path, usize) -> io::Result<()>;

/// What is still held until [`tidy`].
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
/// What goes on until then.
static UNDER_WAY: Mutex<Vec<JoinHandle<io::Result<()>>>> = Mutex::new(Vec::new());
/// It is to end.
static OVER: AtomicBool = AtomicBool::new(false);

pub(super) fn attacks() -> Vec<Attack> {
    let fillers: [(&'static str, Filler); 9] = [
        ("small-files", small_files),
        ("empty-files", empty_files),
        ("one-file", one_file),
        ("holes", holes),
        ("links", links),
        ("deep-folders", deep_folders),
        ("closed-folder", closed_folder),
        ("moving-files", moving_files),
        ("removed-file", removed_file),
    ];
    let attack = |(name, filler): (&'static str, Filler)| {
        Attack::new(format!("fill-{name}"), &["none"], move |victims| {
            let bytes = victims.get("bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(BYTES);
            let place = PathBuf::from(PLACE).join(name);
            let filled = fs::create_dir_all(&place).and_then(|()| filler(&place, bytes));
            if !victims.contains_key("keep") {
                tidy().map_err(|error| refused(&error))?;
            }
            filled.map(|()| format!("{bytes} bytes")).map_err(|error| refused(&error))
        })
    };
    fillers.into_iter().map(attack).collect()
}

/// Gives everything back.
pub(super) fn tidy() -> io::Result<()> {
    let mut under_way = UNDER_WAY.lock().map_err(|_| io::ErrorKind::Other)?;
    OVER.store(true, Relaxed);
    for thread in under_way.drain(..) {
        thread.join().map_err(|_| io::ErrorKind::Other)??;
    }
    OVER.store(false, Relaxed);
    HELD.lock().map_err(|_| io::ErrorKind::Other)?.clear();
    // It goes down by single names, as deep as it has to.
    let script = "chmod -R u+rwx \"$1\"/closed-folder 2>/dev/null; rm -rf \"$1\"";
    let status = Command::new("sh").args(["-c", script, "sh", PLACE]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("rm: {status}"))) }
}

fn write(file: &mut File, bytes: usize) -> io::Result<()> {
    let piece = [b'x'; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let size = left.min(piece.len());
        file.write_all(&piece[..size])?;
        left -= size;
    }
    Ok(())
}

fn small_files(place: &Path, bytes: usize) -> io::Result<()> {
    (0..bytes / SMALL).try_for_each(|nth| write(&mut File::create(place.join(nth.to_string()))?, SMALL))
}

/// No byte in any of them, and half of them only links to nowhere.
fn empty_files(place: &Path, bytes: usize) -> io::Result<()> {
    (0..bytes / SMALL).try_for_each(|nth| {
        let path = place.join(nth.to_string());
        if nth % 2 == 0 { File::create(path).map(drop) } else { symlink("nowhere", path) }
    })
}

fn one_file(place: &Path, bytes: usize) -> io::Result<()> {
    write(&mut File::create(place.join("big"))?, bytes)
}

/// A file of a TiB of which one MiB is there.
fn holes(place: &Path, _: usize) -> io::Result<()> {
    let mut file = File::create(place.join("hole"))?;
    write(&mut file, 1 << 20)?;
    file.set_len(1 << 40)
}

/// One MiB, under a thousand names.
fn links(place: &Path, _: usize) -> io::Result<()> {
    let first = place.join("first");
    write(&mut File::create(&first)?, 1 << 20)?;
    (0..1000).try_for_each(|nth| fs::hard_link(&first, place.join(nth.to_string())))
}

/// A path that no call takes: 300 names of 200 bytes, and a file beside each.
fn deep_folders(place: &Path, bytes: usize) -> io::Result<()> {
    const LEVELS: usize = 300;
    let name = "d".repeat(200);
    let mut here: OwnedFd = File::open(place)?.into();
    for _ in 0..LEVELS {
        mkdirat(&here, name.as_str(), Mode::S_IRWXU)?;
        here = openat(&here, name.as_str(), OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
        let file = openat(&here, "file", OFlag::O_WRONLY | OFlag::O_CREAT, Mode::S_IRWXU)?;
        write(&mut file.into(), bytes / LEVELS)?;
    }
    Ok(())
}

/// In a folder into which not even its owner can look, and which is so before there is anything to be seen.
fn closed_folder(place: &Path, bytes: usize) -> io::Result<()> {
    let mut file = File::create(place.join("big"))?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o000))?;
    write(&mut file, bytes)
}

/// Files that come, go, grow and move for as long as somebody may be counting them; at any moment most of them are there.
fn moving_files(place: &Path, bytes: usize) -> io::Result<()> {
    const FILES: usize = 48;
    const FOLDERS: usize = 4;
    let path = {
        let place = place.to_owned();
        move |folder: usize, nth: usize| place.join(folder.to_string()).join(nth.to_string())
    };
    for folder in 0..FOLDERS {
        fs::create_dir(place.join(folder.to_string()))?;
    }
    for nth in 0..FILES {
        write(&mut File::create(path(nth % FOLDERS, nth))?, bytes / FILES)?;
    }
    let thread = std::thread::spawn(move || {
        for round in 0.. {
            for nth in 0..FILES {
                if OVER.load(Relaxed) {
                    return Ok(());
                }
                let (from, to) = (path((nth + round) % FOLDERS, nth), path((nth + round + 1) % FOLDERS, nth));
                if nth % 8 == 0 {
                    fs::remove_file(from)?;
                    write(&mut File::create(to)?, bytes / FILES)?;
                } else {
                    fs::rename(from, to)?;
                }
            }
        }
        Ok(())
    });
    UNDER_WAY.lock().map_err(|_| io::ErrorKind::Other)?.push(thread);
    Ok(())
}

/// A file without a name, which lives for as long as it is open: all of it that the disk takes.
fn removed_file(place: &Path, bytes: usize) -> io::Result<()> {
    let path = place.join("removed");
    let mut file = File::create(&path)?;
    fs::remove_file(path)?;
    let written = write(&mut file, bytes);
    HELD.lock().map_err(|_| io::ErrorKind::Other)?.push(file);
    written
}
