//! A caller of the operator socket, `<run>/control.sock`.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::{runtime::Runtime, time::timeout};

use super::exit;
use crate::{
    model::Gateway,
    sys::{memfd, packet, packet::Packet},
    wire::{CertificateEntry, ControlReply, ControlRequest, Outcome, Status},
};

/// Bytes of a status, or of a list of certificates: more than ten thousand tenants need.
const CONTENT_CAP: usize = 64 << 20;

/// One question to a running landlord and its answers.
pub(super) struct Client {
    runtime: Runtime,
    packet: Packet,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Reply {
    /// The whole picture.
    Status(Status),
    /// Every certificate.
    Certificates(Vec<CertificateEntry>),
    /// A step was reached.
    Progress(String),
    /// The end.
    Done(Outcome),
}

/// Why there is no (further) answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error(
        "landlord is not running: nothing answers on {}; start it with `{}`, or name its landlord.toml with --config",
        socket.display(), start
    )]
    NotRunning { socket: PathBuf, start: String },
    #[error(
        "{} belongs to another user: only root and whoever runs landlord may ask it; try again with sudo", .0.display()
    )]
    Denied(PathBuf),
    #[error("{} cannot be reached: {why}", .0.display(), why = .1)]
    Unreachable(PathBuf, #[source] io::Error),
    #[error("landlord ended before it answered: see its log")]
    Gone,
    #[error("landlord has not answered for {} s: it hangs, or is being started again", .0.as_secs())]
    Silent(Duration),
    #[error("landlord answered with something else than this version of the program understands: {0}")]
    Strange(String),
}

impl ClientError {
    /// Nobody is there to ask.
    pub(super) fn is_not_running(&self) -> bool {
        matches!(self, Self::NotRunning { .. })
    }

    /// What this means for scripts.
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::NotRunning { .. } => exit::NOT_RUNNING.into(),
            _ => exit::FAILED,
        }
    }
}

impl Client {
    /// Asks the landlord that runs by these settings.
    pub(super) fn ask(gateway: &Gateway, request: &ControlRequest) -> Result<Self, ClientError> {
        Self::ask_with(gateway, request, &[])
    }

    /// [`Client::ask`] with descriptors beside the question.
    pub(super) fn ask_with(
        gateway: &Gateway,
        request: &ControlRequest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Self, ClientError> {
        let socket = gateway.run.join("control.sock");
        let unreachable = |error| ClientError::Unreachable(socket.clone(), error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unreachable)?;
        let bytes = serde_json::to_vec(request).map_err(|error| unreachable(error.into()))?;
        let packet = runtime.block_on(async {
            let packet = packet::connect(&socket).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                    ClientError::NotRunning { socket: socket.clone(), start: start(gateway.file.as_deref()) }
                }
                io::ErrorKind::PermissionDenied => ClientError::Denied(socket.clone()),
                _ => ClientError::Unreachable(socket.clone(), error),
            })?;
            packet.send(&bytes, fds).await.map_err(|_| ClientError::Gone)?;
            Ok(packet)
        })?;
        Ok(Self { runtime, packet })
    }

    /// The next answer.
    pub(super) fn reply(&self) -> Result<Reply, ClientError> {
        self.runtime.block_on(receive(&self.packet))
    }

    /// The next answer, or `None` after `patience`.
    pub(super) fn reply_within(&self, patience: Duration) -> Result<Option<Reply>, ClientError> {
        self.runtime.block_on(async { timeout(patience, receive(&self.packet)).await }).ok().transpose()
    }
}

async fn receive(packet: &Packet) -> Result<Reply, ClientError> {
    let received = packet.recv().await.map_err(|error| ClientError::Strange(error.to_string()))?;
    let (bytes, fds) = received.ok_or(ClientError::Gone)?;
    match serde_json::from_slice(&bytes).map_err(|error| ClientError::Strange(error.to_string()))? {
        ControlReply::Progress { line } => Ok(Reply::Progress(line)),
        ControlReply::Done(outcome) => Ok(Reply::Done(outcome)),
        ControlReply::Status => content(fds).map(Reply::Status),
        ControlReply::Certificates => content(fds).map(Reply::Certificates),
    }
}

