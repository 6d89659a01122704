//! The findings, for people.

use std::fmt::Write;

use super::{
    super::out::harmless,
    finding::{Finding, Level},
};

/// Columns where nobody says how many there are.
const WIDTH: usize = 100;
/// Columns of text that even a narrow terminal gets.
const LEAST: usize = 30;

/// A list with what matters most at its end, and a line that sums it up.
pub(super) fn draw(mut findings: Vec<Finding>, width: Option<usize>, colour: bool) -> String {
    findings.sort_by_key(|finding| finding.level);
    let names = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
    let indent = 2 + "warning".len() + 2 + names + 2;
    let room = width.unwrap_or(WIDTH).saturating_sub(indent).max(LEAST);
    let mut text = String::new();
    for finding in &findings {
        let mark = paint(&format!("{:<7}", word(finding.level)), finding.level, colour);
        let _ = write!(text, "  {mark}  {:<names$}  ", finding.name);
        let remedy = finding.remedy.as_ref().map(|remedy| format!("-> {remedy}"));
        let parts = [Some(&finding.found), Some(&finding.means), remedy.as_ref()];
        let lines: Vec<String> = parts.into_iter().flatten().flat_map(|part| wrap(&harmless(part), room)).collect();
        let _ = writeln!(text, "{}", lines.join(&format!("\n{:indent$}", "")));
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let levels = [Level::Problem, Level::Warning, Level::Note, Level::Ok];
    let counted = levels.map(|level| format!("{} {}{}", count(level), word(level), plural(level, count(level))));
    let _ = writeln!(text, "\n{}", counted.join(", "));
    text
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Problem => "problem",
    }
}

fn plural(level: Level, count: usize) -> &'static str {
    if count == 1 || level == Level::Ok { "" } else { "s" }
}

fn paint(text: &str, level: Level, colour: bool) -> String {
    let code = match level {
        _ if !colour => return text.to_owned(),
        Level::Ok => 32,
        Level::Note => 36,
        Level::Warning => 33,
        Level::Problem => 31,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Lines of at most `room` columns, broken between words; a longer word stands alone, so that it can be copied.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line) if last == 0 => line.push_str(word),
            Some(line) if last + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_most_is_last_and_summed_up() {
        let bad = Finding::ok("nofile", "64", "too few").but(Level::Problem, "ulimit -n 4096");
        let findings = vec![bad, Finding::ok("kernel", "6.1", "new\x1b[2J enough"), Finding::ok("x", "y", "").noted()];
        let text = draw(findings.clone(), None, false);
        assert_eq!(
            text,
            "  ok       kernel  6.1\n                   new\\u{1b}[2J enough\n  note     x       y\n  \
             problem  nofile  64\n                   too few\n                   -> ulimit -n 4096\n\n\
             1 problem, 0 warnings, 1 note, 1 ok\n"
        );
        assert!(draw(findings, None, true).contains("\x1b[31mproblem\x1b[0m"));
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a averylongword b", 3), ["a", "averylongword", "b"]);
        assert!(wrap("", 9).is_empty());
    }
}
