//! Programs that write records.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use super::{super::writer::Writer, record};

/// A shell script, and the writer that runs it.
fn program(folder: &Path, script: &str, timeout: &str) -> Writer {
    let path = folder.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let fields = [("program", path.to_str().unwrap()), ("timeout", timeout)];
    let fields: BTreeMap<String, String> = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Writer::new("exec", &fields).unwrap()
}

#[tokio::test]
async fn it_is_told_what_lego_and_certbot_tell() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let writer = program(folder.path(), &format!("echo \"$*\" >> {0}; env | sort >> {0}", out.display()), "60s");
    let record = record("_acme-challenge.apps.example.test.", "value");
    writer.present(&record).await.unwrap();
    let said = std::fs::read_to_string(&out).unwrap();
    assert!(said.starts_with("present _acme-challenge.apps.example.test. value\n"), "{said}");
    let names: Vec<&str> = said.lines().skip(1).filter_map(|line| line.split('=').next()).collect();
    let shells = ["OLDPWD", "PWD", "SHLVL", "_"];
    let names: Vec<&str> = names.into_iter().filter(|name| !shells.contains(name)).collect();
    let all = ["ACME_FQDN", "ACME_VALUE", "ACME_ZONE", "CERTBOT_DOMAIN", "CERTBOT_VALIDATION", "HOME", "PATH"];
    assert_eq!(names, all);
    for line in [
        "ACME_FQDN=_acme-challenge.apps.example.test.",
        "ACME_ZONE=example.test.",
        "CERTBOT_DOMAIN=apps.example.test",
        "CERTBOT_VALIDATION=value",
    ] {
        assert!(said.lines().any(|said| said == line), "{line} is not in {said}");
    }
    writer.remove(&record).await.unwrap();
    assert!(std::fs::read_to_string(&out).unwrap().contains("cleanup _acme-challenge.apps.example.test. value\n"));
}

#[tokio::test]
async fn what_it_says_last_is_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let record = record("_acme-challenge.apps.example.test.", "value");
    // More than is kept, and more than a pipe holds.
    let script = "head -c 300000 /dev/zero | tr '\\0' 'x' >&2; echo >&2; echo 'no such zone' >&2; echo >&2; exit 3";
    let why = program(folder.path(), script, "60s").present(&record).await.unwrap_err().to_string();
    assert!(why.ends_with("present ended with exit status: 3: no such zone"), "{why}");
    let why = program(folder.path(), "exit 1", "60s").remove(&record).await.unwrap_err().to_string();
    assert!(why.ends_with("cleanup ended with exit status: 1: it said nothing"), "{why}");
    let fields = [("program".to_owned(), "/nonexistent".to_owned())].into();
    let why = Writer::new("exec", &fields).unwrap().present(&record).await.unwrap_err().to_string();
    assert!(why.contains("/nonexistent cannot be run: No such file"), "{why}");
}

#[tokio::test]
async fn what_this_role_ignores_it_does_not() {
    use crate::sys::signals::{Signal, ignore};
    // The role ignores others, which a test must not.
    ignore(&[Signal::SIGUSR2]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let record = record("_acme-challenge.x.test.", "value");
    let why = program(folder.path(), "kill -USR2 $$", "60s").present(&record).await.unwrap_err().to_string();
    assert!(why.contains("signal: 12"), "{why}");
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("alive");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Both hold the fifo open for writing: it ends for a reader when both have.
    let script = format!("exec 3>{}; sleep 1000 & sleep 1000", fifo.display());
    let writer = program(folder.path(), &script, "1s");
    let reader = tokio::task::spawn_blocking(move || std::fs::read(fifo).map(|read| read.len()));
    let why = writer.present(&record("_acme-challenge.x.test.", "value")).await.unwrap_err().to_string();
    assert!(why.ends_with("did not end within 1 s and was killed"), "{why}");
    let read = tokio::time::timeout(Duration::from_secs(60), reader).await.expect("they outlive it").unwrap();
    assert_eq!(read.unwrap(), 0);
    // What it leaves behind does not hold it up.
    let writer = program(folder.path(), "sleep 1000 & exit 0", "300s");
    let record = record("_acme-challenge.x.test.", "value");
    tokio::time::timeout(Duration::from_secs(60), writer.present(&record))
        .await
        .expect("it waits for a child")
        .unwrap();
}
