//! What becomes of the bytes of one pipe: a tenant's lines, or the proxies'.

use std::{io, rc::Rc, time::Duration};

use super::{
    bucket::Bucket,
    file::LogFile,
    journal::Journal,
    lines::{self, Lines},
};
use crate::{model::TenantName, wire::FromLog};

/// Bytes a second of one tenant that are kept, and as many at once.
const RATE: u64 = 1_000_000;
/// After this long without an end, a line is written as it is; without a loss, a flood is over.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// A flood that goes on is told of this often.
const FLOOD: Duration = Duration::from_secs(10);
/// Bytes of an access line that does not end before it is taken for one.
const ACCESS_CAP: usize = 256 * 1024;

/// Where the bytes of one pipe go.
#[derive(Debug)]
pub(super) enum Sink {
    /// A tenant's own log.
    Tenant(TenantSink),
    /// The proxies' lines, which say all by themselves.
    Access(AccessSink),
}

impl Sink {
    /// A tenant's file and, where there is one, the journal.
    pub(super) fn tenant(tenant: TenantName, file: LogFile, journal: Option<Rc<Journal>>, now: Duration) -> Self {
        let bucket = Bucket::new(RATE, now);
        Self::Tenant(TenantSink {
            tenant,
            file,
            journal,
            bucket,
            lines: Lines::default(),
            grew: None,
            losses: Losses::default(),
        })
    }

    pub(super) fn access(file: LogFile) -> Self {
        Self::Access(AccessSink { file, partial: Vec::new() })
    }

    /// Writes what was read. On an error it is dropped, and counted where there is a count.
    pub(super) fn take(&mut self, bytes: &[u8], now: Duration, stamp: &str) -> io::Result<()> {
        match self {
            Self::Tenant(sink) => sink.take(bytes, now, stamp),
            Self::Access(sink) => sink.take(bytes),
        }
    }

    /// Whether [`Sink::pause`] would have something to do, now or soon.
    pub(super) fn is_unfinished(&self) -> bool {
        match self {
            Self::Tenant(sink) => !sink.lines.partial().is_empty() || sink.losses.unsaid > 0,
            Self::Access(_) => false,
        }
    }

    /// Writes a line that does not end, and tells of losses that are over; both in any case if this is the `last` time.
    pub(super) fn pause(&mut self, now: Duration, stamp: &str, last: bool) -> io::Result<()> {
        match self {
            Self::Tenant(sink) => sink.pause(now, stamp, last),
            Self::Access(sink) => sink.pause(last),
        }
    }

    /// Losses that the master has not heard of, and now does.
    pub(super) fn fact(&mut self) -> Option<FromLog> {
        let Self::Tenant(sink) = self else { return None };
        let bytes = std::mem::take(&mut sink.losses.for_master);
        (bytes > 0).then(|| FromLog::Dropped { tenant: sink.tenant.clone(), bytes })
    }
}

/// A tenant's log: stamped, escaped, limited. The journal gets the same lines, raw, and stamps them itself.
#[derive(Debug)]
pub(super) struct TenantSink {
    tenant: TenantName,
    file: LogFile,
    journal: Option<Rc<Journal>>,
    bucket: Bucket,
    lines: Lines,
    /// When the line that has not ended last grew.
    grew: Option<Duration>,
    losses: Losses,
}

/// Bytes that were dropped.
#[derive(Debug, Default)]
struct Losses {
    /// Not told in the log yet.
    unsaid: u64,
    /// Not told to the master yet.
    untold: u64,
    /// To be told to the master now.
    for_master: u64,
    first: Duration,
    last: Duration,
}

impl Losses {
    fn add(&mut self, bytes: usize, now: Duration) {
        if self.unsaid == 0 {
            self.first = now;
        }
        self.unsaid += bytes as u64;
        self.untold += bytes as u64;
        self.last = now;
    }

    /// Whether the flood is over, or has gone on for so long that it must be told of.
    fn are_due(&self, now: Duration) -> bool {
        self.unsaid > 0 && (now.saturating_sub(self.last) >= PAUSE || now.saturating_sub(self.first) >= FLOOD)
    }
}