/// What came in a memory file.
fn content<T: DeserializeOwned>(fds: Vec<OwnedFd>) -> Result<T, ClientError> {
    let fd = fds.into_iter().next().ok_or_else(|| ClientError::Strange("an answer without content".into()))?;
    let bytes = memfd::read(fd, CONTENT_CAP).map_err(|error| ClientError::Strange(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| ClientError::Strange(error.to_string()))
}

fn start(file: Option<&Path>) -> String {
    match file {
        Some(file) if file == Path::new(crate::config::gateway::SYSTEM_FILE) => "systemctl start landlord".to_owned(),
        Some(file) => format!("landlord run --config {}", file.display()),
        None => "landlord run".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{os::fd::AsFd, thread};

    use super::*;
    use crate::wire::Started;

    fn house(folder: &Path) -> Gateway {
        let file = folder.join("landlord.toml");
        std::fs::write(&file, "run = \"run\"").unwrap();
        std::fs::create_dir(folder.join("run")).unwrap();
        crate::config::gateway::load(Some(&file)).unwrap()
    }

    /// Answers one caller with `replies`, then goes away; gives what was asked.
    fn landlord(
        gateway: &Gateway,
        replies: Vec<(ControlReply, Option<Vec<u8>>)>,
    ) -> thread::JoinHandle<ControlRequest> {
        let socket = gateway.run.join("control.sock");
        let (ready, is_ready) = std::sync::mpsc::channel();
        let answering = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = packet::listen(&socket, 0o600).unwrap();
                ready.send(()).unwrap();
                let caller = listener.accept().await.unwrap();
                let (request, _) = caller.recv().await.unwrap().unwrap();
                for (reply, content) in replies {
                    let memory = content.map(|content| memfd::seal("status", &content).unwrap());
                    let fds: Vec<_> = memory.iter().map(AsFd::as_fd).collect();
                    caller.send(&serde_json::to_vec(&reply).unwrap(), &fds).await.unwrap();
                }
                serde_json::from_slice(&request).unwrap()
            })
        });
        is_ready.recv().unwrap();
        answering
    }

    #[test]
    fn an_order_has_steps_and_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = house(folder.path());
        let outcome = Outcome { ok: true, message: "acme serves".to_owned() };
        let step = ControlReply::Progress { line: "starting".to_owned() };
        let landlord = landlord(&gateway, vec![(step, None), (ControlReply::Done(outcome.clone()), None)]);
        let request = ControlRequest::Start { tenant: "acme".parse().unwrap() };
        let client = Client::ask(&gateway, &request).unwrap();
        assert!(matches!(client.reply(), Ok(Reply::Progress(line)) if line == "starting"));
        assert!(matches!(client.reply(), Ok(Reply::Done(done)) if done == outcome));
        assert!(matches!(client.reply(), Err(ClientError::Gone)));
        assert_eq!(landlord.join().unwrap(), request);
    }

    #[test]
    fn a_status_comes_beside_the_message() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = house(folder.path());
        let started = Started {
            pid: 7,
            proxy_pid: None,
            draining: Vec::new(),
            version: "1".to_owned(),
            zone: "localhost".to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            walls: Vec::new(),
        };
        let status = Status { tenants: vec![], rejected: vec![], notices: vec!["x".repeat(100_000)], gateway: started };
        let content = serde_json::to_vec(&status).unwrap();
        let landlord = landlord(&gateway, vec![(ControlReply::Status, Some(content)), (ControlReply::Status, None)]);
        let client = Client::ask(&gateway, &ControlRequest::Watch { tenant: None }).unwrap();
        assert!(matches!(client.reply(), Ok(Reply::Status(told)) if told == status));
        assert!(matches!(client.reply(), Err(ClientError::Strange(_))));
        assert_eq!(landlord.join().unwrap(), ControlRequest::Watch { tenant: None });
    }

    #[test]
    fn nobody_there_is_told_from_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = house(folder.path());
        let ask = || Client::ask(&gateway, &ControlRequest::Reload { accept_removals: false }).map(|_| ()).unwrap_err();
        let error = ask();
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("run/control.sock") && told.contains("landlord run --config"), "{told}");
        // A socket whose owner is gone.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { packet::listen(&gateway.run.join("control.sock"), 0o600).map(drop).unwrap() });
        let error = ask();
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
    }
}
