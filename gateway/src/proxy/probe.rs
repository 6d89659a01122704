//! Health probes, from the proxy's own view: what a visitor's request would meet.
//!
//! A starting worker is asked eagerly, so that it serves within milliseconds of being able to.

use std::{collections::HashMap, io, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    task::AbortHandle,
    time,
};

use super::routes::Table;
use crate::{
    model::{BackendAddress, GenerationId, Probe, ProbeOutcome},
    wire::FromProxy,
};

/// The first pause after a failed probe of a starting worker.
const EAGER: Duration = Duration::from_millis(1);
const EAGER_MOST: Duration = Duration::from_millis(100);
/// The next ones are this part of what it has taken by then, so that nobody waits for much longer than it takes to start.
const EAGER_PART: u32 = 8;

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) generation: GenerationId,
    pub(crate) attempt: u32,
    pub(crate) outcome: ProbeOutcome,
}

impl From<Finding> for FromProxy {
    fn from(Finding { generation, attempt, outcome }: Finding) -> Self {
        Self::Probe { generation, attempt, outcome }
    }
}

/// The probes that run, one task each, on the control thread.
#[derive(Debug)]
pub(crate) struct Probes {
    running: HashMap<GenerationId, Running>,
    out: mpsc::UnboundedSender<Finding>,
    /// Answers to questions whether a worker may sleep.
    asked: mpsc::UnboundedSender<FromProxy>,
}

#[derive(Debug)]
struct Running {
    target: Target,
    task: AbortHandle,
    /// The newest that was told.
    found: Option<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    generation: GenerationId,
    address: BackendAddress,
    probe: Probe,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probes {
    pub(crate) fn new(out: mpsc::UnboundedSender<Finding>, asked: mpsc::UnboundedSender<FromProxy>) -> Self {
        Self { running: HashMap::new(), out, asked }
    }

    /// Asks a worker whether it may sleep: 423 (Locked) is a veto, and nothing else is. Always answered; one that is not
    /// probed is not there to be asked.
    pub(crate) fn ask_sleep(&self, generation: GenerationId, path: String) {
        let target = self.running.get(&generation).map(|running| running.target.clone());
        let out = self.asked.clone();
        tokio::task::spawn_local(async move {
            let veto = match target {
                Some(target) => {
                    let asked = time::timeout(target.probe.timeout, ask(&target, &path)).await;
                    matches!(asked, Ok(Ok(StatusCode::LOCKED)))
                }
                None => false,
            };
            // The control thread ends only with the process.
            let _ = out.send(FromProxy::MaySleep { generation, veto });
        });
    }

    /// Probes what the table says. A probe that the table does not change goes on undisturbed.
    pub(crate) fn apply(&mut self, table: &Table) {
        let mut before = std::mem::take(&mut self.running);
        for (backend, route) in table.backends() {
            let Some(probe) = &route.probe else { continue };
            let (generation, address) = (backend.generation, backend.address.clone());
            let target = Target { generation, address, probe: probe.clone() };
            let running = match before.remove(&generation) {
                Some(same) if same.target == target => same,
                known => {
                    // An outcome is the attempt's, whatever else the table changes.
                    let found = known.as_ref().and_then(|known| known.found.clone());
                    let found = found.filter(|found| found.attempt == probe.attempt);
                    // Healthy a moment ago and told so: the next look is due after the interval.
                    let goes_on = known.is_some_and(|known| known.target.probe.attempt == probe.attempt);
                    let delay = if goes_on && !probe.starting { probe.interval } else { Duration::ZERO };
                    let task = tokio::task::spawn_local(watch(target.clone(), delay, self.out.clone()));
                    Running { target, task: task.abort_handle(), found }
                }
            };
            self.running.insert(generation, running);
        }
    }

    /// Remembers what was found. `false`: it is no news any more, of a worker that is not probed now.
    pub(crate) fn note(&mut self, finding: &Finding) -> bool {
        let Some(running) = self.running.get_mut(&finding.generation) else { return false };
        if running.target.probe.attempt != finding.attempt {
            return false;
        }
        running.found = Some(finding.clone());
        true
    }

    /// The newest finding of each worker that is probed.
    pub(crate) fn known(&self) -> Vec<Finding> {
        self.running.values().filter_map(|running| running.found.clone()).collect()
    }

    /// Probes nobody any more.
    pub(crate) fn end(&mut self) {
        self.running.clear();
    }
}

/// Probes on and on; tells each success of a starting worker, each failure of a running one, and each change.
async fn watch(target: Target, delay: Duration, out: mpsc::UnboundedSender<Finding>) {
    time::sleep(delay).await;
    let (probe, mut last, begin) = (&target.probe, None, time::Instant::now());
    loop {
        let outcome = once(&target).await;
        let changed = last.as_ref() != Some(&outcome);
        let pause = match &outcome {
            ProbeOutcome::Unhealthy(_) if probe.starting => (begin.elapsed() / EAGER_PART).clamp(EAGER, EAGER_MOST),
            _ => probe.interval,
        };
        if changed || (outcome == ProbeOutcome::Healthy) == probe.starting {
            let finding = Finding { generation: target.generation, attempt: probe.attempt, outcome: outcome.clone() };
            if out.send(finding).is_err() {
                return;
            }
        }
        last = Some(outcome);
        time::sleep(pause).await;
    }
}

/// One probe, on a connection of its own.
async fn once(target: &Target) -> ProbeOutcome {
    let path = target.probe.path.as_deref().unwrap_or("/");
    match time::timeout(target.probe.timeout, ask(target, path)).await {
        Ok(Ok(status)) => {
            let healthy = match target.probe.path {
                Some(_) => status.is_success(),
                None => status.as_u16() < 500,
            };
            if healthy {
                ProbeOutcome::Healthy
            } else {
                ProbeOutcome::Unhealthy(format!("GET {path}: {}", status.as_u16()))
            }
        }
        Ok(Err(why)) => ProbeOutcome::Unhealthy(why),
        Err(_) => ProbeOutcome::Unhealthy(format!("no answer within {}", seconds(target.probe.timeout))),
    }
}

async fn ask(target: &Target, path: &str) -> Result<StatusCode, String> {
    match &target.address {
        BackendAddress::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(|error| connect_error(&error))?;
            exchange(stream, target, path).await
        }
        BackendAddress::Unix(socket) => {
            let stream = UnixStream::connect(socket).await.map_err(|error| connect_error(&error))?;
            exchange(stream, target, path).await
        }
    }
}

