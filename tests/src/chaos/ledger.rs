//! Visitors who write, through the whole storm, and remember what they were told is kept.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use crate::client::Site;

/// Between two notices of one visitor.
const PACE: Duration = Duration::from_millis(40);

/// Rows of each board: when each was acknowledged, and how.
type Rows = BTreeMap<String, BTreeMap<String, (SystemTime, Value)>>;

/// Rows that boards have acknowledged.
#[derive(Debug)]
pub struct Ledger {
    rows: Arc<Mutex<Rows>>,
    stop: Arc<AtomicBool>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Ledger {
    /// Begins to write on every board.
    ///
    /// # Panics
    /// When no runtime can be made.
    pub fn start(boards: Vec<(String, Site)>) -> Self {
        let rows = Arc::new(Mutex::new(BTreeMap::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, ended) = (Arc::clone(&rows), Arc::clone(&stop));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let writer = std::thread::spawn(move || {
            runtime.block_on(async move {
                let mut writers = tokio::task::JoinSet::new();
                for (name, site) in boards {
                    writers.spawn(write(name, site, Arc::clone(&kept), Arc::clone(&ended)));
                }
                writers.join_all().await;
            });
        });
        Self { rows, stop, writer: Some(writer) }
    }

    /// Ends the writing; every notice is acknowledged by now or never will be.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            writer.join().expect("no visitor panics");
        }
    }

    /// How many rows were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.rows.lock().expect("no visitor panics").values().map(BTreeMap::len).sum()
    }

    /// Every acknowledged row is on its board, and no row is there twice.
    ///
    /// # Panics
    /// When one is not, or is.
    pub async fn assert_kept(&self, name: &str, site: &Site) {
        let promised = self.rows.lock().expect("no visitor panics").get(name).cloned().unwrap_or_default();
        let (mut found, mut before) = (BTreeMap::<String, u32>::new(), None);
        let mut numbered = BTreeMap::new();
        loop {
            let window = before.map_or_else(String::new, |id: i64| format!("?before={id}"));
            let answer = site.get(&format!("/api/notices{window}")).await.expect("the board answers");
            assert_eq!(answer.status, 200, "{}", answer.text());
            let page: Value = answer.json();
            for notice in page["notices"].as_array().expect("notices") {
                numbered.insert(notice["id"].as_i64(), notice.clone());
                *found.entry(notice["body"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
            before = page["next"].as_i64();
            if before.is_none() {
                break;
            }
        }
        let since = |at: &SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let others: Vec<_> = promised.iter().filter(|(row, (_, told))| told["body"] != **row).collect();
        assert!(others.is_empty(), "{name} has acknowledged the rows of others: {others:?}");
        let lost: Vec<_> = promised.iter().filter(|(row, _)| !found.contains_key(*row)).collect();
        let lost: Vec<_> = lost
            .into_iter()
            .map(|(row, (at, told))| {
                let instead = numbered.get(&told["id"].as_i64());
                format!("{row}, acknowledged at {} ms: {told}; with its number there is {instead:?}", since(at))
            })
            .collect();
        assert!(lost.is_empty(), "{name} has lost {} of {} acknowledged rows: {lost:?}", lost.len(), promised.len());
        let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{name} has rows twice: {twice:?}");
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

async fn write(name: String, site: Site, rows: Arc<Mutex<Rows>>, stop: Arc<AtomicBool>) {
    let mut number = 0u64;
    while !stop.load(Ordering::Acquire) {
        number += 1;
        let row = format!("{name} row {number}");
        let body = json!({"author": "a visitor", "body": row}).to_string();
        let fields = [("Content-Type", "application/json"), ("Connection", "close")];
        if let Ok(answer) = site.request("POST", "/api/notices", &fields, body.as_bytes()).await
            && (200..300).contains(&answer.status)
        {
            let told: Value = serde_json::from_slice(&answer.body)
                .unwrap_or_else(|_| json!({ "head": format!("{:?}", answer.head), "text": answer.text() }));
            let kept = (SystemTime::now(), told);
            rows.lock().expect("no visitor panics").entry(name.clone()).or_default().insert(row, kept);
        }
        tokio::time::sleep(PACE).await;
    }
}
