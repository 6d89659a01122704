//! An honest client that asks on and on while others misbehave, and counts what it got.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::{door::Door, h1::H1, tell};

/// Asks `/canary` every few milliseconds on one keep-alive connection, from an address of its own.
pub struct Canary {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Song>,
}

/// What a canary got.
#[derive(Clone, Debug, Default)]
pub struct Song {
    /// Requests asked.
    pub asked: usize,
    /// Those without a whole 200, in words.
    pub failures: Vec<String>,
    /// Durations, sorted.
    pub took: Vec<Duration>,
}

impl Song {
    /// The duration that this share of requests stayed below.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.took.len().saturating_sub(1);
        self.took.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
    }

    /// Fails unless every request was answered, the last within a generous bound.
    pub fn assert_well(&self) {
        tell(format_args!(
            "canary: {} asked, p99.9 {:?}, p50 {:?}",
            self.asked,
            self.quantile(0.999),
            self.quantile(0.5)
        ));
        assert!(self.asked > 0, "the canary never sang");
        assert!(
            self.failures.is_empty(),
            "{} of {} failed: {:?}",
            self.failures.len(),
            self.asked,
            self.failures.first()
        );
        assert!(self.quantile(0.999) < Duration::from_secs(2), "the canary gasped: {:?}", self.quantile(0.999));
    }
}

impl Canary {
    /// Begins, once the first answer has come.
    pub async fn start(door: &Door, host: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let tls = door.open(host, door.config(&["http/1.1"]), source).await.expect("the canary's connection");
        let mut connection = H1::over(tls);
        let request = format!("GET /canary HTTP/1.1\r\nHost: {host}\r\n\r\n");
        connection.ask(request.as_bytes()).await.expect("the canary's first answer");
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut song = Song::default();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                song.asked += 1;
                match connection.ask(request.as_bytes()).await {
                    Ok(reply) if reply.status == 200 && reply.whole => song.took.push(began.elapsed()),
                    Ok(reply) => song.failures.push(reply.head),
                    Err(why) => {
                        song.failures.push(why.to_string());
                        break;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            song.took.sort();
            song
        });
        Self { stop, task }
    }

    /// Ends, and tells.
    pub async fn stop(self) -> Song {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the canary does not panic")
    }
}
