-- The notice board. Times are milliseconds since 1970, UTC.
CREATE TABLE notices (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    author     TEXT    NOT NULL CHECK (length(author) BETWEEN 1 AND 80),
    body       TEXT    NOT NULL CHECK (length(body) BETWEEN 1 AND 2000),
    created_at INTEGER NOT NULL
) STRICT;
