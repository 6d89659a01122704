//! HTTP/1.1 by hand: what is sent is sent byte for byte, what comes is seen as it comes.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Waker},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use super::{ClientError, Head, Response, Result, bounded};

/// A byte stream to the gateway.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection, in TLS or in clear text.
pub struct Raw {
    stream: Box<dyn Stream>,
    received: BytesMut,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order: FIN in clear text, close_notify in TLS.
    Clean,
    /// TLS cut off without close_notify: nobody may take this for the end of a body.
    Truncated,
    /// Reset, or another error.
    Broken,
}

impl Raw {
    /// Over any stream.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), received: BytesMut::new() }
    }

    /// In clear text.
    pub async fn tcp(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.map_err(ClientError::Connect)?;
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        Ok(Self::over(stream))
    }

    /// Sends these bytes and no others.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let bytes = bytes.as_ref();
        bounded("sending", async {
            self.stream.write_all(bytes).await.map_err(ClientError::Io)?;
            self.stream.flush().await.map_err(ClientError::Io)
        })
        .await
    }

    /// Ends the sending half (FIN, or close_notify).
    pub async fn finish_sending(&mut self) -> Result<()> {
        bounded("closing", async { self.stream.shutdown().await.map_err(ClientError::Io) }).await
    }

    /// The next bytes, however many; empty at the end.
    pub async fn receive(&mut self) -> Result<Vec<u8>> {
        if self.received.is_empty() {
            self.fill().await?;
        }
        Ok(self.received.split().to_vec())
    }

    /// Exactly `count` bytes.
    pub async fn receive_exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.received.len() < count {
            if self.fill().await? == 0 {
                return Err(ClientError::Ended("bytes awaited", self.received.len()));
            }
        }
        Ok(self.received.split_to(count).to_vec())
    }

    /// Throws `count` bytes away as they come: for bodies that are larger than memory.
    pub async fn skip(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            if self.received.is_empty() && self.fill().await? == 0 {
                return Err(ClientError::Ended("body", usize::try_from(count).unwrap_or(usize::MAX)));
            }
            let step = self.received.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            self.received.advance(step);
            count -= step as u64;
        }
        Ok(())
    }

    /// The next status line with its fields; 1xx are answers of their own here.
    pub async fn head(&mut self) -> Result<Head> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill().await? == 0 {
                return Err(ClientError::Ended("head", self.received.len()));
            }
        };
        Head::parse(&self.received.split_to(end))
    }

    /// The next whole answer to a GET, POST, …; 1xx are passed over.
    pub async fn response(&mut self) -> Result<Response> {
        self.response_to("GET").await
    }

    /// The next whole answer to a request by this method; 1xx but 101 are passed over.
    pub async fn response_to(&mut self, method: &str) -> Result<Response> {
        let head = loop {
            let head = self.head().await?;
            if !(100..200).contains(&head.status) || head.status == 101 {
                break head;
            }
        };
        let (body, trailers) = self.body(&head, method).await?;
        Ok(Response { status: head.status, head, body, trailers })
    }

    /// The body that this head announces (RFC 9112 §6.3), and its trailers.
    pub async fn body(&mut self, head: &Head, method: &str) -> Result<(Vec<u8>, Vec<(String, String)>)> {
        let bodiless = method == "HEAD" || matches!(head.status, 101 | 204 | 304);
        if bodiless {
            return Ok((Vec::new(), Vec::new()));
        }
        if head.lists("transfer-encoding", "chunked") {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk().await? {
                body.extend_from_slice(&chunk);
            }
            return Ok((body, self.trailers().await?));
        }
        if let Some(length) = head.field("content-length") {
            let length = length.parse().map_err(|_| ClientError::Malformed(format!("content-length: {length}")))?;
            return Ok((self.receive_exactly(length).await?, Vec::new()));
        }
        let (body, ending) = self.rest().await?;
        if ending == Ending::Clean { Ok((body, Vec::new())) } else { Err(ClientError::Ended("body", body.len())) }
    }

    /// The next chunk of a chunked body; `None` is the last one, after which come the [`Raw::trailers`].
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| ClientError::Malformed(format!("chunk {line:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        let mut chunk = self.receive_exactly(size + 2).await?;
        if !chunk.ends_with(b"\r\n") {
            return Err(ClientError::Malformed("a chunk without its CRLF".into()));
        }
        chunk.truncate(size);
        Ok(Some(chunk))
    }

    /// The fields after the last chunk.
    pub async fn trailers(&mut self) -> Result<Vec<(String, String)>> {
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(trailers);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| ClientError::Malformed(line.clone()))?;
            trailers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The next line, without its CRLF.
    pub async fn line(&mut self) -> Result<String> {
        let end = loop {
            if let Some(at) = self.received.windows(2).position(|window| window == b"\r\n") {
                break at;
            }
            if self.fill().await? == 0 {
                return Err(ClientError::Ended("line", self.received.len()));
            }
        };
        let line = self.received.split_to(end);
        self.received.advance(2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// All until the end, and how it ended.
    pub async fn rest(&mut self) -> Result<(Vec<u8>, Ending)> {
        loop {
            match self.fill().await {
                Ok(0) => return Ok((self.received.split().to_vec(), Ending::Clean)),
                Ok(_) => {}
                Err(ClientError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok((self.received.split().to_vec(), Ending::Truncated));
                }
                Err(ClientError::Io(_)) => return Ok((self.received.split().to_vec(), Ending::Broken)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the peer has already ended this connection, or has said something that nobody asked for: no sensible
    /// client sends another request on it. What is still on its way is not seen.
    pub fn is_over(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        !self.received.is_empty() || Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer).is_ready()
    }

    /// The stream itself, for what HTTP/1.1 is not. Nothing received may be left unread.
    ///
    /// # Panics
    /// When something is.
    pub fn into_stream(self) -> Box<dyn Stream> {
        assert!(self.received.is_empty(), "unread bytes would be lost");
        self.stream
    }

    async fn fill(&mut self) -> Result<usize> {
        self.received.reserve(64 * 1024);
        bounded("bytes from the gateway", async {
            self.stream.read_buf(&mut self.received).await.map_err(ClientError::Io)
        })
        .await
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").field("unread", &self.received.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn received(bytes: &'static [u8]) -> Raw {
        let (mut far, near) = tokio::io::duplex(1 << 16);
        far.write_all(bytes).await.expect("room");
        drop(far);
        Raw::over(near)
    }

    #[tokio::test]
    async fn answers_one_after_the_other() {
        let mut raw = received(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\
              Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nSum: 3\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n",
        )
        .await;
        assert_eq!(raw.response().await.expect("first").body, b"ok");
        let second = raw.response().await.expect("second");
        assert_eq!((second.text().as_str(), second.trailers), ("abc", vec![("Sum".into(), "3".into())]));
        assert_eq!(raw.response_to("HEAD").await.expect("third").status, 404);
        assert_eq!(raw.rest().await.expect("the end"), (Vec::new(), Ending::Clean));
    }

    #[tokio::test]
    async fn a_body_that_is_cut_short_is_an_error() {
        let mut raw = received(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").await;
        assert!(matches!(raw.response().await, Err(ClientError::Ended("bytes awaited", 3))));
        let mut raw = received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n").await;
        assert!(raw.response().await.is_err());
    }
}
