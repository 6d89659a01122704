//! The access log: one JSON line a request, written when its answer's body has ended.
//!
//! A core only gathers plain records; the control thread formats and writes them. A full pipe drops lines and counts
//! them: a slow reader of the log never slows a request.

use std::{
    cell::RefCell,
    fmt::Write as _,
    fs::File,
    io::{self, Write as _},
    net::IpAddr,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Method, StatusCode, uri::PathAndQuery};
use tokio::sync::mpsc;

use super::exchange::Protocol;
use crate::model::{GenerationId, Host};

/// A path is cut after this many bytes.
const PATH: usize = 1024;
/// What a pipe takes in one piece. A line is shorter: its longest fields are the cut path and the host.
const PIPE_BUF: usize = 4096;
/// Records that a core gathers before it hands them over without waiting for the tick.
const BATCH: usize = 256;
/// Batches that may wait for the control thread, all cores together.
const WAITING: usize = 256;
/// Formatted bytes that wait for room in the pipe.
const UNWRITTEN: usize = 256 * 1024;

/// One request, as plain values.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) at: SystemTime,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) host: Option<Host>,
    pub(crate) method: Option<Method>,
    pub(crate) path: Option<PathAndQuery>,
    pub(crate) protocol: Protocol,
    pub(crate) status: StatusCode,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration: Duration,
    pub(crate) worker: Option<Duration>,
    pub(crate) client: IpAddr,
    pub(crate) request_id: HeaderValue,
    pub(crate) generation: Option<GenerationId>,
    pub(crate) held: Duration,
    /// Why it was refused, or what went wrong.
    pub(crate) error: Option<&'static str>,
    /// Whether `error` is a refusal before any worker.
    pub(crate) refused: bool,
    pub(crate) aborted: bool,
}

/// One core's records.
#[derive(Debug)]
pub(crate) struct Access {
    records: RefCell<Vec<Record>>,
    out: mpsc::Sender<Vec<Record>>,
    lost: RefCell<u64>,
}

impl Access {
    pub(crate) fn new(out: mpsc::Sender<Vec<Record>>) -> Self {
        Self { records: RefCell::default(), out, lost: RefCell::default() }
    }

    /// Adds one.
    pub(crate) fn push(&self, record: Record) {
        let full = {
            let mut records = self.records.borrow_mut();
            records.push(record);
            records.len() >= BATCH
        };
        if full {
            self.flush();
        }
    }

    /// Hands over what was gathered.
    pub(crate) fn flush(&self) {
        let records = std::mem::take(&mut *self.records.borrow_mut());
        if records.is_empty() {
            return;
        }
        if let Err(refused) = self.out.try_send(records) {
            *self.lost.borrow_mut() += refused.into_inner().len() as u64;
        }
    }

    /// Records lost since the last call because the control thread did not keep up.
    pub(crate) fn lost(&self) -> u64 {
        std::mem::take(&mut *self.lost.borrow_mut())
    }
}

/// The channel from the cores to the [`Writer`].
pub(crate) fn channel() -> (mpsc::Sender<Vec<Record>>, mpsc::Receiver<Vec<Record>>) {
    mpsc::channel(WAITING)
}

/// Formats records and writes whole lines to the pipe, without ever waiting for it.
#[derive(Debug)]
pub(crate) struct Writer {
    pipe: File,
    unwritten: Vec<u8>,
    dropped: u64,
}

impl Writer {
    /// Writes to this pipe, which is made nonblocking.
    ///
    /// # Errors
    /// When the descriptor cannot be made nonblocking.
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
        fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { pipe: File::from(pipe), unwritten: Vec::new(), dropped: 0 })
    }

    /// Writes what there is room for; what is too much is dropped by whole lines.
    pub(crate) fn write(&mut self, records: &[Record]) {
        let mut line = String::with_capacity(512);
        for record in records {
            line.clear();
            format(&mut line, record);
            self.line(line.as_bytes());
        }
        self.drain();
    }

    /// Lines that were dropped before they came here.
    pub(crate) fn add_dropped(&mut self, lines: u64) {
        self.dropped += lines;
    }

    /// Nothing waits for room.
    pub(crate) fn is_empty(&self) -> bool {
        self.unwritten.is_empty() && self.dropped == 0
    }

    /// Tries again to write what waits for room.
    pub(crate) fn drain(&mut self) {
        if self.dropped > 0 && self.unwritten.is_empty() {
            let line = format!("{{\"event\":\"access_log_dropped\",\"lines\":{}}}\n", self.dropped);
            self.unwritten.extend_from_slice(line.as_bytes());
            self.dropped = 0;
        }
        let mut at = 0;
        while at < self.unwritten.len() {
            match self.pipe.write(atom(&self.unwritten[at..])) {
                Ok(0) => break,
                Ok(written) => at += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Nobody reads any more. The master keeps a read end, so this is the very end of the house.
                Err(_) => at = self.unwritten.len(),
            }
        }
        self.unwritten.drain(..at);
    }

    fn line(&mut self, line: &[u8]) {
        if self.unwritten.len() + line.len() > UNWRITTEN {
            self.drain();
        }
        if self.unwritten.len() + line.len() > UNWRITTEN {
            self.dropped += 1;
        } else {
            self.unwritten.extend_from_slice(line);
        }
    }
}

