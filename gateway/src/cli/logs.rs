//! `landlord logs`: what a tenant's worker wrote, or the access log.

use std::{io, path::Path, process::ExitCode};

use super::{exit, follow::Follower, out, tail};
use crate::model::{Gateway, TenantName};

/// Bytes after which a line that does not end is shown anyway.
const LINE_CAP: usize = 64 * 1024;

/// Shows the last `lines` of the log of `name`, or of the access log, and goes on if it is to `follow`.
pub(super) fn logs(gateway: &Gateway, name: Option<&TenantName>, access: bool, follow: bool, lines: usize) -> ExitCode {
    let file = match name {
        Some(name) if !access => format!("{name}.log"),
        _ => "access.log".to_owned(),
    };
    let live = gateway.state.join("logs").join(file);
    let filter = name.filter(|_| access).map(|name| format!("\"tenant\":\"{name}\"").into_bytes());
    match show(&live, Sink::new(filter), follow, lines) {
        Ok(()) => exit::DONE,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let who = name.map_or_else(|| "the gateway".to_owned(), ToString::to_string);
            out::complain(&format!("there is no log of {who} yet: {} does not exist", live.display()));
            exit::FAILED
        }
        Err(error) => {
            out::complain(&format!("{}: {error}", live.display()));
            exit::FAILED
        }
    }
}

fn show(live: &Path, mut sink: Sink, follow: bool, lines: usize) -> io::Result<()> {
    let mut files = tail::files(live)?;
    if files.is_empty() && !follow {
        return Err(io::ErrorKind::NotFound.into());
    }
    for line in tail::last_lines(&mut files, lines, |line| sink.wants(line))? {
        sink.take(&line);
    }
    if !follow {
        sink.end();
        return Ok(());
    }
    let mut follower = Follower::new(live, files.into_iter().next())?;
    follower.catch_up(&mut |bytes| sink.take(bytes))?;
    loop {
        follower.wait(&mut |bytes| sink.take(bytes))?;
    }
}

/// Where lines go: whole ones, and only those that were asked for.
struct Sink {
    /// A line is wanted if it has this in it.
    filter: Option<Vec<u8>>,
    is_terminal: bool,
    partial: Vec<u8>,
}

impl Sink {
    fn new(filter: Option<Vec<u8>>) -> Self {
        Self { filter, is_terminal: out::is_terminal(), partial: Vec::new() }
    }

    fn wants(&self, line: &[u8]) -> bool {
        self.filter.as_ref().is_none_or(|wanted| line.windows(wanted.len()).any(|part| part == wanted))
    }

    /// Shows what `bytes` completes.
    fn take(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        let end = match self.partial.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if self.partial.len() > LINE_CAP => self.partial.len(),
            None => return,
        };
        let rest = self.partial.split_off(end);
        let whole = std::mem::replace(&mut self.partial, rest);
        self.show(&whole);
    }

    /// Shows a last line that has no end.
    fn end(&mut self) {
        let mut rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            rest.push(b'\n');
            self.show(&rest);
        }
    }

    fn show(&self, lines: &[u8]) {
        let wanted: Vec<u8> =
            lines.split_inclusive(|byte| *byte == b'\n').filter(|line| self.wants(line)).flatten().copied().collect();
        if wanted.is_empty() {
            return;
        }
        if self.is_terminal { out::raw(&out::harmless_log(&wanted)) } else { out::raw(&wanted) }
    }
}
