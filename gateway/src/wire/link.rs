//! A typed link: whole messages of one enum each way, over a [`Packet`].

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::sys::packet::{MAX_BYTES, Packet, Peer};

/// One end of a link that sends `Out` and receives `In`.
#[derive(Debug)]
pub struct Link<Out, In> {
    packet: Packet,
    messages: PhantomData<fn(Out) -> In>,
}

/// Why a message was not sent or not understood.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It belongs into a sealed memfd beside a smaller one.
    #[error("a message of {bytes} bytes is too large: at most {MAX_BYTES}")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// The peer sent what is no message of this link. The link itself is sound: the next one can be received.
    #[error("the peer sent what is no message of this link: {0}")]
    Malformed(String),
    /// The peer has gone.
    #[error("the peer has gone")]
    Gone,
    /// The link is broken.
    #[error(transparent)]
    Io(io::Error),
}

impl<Out: Serialize, In: DeserializeOwned> Link<Out, In> {
    /// Takes over one end of a pair. Needs a tokio runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self::over(Packet::new(socket)?))
    }

    /// A link over what is already connected.
    pub fn over(packet: Packet) -> Self {
        Self { packet, messages: PhantomData }
    }

    /// Sends one message, when there is room. Cancel safe: it is sent whole or not at all.
    pub async fn send(&self, message: &Out, fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let bytes = serde_json::to_vec(message).map_err(|error| LinkError::Io(error.into()))?;
        if bytes.len() > MAX_BYTES {
            return Err(LinkError::TooLarge { bytes: bytes.len() });
        }
        self.packet.send(&bytes, fds).await.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => LinkError::Gone,
            _ => LinkError::Io(error),
        })
    }

    /// The next message with its descriptors, or `None` when the peer has gone. Cancel safe.
    pub async fn recv(&self) -> Result<Option<(In, Vec<OwnedFd>)>, LinkError> {
        let received = self.packet.recv().await.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => LinkError::Malformed(error.to_string()),
            _ => LinkError::Io(error),
        })?;
        let Some((bytes, fds)) = received else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(message) => Ok(Some((message, fds))),
            Err(error) => Err(LinkError::Malformed(error.to_string())),
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> io::Result<Peer> {
        self.packet.peer()
    }
}

impl<Out, In> AsFd for Link<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packet.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{
        sys::packet::pair,
        wire::{FromLog, PROTOCOL, ToLog},
    };

    #[tokio::test]
    async fn messages_go_both_ways_and_nonsense_does_not_break_the_link() {
        let (ours, theirs) = pair().unwrap();
        let master = Link::<ToLog, FromLog>::new(ours).unwrap();
        let raw = Packet::new(theirs).unwrap();

        raw.send(b"\xff nonsense", &[]).await.unwrap();
        assert!(matches!(master.recv().await, Err(LinkError::Malformed(_))));
        raw.send(br#"{"type":"of a later version"}"#, &[]).await.unwrap();
        assert!(matches!(master.recv().await, Err(LinkError::Malformed(_))));

        let role = Link::<FromLog, ToLog>::over(raw);
        role.send(&FromLog::Hello { protocol: PROTOCOL }, &[]).await.unwrap();
        assert_eq!(master.recv().await.unwrap().unwrap().0, FromLog::Hello { protocol: PROTOCOL });
        let (reader, _writer) = io::pipe().unwrap();
        let tenant = ToLog::Tenant { tenant: "acme".parse().unwrap() };
        master.send(&tenant, &[reader.as_fd()]).await.unwrap();
        let (message, fds) = role.recv().await.unwrap().unwrap();
        assert_eq!((message, fds.len()), (tenant, 1));

        drop(role);
        assert!(master.recv().await.unwrap().is_none());
        assert!(matches!(master.send(&ToLog::Access, &[]).await, Err(LinkError::Gone)));
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_before_it_is_sent() {
        let (ours, _theirs) = pair().unwrap();
        let link = Link::<String, String>::new(ours).unwrap();
        let sent = link.send(&"x".repeat(MAX_BYTES), &[]).await;
        assert!(matches!(sent, Err(LinkError::TooLarge { bytes }) if bytes == MAX_BYTES + 2));
    }
}
