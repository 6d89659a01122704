//! What reached the worker, as the worker itself wrote it down: the proof that nothing did.

use std::{fs, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// The name of the worker's record in its tenant's folder.
pub const RECORD: &str = "requests.log";

/// One thing that reached the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Which of the worker's connections, counted from 0.
    pub connection: u64,
    /// What became of it.
    pub what: What,
    /// Request line and fields, as they came.
    pub head: String,
    /// The body without chunk framing; the first 4 KiB of it.
    pub body: String,
    /// Trailer fields, as they came.
    pub trailers: String,
}

/// What became of a request at the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Head and body came whole.
    Whole,
    /// A head came, and its body broke off.
    Broken,
    /// Bytes came that are no HTTP/1.1 request of the strict grammar.
    Garbage,
    /// The gateway stopped taking the answer before its end.
    Cut,
    /// Bytes came through the tunnel of a WebSocket.
    Tunnel,
}

impl Seen {
    /// The request's target.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("")
    }

    /// The values of every field of this name.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        super::h1::fields(&self.head, name)
    }
}

/// Reads one worker's record.
#[derive(Clone, Debug)]
pub struct Witness {
    record: PathBuf,
}

impl Witness {
    /// The record in this tenant's folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { record: folder.join(RECORD) }
    }

    /// All that was seen so far.
    pub fn all(&self) -> Vec<Seen> {
        let text = fs::read_to_string(&self.record).unwrap_or_default();
        // The last line may be half written at this moment.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How much was seen so far: the mark for [`Witness::since`].
    pub fn mark(&self) -> usize {
        self.all().len()
    }

    /// What was seen since the mark, without what the tests' own good requests (`/canary…`) left.
    pub fn since(&self, mark: usize) -> Vec<Seen> {
        self.all().into_iter().skip(mark).filter(|seen| !seen.target().starts_with("/canary")).collect()
    }

    /// Complete requests since the mark.
    pub fn whole_since(&self, mark: usize) -> Vec<Seen> {
        self.since(mark).into_iter().filter(|seen| seen.what == What::Whole).collect()
    }

    /// Waits until something of this kind is seen for this target after the mark.
    pub async fn wait(&self, mark: usize, what: What, target: &str, within: Duration) -> Option<Seen> {
        let looking = async {
            loop {
                let found = self.since(mark).into_iter().find(|seen| seen.what == what && seen.target() == target);
                if let Some(found) = found {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(within, looking).await.ok()
    }
}
