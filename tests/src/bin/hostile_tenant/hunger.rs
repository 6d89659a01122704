//! What is everybody's: processes, memory, descriptors, the log. Each attempt is bounded here too, and gives everything back.

use std::{
    fs::File,
    io::Write,
    process::{Child, Command, Stdio, exit},
};

use super::{Attack, refused};

/// Processes of a bomb; a tenant may have fewer.
const PROCESSES: usize = 600;
/// Bytes of a hog, in pieces; a tenant may have 256 MiB.
const PIECES: usize = 64;
const PIECE: usize = 16 << 20;
/// Descriptors; a tenant may have 65,536.
const FILES: usize = 70_000;
/// Bytes of a flood.
const FLOOD: usize = 8 << 20;

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        Attack::new("fork-bomb", &["users", "groups"], |_| bomb()),
        Attack::new("memory-hog", &[], |_| part("hog")),
        Attack::new("every-descriptor", &[], |_| part("files")),
        // Nobody forbids it: the neighbour's lines, and the neighbour, are what counts.
        Attack::new("log-flood", &["none"], |_| {
            let line = [b'x'; 1023];
            let mut out = std::io::stdout().lock();
            for _ in 0..FLOOD / 1024 {
                out.write_all(&line).and_then(|()| out.write_all(b"\n")).map_err(|error| refused(&error))?;
            }
            Ok(format!("{FLOOD} bytes"))
        }),
    ]
}

fn bomb() -> Result<String, String> {
    let mut all: Vec<Child> = Vec::new();
    let mut end = Ok(format!("{PROCESSES} processes"));
    while all.len() < PROCESSES {
        let spawned = Command::new("sleep").arg("60").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        match spawned {
            Ok(child) => all.push(child),
            Err(error) => {
                end = Err(format!("{error}, after {}", all.len()));
                break;
            }
        }
    }
    for child in &mut all {
        // One that has ended already is reaped all the same.
        let _ = child.kill();
        let _ = child.wait();
    }
    end
}

/// Another process tries it: it may not live.
fn part(name: &str) -> Result<String, String> {
    let this = std::env::current_exe().map_err(|error| refused(&error))?;
    let output = Command::new(this).arg(name).output().map_err(|error| refused(&error))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{said} {}", output.status)) }
}

/// What that process does.
#[allow(clippy::print_stdout, reason = "what came of it is its output")]
pub(super) fn play(part: &str) -> ! {
    let reached = match part {
        "hog" => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            while held.len() < PIECES {
                let mut piece = Vec::new();
                if piece.try_reserve_exact(PIECE).is_err() {
                    println!("no memory after {} MiB", (held.len() * PIECE) >> 20);
                    exit(1);
                }
                piece.resize(PIECE, 1);
                held.push(piece);
            }
            format!("{} MiB", (held.len() * PIECE) >> 20)
        }
        _ => {
            let mut held = Vec::new();
            while held.len() < FILES {
                match File::open("/dev/null") {
                    Ok(file) => held.push(file),
                    Err(error) => {
                        println!("{error}, after {}", held.len());
                        exit(1);
                    }
                }
            }
            format!("{} descriptors", held.len())
        }
    };
    println!("{reached}");
    exit(0)
}