async fn exchange<S>(stream: S, target: &Target, path: &str) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let broken = |error: hyper::Error| format!("GET {path}: {error}");
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(64 * 1024).handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Dropped with this probe: the connection ends with it.
    let _connection = Task(tokio::task::spawn_local(async move {
        // Its error is told to the request.
        let _ = connection.await;
    }));
    let request = Request::get(path)
        .header(header::HOST, target.probe.host.as_str())
        .header(header::USER_AGENT, "landlord-health")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("GET {path}: {error}"))?;
    Ok(sender.send_request(request).await.map_err(broken)?.status())
}

struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn connect_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "its socket is not there".to_owned(),
        _ => format!("cannot connect: {error}"),
    }
}

fn seconds(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        _ => format!("{} ms", duration.as_millis()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::LocalSet,
    };

    use super::*;
    use crate::{
        model::{RouteTable, Serving},
        proxy::routes::{Routes, tests as make},
    };

    fn table(routes: &Routes, epoch: u64, port: u16, probe: Probe) -> std::sync::Arc<Table> {
        let mut acme = make::tenant("acme", &["acme.localhost"], Serving::Hold);
        let mut backend = make::backend(1, BackendAddress::Tcp(([127, 0, 0, 1], port).into()), true);
        backend.probe = Some(probe);
        acme.backends = vec![backend];
        routes.apply(RouteTable { epoch, tenants: vec![acme] })
    }

    fn probe(starting: bool, attempt: u32) -> Probe {
        Probe {
            path: Some("/healthz".into()),
            host: "acme.localhost".parse().unwrap(),
            interval: Duration::from_millis(20),
            timeout: Duration::from_secs(2),
            starting,
            attempt,
        }
    }

    async fn answer(listener: &TcpListener, status: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let n = stream.read(&mut head).await.unwrap();
        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
        String::from_utf8_lossy(&head[..n]).into_owned()
    }

    fn local(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn a_refused_start_is_told_once_and_its_first_health_at_once() {
        local(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let (out, mut findings) = mpsc::unbounded_channel();
            let (routes, mut probes) = (Routes::new(1), Probes::new(out, mpsc::unbounded_channel().0));
            probes.apply(&table(&routes, 1, port, probe(true, 3)));
            let first = findings.recv().await.unwrap();
            assert_eq!(first.outcome, ProbeOutcome::Unhealthy("connection refused".into()));
            assert_eq!((first.generation, first.attempt), (GenerationId(1), 3));

            let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
            let head = answer(&listener, "200 OK").await;
            assert!(head.starts_with("GET /healthz HTTP/1.1\r\n") && head.contains("host: acme.localhost\r\n"));
            assert!(head.contains("user-agent: landlord-health\r\n"));
            assert_eq!(findings.recv().await.unwrap().outcome, ProbeOutcome::Healthy);

            // Running now: each failure is told, successes only after one; a table without a change disturbs nothing.
            probes.apply(&table(&routes, 2, port, probe(false, 3)));
            for status in ["200 OK", "500 Oh", "500 Oh", "204 No Content", "204 No Content", "404 None"] {
                answer(&listener, status).await;
                probes.apply(&table(&routes, 3, port, probe(false, 3)));
            }
            let mut told = Vec::new();
            while told.len() < 5 {
                told.push(findings.recv().await.unwrap().outcome);
            }
            let unhealthy = |status: u16| ProbeOutcome::Unhealthy(format!("GET /healthz: {status}"));
            let healthy = ProbeOutcome::Healthy;
            assert_eq!(told, [healthy.clone(), unhealthy(500), unhealthy(500), healthy, unhealthy(404)]);
        });
    }

    #[test]
    fn without_a_path_any_status_below_500_will_do() {
        local(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = BackendAddress::Tcp(listener.local_addr().unwrap());
            let target = Target { generation: GenerationId(1), address, probe: Probe { path: None, ..probe(true, 0) } };
            let (outcome, _) = tokio::join!(once(&target), answer(&listener, "404 None"));
            assert_eq!(outcome, ProbeOutcome::Healthy);
            let (outcome, _) = tokio::join!(once(&target), answer(&listener, "503 No"));
            assert_eq!(outcome, ProbeOutcome::Unhealthy("GET /: 503".into()));
        });
    }

    #[test]
    fn only_423_keeps_a_worker_awake() {
        local(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let ((out, _findings), (asked, mut answers)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
            let (routes, mut probes) = (Routes::new(1), Probes::new(out, asked));
            probes.apply(&table(&routes, 1, port, Probe { interval: Duration::from_secs(60), ..probe(false, 0) }));
            for (status, vetoes) in [("423 Locked", true), ("200 OK", false), ("500 Oh", false), ("404 None", false)] {
                // It is asked while nobody else is: the first probe comes after its interval.
                probes.ask_sleep(GenerationId(1), "/may-sleep".into());
                let head = answer(&listener, status).await;
                assert!(head.starts_with("GET /may-sleep HTTP/1.1\r\n") || head.starts_with("GET /healthz"), "{head}");
                if head.starts_with("GET /healthz") {
                    answer(&listener, status).await;
                }
                let told = answers.recv().await.unwrap();
                assert_eq!(told, FromProxy::MaySleep { generation: GenerationId(1), veto: vetoes }, "{status}");
            }
            drop(listener);
            for nobody in [1, 7] {
                probes.ask_sleep(GenerationId(nobody), "/may-sleep".into());
                let told = answers.recv().await.unwrap();
                assert_eq!(told, FromProxy::MaySleep { generation: GenerationId(nobody), veto: false });
            }
        });
    }

    #[test]
    fn a_worker_that_accepts_and_is_silent_is_waited_for_up_to_the_timeout() {
        local(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = BackendAddress::Tcp(listener.local_addr().unwrap());
            let probe = Probe { timeout: Duration::from_millis(50), ..probe(true, 0) };
            let target = Target { generation: GenerationId(1), address, probe };
            assert_eq!(once(&target).await, ProbeOutcome::Unhealthy("no answer within 50 ms".into()));
        });
    }
}
