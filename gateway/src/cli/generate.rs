//! `landlord generate`, hidden: the files beside a program that an installation puts in place, written by the program itself, so
//! that they always fit.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::{arguments::Arguments, exit, out, pages};

/// Writes `completions/` and `man/` into `folder`; what is there under the same names is replaced.
pub(super) fn generate(folder: &Path) -> ExitCode {
    match completions(&folder.join("completions")).and_then(|()| man(&folder.join("man"))) {
        Ok(()) => exit::DONE,
        Err((path, error)) => {
            out::complain(&format!("{}: {error}", path.display()));
            exit::FAILED
        }
    }
}

/// One file a shell, under the name by which that shell finds it.
fn completions(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    for (shell, name) in [(Shell::Bash, "landlord.bash"), (Shell::Zsh, "_landlord"), (Shell::Fish, "landlord.fish")] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut for_people(), "landlord", &mut text);
        write(folder, name, &text)?;
    }
    Ok(())
}

/// The command line without what `landlord run` and systemd say: completions would offer hidden verbs, too.
fn for_people() -> Command {
    let all = Arguments::command();
    let visible = all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    Command::new("landlord")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .args(all.get_arguments().cloned())
        .subcommands(visible)
}

fn man(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    for page in pages::all().map_err(|error| (folder.to_owned(), error))? {
        write(&folder.join(format!("man{}", page.section)), &page.file_name(), page.text.as_bytes())?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), (PathBuf, io::Error)> {
    let path = folder.join(name);
    fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes)).map_err(|error| (path, error))
}
