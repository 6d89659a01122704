//! Workers' lines on their way to systemd's journal, beside their files.
//!
//! journald may be slow, or gone for a while. Then entries wait here, so many for each tenant and no more: what does not fit
//! is counted and told. Neither a worker nor a file ever waits for it.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    model::TenantName,
    sys::{
        journal::{Entry, Refusal, Writer},
        readiness::{Interest, watch},
    },
};

/// Bytes of entries of one tenant that wait: some seconds of the most that it may write, in lines of the usual length.
const SHARE: usize = 4 << 20;
/// Bytes of entries of all tenants together that wait.
const ROOM: usize = 32 << 20;
/// Between two attempts to find a journald that is gone: no event tells of a socket that comes to be.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two sentences about the losses of one tenant.
const TOLD: Duration = Duration::from_secs(10);
/// How long the last entries may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Entries sent before the readers of pipes have their turn.
const TURN: usize = 64;

/// Severities of sd-daemon(3) that we give by ourselves.
const WARNING: u8 = 4;
const INFO: u8 = 6;

/// All that waits.
#[derive(Debug)]
pub(super) struct Journal {
    state: RefCell<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    writer: Writer,
    queue: VecDeque<(TenantName, Entry)>,
    bytes: usize,
    accounts: HashMap<TenantName, Account>,
}

/// What a tenant has waiting, and has lost.
#[derive(Debug, Default)]
struct Account {
    bytes: usize,
    lost: u64,
    /// When its losses may be told of.
    due: Option<Instant>,
}

impl Journal {
    pub(super) fn new(writer: Writer) -> Rc<Self> {
        Rc::new(Self { state: RefCell::new(State { writer, ..State::default() }), arrived: Notify::new() })
    }

    /// Sends what comes for as long as the role lives.
    pub(super) fn start(self: &Rc<Self>) -> JoinHandle<()> {
        let journal = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                journal.send_all().await;
                let due = journal.state.borrow().due();
                tokio::select! {
                    () = journal.arrived.notified() => {}
                    () = async { match due {
                        Some(due) => sleep_until(due).await,
                        None => std::future::pending().await,
                    }} => {}
                }
            }
        })
    }

    /// A line of a tenant's worker; `<N>` at its beginning is its severity, as sd-daemon(3) has it.
    pub(super) fn line(&self, tenant: &TenantName, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (priority, message) = severity(line);
        self.push(tenant, priority, message);
    }

    /// A sentence of ours about a tenant.
    pub(super) fn warn(&self, tenant: &TenantName, sentence: &str) {
        self.push(tenant, WARNING, sentence.as_bytes());
    }

    /// Sends what waits, within a bound.
    pub(super) async fn finish(&self) {
        self.state.borrow_mut().tell_losses(None);
        let _ = timeout(FAREWELL, self.send_all()).await;
    }

    fn push(&self, tenant: &TenantName, priority: u8, message: &[u8]) {
        self.state.borrow_mut().push(tenant, entry(tenant, priority, message));
        self.arrived.notify_one();
    }

    /// Returns when nothing waits that could be sent now.
    async fn send_all(&self) {
        loop {
            let refusal = self.state.borrow_mut().send_some();
            match refusal {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => return,
                Err(Refusal::Full) => self.room().await,
                Err(Refusal::Gone(_) | Refusal::Never(_)) => sleep(AGAIN).await,
            }
        }
    }

    /// Waits until journald has read on, or has gone.
    async fn room(&self) {
        let socket = self.state.borrow().writer.socket().map(|socket| socket.try_clone_to_owned());
        let watched = match socket {
            Some(Ok(socket)) => watch(socket, Interest::WRITABLE).ok(),
            _ => None,
        };
        match watched {
            // Not for ever: the kernel may be short of something else than room in that queue.
            Some(watched) => drop(timeout(AGAIN, watched.writable()).await),
            None => sleep(AGAIN).await,
        }
    }
}

impl Account {
    /// Counts one entry. To be told soon, so that a burst is one sentence; later, when one was told just now.
    fn lose(&mut self) {
        self.lost += 1;
        self.due.get_or_insert_with(|| Instant::now() + AGAIN);
    }
}

impl State {
    /// Queues an entry, or counts it as lost.
    fn push(&mut self, tenant: &TenantName, entry: Entry) {
        let length = entry.bytes().len();
        let account = self.accounts.entry(tenant.clone()).or_default();
        if account.bytes + length > SHARE || self.bytes + length > ROOM {
            account.lose();
            return;
        }
        account.bytes += length;
        self.bytes += length;
        self.queue.push_back((tenant.clone(), entry));
    }

