//! The last lines of a log and of the rotated files beside it.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes that are read at once, from the end backwards.
const BLOCK: u64 = 64 * 1024;

/// The files of one log that are there, newest first; the live one, if it is there, is the first.
///
/// Opened at once, and each only once: a rotation while we look would show one file under two names.
pub(super) fn files(live: &Path) -> io::Result<Vec<File>> {
    let mut found: Vec<File> = Vec::new();
    let rotated = rotated(live);
    for path in std::iter::once(live.to_owned()).chain(rotated?) {
        match File::open(&path) {
            Ok(file) => {
                let id = id(&file.metadata()?);
                let is_known = found.iter().any(|other| other.metadata().is_ok_and(|other| self::id(&other) == id));
                if !is_known {
                    found.push(file);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What tells a file from every other, whatever its name.
pub(super) fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// `NAME.log.1`, `NAME.log.2`, …: newest first.
fn rotated(live: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (live.parent(), live.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let mut numbered = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let number = file_name.to_str().and_then(|it| it.strip_prefix(name)?.strip_prefix('.')?.parse::<u32>().ok());
        numbered.extend(number.map(|number| (number, entry.path())));
    }
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// The last `count` lines that are `wanted`, oldest first, of `files`, newest first. Line ends included; the newest line may
/// have none yet. Every file's position is then where its content ended.
pub(super) fn last_lines(files: &mut [File], count: usize, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    for file in files {
        let end = file.seek(SeekFrom::End(0))?;
        backwards(file, end, |line| {
            if lines.len() < count && wanted(line) {
                lines.push(line.to_vec());
            }
            lines.len() < count
        })?;
        file.seek(SeekFrom::Start(end))?;
    }
    lines.reverse();
    Ok(lines)
}

/// Tells every line before `end`, the last first, until `more` says no.
fn backwards(file: &mut File, end: u64, mut more: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut begin = end;
    // What is read but whose first line's start is not known yet.
    let mut unread: Vec<u8> = Vec::new();
    while begin > 0 {
        let size = begin.min(BLOCK);
        begin -= size;
        file.seek(SeekFrom::Start(begin))?;
        let mut block = Vec::new();
        file.by_ref().take(size).read_to_end(&mut block)?;
        block.append(&mut unread);
        let mut line_end = block.len();
        // The newline that ends the line before the one that ends at `line_end`.
        while let Some(newline) = block[..line_end.saturating_sub(1)].iter().rposition(|byte| *byte == b'\n') {
            if !more(&block[newline + 1..line_end]) {
                return Ok(());
            }
            line_end = newline + 1;
        }
        block.truncate(line_end);
        unread = block;
    }
    if !unread.is_empty() {
        more(&unread);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn tail(folder: &Path, count: usize) -> Vec<String> {
        let mut files = files(&folder.join("a.log")).unwrap();
        let lines = last_lines(&mut files, count, |line| line != b"-\n").unwrap();
        lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn lines_of_all_files_newest_last() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.log", "5\n-\n6\npart");
        write("a.log.1", "3\n4\n");
        write("a.log.2", "");
        write("a.log.10", "1\n2\n");
        write("a.log.gz", "no\n");
        write("ab.log", "no\n");
        assert_eq!(tail(folder.path(), 0), Vec::<String>::new());
        assert_eq!(tail(folder.path(), 1), ["part"]);
        assert_eq!(tail(folder.path(), 4), ["4\n", "5\n", "6\n", "part"]);
        assert_eq!(tail(folder.path(), 99), ["1\n", "2\n", "3\n", "4\n", "5\n", "6\n", "part"]);
    }

    #[test]
    fn lines_longer_than_a_block() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(BLOCK as usize * 2 + 7);
        fs::write(folder.path().join("a.log"), format!("1\n{long}\n\n3\n")).unwrap();
        assert_eq!(tail(folder.path(), 9), ["1\n".to_owned(), format!("{long}\n"), "\n".to_owned(), "3\n".to_owned()]);
    }
}
