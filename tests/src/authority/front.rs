//! Between the gateway and the ACME server: every call is counted, and fails when a test says so.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Call, Kind, fault::Fault, tls::Identity};
use crate::{
    client::{Raw, Response, Site},
    eventually,
};

/// The front itself, on a port of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Its own, so that a test that blocks cannot hold it up. `None` once it is shut down.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    upstream: Site,
    calls: Mutex<Vec<Call>>,
    rules: watch::Sender<Vec<Rule>>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// `None`: any.
    kind: Option<Kind>,
    /// Only orders for this name.
    name: Option<String>,
    fault: Fault,
    /// `None`: until it is taken away.
    times: Option<u32>,
}

impl Front {
    #[track_caller]
    pub(super) fn start(identity: &Identity, port: u16, upstream: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("front")
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let shared = Arc::new(Shared {
            upstream: Site::new(upstream, "127.0.0.1", &identity.root),
            calls: Mutex::new(Vec::new()),
            rules: watch::Sender::new(Vec::new()),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = std::net::TcpListener::bind(address).expect("a port of ours");
        listener.set_nonblocking(true).expect("a socket");
        runtime.spawn(accept(listener, acceptor(identity), Arc::clone(&shared)));
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory's URL, as landlord.toml names it.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// From now on, every call of this kind goes wrong.
    pub fn break_all(&self, kind: Kind, fault: Fault) {
        self.add(Rule { kind: Some(kind), name: None, fault, times: None });
    }

    /// The next so many calls of this kind go wrong.
    pub fn break_next(&self, kind: Kind, times: u32, fault: Fault) {
        self.add(Rule { kind: Some(kind), name: None, fault, times: Some(times) });
    }

    /// Every new order for this name goes wrong.
    pub fn break_orders(&self, name: &str, fault: Fault) {
        self.add(Rule { kind: Some(Kind::NewOrder), name: Some(name.to_owned()), fault, times: None });
    }

    /// Every call goes wrong.
    pub fn break_everything(&self, fault: Fault) {
        self.add(Rule { kind: None, name: None, fault, times: None });
    }

    /// Nothing goes wrong any more; what waits goes on.
    pub fn mend(&self) {
        self.shared.rules.send_modify(Vec::clear);
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().expect("no panic").clone()
    }

    /// How many calls of this kind came.
    pub fn count(&self, kind: Kind) -> usize {
        self.shared.calls.lock().expect("no panic").iter().filter(|call| call.kind == kind).count()
    }

    /// How many orders were placed that name this name: those that the ACME server took.
    pub fn orders(&self, name: &str) -> usize {
        self.placed().into_iter().filter(|call| call.names().contains(&name)).count()
    }

    /// Every order that was placed.
    pub fn placed(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.kind == Kind::NewOrder && call.status == Some(201)).collect()
    }

    /// Waits until more than `already` calls of this kind have come.
    #[track_caller]
    pub fn wait_call(&self, kind: Kind, already: usize) {
        eventually(format!("{kind:?} is asked for"), || (self.count(kind) > already).then_some(()));
    }

    /// What was asked, a line each, for people.
    pub fn told(&self) -> String {
        let calls = self.calls();
        let mut text = String::new();
        let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
        for call in &calls {
            *kinds.entry(call.kind).or_default() += 1;
        }
        let _ = writeln!(text, "{kinds:?}");
        for call in calls.iter().rev().take(100).rev() {
            let Call { method, path, status, .. } = call;
            let _ = writeln!(text, "{method} {path} -> {status:?} {}", call.names().join(" "));
        }
        text
    }

    fn add(&self, rule: Rule) {
        self.shared.rules.send_modify(|rules| rules.push(rule));
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be dropped in an asynchronous test; nothing in it is needed any more.
            runtime.shutdown_timeout(Duration::ZERO);
        }
    }
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&identity.certificate).expect("a leaf").collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has every protocol version")
        .with_no_client_auth()
        .with_single_cert(chain.expect("PEM"), key)
        .expect("the key is the leaf's");
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a socket that does not block");
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(stream) = acceptor.accept(stream).await {
                // It ends with an error whenever a client goes, or a fault says so.
                let _ = shared.serve(stream).await;
            }
        });
    }
}

impl Shared {
    /// One connection, call by call.
    async fn serve(&self, mut stream: TlsStream<TcpStream>) -> io::Result<()> {
        let (mut received, mut upstream) = (Vec::new(), None);
        while let Some(request) = Request::read(&mut stream, &mut received).await? {
            let mut answering = std::pin::pin!(self.answer(&request, &mut upstream));
            let answer = loop {
                tokio::select! {
                    answer = &mut answering => break answer?,
                    // A call whose client has gone while it waited is heard by nobody.
                    more = stream.read_buf(&mut received) => if more? == 0 { return Ok(()) },
                }
            };
            let Some(answer) = answer else { return Ok(()) };
            stream.write_all(&answer).await?;
            stream.flush().await?;
        }
        Ok(())
    }

