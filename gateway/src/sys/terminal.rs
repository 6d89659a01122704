//! A line that is typed and not shown.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

/// Bytes of a line: the kernel's own line editing would cut a long key after 4,095.
const CAP: usize = 1 << 20;

/// Reads one line, without its end, from a terminal that shows nothing of it meanwhile. Backspace takes the last character back,
/// Ctrl-U all of them.
///
/// # Errors
/// `Interrupted` after Ctrl-C, and `UnexpectedEof` after Ctrl-D or where the terminal is gone; `InvalidData` for what is not
/// UTF-8 or longer than 1 MiB. The terminal is as before after each of them.
pub fn read_hidden(terminal: impl AsFd) -> io::Result<String> {
    let terminal = terminal.as_fd();
    let mut input = File::from(terminal.try_clone_to_owned()?);
    let _hidden = Hidden::new(terminal)?;
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match input.read(&mut byte) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match byte[0] {
            b'\r' | b'\n' => break,
            0x03 => return Err(io::ErrorKind::Interrupted.into()),
            0x04 if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            0x04 => {}
            0x15 => line.clear(),
            0x08 | 0x7f => take_back(&mut line),
            _ if line.len() >= CAP => return Err(io::ErrorKind::InvalidData.into()),
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The last character, of however many bytes.
fn take_back(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

/// A terminal that neither shows nor edits nor sends signals, until this is dropped: a signal would end us before it is itself
/// again.
struct Hidden<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG);
        hidden.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        hidden.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        // What was typed before the question is no answer to it.
        tcsetattr(terminal, SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{io::Write, os::fd::OwnedFd, thread};

    use nix::pty::openpty;

    use super::*;

    fn shows(terminal: &OwnedFd) -> bool {
        tcgetattr(terminal).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// What comes of these bytes when they are typed once the terminal hides them; it is as before afterwards.
    fn typed(bytes: &'static [u8]) -> Result<String, io::ErrorKind> {
        let pair = openpty(None, None).unwrap();
        let (terminal, mut keyboard) = (pair.slave, File::from(pair.master));
        let theirs = terminal.try_clone().unwrap();
        let reader = thread::spawn(move || read_hidden(theirs));
        while shows(&terminal) {
            thread::yield_now();
        }
        keyboard.write_all(bytes).unwrap();
        let line = reader.join().unwrap().map_err(|error| error.kind());
        assert!(shows(&terminal), "the terminal is as before");
        // All that it has shown is what is waiting for a reader.
        keyboard.write_all(b"seen\r").unwrap();
        let mut shown = vec![0; 64];
        let length = keyboard.read(&mut shown).unwrap();
        assert!(shown[..length].starts_with(b"seen"), "{:?}", String::from_utf8_lossy(&shown[..length]));
        line
    }

    #[test]
    fn nothing_is_shown_and_mistakes_can_be_mended() {
        assert_eq!(typed(b"hunter2\r"), Ok("hunter2".into()));
        assert_eq!(typed("wrong\u{15}hü\u{7f}unterr\u{8}2\n".as_bytes()), Ok("hunter2".into()));
        assert_eq!(typed(b"\x7f\r"), Ok(String::new()));
        assert_eq!(typed(b"hunter2\x03"), Err(io::ErrorKind::Interrupted));
        assert_eq!(typed(b"\x04"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(typed(b"\xff\r"), Err(io::ErrorKind::InvalidData));
    }

    #[test]
    fn a_pipe_is_no_terminal() {
        assert!(read_hidden(io::pipe().unwrap().0).is_err());
    }
}
