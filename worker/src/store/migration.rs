//! Numbered migrations, embedded, applied in one transaction: all of them or none.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::StoreError;

/// One step of the schema. Steps are only ever added.
struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal),* $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
        }),*]
    };
}

const MIGRATIONS: &[Migration] = migrations![1 "0001_notices"];

/// The version that this program needs.
pub(super) const NEEDED: u32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT";

/// What is in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// Nothing at all.
    Empty,
    /// Our tables, as of this version.
    Version(u32),
    /// Tables, but not ours.
    Foreign,
}

/// Looks at what is in the database.
pub(super) fn inspect(connection: &Connection) -> rusqlite::Result<Schema> {
    let (ours, tables): (bool, u32) = connection.query_row(
        "SELECT coalesce(sum(name = 'schema_migrations'), 0) > 0, count(*) FROM sqlite_schema WHERE type = 'table'",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    match (ours, tables) {
        (true, _) => Ok(Schema::Version(version(connection)?.unwrap_or(0))),
        (false, 0) => Ok(Schema::Empty),
        (false, _) => Ok(Schema::Foreign),
    }
}

/// The newest migration that the database has had.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<Option<u32>> {
    let newest = "SELECT version FROM schema_migrations ORDER BY version DESC LIMIT 1";
    connection.query_row(newest, [], |row| row.get(0)).optional()
}

/// Applies what is missing; the names of it. Safe against another process that does the same at the same time.
pub(super) fn apply(connection: &mut Connection, file: &Path) -> Result<Vec<&'static str>, StoreError> {
    // The write lock first, then the look: what is seen stays true until the commit.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let has = match inspect(&transaction)? {
        Schema::Empty => 0,
        Schema::Version(has) if has > NEEDED => return Err(StoreError::Ahead { has, knows: NEEDED }),
        Schema::Version(has) => has,
        Schema::Foreign => return Err(StoreError::Foreign { file: file.to_owned() }),
    };
    transaction.execute_batch(HISTORY)?;
    let mut applied = Vec::new();
    for Migration { version, name, sql } in MIGRATIONS.iter().filter(|migration| migration.version > has) {
        let failed = |source| StoreError::Migration { name, source };
        transaction.execute_batch(sql).map_err(failed)?;
        let note = "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?1, ?2, ?3)";
        transaction.execute(note, (version, name, Timestamp::now().as_millisecond())).map_err(failed)?;
        applied.push(*name);
    }
    transaction.commit()?;
    Ok(applied)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn versions_grow_by_one() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, index + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
    }

    #[test]
    fn applied_once_and_told() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(inspect(&connection).unwrap(), Schema::Empty);
        let file = Path::new("app.db");
        assert_eq!(apply(&mut connection, file).unwrap().len(), MIGRATIONS.len());
        assert_eq!(apply(&mut connection, file).unwrap(), Vec::<&str>::new());
        assert_eq!(inspect(&connection).unwrap(), Schema::Version(NEEDED));
    }

    #[test]
    fn neither_newer_nor_foreign_data_is_touched() {
        let mut newer = Connection::open_in_memory().unwrap();
        apply(&mut newer, Path::new("app.db")).unwrap();
        newer.execute("INSERT INTO schema_migrations VALUES (?1, 'later', 0)", [NEEDED + 1]).unwrap();
        assert!(matches!(apply(&mut newer, Path::new("app.db")), Err(StoreError::Ahead { .. })));

        let mut foreign = Connection::open_in_memory().unwrap();
        foreign.execute_batch("CREATE TABLE customers (id INTEGER)").unwrap();
        assert!(matches!(apply(&mut foreign, Path::new("app.db")), Err(StoreError::Foreign { .. })));
        let tables: u32 = foreign.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }
}
