//! A small HTTP/1.1 client that says what it got, byte by byte where it must.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Client<S: Read + Write> {
    stream: BufReader<S>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of the field `name`, which is given in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(n, _)| *n == name).map(|(_, value)| value))
    }

    /// Whether the connection can take another request.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.field("connection") != Some("close")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Client<TcpStream> {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::new(stream))
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, "", "")
    }

    /// Posts a form.
    pub(crate) fn post(&mut self, path: &str, form: &str) -> io::Result<Answer> {
        self.ask("POST", path, "content-type: application/x-www-form-urlencoded\r\n", form)
    }

    /// Posts a notice by the API.
    pub(crate) fn note(&mut self, author: &str, body: &str) -> io::Result<Answer> {
        let json = serde_json::json!({ "author": author, "body": body }).to_string();
        self.ask("POST", "/api/notices", "content-type: application/json\r\n", &json)
    }

    /// `fields`: whole lines.
    pub(crate) fn ask(&mut self, method: &str, path: &str, fields: &str, body: &str) -> io::Result<Answer> {
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: acme.localhost\r\n{fields}{length}\r\n{body}");
        self.send(request.as_bytes())?;
        self.read_answer(method == "HEAD")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub(crate) fn read_answer(&mut self, head_only: bool) -> io::Result<Answer> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed after {head:?}")));
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
        if !head_only {
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body)?;
            answer.body = String::from_utf8(body).unwrap();
        }
        Ok(answer)
    }

    /// Waits until the other side closes; `true` when it did so without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0))
    }
}
