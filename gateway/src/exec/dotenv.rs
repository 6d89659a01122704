//! `landlord env`, at its end: the tenant's `.env` is looked at or edited by a process that is the tenant, within the walls that
//! its worker has. Values come and go in memory files between this process and the operator's.

use std::{os::fd::RawFd, path::Path};

use super::{failure::Failure, walls};
use crate::{
    config::dotenv,
    sys::{self, files::ReadError},
    wire::{DOTENV_MESSAGE_CAP, DotenvAnswer, DotenvEdit, DotenvLength, DotenvSetting, Plan},
};

/// Bytes of a `.env`.
const CAP: u64 = 1 << 20;

/// Carries out the edit behind descriptor `edit` and tells `answer` what came of it; ends with 0 if it was done.
///
/// # Errors
/// Nothing could be told, and nothing was done.
pub(super) fn carry_out(plan: &Plan, edit: RawFd, answer: RawFd) -> Result<(), Failure> {
    let system = |what: &'static str| move |error: std::io::Error| Failure::system(what, &error);
    // Where all tenants are one user, a neighbour that the kernel keeps nothing from shall not look into this memory.
    sys::process::hide_memory().map_err(system("keeping others out"))?;
    walls::enclose(plan, None)?;
    walls::filter_calls(plan)?;
    let answer = sys::fd::inherited(answer).map_err(system("the answer's descriptor"))?;
    let asked = sys::fd::inherited(edit).and_then(|fd| sys::memfd::read(fd, DOTENV_MESSAGE_CAP));
    let asked = serde_json::from_slice(&asked.map_err(system("the edit"))?);
    // The error of a bad edit would show a piece of it.
    let asked = asked.map_err(|_| Failure::settings("the edit is none that this version of landlord understands"))?;
    let file = plan.dotenv.as_deref().ok_or_else(|| Failure::settings("the plan names no .env"))?;
    let told = perform(file, asked).unwrap_or_else(|reason| DotenvAnswer::Refused { reason });
    let bytes = serde_json::to_vec(&told).map_err(|_| Failure::settings("the answer cannot be written"))?;
    sys::memfd::fill(answer, &bytes).map_err(system("the answer"))?;
    std::process::exit(i32::from(matches!(told, DotenvAnswer::Refused { .. })))
}

