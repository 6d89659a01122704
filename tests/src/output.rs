//! What a program says: its lines as they come, kept for the end.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use crate::PATIENCE;

/// The lines of one stream of a running program.
#[derive(Clone, Debug, Default)]
pub struct Output {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Output {
    /// Reads `stream` to its end, on a thread of its own.
    pub fn follow(stream: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let writer = output.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                writer.update(|lines| lines.lines.push(text));
                line.clear();
            }
            writer.update(|lines| lines.ended = true);
        });
        output
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.shared.0.lock().expect("no reader panics").lines.clone()
    }

    /// All so far, as one text.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// How many lines there are by now: a place from which to wait for a later one.
    pub fn mark(&self) -> usize {
        self.shared.0.lock().expect("no reader panics").lines.len()
    }

    /// The first line from line `from` on that `wanted` takes; panics when the stream ends or [`PATIENCE`] does.
    #[track_caller]
    pub fn wait_line(&self, what: &str, from: usize, mut wanted: impl FnMut(&str) -> bool) -> String {
        match self.next_line(from, PATIENCE, &mut wanted) {
            Some((_, line)) => line,
            None => panic!("no line came with this: {what}. All lines:\n{}", self.text()),
        }
    }

    /// The first line from line `from` on that `wanted` takes, with its number, within `bound`.
    pub fn next_line(
        &self,
        from: usize,
        bound: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Option<(usize, String)> {
        let end = Instant::now() + bound;
        let mut seen = from;
        let mut lines = self.shared.0.lock().expect("no reader panics");
        loop {
            while seen < lines.lines.len() {
                if wanted(&lines.lines[seen]) {
                    return Some((seen, lines.lines[seen].clone()));
                }
                seen += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return None;
            }
            lines = self.shared.1.wait_timeout(lines, left).expect("no reader panics").0;
        }
    }

    /// Waits until the stream has ended, at most `bound`: what a program said last may come after its end.
    pub fn wait_end(&self, bound: Duration) {
        let lines = self.shared.0.lock().expect("no reader panics");
        drop(self.shared.1.wait_timeout_while(lines, bound, |lines| !lines.ended).expect("no reader panics"));
    }

    fn update(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.shared.0.lock().expect("no reader panics"));
        self.shared.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_waited_for_and_the_end_is_noticed() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let output = Output::follow(reader);
        let waiting = output.clone();
        let waiter = std::thread::spawn(move || waiting.wait_line("two", 0, |line| line == "two"));
        std::io::Write::write_all(&mut writer, b"one\ntwo\nhalf").expect("written");
        assert_eq!(waiter.join().expect("found"), "two");
        drop(writer);
        output.wait_end(PATIENCE);
        assert_eq!(output.next_line(0, PATIENCE, |line| line == "three"), None);
        assert_eq!(output.lines(), ["one", "two", "half"]);
    }
}