impl TenantSink {
    fn take(&mut self, bytes: &[u8], now: Duration, stamp: &str) -> io::Result<()> {
        let (mut out, mut kept) = (Vec::new(), 0);
        let (bucket, losses, tenant, journal) = (&mut self.bucket, &mut self.losses, &self.tenant, &self.journal);
        self.lines.push(bytes, |line| {
            // The newline counts: a flood of empty lines is one too.
            let size = line.len() + 1;
            if bucket.take(size, now) {
                kept += size;
                lines::write(&mut out, stamp, line);
                if let Some(journal) = journal {
                    journal.line(tenant, line);
                }
            } else {
                losses.add(size, now);
            }
        });
        self.grew = (!self.lines.partial().is_empty()).then_some(now);
        self.append(&out, kept, now)
    }

    fn append(&mut self, out: &[u8], kept: usize, now: Duration) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let written = self.file.append(out);
        if written.is_err() {
            self.losses.add(kept, now);
        }
        written
    }

    fn pause(&mut self, now: Duration, stamp: &str, last: bool) -> io::Result<()> {
        let unended = match self.grew {
            Some(grew) if last || now.saturating_sub(grew) >= PAUSE => self.end_line(now, stamp),
            _ => Ok(()),
        };
        if !last && !self.losses.are_due(now) {
            return unended;
        }
        self.losses.for_master += std::mem::take(&mut self.losses.untold);
        if self.losses.unsaid > 0 {
            let mut out = Vec::new();
            let sentence = format!("landlord: {} bytes dropped", self.losses.unsaid);
            lines::write(&mut out, stamp, sentence.as_bytes());
            // Where it cannot be said yet (a full disk), it is tried again, and the count goes on.
            self.losses.first = now;
            self.file.append(&out)?;
            if let Some(journal) = &self.journal {
                journal.warn(&self.tenant, &sentence);
            }
            self.losses.unsaid = 0;
        }
        unended
    }

    fn end_line(&mut self, now: Duration, stamp: &str) -> io::Result<()> {
        self.grew = None;
        let line = self.lines.take_partial();
        if !self.bucket.take(line.len(), now) {
            self.losses.add(line.len(), now);
            return Ok(());
        }
        let mut out = Vec::new();
        lines::write(&mut out, stamp, &line);
        if let Some(journal) = &self.journal {
            journal.line(&self.tenant, &line);
        }
        self.append(&out, line.len(), now)
    }
}

/// The access log: whole lines, as they come.
#[derive(Debug)]
pub(super) struct AccessSink {
    file: LogFile,
    partial: Vec<u8>,
}

