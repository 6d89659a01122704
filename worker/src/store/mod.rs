//! Where the data is kept: what every database must be able to do, and which databases there are.

mod lane;
mod migration;
mod sqlite;

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc};

use crate::{
    notice::{Draft, Notice},
    settings::DatabaseUrl,
};

/// What a store answers, in time.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A database with all that the site keeps in it. Each module of the site has a trait of its own.
pub(crate) trait Store: Notices + Send + Sync {
    /// Reads from the database, really; the answer is the version of its schema.
    fn check(&self) -> Answer<'_, u32>;
}

/// The notice board.
pub(crate) trait Notices {
    /// Puts a notice on the board. It is kept for good when this answers.
    fn add(&self, draft: Draft) -> Answer<'_, Notice>;

    /// At most `limit` notices, newest first, all older than the one numbered `before`.
    fn list(&self, before: Option<i64>, limit: u16) -> Answer<'_, Vec<Notice>>;
}

/// When opening a database may change its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Migrate {
    /// Whenever it is behind: nobody else does it.
    Always,
    /// Only when there is nothing in it yet: somebody else migrates, at a moment when no other worker is alive.
    WhenEmpty,
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The folder of the database.
    #[error("cannot create the folder {0}: {1}", .folder.display(), .source)]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database itself.
    #[error("cannot open the database {0}: {1}", .file.display(), .source)]
    Open {
        /// Which.
        file: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The schema is older than this program.
    #[error("the database is at schema version {has}, this version needs {needs}: run `landlord-worker migrate`")]
    Behind {
        /// The database's.
        has: u32,
        /// Ours.
        needs: u32,
    },
    /// The schema is newer than this program.
    #[error("the database is at schema version {has}, this version knows up to {knows}: run a newer landlord-worker")]
    Ahead {
        /// The database's.
        has: u32,
        /// Ours.
        knows: u32,
    },
    /// Tables, but not ours.
    #[error("the database {0} holds something else: point DATABASE_URL at a file of its own", .file.display())]
    Foreign {
        /// Which.
        file: PathBuf,
    },
    /// A migration failed; nothing of it was kept.
    #[error("migration {name} failed, nothing was changed: {source}")]
    Migration {
        /// Which.
        name: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file at the database's path is not the one that is open.
    #[error("the database {0} was replaced or removed while in use", .file.display())]
    Replaced {
        /// Which.
        file: PathBuf,
    },
    /// A read or a write.
    #[error("the database: {0}")]
    Query(#[from] rusqlite::Error),
    /// Too much is waiting already.
    #[error("too many requests are waiting for the database")]
    Busy,
    /// The thread that owned the connection is not there.
    #[error("the database's thread is gone")]
    Gone,
    /// The system gave us no thread.
    #[error("cannot start the database's thread: {0}")]
    Thread(std::io::Error),
}

impl StoreError {
    /// Whether trying again in a moment may well work.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Query(error) => {
                matches!(
                    error.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
                )
            }
            _ => false,
        }
    }
}

/// Opens the database and makes sure that its schema is ours.
pub(crate) fn open(url: &DatabaseUrl, migrate: Migrate) -> Result<Arc<dyn Store>, StoreError> {
    match url {
        DatabaseUrl::Sqlite(file) => Ok(Arc::new(sqlite::Sqlite::open(file, migrate)?)),
    }
}

/// Brings the schema up to date; the names of what was applied.
pub(crate) fn migrate(url: &DatabaseUrl) -> Result<Vec<&'static str>, StoreError> {
    match url {
        DatabaseUrl::Sqlite(file) => sqlite::migrate(file),
    }
}
