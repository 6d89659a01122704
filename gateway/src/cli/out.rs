//! The terminal: text for people that cannot be used against them.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

/// Writes `text` and a line end to stdout.
pub(super) fn line(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// Writes `bytes` to stdout as they are. A reader that went away (`| head`) ends the program quietly: nobody is left to tell.
pub(super) fn raw(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes `text` and a line end to stderr.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A line on stderr that the next one replaces; nothing where stderr is no terminal.
pub(super) fn progress(text: &str) {
    if io::stderr().is_terminal() {
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[K{}", harmless(text)).and_then(|()| stderr.flush());
    }
}

/// Whether stdout is read by a person.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stdout may be coloured (<https://no-color.org>).
pub(super) fn has_colour() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal() && !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns of the terminal, if stdout is one.
pub(super) fn columns() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0)
}

/// Lines of the terminal, if stdout is one.
pub(super) fn rows() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(_, height)| usize::from(height.0)).filter(|height| *height > 0)
}

/// `text` on one line, without anything that a terminal would obey.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// What a worker wrote, without what a terminal would obey except line ends, tabs and colours (`ESC [ … m`).
pub(super) fn harmless_log(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(c) = rest.chars().next() {
        let colour =
            rest.strip_prefix("\x1b[").map(|after| after.trim_start_matches(|c: char| matches!(c, '0'..='9' | ';')));
        if let Some(end) = colour.and_then(|after| after.strip_prefix('m')) {
            shown.push_str(&rest[..rest.len() - end.len()]);
            rest = end;
            continue;
        }
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' if rest.starts_with("\r\n") => {}
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    shown.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        assert_eq!(harmless("a\x1b[2J\nb\u{9b}ü"), "a\\u{1b}[2J\\nb\\u{9b}ü");
        assert_eq!(
            harmless_log(b"\x1b[1;31mred\x1b[0m\t\x1b]0;title\x07\r\n\x1b[2J\x1b[\xff"),
            "\x1b[1;31mred\x1b[0m\t\\u{1b}]0;title\\u{7}\n\\u{1b}[2J\\u{1b}[\u{fffd}".as_bytes()
        );
    }
}