impl AccessSink {
    /// Whole lines only, so that a rotation comes between two of them.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.partial.extend_from_slice(bytes);
        let end = match self.partial.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if self.partial.len() > ACCESS_CAP => self.partial.len(),
            None => return Ok(()),
        };
        let rest = self.partial.split_off(end);
        self.file.append(&std::mem::replace(&mut self.partial, rest))
    }

    fn pause(&mut self, last: bool) -> io::Result<()> {
        if last && !self.partial.is_empty() {
            self.partial.push(b'\n');
            let rest = std::mem::take(&mut self.partial);
            return self.file.append(&rest);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, fs::File, path::Path, rc::Rc};

    use super::{super::file::Bounds, *};

    const T: &str = "2026-01-01T00:00:00.000Z";

    fn file(folder: &Path, name: &str, bytes: u64) -> LogFile {
        let folder = Rc::new(File::open(folder).unwrap().into());
        LogFile::new(Bounds { folder, bytes, files: 3 }, name.to_owned())
    }

    fn tenant(folder: &Path) -> Sink {
        Sink::tenant("acme".parse().unwrap(), file(folder, "acme.log", 100_000_000), None, Duration::ZERO)
    }

    fn text(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_flood_is_cut_to_its_share_and_told_of_once_when_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = tenant(dir.path());
        // 5 MB in half a second, in lines of 100 bytes: the burst and half a second's share are kept.
        let line = [vec![b'x'; 99], vec![b'\n']].concat();
        for millisecond in 0..500 {
            sink.take(&line.repeat(100), at(millisecond), T).unwrap();
        }
        assert!(sink.is_unfinished());
        sink.pause(at(1000), T, false).unwrap();
        assert_eq!(sink.fact(), None, "it may go on");
        sink.pause(at(1499), T, false).unwrap();
        let Some(FromLog::Dropped { bytes, .. }) = sink.fact() else { panic!("told of nothing") };
        assert_eq!(sink.fact(), None);
        assert!(!sink.is_unfinished());

        sink.take(b"after\n", at(1600), T).unwrap();
        let text = text(dir.path(), "acme.log");
        let kept = text.lines().filter(|line| line.ends_with('x')).count() as u64 * 100;
        assert_eq!(kept + bytes, 5_000_000);
        assert!((1_490_000..=1_510_000).contains(&kept), "{kept}");
        assert!(text.ends_with(&format!("{T} landlord: {bytes} bytes dropped\n{T} after\n")));
    }

    #[test]
    fn a_flood_without_end_is_told_of_every_ten_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = tenant(dir.path());
        let line = [vec![b'x'; 9_999], vec![b'\n']].concat();
        let mut told = Vec::new();
        for second in 0..30 {
            sink.take(&line.repeat(300), at(second * 1000), T).unwrap();
            sink.pause(at(second * 1000), T, false).unwrap();
            told.extend(sink.fact());
        }
        assert_eq!(told.len(), 2);
        assert_eq!(text(dir.path(), "acme.log").matches("bytes dropped").count(), 2);
    }

    #[test]
    fn a_line_without_end_is_written_after_a_pause() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = tenant(dir.path());
        sink.take(b"Password: ", at(0), T).unwrap();
        sink.pause(at(999), T, false).unwrap();
        assert!(sink.is_unfinished() && !dir.path().join("acme.log").exists());
        sink.pause(at(1000), T, false).unwrap();
        assert!(!sink.is_unfinished());
        sink.take(b"half", at(1100), T).unwrap();
        sink.pause(at(1100), T, true).unwrap();
        assert_eq!(text(dir.path(), "acme.log"), format!("{T} Password: \n{T} half\n"));
    }

    #[test]
    fn what_a_full_disk_took_is_counted_and_told_when_it_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        // A folder in the file's place stands in for a disk that takes nothing.
        fs::create_dir(dir.path().join("acme.log")).unwrap();
        let mut sink = tenant(dir.path());
        sink.take(b"lost\n", at(0), T).unwrap_err();
        sink.pause(at(1000), T, false).unwrap_err();
        assert_eq!(sink.fact(), Some(FromLog::Dropped { tenant: "acme".parse().unwrap(), bytes: 5 }));
        sink.take(b"lost too\n", at(1500), T).unwrap_err();
        fs::remove_dir(dir.path().join("acme.log")).unwrap();
        sink.take(b"kept\n", at(2000), T).unwrap();
        sink.pause(at(2500), T, false).unwrap();
        assert_eq!(sink.fact(), Some(FromLog::Dropped { tenant: "acme".parse().unwrap(), bytes: 9 }));
        assert_eq!(text(dir.path(), "acme.log"), format!("{T} kept\n{T} landlord: 14 bytes dropped\n"));
    }

    #[test]
    fn access_lines_pass_unchanged_and_rotate_between_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::access(file(dir.path(), "access.log", 20));
        for read in [&b"{\"a\":1}\n{\"b\""[..], b":2}\n", b"{\"c\":\"\x1b\"}\n{\"d\""] {
            sink.take(read, at(0), T).unwrap();
        }
        sink.pause(at(0), T, true).unwrap();
        assert_eq!(text(dir.path(), "access.log.1"), "{\"a\":1}\n{\"b\":2}\n");
        assert_eq!(text(dir.path(), "access.log"), "{\"c\":\"\u{1b}\"}\n{\"d\"\n");
        assert_eq!(sink.fact(), None);
    }
}
