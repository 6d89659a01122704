//! Visitors: TLS clients that trust the test's CA and see every byte. HTTP/1.1 by hand ([`Raw`]), HTTP/2 by the h2 crate ([`Http2`]).

mod http2;
mod message;
mod raw;
mod site;
mod sockets;

pub use http2::{Http2, Http2Response, PendingResponse, send_body};
pub use message::{Head, Response};
pub use raw::{Ending, Raw};
pub use site::{Alpn, Site, trusting};
pub use sockets::WebSocket;

use std::{io, time::Duration};

/// How long a client waits for anything before it calls it a timeout.
pub const DEADLINE: Duration = Duration::from_secs(45);

/// What a client finds, or why not.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Why a visitor got no answer.
#[derive(Debug)]
pub enum ClientError {
    /// No TCP connection.
    Connect(io::Error),
    /// No TLS: the alert, where one came.
    Tls(io::Error),
    /// The connection broke, or was reset.
    Io(io::Error),
    /// Nothing came for [`DEADLINE`].
    Timeout(&'static str),
    /// The connection ended inside of this, after so many bytes of it.
    Ended(&'static str, usize),
    /// What came is no HTTP.
    Malformed(String),
    /// An HTTP/2 error, of a stream or of all.
    Http2(h2::Error),
    /// An HTTP/2 connection that takes no more requests: nothing of this one was sent.
    NotSent(h2::Error),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::Tls(error) => write!(f, "no TLS: {error}"),
            Self::Io(error) => write!(f, "connection lost: {error}"),
            Self::Timeout(what) => write!(f, "timeout: {what}"),
            Self::Ended(what, got) => write!(f, "connection ended inside of the {what}, after {got} bytes"),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
            Self::Http2(error) => write!(f, "HTTP/2: {error}"),
            Self::NotSent(error) => write!(f, "HTTP/2, before anything was sent: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<h2::Error> for ClientError {
    fn from(error: h2::Error) -> Self {
        Self::Http2(error)
    }
}

/// Bounds `work` by [`DEADLINE`].
pub(crate) async fn bounded<T>(what: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(ClientError::Timeout(what)))
}
