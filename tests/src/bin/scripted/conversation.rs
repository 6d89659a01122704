//! One connection from the gateway: heads as they came, bodies as they come.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// A request's head, raw and in order.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// What is behind `prefix` in the path.
    pub(crate) fn after(&self, prefix: &str) -> Option<&str> {
        self.path().strip_prefix(prefix)
    }

    pub(crate) fn body(&self) -> Body {
        if self.field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Body::Chunked { left: 0, ended: false };
        }
        Body::Length(self.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0))
    }
}

/// What is still to come of a request's body.
pub(crate) enum Body {
    Length(u64),
    Chunked { left: u64, ended: bool },
}

pub(crate) struct Conversation {
    reader: BufReader<TcpStream>,
    /// Fields after the last chunk of the last request's body.
    pub(crate) trailers: Vec<(String, String)>,
    /// The last request was a HEAD.
    pub(crate) head_only: bool,
}

impl Conversation {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, stream), trailers: Vec::new(), head_only: false })
    }

    /// The next request; `None` when the peer is done.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let mut words = line.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let (method, target) = (method.to_owned(), target.to_owned());
        let fields = self.fields()?;
        self.head_only = method == "HEAD";
        Ok(Some(Request { method, target, fields }))
    }

    /// The next piece of a body, 0 at its end; an error when it breaks off.
    pub(crate) fn read(&mut self, body: &mut Body, buffer: &mut [u8]) -> io::Result<usize> {
        match body {
            Body::Length(0) | Body::Chunked { ended: true, .. } => Ok(0),
            Body::Length(left) => Self::some(&mut self.reader, left, buffer),
            Body::Chunked { left, ended } => {
                if *left == 0 {
                    let line = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    let digits = line.split(';').next().unwrap_or_default().trim().to_owned();
                    *left = u64::from_str_radix(&digits, 16).map_err(|_| io::ErrorKind::InvalidData)?;
                    if *left == 0 {
                        *ended = true;
                        self.trailers = self.fields()?;
                        return Ok(0);
                    }
                }
                let read = Self::some(&mut self.reader, left, buffer)?;
                if *left == 0 {
                    let mut crlf = [0; 2];
                    self.reader.read_exact(&mut crlf)?;
                }
                Ok(read)
            }
        }
    }

    pub(crate) fn writer(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
    }

    pub(crate) fn reader(&mut self) -> &mut impl Read {
        &mut self.reader
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer().write_all(bytes)
    }

    fn some(reader: &mut impl Read, left: &mut u64, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let read = reader.read(&mut buffer[..room])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= read as u64;
        Ok(read)
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix("\r\n").ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(text.to_owned()))
    }
}
