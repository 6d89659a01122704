//! What this worker keeps, and what it is told of the room for that: `/files/NAME` in its folder (PUT, GET, DELETE), and
//! `/storage/STATE`, which answers once its `STORAGE_FILE` says so. It watches that file as any worker may.

use std::{fs, io, io::Write, path::Path};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

use crate::{
    answers::{PIECE, document, text},
    conversation::{Body, Conversation, Request},
    seen::Seen,
};

/// One answer about the file of this name.
pub(crate) fn file(
    conversation: &mut Conversation,
    request: &Request,
    body: Body,
    name: &str,
    seen: &Seen,
) -> io::Result<bool> {
    let path = Path::new("files").join(name);
    match request.method.as_str() {
        "PUT" => keep(conversation, body, &path, seen),
        "DELETE" => {
            let gone = fs::remove_file(&path);
            text(conversation, if gone.is_ok() { 200 } else { 404 }, "gone")
        }
        _ => match fs::read(&path) {
            Ok(bytes) => text(conversation, 200, &bytes.len().to_string()),
            Err(_) => text(conversation, 404, "no such file"),
        },
    }
}

/// The body becomes a file, piece by piece.
fn keep(conversation: &mut Conversation, mut body: Body, path: &Path, seen: &Seen) -> io::Result<bool> {
    let mut file = fs::File::create(path)?;
    let mut buffer = vec![0; PIECE];
    let mut kept = 0;
    loop {
        match conversation.read(&mut body, &mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                file.write_all(&buffer[..read])?;
                kept += read;
            }
            Err(error) => {
                seen.aborted();
                return Err(error);
            }
        }
    }
    seen.complete();
    text(conversation, 200, &kept.to_string())
}

/// Answers with what `STORAGE_FILE` says once its state is this one.
pub(crate) fn storage(conversation: &mut Conversation, state: &str) -> io::Result<bool> {
    let file = std::env::var("STORAGE_FILE").map_err(io::Error::other)?;
    let file = Path::new(&file);
    let room = file.parent().ok_or(io::ErrorKind::NotFound)?;
    // The file is replaced: a watch on it would be one on what it was.
    let watch = Inotify::init(InitFlags::IN_CLOEXEC)?;
    watch.add_watch(room, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE)?;
    loop {
        let said: serde_json::Value = serde_json::from_slice(&fs::read(file)?)?;
        if said["state"] == state {
            return document(conversation, &said);
        }
        match watch.read_events() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