/// Does it whole, or not at all and says why in a sentence without a value.
fn perform(file: &Path, edit: DotenvEdit) -> Result<DotenvAnswer, String> {
    let text = read(file)?;
    // What the worker would not read is not edited: nobody could say what the edit means.
    let before = parse(file, &text).map_err(|why| format!("{why}: mend that line first"))?;
    let (edited, missing) = match edit {
        DotenvEdit::List { reveal } => {
            let show = |(name, value): (String, String)| {
                let length = DotenvLength::of(&value);
                DotenvSetting { name, value: reveal.then_some(value), length }
            };
            return Ok(DotenvAnswer::Settings { settings: before.into_iter().map(show).collect() });
        }
        DotenvEdit::Set { settings } => (set(file, text.clone(), &settings)?, Vec::new()),
        DotenvEdit::Unset { names } => unset(file, text.clone(), names)?,
    };
    let changed = edited != text;
    if changed {
        if edited.len() as u64 > CAP {
            return Err(format!("{} would have {} bytes; at most {CAP} are read", file.display(), edited.len()));
        }
        sys::files::write_atomic(file, edited.as_bytes(), 0o600)
            .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    } else if !text.is_empty() {
        sys::files::make_private_file(file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(DotenvAnswer::Written { changed, missing })
}

/// One that is not there is empty.
fn read(file: &Path) -> Result<String, String> {
    let bytes = match sys::files::read_own(file, CAP) {
        Ok(bytes) => bytes,
        Err(ReadError::NotFound) => Vec::new(),
        Err(why) => return Err(format!("{}: {why}", file.display())),
    };
    // Told by its line, as any other fault.
    String::from_utf8(bytes).map_err(|error| match parse(file, error.as_bytes()) {
        Err(why) => why,
        Ok(_) => format!("{} is not UTF-8", file.display()),
    })
}

fn set(file: &Path, mut text: String, settings: &[(String, String)]) -> Result<String, String> {
    for (name, value) in settings {
        dotenv::check_name(name).map_err(|why| why.to_string())?;
        if value.contains('\0') {
            return Err(format!("the value of {name} has a NUL byte, which no environment can hold"));
        }
        text = dotenv::set(&text, name, value).ok_or_else(|| unusable(file))?;
    }
    // Nothing is written that would not be read back as it was meant.
    let read = parse(file, &text)?;
    let holds = |(name, value): &(String, String)| {
        let newest = settings.iter().rfind(|(other, _)| other == name).map_or(value, |(_, newest)| newest);
        read.iter().any(|(known, read)| known == name && read == newest)
    };
    if settings.iter().all(holds) { Ok(text) } else { Err(unusable(file)) }
}

fn unset(file: &Path, mut text: String, names: Vec<String>) -> Result<(String, Vec<String>), String> {
    let mut missing = Vec::new();
    for name in names {
        let (without, found) = dotenv::unset(&text, &name).ok_or_else(|| unusable(file))?;
        text = without;
        if !found {
            missing.push(name);
        }
    }
    Ok((text, missing))
}

fn parse(file: &Path, text: impl AsRef<[u8]>) -> Result<Vec<(String, String)>, String> {
    dotenv::parse(file, text.as_ref()).map_err(|wrong| format!("{}: {}", wrong.place, wrong.error))
}

fn unusable(file: &Path) -> String {
    format!("{} cannot be edited: its lines are not understood", file.display())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn set_to(pairs: &[(&str, &str)]) -> DotenvEdit {
        let settings = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        DotenvEdit::Set { settings }
    }

    fn refusal(file: &Path, edit: DotenvEdit) -> String {
        let reason = perform(file, edit).map_or_else(|reason| reason, |_| panic!("done"));
        assert!(!reason.contains("hunter2"), "{reason}");
        reason
    }

    #[test]
    fn written_whole_private_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        let told = perform(&file, set_to(&[("A", "x y"), ("B", "1"), ("A", "2")])).ok();
        assert!(told == Some(DotenvAnswer::Written { changed: true, missing: Vec::new() }));
        assert_eq!(fs::read_to_string(&file).unwrap(), "A=2\nB=1\n");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);

        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let told = perform(&file, set_to(&[("B", "1")])).ok();
        assert!(told == Some(DotenvAnswer::Written { changed: false, missing: Vec::new() }));
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o7777,
            0o600,
            "what others could read they cannot now"
        );

        let told = perform(&file, DotenvEdit::Unset { names: vec!["C".into(), "A".into()] }).ok();
        assert!(told == Some(DotenvAnswer::Written { changed: true, missing: vec!["C".into()] }));
        let listed = |reveal| match perform(&file, DotenvEdit::List { reveal }) {
            Ok(DotenvAnswer::Settings { settings }) => serde_json::to_string(&settings).unwrap(),
            _ => panic!("no list"),
        };
        assert_eq!(listed(false), r#"[{"name":"B","value":null,"length":"short"}]"#);
        assert_eq!(listed(true), r#"[{"name":"B","value":"1","length":"short"}]"#);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [".env"], "nothing is left behind");
    }

    #[test]
    fn what_is_no_file_of_its_own_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        let edit = || set_to(&[("A", "hunter2")]);
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "B=1\n").unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert!(refusal(&file, edit()).ends_with("it is a symlink, not a regular file"));
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "B=1\n");
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refusal(&file, edit()).ends_with("it is a FIFO, not a regular file"));
        fs::remove_file(&file).unwrap();
        fs::write(&file, vec![b'\n'; 1 + (1 << 20)]).unwrap();
        assert!(refusal(&file, edit()).contains("1048577 bytes"));
        fs::write(&file, "B=1\n").unwrap();
        assert!(refusal(&file, set_to(&[("A", &"hunter2".repeat(200_000))])).contains("1400007 bytes"));
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(70_000), None).unwrap();
            assert!(refusal(&file, edit()).ends_with("it belongs to uid 70000, not to 0"));
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "B=1\n");
    }

    #[test]
    fn what_is_wrong_is_told_without_a_value() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        fs::write(&file, "A=1\nB='hunter2\n").unwrap();
        for edit in
            [set_to(&[("A", "x")]), DotenvEdit::List { reveal: true }, DotenvEdit::Unset { names: vec!["A".into()] }]
        {
            let reason = refusal(&file, edit);
            assert!(reason.contains(".env:2") && reason.ends_with("mend that line first"), "{reason}");
        }
        fs::write(&file, b"A=1\nB=hunter2\xff\n").unwrap();
        assert!(refusal(&file, set_to(&[("A", "x")])).contains(".env:2"));
        fs::write(&file, "A=1\n").unwrap();
        assert!(refusal(&file, set_to(&[("PORT", "hunter2")])).contains("landlord itself sets PORT"));
        assert!(refusal(&file, set_to(&[("hunter2 x", "1")])).contains("a name begins with"));
        assert!(refusal(&file, set_to(&[("A", "hunter2\0")])).contains("the value of A has a NUL byte"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "A=1\n");
    }
}
