//! The schema: from nothing, twice, by many at once, and from versions that are not ours.

use rusqlite::Connection;
use tempfile::tempdir;

use crate::process::{Worker, database, run};

#[test]
fn from_nothing_and_then_again() {
    let folder = tempdir().unwrap();
    let (code, said) = run(folder.path(), "migrate", &[]);
    assert!(code == 0 && said.contains("applied migration 0001_notices"), "{said}");
    let (code, said) = run(folder.path(), "migrate", &[]);
    assert!(code == 0 && said.contains("up to date") && !said.contains("applied"), "{said}");
    let mode: String = Connection::open(database(folder.path()))
        .unwrap()
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn many_at_once_apply_each_step_once() {
    let folder = tempdir().unwrap();
    let said: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| run(folder.path(), "migrate", &[]))).collect();
        all.into_iter()
            .map(|one| {
                let (code, said) = one.join().unwrap();
                assert_eq!(code, 0, "{said}");
                said
            })
            .collect()
    });
    assert_eq!(said.iter().filter(|said| said.contains("applied migration")).count(), 1, "{said:#?}");
}

#[test]
fn under_landlord_only_an_empty_database_is_migrated_by_serve() {
    let folder = tempdir().unwrap();
    Worker::alone(folder.path(), &[("LANDLORD", "1")]).stop();

    // As if there were no step yet: the history is there, and has nothing in it.
    let old = tempdir().unwrap();
    std::fs::create_dir(old.path().join("instance")).unwrap();
    let history = "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, \
                   applied_at INTEGER NOT NULL) STRICT";
    Connection::open(database(old.path())).unwrap().execute_batch(history).unwrap();
    let (code, said) = run(old.path(), "serve", &[("LANDLORD", "1"), ("PORT", "0")]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("version 0") && said.contains("landlord-worker migrate"), "{said}");

    // Alone there is nobody else to do it.
    Worker::alone(old.path(), &[]).stop();
    Worker::alone(old.path(), &[("LANDLORD", "1")]).stop();
}

#[test]
fn a_newer_database_and_a_strange_one_are_left_alone() {
    let newer = tempdir().unwrap();
    assert_eq!(run(newer.path(), "migrate", &[]).0, 0);
    let connection = Connection::open(database(newer.path())).unwrap();
    connection.execute("INSERT INTO schema_migrations VALUES (99, '0099_later', 0)", []).unwrap();
    drop(connection);
    for verb in ["migrate", "serve"] {
        let (code, said) = run(newer.path(), verb, &[("PORT", "0")]);
        assert!(code == 78 && said.contains("version 99"), "{verb}: {said}");
    }

    let strange = tempdir().unwrap();
    let file = strange.path().join("crm.db");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE customers (id INTEGER)").unwrap();
    let (code, said) = run(strange.path(), "serve", &[("DATABASE_URL", "sqlite:crm.db"), ("PORT", "0")]);
    assert!(code == 78 && said.contains("something else"), "{code} {said}");
}
