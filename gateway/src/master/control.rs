//! The operator socket: whoever may connect to `<run>/control.sock` and has our uid, or root's, may ask, unless landlord itself
//! has started it: where tenants are the user that landlord is, their uid alone would make operators of them.

use std::{
    cell::RefCell,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    rc::Rc,
};

use tokio::sync::mpsc;

use super::{
    event::Event,
    groups,
    vault::{self, Vault},
};
use crate::{
    sys::{
        self,
        packet::{Packet, PacketListener},
    },
    wire::{CertificateEntry, ControlReply, ControlRequest, Outcome, Status},
};

/// How many there are: one more than clients that are attended to hold it.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients(Rc<()>);

impl Clients {
    /// Beside the one that counts and the one that accepts.
    pub(super) fn count(&self) -> usize {
        Rc::strong_count(&self.0).saturating_sub(2)
    }
}

/// Where the answers of one request go. Dropping it ends the request.
#[derive(Clone, Debug)]
pub(super) struct Replies {
    answers: mpsc::UnboundedSender<Answer>,
    picture: Picture,
    client: Rc<Packet>,
}

/// The newest picture that was not sent yet: one that a client was too slow to read is not worth keeping.
type Picture = Rc<RefCell<Option<Status>>>;

impl Replies {
    /// A picture, in the place of one that still waits. Whether the client is there.
    pub(super) fn status(&self, status: Status) -> bool {
        match self.picture.replace(Some(status)) {
            Some(_) => !self.answers.is_closed(),
            None => self.answers.send(Answer::Status).is_ok(),
        }
    }

    /// Whether somebody still wants to know.
    pub(super) fn is_there(&self) -> bool {
        !self.answers.is_closed()
    }

    /// Every certificate.
    pub(super) fn certificates(&self, entries: Vec<CertificateEntry>) {
        // A client that has gone does not want to know.
        let _ = self.answers.send(Answer::Certificates(entries));
    }

    /// A line about the step just reached.
    pub(super) fn progress(&self, line: &str) {
        // A client that has gone does not want to know.
        let _ = self.answers.send(Answer::Progress(line.to_owned()));
    }

    /// The connection, for the program that this one becomes.
    pub(super) fn client(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }

    /// Goes on with a client of the program that this one was.
    ///
    /// # Errors
    /// The connection is none.
    pub(super) fn resume(client: OwnedFd) -> std::io::Result<Self> {
        let client = Rc::new(Packet::new(client)?);
        let (answers, waiting) = mpsc::unbounded_channel();
        let picture = Picture::default();
        tokio::task::spawn_local(answer(client.clone(), waiting, picture.clone()));
        Ok(Self { answers, picture, client })
    }

    /// The end of the request.
    pub(super) fn done(&self, ok: bool, message: impl Into<String>) {
        // A client that has gone does not want to know.
        let _ = self.answers.send(Answer::done(ok, message));
    }
}

/// One answer on its way to the client.
#[derive(Debug)]
enum Answer {
    /// The whole picture, in a memfd of its own.
    Status,
    /// Every certificate, in a memfd too.
    Certificates(Vec<CertificateEntry>),
    /// A line about the step just reached.
    Progress(String),
    /// The end.
    Done(Outcome),
}

impl Answer {
    fn done(ok: bool, message: impl Into<String>) -> Self {
        Self::Done(Outcome { ok, message: message.into() })
    }
}

/// Opens the socket, 0600; or goes on with the one that an earlier life has left open.
///
/// # Errors
/// It cannot be bound.
pub(super) fn open(path: &Path, vault: &mut Vault) -> std::io::Result<PacketListener> {
    // One whose node was removed meanwhile reaches nobody.
    if let Some(socket) = vault.take(vault::CONTROL).filter(|_| path.exists()) {
        return sys::packet::listen_on(socket);
    }
    vault.forget(vault::CONTROL);
    let listener = sys::packet::listen(path, 0o600)?;
    vault.keep(vault::CONTROL.into(), &listener);
    Ok(listener)
}

/// Accepts for ever; each client is a task of its own, so that a slow one delays nobody.
pub(super) async fn serve(listener: PacketListener, events: mpsc::UnboundedSender<Event>, clients: Clients) {
    loop {
        match listener.accept().await {
            Ok(client) => {
                let (events, counted) = (events.clone(), clients.clone());
                tokio::task::spawn_local(async move {
                    attend(client, events.clone()).await;
                    drop(counted);
                    let _ = events.send(Event::ClientLeft);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

async fn attend(client: Packet, events: mpsc::UnboundedSender<Event>) {
    // The mode of the socket says the same; this also holds when somebody has changed it.
    let Ok(peer) = client.peer() else { return };
    if peer.uid != 0 && peer.uid != sys::identity::own().0 {
        return;
    }
    // Where tenants have no users of their own, a worker has our uid, and Landlock knows nothing of sockets with a path.
    if sys::unit::may_be_below_us(peer.pid, groups::TENANT) {
        tracing::debug!(pid = peer.pid, "a process of a tenant is not answered on the control socket");
        let refusal = Answer::done(false, "landlord takes no orders from what it has started itself");
        // Who has gone does not want to know.
        let _ = deliver(&client, refusal, &Picture::default()).await;
        return;
    }
    let Ok(Some((bytes, fds))) = client.recv().await else { return };
    let client = Rc::new(client);
    let (replies, answers) = mpsc::unbounded_channel();
    let picture = Picture::default();
    match serde_json::from_slice::<ControlRequest>(&bytes) {
        Ok(request) => {
            // The master is gone only when all ends.
            let replies = Replies { answers: replies, picture: picture.clone(), client: client.clone() };
            let _ = events.send(Event::Control(request, fds, replies));
        }
        Err(error) => {
            let message =
                format!("this landlord does not understand the request ({error}): is the client of another version?");
            let _ = replies.send(Answer::done(false, message));
            drop(replies);
        }
    }
    answer(client, answers, picture).await;
}

/// Delivers answers until there are no more, or the client has gone.
async fn answer(client: Rc<Packet>, mut answers: mpsc::UnboundedReceiver<Answer>, picture: Picture) {
    loop {
        tokio::select! {
            answer = answers.recv() => match answer {
                Some(answer) => if deliver(&client, answer, &picture).await.is_err() { return },
                None => return,
            },
            // A client says nothing more; what comes is its end.
            _ = client.recv() => return,
        }
    }
}

async fn deliver(client: &Packet, answer: Answer, picture: &Picture) -> std::io::Result<()> {
    let (reply, payload) = match answer {
        Answer::Status => match picture.take() {
            Some(status) => (ControlReply::Status, Some(serde_json::to_vec(&status)?)),
            None => return Ok(()),
        },
        Answer::Certificates(entries) => (ControlReply::Certificates, Some(serde_json::to_vec(&entries)?)),
        Answer::Progress(line) => (ControlReply::Progress { line }, None),
        Answer::Done(outcome) => (ControlReply::Done(outcome), None),
    };
    let bytes = serde_json::to_vec(&reply)?;
    match payload {
        Some(payload) => {
            let sealed = sys::memfd::seal("status", &payload)?;
            client.send(&bytes, &[sealed.as_fd()]).await
        }
        None => client.send(&bytes, &[]).await,
    }
}