/// Whole lines that a pipe takes in one piece or not at all, so that the lines of two proxies never mix (pipe(7)).
fn atom(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= PIPE_BUF {
        return bytes;
    }
    match bytes[..PIPE_BUF].iter().rposition(|&b| b == b'\n') {
        Some(end) => &bytes[..=end],
        None => bytes,
    }
}

/// One line, newline included.
fn format(out: &mut String, record: &Record) {
    // Writing to a String cannot fail.
    let _ = write_fields(out, record);
    out.push_str("}\n");
}

fn write_fields(out: &mut String, r: &Record) -> std::fmt::Result {
    let at = jiff::Timestamp::try_from(r.at).unwrap_or_default();
    write!(out, "{{\"time\":\"{at:.3}\"")?;
    if let Some(tenant) = &r.tenant {
        write!(out, ",\"tenant\":\"{tenant}\"")?;
    }
    if let Some(host) = &r.host {
        write!(out, ",\"host\":\"{host}\"")?;
    }
    if let Some(method) = &r.method {
        out.push_str(",\"method\":");
        string(out, method.as_str(), 32);
    }
    if let Some(path) = &r.path {
        out.push_str(",\"path\":");
        string(out, path.path(), PATH);
    }
    let protocol = match r.protocol {
        Protocol::H1 => "HTTP/1.1",
        Protocol::H2 => "HTTP/2",
    };
    write!(
        out,
        ",\"protocol\":\"{protocol}\",\"status\":{},\"bytes_in\":{},\"bytes_out\":{},\"duration_ms\":{}",
        r.status.as_u16(),
        r.bytes_in,
        r.bytes_out,
        r.duration.as_millis()
    )?;
    if let Some(worker) = r.worker {
        write!(out, ",\"worker_ms\":{}", worker.as_millis())?;
    }
    write!(out, ",\"client\":\"{}\",\"request_id\":", r.client)?;
    string(out, r.request_id.to_str().unwrap_or_default(), 64);
    if let Some(generation) = r.generation {
        write!(out, ",\"generation\":{generation}")?;
    }
    if r.held > Duration::ZERO {
        write!(out, ",\"held_ms\":{}", r.held.as_millis())?;
    }
    if let Some(error) = r.error {
        out.push_str(if r.refused { ",\"reject\":" } else { ",\"error\":" });
        string(out, error, 200);
    }
    if r.aborted {
        out.push_str(",\"aborted\":true");
    }
    Ok(())
}

/// A JSON string of at most `cut` bytes of `text`.
fn string(out: &mut String, text: &str, cut: usize) {
    let end = (0..=cut.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    out.push('"');
    for c in text[..end].chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{io::Read as _, os::fd::OwnedFd};

    use super::*;

    fn record(path: &str) -> Record {
        Record {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_007),
            tenant: Some(Arc::from("acme")),
            host: Some("acme.localhost".parse().unwrap()),
            method: Some(Method::GET),
            path: Some(PathAndQuery::try_from(path).unwrap()),
            protocol: Protocol::H2,
            status: StatusCode::OK,
            bytes_in: 0,
            bytes_out: 12,
            duration: Duration::from_micros(7900),
            worker: Some(Duration::from_micros(5100)),
            client: "2001:db8::1".parse().unwrap(),
            request_id: HeaderValue::from_static("id1"),
            generation: Some(GenerationId(7)),
            held: Duration::ZERO,
            error: None,
            refused: false,
            aborted: true,
        }
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        nix::unistd::pipe().unwrap()
    }

    #[test]
    fn a_line_is_json_and_has_no_query() {
        let mut line = String::new();
        format(&mut line, &record("/a\"b/\\é?token=secret"));
        assert!(line.ends_with("}\n") && line.lines().count() == 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["time"], "2023-11-14T22:13:20.007Z");
        assert_eq!(json["path"], "/a\"b/\\é");
        assert_eq!((&json["duration_ms"], &json["worker_ms"]), (&7.into(), &5.into()));
        assert_eq!((&json["generation"], &json["aborted"]), (&7.into(), &true.into()));
        assert!(!line.contains("secret"));
    }

    #[test]
    fn a_long_path_is_cut() {
        let mut line = String::new();
        format(&mut line, &record(&format!("/{}", "a".repeat(5000))));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["path"].as_str().unwrap().len(), PATH);
    }

    #[test]
    fn a_full_pipe_drops_whole_lines_and_counts_them() {
        let (read, write) = pipe();
        let mut writer = Writer::new(write).unwrap();
        for _ in 0..40 {
            writer.write(&(0..100).map(|_| record("/x")).collect::<Vec<_>>());
        }
        let (mut read, mut text) = (File::from(read), Vec::new());
        let mut chunk = vec![0; 65536];
        while !(writer.unwritten.is_empty() && writer.dropped == 0) {
            let n = read.read(&mut chunk).unwrap();
            text.extend_from_slice(&chunk[..n]);
            writer.drain();
        }
        drop(writer);
        read.read_to_end(&mut text).unwrap();
        let lines: Vec<serde_json::Value> =
            text.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
        let dropped: u64 = lines.iter().filter_map(|l| l["lines"].as_u64()).sum();
        let written = lines.iter().filter(|l| l["tenant"] == "acme").count() as u64;
        assert_eq!(written + dropped, 4000);
        assert!(dropped > 0 && written > 100);
    }
}