    /// Sends a turn's worth; whether more waits.
    fn send_some(&mut self) -> Result<bool, Refusal> {
        self.tell_losses(Some(Instant::now()));
        for _ in 0..TURN {
            let Some((_, entry)) = self.queue.front() else { return Ok(false) };
            match self.writer.send(entry.bytes()) {
                Ok(()) => self.pop(),
                // What is never taken must not hold up all that comes behind it.
                Err(Refusal::Never(_)) => {
                    self.count_first_as_lost();
                    self.pop();
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(!self.queue.is_empty())
    }

    fn count_first_as_lost(&mut self) {
        let account = self.queue.front().and_then(|(tenant, _)| self.accounts.get_mut(tenant));
        if let Some(account) = account {
            account.lose();
        }
    }

    fn pop(&mut self) {
        let Some((tenant, entry)) = self.queue.pop_front() else { return };
        let length = entry.bytes().len();
        self.bytes -= length;
        if let Some(account) = self.accounts.get_mut(&tenant) {
            account.bytes -= length;
            if account.bytes == 0 && account.lost == 0 && account.due.is_none() {
                self.accounts.remove(&tenant);
            }
        }
    }

    /// The next moment at which losses may be told of.
    fn due(&self) -> Option<Instant> {
        self.accounts.values().filter_map(|account| account.due).min()
    }

    /// Queues a sentence about each loss that is due, or about every one.
    fn tell_losses(&mut self, now: Option<Instant>) {
        if self.accounts.values().all(|account| account.due.is_none()) {
            return;
        }
        let State { queue, bytes, accounts, .. } = self;
        for (tenant, account) in accounts.iter_mut() {
            let is_due = account.due.is_some_and(|due| now.is_none_or(|now| due <= now));
            if !is_due {
                continue;
            }
            let lost = std::mem::take(&mut account.lost);
            account.due = None;
            if lost > 0 {
                let sentence = format!("landlord: {lost} lines did not reach the journal, and are in `landlord logs`");
                let told = entry(tenant, WARNING, sentence.as_bytes());
                // Beyond its share, because it is one sentence in a while.
                account.bytes += told.bytes().len();
                *bytes += told.bytes().len();
                account.due = now.map(|now| now + TOLD);
                queue.push_back((tenant.clone(), told));
            }
        }
        self.accounts.retain(|_, account| account.bytes > 0 || account.lost > 0 || account.due.is_some());
    }
}

fn entry(tenant: &TenantName, priority: u8, message: &[u8]) -> Entry {
    Entry::new()
        .with("MESSAGE", message)
        .with("PRIORITY", &[b'0' + priority])
        .with("SYSLOG_IDENTIFIER", tenant.as_str().as_bytes())
        .with("TENANT", tenant.as_str().as_bytes())
}

/// The line's own severity and the rest of it.
fn severity(line: &[u8]) -> (u8, &[u8]) {
    match line {
        [b'<', digit @ b'0'..=b'7', b'>', rest @ ..] => (digit - b'0', rest),
        line => (INFO, line),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::sys::journal::tests::{Fields, Journald, value};

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    fn message(fields: &Fields) -> String {
        String::from_utf8_lossy(value(fields, "MESSAGE")).into_owned()
    }

    /// Runs `play` beside a journal whose socket is at the path that it is given.
    async fn with_journal(play: impl AsyncFnOnce(Rc<Journal>, std::path::PathBuf)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = Journal::new(Writer::to(path.clone()));
        LocalSet::new().run_until(play(journal, path)).await;
    }

    #[tokio::test]
    async fn a_line_has_its_tenant_and_its_severity() {
        with_journal(async |journal, path| {
            let journald = Journald::at(&path);
            let lines: [&[u8]; 7] = [b"hello\r", b"<3>bad", b"<8>not one", b"<>", b"", b"<7>", b"\0\xff<3>\x1b[31m"];
            for line in lines {
                journal.line(&acme(), line);
            }
            journal.finish().await;
            let told = lines.map(|_| journald.entry());
            let expected: [(&[u8], &[u8]); 7] = [
                (b"6", b"hello"),
                (b"3", b"bad"),
                (b"6", b"<8>not one"),
                (b"6", b"<>"),
                (b"6", b""),
                (b"7", b""),
                (b"6", b"\0\xff<3>\x1b[31m"),
            ];
            for (fields, (priority, message)) in told.iter().zip(expected) {
                assert_eq!((value(fields, "PRIORITY"), value(fields, "MESSAGE")), (priority, message));
                assert_eq!(value(fields, "TENANT"), b"acme");
                assert_eq!(value(fields, "SYSLOG_IDENTIFIER"), b"acme");
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_journald_costs_the_flooder_alone_and_it_is_told() {
        with_journal(async |journal, path| {
            let journald = Journald::at(&path);
            let sending = journal.start();
            let flood = 50_000;
            for _ in 0..flood {
                journal.line(&acme(), &[b'x'; 100]);
            }
            let globex: TenantName = "globex".parse().unwrap();
            journal.line(&globex, b"mine is small");
            let mut seen = Vec::new();
            let lost = loop {
                tokio::task::yield_now().await;
                tokio::time::advance(Duration::from_millis(100)).await;
                let fresh = journald.waiting();
                let told = fresh.iter().map(message).find(|it| it.contains("did not reach the journal"));
                seen.extend(fresh);
                if let Some(told) = told {
                    break told.split(' ').nth(1).unwrap().parse::<usize>().unwrap();
                }
            };
            let lines = seen.iter().filter(|it| message(it).starts_with('x')).count();
            assert_eq!(lines + lost, flood, "each is there or counted");
            assert!(lost > 0 && lines * 100 <= SHARE, "{lines} {lost}");
            assert!(seen.iter().any(|it| value(it, "TENANT") == b"globex"), "others are not hurt");
            sending.abort();
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_sent_to_a_journald_that_comes_back() {
        with_journal(async |journal, path| {
            let sending = journal.start();
            let first = Journald::at(&path);
            journal.line(&acme(), b"before");
            journal.send_all().await;
            assert_eq!(message(&first.entry()), "before");
            drop(first);
            std::fs::remove_file(&path).unwrap();
            journal.line(&acme(), b"meanwhile");
            // Nobody is there, and nobody is held up: time passes for all.
            sleep(5 * AGAIN).await;
            let second = Journald::at(&path);
            sleep(2 * AGAIN).await;
            journal.line(&acme(), b"after");
            sleep(2 * AGAIN).await;
            assert_eq!(second.waiting().iter().map(message).collect::<Vec<_>>(), ["meanwhile", "after"]);
            sending.abort();
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_a_journald_that_is_gone() {
        with_journal(async |journal, _| {
            let begun = Instant::now();
            journal.line(&acme(), b"last words");
            journal.finish().await;
            assert!(begun.elapsed() <= FAREWELL + AGAIN);
        })
        .await;
    }
}
