//! `landlord env`: a tenant's settings that nobody else is to see.

mod values;

use std::{
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

use super::{
    arguments::EnvOrder,
    client::{Client, ClientError, Reply},
    exit, out,
};
use crate::{
    model::{Gateway, TenantName},
    sys,
    wire::{ControlRequest, DOTENV_MESSAGE_CAP, DotenvAnswer, DotenvEdit, DotenvLength, DotenvSetting, Outcome},
};

/// Shows or edits the `.env` of `name`.
pub(super) fn env(gateway: &Gateway, name: &TenantName, order: Option<EnvOrder>) -> ExitCode {
    // What is held here is nobody's, and no core dump is to have it.
    if let Err(error) = sys::process::hide_memory() {
        return failed(&format!("landlord: others cannot be kept out of this process: {error}"));
    }
    match order.unwrap_or(EnvOrder::List { reveal: false, json: false }) {
        EnvOrder::List { reveal, json } => match ask(gateway, name, &DotenvEdit::List { reveal }) {
            Ok((_, Some(DotenvAnswer::Settings { settings }))) => list(name, &settings, json),
            other => not_done(name, other),
        },
        EnvOrder::Set { settings, file } => match values::collect(gateway, name, settings, file.as_deref()) {
            Ok(settings) => {
                let count = settings.len();
                edit(gateway, name, &DotenvEdit::Set { settings }, &format!("{} written", counted(count)))
            }
            Err(code) => code,
        },
        EnvOrder::Unset { names } => match values::check(&names) {
            Ok(()) => edit(gateway, name, &DotenvEdit::Unset { names: names.clone() }, ""),
            Err(code) => code,
        },
    }
}

/// How a request ended, and what the process that edits had to say.
type Answered = Result<(Outcome, Option<DotenvAnswer>), (ClientError, Option<DotenvAnswer>)>;

/// Gives the edit to a running landlord, beside the request, and waits until all of it is done.
fn ask(gateway: &Gateway, name: &TenantName, edit: &DotenvEdit) -> Answered {
    let strange = |error: std::io::Error| (ClientError::Strange(error.to_string()), None);
    let bytes = serde_json::to_vec(edit).map_err(|error| strange(error.into()))?;
    let edit = sys::memfd::seal("edit", &bytes).map_err(strange)?;
    let answer = sys::memfd::empty("answer").map_err(strange)?;
    let request = ControlRequest::Env { tenant: name.clone() };
    let end = Client::ask_with(gateway, &request, &[edit.as_fd(), answer.as_fd()]).and_then(|client| {
        loop {
            match client.reply()? {
                Reply::Progress(line) => out::progress(&line),
                Reply::Done(outcome) => return Ok(outcome),
                other => return Err(ClientError::Strange(format!("{other:?}"))),
            }
        }
    });
    out::progress("");
    let told = told(answer);
    match end {
        Ok(outcome) => Ok((outcome, told)),
        Err(error) => Err((error, told)),
    }
}

/// What is in the memory file by now; one that nobody has filled is not sealed.
fn told(answer: OwnedFd) -> Option<DotenvAnswer> {
    serde_json::from_slice(&sys::memfd::read(answer, DOTENV_MESSAGE_CAP).ok()?).ok()
}

/// An edit, its end, and what it has done in words.
fn edit(gateway: &Gateway, name: &TenantName, edit: &DotenvEdit, written: &str) -> ExitCode {
    match ask(gateway, name, edit) {
        Ok((Outcome { ok, message }, Some(DotenvAnswer::Written { changed, missing }))) => {
            let done = what_was_done(edit, changed, &missing, written);
            let message = if message.is_empty() { String::new() } else { format!("; {}", out::harmless(&message)) };
            let line = format!("{name}: {done}{message}");
            if ok {
                out::line(&line);
                return exit::DONE;
            }
            failed(&line)
        }
        other => not_done(name, other),
    }
}

fn what_was_done(edit: &DotenvEdit, changed: bool, missing: &[String], written: &str) -> String {
    match (edit, changed) {
        (DotenvEdit::Unset { names }, true) => {
            let removed = format!("{} removed", counted(names.len() - missing.len()));
            if missing.is_empty() { removed } else { format!("{removed}; not there: {}", missing.join(", ")) }
        }
        (DotenvEdit::Unset { .. }, false) => "nothing to remove, none of these is set".to_owned(),
        (_, true) => written.to_owned(),
        (_, false) => "nothing to write, all of it is there already".to_owned(),
    }
}

fn not_done(name: &TenantName, answered: Answered) -> ExitCode {
    match answered {
        Ok((_, Some(DotenvAnswer::Refused { reason }))) => {
            failed(&format!("{name}: nothing was changed: {}", out::harmless(&reason)))
        }
        Ok((Outcome { message, .. }, _)) => failed(&out::harmless(&message)),
        Err((error, Some(DotenvAnswer::Written { changed: true, .. }))) => {
            out::complain(&format!("{name}: written, but {error}"));
            error.code()
        }
        Err((error, _)) => {
            out::complain(&error.to_string());
            error.code()
        }
    }
}

fn list(name: &TenantName, settings: &[DotenvSetting], json: bool) -> ExitCode {
    if json {
        return match serde_json::to_string_pretty(settings) {
            Ok(text) => {
                out::line(&text);
                exit::DONE
            }
            Err(error) => failed(&format!("landlord: {error}")),
        };
    }
    if settings.is_empty() {
        out::line(&format!("{name} has no settings of its own: `landlord env {name} set KEY` adds one"));
        return exit::DONE;
    }
    out::raw(table(settings).as_bytes());
    exit::DONE
}

fn table(settings: &[DotenvSetting]) -> String {
    let width = settings.iter().map(|setting| setting.name.len()).chain([4]).max().unwrap_or(4);
    let mut text = format!("{:width$}  VALUE\n", "NAME");
    for DotenvSetting { name, value, length } in settings {
        let shown = match (value, length) {
            (Some(value), _) => out::harmless(value),
            (None, DotenvLength::Empty) => "(empty)".to_owned(),
            (None, DotenvLength::Short) => "••••••  1 to 7 characters".to_owned(),
            (None, DotenvLength::Medium) => "••••••  8 to 31 characters".to_owned(),
            (None, DotenvLength::Long) => "••••••  32 characters or more".to_owned(),
        };
        text.push_str(format!("{name:width$}  {shown}").trim_end());
        text.push('\n');
    }
    text
}

fn counted(settings: usize) -> String {
    if settings == 1 { "1 setting".to_owned() } else { format!("{settings} settings") }
}

fn failed(sentence: &str) -> ExitCode {
    out::complain(sentence);
    exit::FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_masked_unless_they_were_asked_for() {
        let setting = |name: &str, value: Option<&str>, length| DotenvSetting {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            length,
        };
        let listed = [
            setting("API_KEY", None, DotenvLength::of(&"x".repeat(32))),
            setting("EMPTY", None, DotenvLength::of("")),
            setting("PIN", None, DotenvLength::of("1234567")),
            setting("WORD", None, DotenvLength::of("12345678")),
            setting("SHOWN", Some("a\x1b[2J\nb"), DotenvLength::Medium),
        ];
        let expected = "NAME     VALUE\n\
                        API_KEY  ••••••  32 characters or more\n\
                        EMPTY    (empty)\n\
                        PIN      ••••••  1 to 7 characters\n\
                        WORD     ••••••  8 to 31 characters\n\
                        SHOWN    a\\u{1b}[2J\\nb\n";
        assert_eq!(table(&listed), expected);
    }

    #[test]
    fn what_was_done_is_said_as_it_was() {
        let unset = DotenvEdit::Unset { names: vec!["A".into(), "B".into()] };
        let said = |edit, changed, missing: &[String]| what_was_done(edit, changed, missing, "2 settings written");
        assert_eq!(said(&unset, true, &[]), "2 settings removed");
        assert_eq!(said(&unset, true, &["B".into()]), "1 setting removed; not there: B");
        assert_eq!(said(&unset, false, &["A".into(), "B".into()]), "nothing to remove, none of these is set");
        let set = DotenvEdit::Set { settings: Vec::new() };
        assert_eq!(said(&set, true, &[]), "2 settings written");
        assert_eq!(said(&set, false, &[]), "nothing to write, all of it is there already");
    }
}
