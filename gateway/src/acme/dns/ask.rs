//! One question to one server: over UDP, and over TCP where the answer does not fit (RFC 1035 section 4.2, RFC 7766).

use std::{io, net::SocketAddr, time::Duration};

use hickory_resolver::proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

/// How long one attempt waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// A datagram gets lost now and then.
const ATTEMPTS: usize = 2;
/// What crosses every network in one piece (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// Whom a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// One that looks elsewhere for us.
    Resolver,
    /// One that is to say only what it has itself.
    Authority,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::acme) enum AskError {
    /// Nothing came.
    #[error("{0} does not answer")]
    Silent(SocketAddr),
    /// The network says no.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(SocketAddr, String),
    /// What came is no DNS.
    #[error("{0} answers with something that is no answer")]
    Garbage(SocketAddr),
}

/// The answer of `server`, whatever its response code is.
///
/// # Errors
/// There was none in two attempts of 5 s.
pub(super) async fn ask(server: SocketAddr, name: &Name, kind: RecordType, to: To) -> Result<Message, AskError> {
    let mut failed = AskError::Silent(server);
    // A server from before EDNS is asked as it was then.
    let mut modern = true;
    for _ in 0..ATTEMPTS {
        let attempt = tokio::time::timeout(PATIENCE, once(server, question(name, kind, to, modern)));
        match attempt.await {
            Ok(Ok(reply)) if modern && reply.metadata.response_code == ResponseCode::FormErr => modern = false,
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => failed = AskError::Garbage(server),
            Ok(Err(error)) => failed = AskError::Unreachable(server, plain(&error)),
            Err(_) => failed = AskError::Silent(server),
        }
    }
    Err(failed)
}

fn question(name: &Name, kind: RecordType, to: To, modern: bool) -> Message {
    // Its identifier is random.
    let mut message = Message::query();
    message.metadata.recursion_desired = to == To::Resolver;
    message.add_query(Query::query(name.clone(), kind));
    if modern {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        message.set_edns(edns);
    }
    message
}

async fn once(server: SocketAddr, question: Message) -> io::Result<Message> {
    let bytes = question.to_vec().map_err(invalid)?;
    let reply = over_udp(server, &question, &bytes).await?;
    if reply.metadata.truncation { over_tcp(server, &question, &bytes).await } else { Ok(reply) }
}

/// From a port of the kernel's choice, connected: what others send is not seen, and a closed port is told at once.
async fn over_udp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = [0; 4096];
    loop {
        let read = socket.recv(&mut buffer).await?;
        // A stray or forged datagram must not end the wait for the real one.
        match Message::from_vec(&buffer[..read]) {
            Ok(reply) if answers(&reply, question) => return Ok(reply),
            _ => {}
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let length = u16::try_from(bytes.len()).map_err(invalid)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    let reply = Message::from_vec(&buffer).map_err(invalid)?;
    if answers(&reply, question) { Ok(reply) } else { Err(invalid("the answer to another question")) }
}

/// A server that cannot read the question may answer without it.
fn answers(reply: &Message, question: &Message) -> bool {
    reply.metadata.id == question.metadata.id
        && reply.metadata.message_type == MessageType::Response
        && (reply.queries == question.queries
            || (reply.queries.is_empty() && reply.metadata.response_code != ResponseCode::NoError))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Without the number of the error.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
