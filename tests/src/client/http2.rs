//! HTTP/2, by the h2 crate.

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request};

use super::{ClientError, Head, Response, Result, bounded, raw::Stream};

/// One connection, on which any number of requests may be open.
#[derive(Clone, Debug)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    host: String,
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub struct Http2Response {
    /// The status code.
    pub status: u16,
    /// Its fields.
    pub headers: HeaderMap,
    /// The rest.
    pub body: RecvStream,
}

impl Http2 {
    /// Over a stream that has agreed on h2.
    pub async fn over(stream: impl Stream + 'static, host: &str) -> Result<Self> {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(16 << 20);
        let (sender, connection) = bounded("HTTP/2 handshake", async { Ok(builder.handshake(stream).await?) }).await?;
        // It ends with the connection; each request learns why from its own error.
        tokio::spawn(connection);
        Ok(Self { sender, host: host.to_owned() })
    }

    /// A request to this connection's host.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("https://{}{path}", self.host))
    }

    /// Sends a head; the body is the caller's to send, unless `end`.
    pub async fn open(&self, request: Request<()>, end: bool) -> Result<(PendingResponse, SendStream<Bytes>)> {
        let free = async { self.sender.clone().ready().await.map_err(ClientError::NotSent) };
        let mut sender = bounded("a free stream", free).await?;
        let (response, body) = sender.send_request(request, end).map_err(ClientError::NotSent)?;
        Ok((PendingResponse(response), body))
    }

    /// GET, to the end of the body.
    pub async fn get(&self, path: &str) -> Result<Response> {
        let request = self.request("GET", path).body(()).expect("a request");
        self.send(request, Bytes::new()).await
    }

    /// A request with a body, to the end of the answer.
    pub async fn send(&self, request: Request<()>, body: Bytes) -> Result<Response> {
        let (response, mut stream) = self.open(request, body.is_empty()).await?;
        if !body.is_empty() {
            send_body(&mut stream, body, true).await?;
        }
        response.head().await?.whole().await
    }

    /// Whether the connection takes another request.
    pub async fn usable(&self) -> bool {
        bounded("a free stream", async { Ok(self.sender.clone().ready().await?) }).await.is_ok()
    }
}

/// An answer of which nothing has come yet.
#[derive(Debug)]
pub struct PendingResponse(h2::client::ResponseFuture);

impl PendingResponse {
    /// Its head.
    pub async fn head(self) -> Result<Http2Response> {
        let response = bounded("an HTTP/2 answer", async { Ok(self.0.await?) }).await?;
        let (parts, body) = response.into_parts();
        Ok(Http2Response { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

impl Http2Response {
    /// The next piece of the body; `None` at its end.
    pub async fn data(&mut self) -> Result<Option<Bytes>> {
        let next = bounded("HTTP/2 data", async { Ok(self.body.data().await.transpose()?) }).await?;
        if let Some(data) = &next {
            self.body.flow_control().release_capacity(data.len())?;
        }
        Ok(next)
    }

    /// The rest of the body and the trailers.
    pub async fn whole(mut self) -> Result<Response> {
        let mut body = Vec::new();
        while let Some(data) = self.data().await? {
            body.extend_from_slice(&data);
        }
        let trailers = bounded("HTTP/2 trailers", async { Ok(self.body.trailers().await?) }).await?;
        let fields = |map: &HeaderMap| {
            map.iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect::<Vec<_>>()
        };
        Ok(Response {
            status: self.status,
            head: Head { version: "HTTP/2".into(), status: self.status, fields: fields(&self.headers) },
            body,
            trailers: trailers.as_ref().map(fields).unwrap_or_default(),
        })
    }
}

/// Sends a piece of a request's body as the peer gives room for it.
pub async fn send_body(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) -> Result<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = bounded("room for an HTTP/2 body", async {
            std::future::poll_fn(|context| stream.poll_capacity(context))
                .await
                .ok_or(ClientError::Ended("HTTP/2 body", 0))?
                .map_err(ClientError::Http2)
        })
        .await?;
        let piece = data.split_to(room.min(data.len()));
        stream.send_data(piece, end && data.is_empty())?;
    }
    Ok(())
}
