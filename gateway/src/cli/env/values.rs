//! Where the values of `landlord env NAME set` come from: the command line, a terminal that does not show them, standard input,
//! a file.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::Path,
    process::ExitCode,
};

use super::{exit, failed, out};
use crate::{
    cli::client::{Client, Reply},
    config::dotenv,
    model::{Gateway, TenantName},
    sys,
    wire::ControlRequest,
};

/// Bytes of a value: a whole `.env` has no more.
const CAP: u64 = 1 << 20;

/// Each setting with its value. `Err`: what is missing was said already. No value, nor what may be one, is ever repeated.
pub(super) fn collect(
    gateway: &Gateway,
    tenant: &TenantName,
    words: Vec<String>,
    file: Option<&Path>,
) -> Result<Vec<(String, String)>, ExitCode> {
    let given: Vec<(String, Option<String>)> = words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        })
        .collect();
    check(given.iter().map(|(name, _)| name))?;
    let asked_for = given.iter().filter(|(_, value)| value.is_none()).count();
    let on_terminal = io::stdin().is_terminal();
    if file.is_some() && (given.len(), asked_for) != (1, 1) {
        return Err(misused("--file is the value of one KEY, without `=`"));
    }
    if file.is_none() && asked_for > 1 && !on_terminal {
        return Err(misused("standard input is the value of one KEY: give one at a time, or KEY=VALUE"));
    }
    if let Some((name, _)) = given.iter().find(|(_, value)| value.as_ref().is_some_and(|value| !value.is_empty())) {
        let note = "note: while this runs, others can see KEY=VALUE in the list of processes, and the shell's history keeps it";
        out::complain(&format!("{note}; `landlord env {tenant} set {name}` asks for the value instead"));
    }
    if file.is_none() && asked_for > 0 && on_terminal {
        expect_tenant(gateway, tenant)?;
    }
    let value = |name: &str| match file {
        Some(path) => File::open(path).and_then(read).map_err(|error| format!("{}: {error}", path.display())),
        None if on_terminal => ask(tenant, name).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::UnexpectedEof => "nothing was changed".to_owned(),
            _ => format!("the value of {name}: {error}"),
        }),
        None => read(io::stdin()).map_err(|error| format!("standard input: {error}")),
    };
    let whole = |(name, given): (String, Option<String>)| match given {
        Some(value) => Ok((name, value)),
        None => match value(&name) {
            Ok(value) if value.is_empty() => {
                Err(failed(&format!("nothing was changed: there is no value for {name} (`{name}=` sets an empty one)")))
            }
            Ok(value) => Ok((name, value)),
            Err(sentence) => Err(failed(&sentence)),
        },
    };
    given.into_iter().map(whole).collect()
}

/// Whether all of them can be names of settings.
pub(super) fn check<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), ExitCode> {
    for (nth, name) in names.into_iter().enumerate() {
        // The name itself is not repeated: it may be a value that was put in the wrong place.
        dotenv::check_name(name).map_err(|why| misused(&format!("KEY number {}: {why}", nth + 1)))?;
    }
    Ok(())
}

/// Nobody is asked for a secret that nobody could take.
fn expect_tenant(gateway: &Gateway, tenant: &TenantName) -> Result<(), ExitCode> {
    let client = Client::ask(gateway, &ControlRequest::Status { tenant: Some(tenant.clone()) });
    match client.and_then(|client| client.reply()) {
        Ok(Reply::Done(outcome)) if !outcome.ok => Err(failed(&out::harmless(&outcome.message))),
        Ok(_) => Ok(()),
        Err(error) => {
            out::complain(&error.to_string());
            Err(error.code())
        }
    }
}

fn ask(tenant: &TenantName, name: &str) -> io::Result<String> {
    let mut stderr = io::stderr();
    write!(stderr, "{name} of {tenant} (it is not shown): ")?;
    stderr.flush()?;
    let line = sys::terminal::read_hidden(io::stdin());
    writeln!(stderr)?;
    line
}

/// All of it, but for one line end at the end: `echo` and editors put one there that nobody means.
fn read(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(CAP + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CAP {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {CAP} bytes are no setting")));
    }
    let trimmed = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(trimmed.unwrap_or(&text).to_owned())
}

fn misused(sentence: &str) -> ExitCode {
    out::complain(sentence);
    exit::USAGE.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_nobodys_meaning() {
        let table = [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a\nb\n", "a\nb"),
            (" a\t", " a\t"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
        assert!(read(&[0xff][..]).is_err());
        assert!(read(&vec![b'x'; 1 + (1 << 20)][..]).is_err());
    }
}
