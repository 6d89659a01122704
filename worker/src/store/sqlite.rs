//! SQLite in WAL mode: one connection that writes and one that reads, each on a thread of its own.

use std::{
    fs::DirBuilder,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, TransactionBehavior};

use super::{
    Answer, Migrate, Notices, Store, StoreError,
    lane::Lane,
    migration::{self, Schema},
};
use crate::notice::{Draft, Notice};

/// How long a statement waits for another process's write (two generations are alive during a deploy).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries to open a database that is busy in a way that SQLite does not wait for.
const RETRY: Duration = Duration::from_millis(5);

/// An open database.
#[derive(Debug)]
pub(super) struct Sqlite {
    file: PathBuf,
    inode: (u64, u64),
    // Dropped in this order: the writer is the last to close, and its close folds the log into the database.
    reader: Lane,
    writer: Lane,
}

impl Sqlite {
    /// Opens `file`, creating it and its folder where they are missing.
    pub(super) fn open(file: &Path, migrate: Migrate) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { file: file.to_owned(), source };
        let mut writer = connect(file)?;
        let schema = migration::inspect(&writer).map_err(failed)?;
        match (schema, migrate) {
            (Schema::Version(has), Migrate::WhenEmpty) if has < migration::NEEDED => {
                return Err(StoreError::Behind { has, needs: migration::NEEDED });
            }
            (Schema::Version(migration::NEEDED), _) => {}
            _ => {
                for name in migration::apply(&mut writer, file)? {
                    tracing::info!("applied migration {name}");
                }
            }
        }
        let reader = connect(file)?;
        reader.pragma_update(None, "query_only", true).map_err(failed)?;
        let inode = inode(file).ok_or_else(|| StoreError::Replaced { file: file.to_owned() })?;
        Ok(Self {
            file: file.to_owned(),
            inode,
            reader: Lane::start("database-read", reader)?,
            writer: Lane::start("database-write", writer)?,
        })
    }
}

/// Brings the schema of `file` up to date; the names of what was applied.
pub(super) fn migrate(file: &Path) -> Result<Vec<&'static str>, StoreError> {
    migration::apply(&mut connect(file)?, file)
}

impl Store for Sqlite {
    fn check(&self) -> Answer<'_, u32> {
        Box::pin(async {
            // An open file that was unlinked still reads well, and everything written to it is lost.
            if inode(&self.file) != Some(self.inode) {
                return Err(StoreError::Replaced { file: self.file.clone() });
            }
            self.reader
                .run(|connection| {
                    connection.prepare_cached("SELECT id FROM notices LIMIT 1")?.exists([])?;
                    Ok(migration::version(connection)?.unwrap_or(0))
                })
                .await
        })
    }
}

impl Notices for Sqlite {
    fn add(&self, draft: Draft) -> Answer<'_, Notice> {
        Box::pin(self.writer.run(move |connection| {
            let add = "INSERT INTO notices (author, body, created_at) VALUES (?1, ?2, ?3)
                       RETURNING id, author, body, created_at";
            let now = Timestamp::now().as_millisecond();
            // Without a transaction of its own the row is kept when the statement is reset, which hides whether it was.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let added = transaction.prepare_cached(add)?.query_row((draft.author(), draft.body(), now), notice)?;
            transaction.commit()?;
            Ok(added)
        }))
    }

    fn list(&self, before: Option<i64>, limit: u16) -> Answer<'_, Vec<Notice>> {
        Box::pin(self.reader.run(move |connection| {
            let list = "SELECT id, author, body, created_at FROM notices WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
            let mut statement = connection.prepare_cached(list)?;
            statement.query_map((before.unwrap_or(i64::MAX), limit), notice)?.collect()
        }))
    }
}

fn connect(file: &Path) -> Result<Connection, StoreError> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| StoreError::Folder { folder: folder.to_owned(), source })?;
    }
    // Without SQLITE_OPEN_URI a path is a path, whatever is in it. Each connection stays on one thread.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // To change to WAL, SQLite needs the file for itself, and where two try at once it tells one of them at once,
    // without the busy timeout, lest they wait for each other. Letting go and coming back is the way out.
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match prepare(file, flags) {
            Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::sleep(RETRY),
            done => return done.map_err(|source| StoreError::Open { file: file.to_owned(), source }),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

fn prepare(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Asked first, because changing the mode needs the whole file even when it is in this mode already.
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" {
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    }
    // In WAL mode NORMAL loses nothing when the process dies; after a power cut the file is whole, less the last moments.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What is written in the schema may not call functions of ours that have effects.
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn inode(file: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(file).ok().map(|found| (found.dev(), found.ino()))
}

fn notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    let created_at = Timestamp::from_millisecond(row.get(3)?).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(Notice { id: row.get(0)?, author: row.get(1)?, body: row.get(2)?, created_at })
}
