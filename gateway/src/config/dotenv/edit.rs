//! Changes to the text of a `.env` that leave every other line as it is, to the byte.

use std::ops::Range;

use super::{
    RESERVED, is_key,
    reader::{Assignment, Reader},
};

/// Why a name cannot be set. None of the sentences repeats it: what stands where a name should may be a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is none of the grammar's.
    #[error("a name begins with a letter or _, and goes on with letters, digits, _, . and -")]
    NotAName,
    /// The worker contract's, or one by which landlord finds its processes again.
    #[error("landlord itself sets {}", .0)]
    Reserved(&'static str),
}

/// Whether a tenant's `.env` may set `name`.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if let Some(reserved) = RESERVED.iter().find(|reserved| **reserved == name) {
        return Err(NameError::Reserved(reserved));
    }
    if name == "LANDLORD" || name.starts_with("LANDLORD_") {
        return Err(NameError::Reserved("every name that begins with LANDLORD"));
    }
    if is_key(name) { Ok(()) } else { Err(NameError::NotAName) }
}

/// `text` with `name` set to `value`: in its place where it is there (in the last one of several; the others go, for a
/// secret that was replaced has no business there any more), else in a line of its own at the end. A comment behind it
/// stays. What [`super::parse`] does not take is not changed: `None`.
///
/// `value` has no NUL, and `name` passes [`check_name`].
pub fn set(text: &str, name: &str, value: &str) -> Option<String> {
    let (mark, text) = split_mark(text);
    let mut places = find(text, name)?;
    let Some(last) = places.pop() else { return Some(format!("{mark}{}", append(text, name, value))) };
    let after = &text[last.written.end..last.lines.end];
    let plain_ends_there = after.starts_with([' ', '\t', '\r', '\n']) || after.is_empty();
    let written = write(value, plain_ends_there);
    // `KEY= # comment` and `KEY="x"#comment`: a blank keeps the two apart.
    let blank = if after.starts_with('#') { " " } else { "" };
    let line = [&text[last.lines.start..last.written.start], &written, blank, after].concat();
    let cuts = places.into_iter().map(|place| (place.lines, String::new())).chain([(last.lines, line)]);
    Some(format!("{mark}{}", replace(text, cuts)))
}

/// `text` without `name`, and whether it was there. `None`: as [`set`].
pub fn unset(text: &str, name: &str) -> Option<(String, bool)> {
    let (mark, text) = split_mark(text);
    let places = find(text, name)?;
    let found = !places.is_empty();
    let cuts = places.into_iter().map(|place| (place.lines, String::new()));
    Some((format!("{mark}{}", replace(text, cuts)), found))
}

/// Windows' byte order mark stays where it is.
fn split_mark(text: &str) -> (&str, &str) {
    text.split_at(if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 })
}

/// Every assignment to `name`.
fn find(text: &str, name: &str) -> Option<Vec<Assignment>> {
    let mut reader = Reader::new(text);
    let mut found = Vec::new();
    while let Some(assignment) = reader.assignment().ok()? {
        if assignment.key == name {
            found.push(assignment);
        }
    }
    Some(found)
}

/// `text` with each of these ranges replaced; they come in order.
fn replace(text: &str, cuts: impl Iterator<Item = (Range<usize>, String)>) -> String {
    let mut edited = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for (range, instead) in cuts {
        edited.push_str(&text[at..range.start]);
        edited.push_str(&instead);
        at = range.end;
    }
    edited + &text[at..]
}

/// With the line ends that the file has.
fn append(text: &str, name: &str, value: &str) -> String {
    let line_end = match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    };
    let before = if text.is_empty() || text.ends_with('\n') { "" } else { line_end };
    [text, before, name, "=", &write(value, true), line_end].concat()
}