    /// `None`: the connection ends without one.
    async fn answer(&self, request: &Request, upstream: &mut Option<Raw>) -> io::Result<Option<Vec<u8>>> {
        let call = Call::new(&request.method, &request.target, &request.body);
        let fault = self.fault_of(&call);
        let number = {
            let mut calls = self.calls.lock().expect("no panic");
            calls.push(call);
            calls.len() - 1
        };
        let mut amendment = None;
        match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Wait) => self.wait_mended().await,
            Some(Fault::Cut) => return Ok(None),
            Some(Fault::Answer { status, retry_after, media, body }) => {
                self.answered(number, status);
                return Ok(Some(made_up(status, retry_after, media, &body)));
            }
            Some(Fault::CutAfter) => {
                let answer = self.forward(request, upstream).await?;
                self.answered(number, answer.status);
                return Ok(None);
            }
            Some(Fault::Amend(members)) => amendment = Some(members),
            None => {}
        }
        let mut answer = self.forward(request, upstream).await?;
        self.answered(number, answer.status);
        if let Some(members) = amendment {
            amend(&mut answer, &members);
        }
        Ok(Some(written(&answer, &request.method)))
    }

    fn fault_of(&self, call: &Call) -> Option<Fault> {
        let mut found = None;
        self.rules.send_if_modified(|rules| {
            let meant = |rule: &&mut Rule| {
                rule.kind.is_none_or(|kind| kind == call.kind)
                    && rule.name.as_ref().is_none_or(|name| call.names().contains(&name.as_str()))
                    && rule.times != Some(0)
            };
            if let Some(rule) = rules.iter_mut().find(meant) {
                found = Some(rule.fault.clone());
                rule.times = rule.times.map(|times| times - 1);
            }
            false
        });
        found
    }

    async fn wait_mended(&self) {
        let mut rules = self.rules.subscribe();
        let _ = rules.wait_for(Vec::is_empty).await;
    }

    fn answered(&self, number: usize, status: u16) {
        self.calls.lock().expect("no panic")[number].status = Some(status);
    }

    async fn forward(&self, request: &Request, kept: &mut Option<Raw>) -> io::Result<Response> {
        if let Some(raw) = kept
            && let Ok(answer) = ask(raw, request).await
        {
            return Ok(answer);
        }
        // There is none yet, or it was ended meanwhile. What was heard twice the ACME server refuses by its nonce.
        let mut raw = self.upstream.h1().await.map_err(io::Error::other)?;
        let answer = ask(&mut raw, request).await.map_err(io::Error::other)?;
        *kept = Some(raw);
        Ok(answer)
    }
}

async fn ask(raw: &mut Raw, request: &Request) -> crate::client::Result<Response> {
    raw.send(&request.bytes).await?;
    raw.response_to(&request.method).await
}

/// One request, as it came.
struct Request {
    method: String,
    target: String,
    body: Vec<u8>,
    /// All of it.
    bytes: Vec<u8>,
}

impl Request {
    /// The next one; `None` at the connection's end.
    async fn read(stream: &mut TlsStream<TcpStream>, received: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let end = loop {
            if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(received).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let whole = end + length.unwrap_or(0);
        while received.len() < whole {
            if stream.read_buf(received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let bytes: Vec<u8> = received.drain(..whole).collect();
        let mut words = head.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        Ok(Some(Self { method: word(), target: word(), body: bytes[end..].to_vec(), bytes }))
    }
}

fn made_up(status: u16, retry_after: Option<u32>, media: &str, body: &str) -> Vec<u8> {
    let retry_after = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {status} Made Up\r\nContent-Type: {media}\r\n{retry_after}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn amend(answer: &mut Response, members: &Value) {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    for (name, value) in members.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    answer.body = body.to_string().into_bytes();
}

/// An answer as it is sent on, with its length anew.
fn written(answer: &Response, method: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {} As Is\r\n", answer.status).into_bytes();
    let own = ["content-length", "transfer-encoding", "connection"];
    for (name, value) in &answer.head.fields {
        if !own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            text.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    let bodiless = method == "HEAD" || answer.status == 204;
    if !bodiless {
        text.extend_from_slice(format!("Content-Length: {}\r\n", answer.body.len()).as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&answer.body);
    text
}
