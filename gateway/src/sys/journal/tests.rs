//! The writer against a real socket, read by a parser that takes nothing but what the protocol says.

use std::{
    cell::RefCell,
    fs::File,
    io::{IoSliceMut, Read, Seek},
    os::fd::{FromRawFd, OwnedFd},
    path::Path,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::socket::{ControlMessageOwned, recvmsg},
};

use super::*;

/// A journald of a test's own.
pub(crate) struct Journald {
    socket: UnixDatagram,
    buffer: RefCell<Vec<u8>>,
}

/// Fields in their order.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

impl Journald {
    pub(crate) fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        Self { socket, buffer: RefCell::new(vec![0; 1 << 20]) }
    }

    /// The next entry.
    pub(crate) fn entry(&self) -> Fields {
        self.try_entry().expect("an entry within 30 s")
    }

    /// All that wait.
    pub(crate) fn waiting(&self) -> Vec<Fields> {
        self.socket.set_nonblocking(true).unwrap();
        let all = std::iter::from_fn(|| self.try_entry()).collect();
        self.socket.set_nonblocking(false).unwrap();
        all
    }

    fn try_entry(&self) -> Option<Fields> {
        let mut bytes = self.buffer.borrow_mut();
        let mut space = nix::cmsg_space!([i32; 1]);
        let (length, fd) = {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let got = recvmsg::<()>(self.socket.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
            let fd = got.cmsgs().unwrap().find_map(|message| match message {
                ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                _ => None,
            });
            (got.bytes, fd)
        };
        let Some(fd) = fd else { return Some(parse(&bytes[..length])) };
        assert_eq!(length, 0, "a memory file comes alone");
        // SAFETY: the kernel has just made this descriptor for us.
        let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let seals = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS).unwrap());
        assert!(seals.contains(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW));
        assert!(seals.contains(SealFlag::F_SEAL_SEAL));
        let mut content = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut content).unwrap();
        Some(parse(&content))
    }
}

/// The value of a field that must be there once.
pub(crate) fn value<'a>(fields: &'a Fields, name: &str) -> &'a [u8] {
    let mut all = fields.iter().filter(|(field, _)| field == name);
    let (first, second) = (all.next(), all.next());
    assert!(second.is_none(), "{name} is there twice in {fields:?}");
    &first.unwrap_or_else(|| panic!("no {name} in {fields:?}")).1
}

/// Panics for anything that journald would not take as it was meant.
fn parse(mut bytes: &[u8]) -> Fields {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| matches!(byte, b'=' | b'\n')).expect("a name ends");
        let name = String::from_utf8(bytes[..end].to_vec()).expect("a name is ASCII");
        assert!((1..=64).contains(&name.len()), "{name}");
        assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        let is_plain = bytes[end] == b'=';
        bytes = &bytes[end + 1..];
        let length = if is_plain {
            bytes.iter().position(|byte| *byte == b'\n').expect("a value ends")
        } else {
            let (length, rest) = bytes.split_first_chunk::<8>().expect("a length");
            bytes = rest;
            usize::try_from(u64::from_le_bytes(*length)).unwrap()
        };
        fields.push((name, bytes[..length].to_vec()));
        assert_eq!(bytes[length], b'\n', "a value is followed by a newline");
        bytes = &bytes[length + 1..];
    }
    fields
}

fn owned(fields: &[(&str, &[u8])]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
}

#[test]
fn any_bytes_arrive_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let journald = Journald::at(&path);
    let mut writer = Writer::to(path);
    let values: [&[u8]; 8] = [b"", b"plain", b"a=b", b"two\nlines", b"\n", b"X=1\nPRIORITY=0\n", b"\0\xff\xfe", b"e\n"];
    for value in values {
        let entry = Entry::new().with("MESSAGE", value).with("TENANT", b"acme");
        writer.send(entry.bytes()).unwrap();
        assert_eq!(journald.entry(), owned(&[("MESSAGE", value), ("TENANT", b"acme")]));
    }
}

#[test]
fn a_long_entry_goes_in_a_memory_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let journald = Journald::at(&path);
    let long = "line\n".repeat(1 << 19);
    let entry = Entry::new().with("MESSAGE", long.as_bytes()).with("PRIORITY", b"6");
    Writer::to(path).send(entry.bytes()).unwrap();
    assert_eq!(journald.entry(), owned(&[("MESSAGE", long.as_bytes()), ("PRIORITY", b"6")]));
}

#[test]
fn names_become_ones_that_journald_takes() {
    let entry = Entry::new()
        .with("next_ms", b"1")
        .with("_UID", b"2")
        .with("9lives", b"3")
        .with("log.target", b"4")
        .with("_", b"5")
        .with("ü", b"6")
        .with(&"n".repeat(100), b"7");
    let long = "N".repeat(64);
    let expected = [("NEXT_MS", "1"), ("UID", "2"), ("LIVES", "3"), ("LOG_TARGET", "4"), (&*long, "7")];
    let fields = expected.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    assert_eq!(parse(entry.bytes()), fields);
}

#[test]
fn a_slow_journald_refuses_and_one_that_came_back_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let entry = Entry::new().with("MESSAGE", b"hello");
    let mut writer = Writer::to(path.clone());
    assert!(matches!(writer.send(entry.bytes()), Err(Refusal::Gone(_))));

    let journald = Journald::at(&path);
    let sent = (0..1_000_000).take_while(|_| writer.send(entry.bytes()).is_ok()).count();
    assert!((1..1_000_000).contains(&sent), "{sent}");
    assert!(matches!(writer.send(entry.bytes()), Err(Refusal::Full)));
    assert_eq!(journald.waiting().len(), sent, "what was taken is there");
    writer.send(entry.bytes()).unwrap();

    drop(journald);
    assert!(matches!(writer.send(entry.bytes()), Err(Refusal::Gone(_))));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(writer.send(entry.bytes()), Err(Refusal::Gone(_))));
    let another = Journald::at(&path);
    writer.send(entry.bytes()).unwrap();
    assert_eq!(another.entry(), owned(&[("MESSAGE", b"hello")]));
    // Replaced while we were connected to the one before.
    drop(another);
    std::fs::remove_file(&path).unwrap();
    let third = Journald::at(&path);
    writer.send(entry.bytes()).unwrap();
    assert_eq!(third.entry(), owned(&[("MESSAGE", b"hello")]));
}

#[test]
fn the_stream_is_two_numbers() {
    assert_eq!(parse_stream("8:12345"), Some((8, 12_345)));
    for bad in ["", "8", "8:", ":1", "8:x", "8:1:2", "-1:2"] {
        assert_eq!(parse_stream(bad), None, "{bad:?}");
    }
}