/// A value such that [`super::parse`] reads it back, and other readers of such files with it, a shell's `source` included:
/// bare where nothing in it could mean anything, else in single quotes, where nothing does; where those cannot hold it, in
/// double ones, on one line.
fn write(value: &str, may_be_bare: bool) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if value.chars().all(harmless) && may_be_bare {
        return value.to_owned();
    }
    if !value.contains(['\'', '\n', '\r']) {
        return format!("'{value}'");
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\\' | '"' | '$' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{collections::HashMap, path::Path};

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> HashMap<String, String> {
        super::super::parse(Path::new(".env"), text.as_bytes()).unwrap().into_iter().collect()
    }

    #[test]
    fn in_its_place_and_nothing_else_is_touched() {
        let table = [
            ("", "A=new\n"),
            ("B=1\n", "B=1\nA=new\n"),
            ("B=1", "B=1\nA=new\n"),
            ("B=1\r\n# c", "B=1\r\n# c\r\nA=new\r\n"),
            ("\u{feff}", "\u{feff}A=new\n"),
            ("\u{feff}A=1\r\nB=2\r\n", "\u{feff}A=new\r\nB=2\r\n"),
            ("# top\n\n  export A = 'old'  # why\n\nB=2", "# top\n\n  export A = new  # why\n\nB=2"),
            ("A=old # why\n", "A=new # why\n"),
            ("A=\"x\"#z\n", "A='new' #z\n"),
            ("A= # nothing\n", "A= 'new' # nothing\n"),
            ("A=\"1\n2\n3\" # z\nB=1\n", "A=new # z\nB=1\n"),
            ("A=1\nB=2\nA=3\n# c\nA=4", "B=2\n# c\nA=new"),
            ("A=\nAA=1\n", "A=new\nAA=1\n"),
            ("# A=1\nB='\nA=1\n'\n", "# A=1\nB='\nA=1\n'\nA=new\n"),
        ];
        for (text, expected) in table {
            assert_eq!(set(text, "A", "new").unwrap(), expected, "{text:?}");
            assert_eq!(read(expected)["A"], "new", "{expected:?}");
        }
    }

    #[test]
    fn removed_with_its_lines_alone() {
        let table = [
            ("", "", false),
            ("A=1", "", true),
            ("\u{feff}A=1\nB=2\n", "\u{feff}B=2\n", true),
            ("# about A\nexport A='1\n2' # x\r\nB=2", "# about A\nB=2", true),
            ("A=1\nB=2\nA=3\n", "B=2\n", true),
            ("AA=1\n#A=1\n", "AA=1\n#A=1\n", false),
        ];
        for (text, expected, found) in table {
            assert_eq!(unset(text, "A").unwrap(), (expected.to_owned(), found), "{text:?}");
        }
        assert_eq!(unset("A='", "B"), None);
        assert_eq!(set("A='", "A", "x"), None);
    }

    #[test]
    fn values_are_written_as_plainly_as_they_can_be() {
        let table = [
            ("plain-1.2/x:y@z%+,=", "plain-1.2/x:y@z%+,="),
            ("", ""),
            ("two words", "'two words'"),
            ("a#b $c `d` \\e \"f\"", "'a#b $c `d` \\e \"f\"'"),
            ("it's $5", r#""it's \$5""#),
            ("-----BEGIN\nKEY\\-----\r\n", r#""-----BEGIN\nKEY\\-----\r\n""#),
        ];
        for (value, written) in table {
            assert_eq!(set("", "A", value).unwrap(), format!("A={written}\n"));
        }
    }

    #[test]
    fn names_that_are_landlords_or_none() {
        for name in ["A", "_", "app.name-x", "DATABASE_URL", "LANDLORDS", "lowercase"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "1A", "A B", "A=", "Ä", "-x", "A\n"] {
            assert_eq!(check_name(name), Err(NameError::NotAName), "{name}");
        }
        for name in RESERVED.iter().copied().chain(["LANDLORD", "LANDLORD_HOUSE"]) {
            assert!(matches!(check_name(name), Err(NameError::Reserved(_))), "{name}");
        }
    }

    /// A piece of a file: to whom it belongs (`None`: a comment or an empty line), and its text without the line end.
    fn piece() -> impl Strategy<Value = (Option<&'static str>, String)> {
        let key = prop::sample::select(vec!["A", "B", "C", "AA", "A.B"]);
        let lead = prop::sample::select(vec!["", " ", "\t", "export ", "  export\t"]);
        let equals = prop::sample::select(vec!["=", " = ", "= ", " ="]);
        let value = prop_oneof![
            "[a-z$`\\\\#]{0,6}",
            "[a-z$'\\\\#]{1,6}[ \t]{0,2}",
            "'[^'\0\r]{0,12}'",
            "\"([^\"\\\\\0\r]|\\\\[ntr\"$x]){0,12}\"",
        ];
        let tail = prop::sample::select(vec!["", " ", " # note", "\t#note=1"]);
        let setting = (lead, key, equals, value, tail)
            .prop_map(|(lead, key, equals, value, tail)| (Some(key), format!("{lead}{key}{equals}{value}{tail}")))
            // A bare value may begin like a quoted one.
            .prop_filter("a line that is wrong", |(_, text)| Reader::new(text).assignment().is_ok());
        prop_oneof![3 => setting, 1 => "[ \t]{0,2}(#[^\0\r\n]{0,10})?".prop_map(|text| (None, text))]
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_back_and_every_other_line_is_as_it_was(
            pieces in prop::collection::vec(piece(), 0..8),
            line_end in prop::sample::select(vec!["\n", "\r\n"]),
            last_has_end: bool,
            mark: bool,
            value in prop_oneof!["[^\0]{0,20}", "['\"\\\\$#= \t\r\nn]{0,10}"],
        ) {
            let mut lines: Vec<String> = pieces.iter().map(|(_, text)| format!("{text}{line_end}")).collect();
            if let Some(last) = lines.last_mut().filter(|_| !last_has_end) {
                last.truncate(last.len() - line_end.len());
            }
            let mark = if mark { "\u{feff}" } else { "" };
            let text = format!("{mark}{}", lines.concat());
            let before = read(&text);

            let edited = set(&text, "A", &value).unwrap();
            let mut expected = before.clone();
            expected.insert("A".into(), value);
            prop_assert_eq!(read(&edited), expected, "{:?} became {:?}", &text, &edited);
            let is_a = |index: &usize| pieces[*index].0 == Some("A");
            let kept = |range: Range<usize>| -> String { range.filter(|at| !is_a(at)).map(|at| &*lines[at]).collect() };
            match (0..pieces.len()).rfind(is_a) {
                None => prop_assert!(edited.starts_with(&text), "{:?} became {:?}", &text, &edited),
                Some(last) => {
                    let (head, tail) = (format!("{mark}{}", kept(0..last)), kept(last + 1..pieces.len()));
                    prop_assert!(edited.starts_with(&head) && edited.ends_with(&tail), "{:?} became {:?}", &text, &edited);
                }
            }

            let (without, found) = unset(&text, "A").unwrap();
            prop_assert_eq!(without, format!("{mark}{}", kept(0..pieces.len())));
            prop_assert_eq!(found, before.contains_key("A"));
            // Setting and removing what was not there leaves what was.
            if !found {
                let (undone, _) = unset(&edited, "A").unwrap();
                prop_assert!(undone.starts_with(&text) && undone.len() <= text.len() + line_end.len());
            }
        }
    }
}
