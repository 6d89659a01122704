//! A worker that does what its target says, however rude, and writes down all that reaches it.
//!
//! `/raw/HEX` answers with exactly these bytes and closes, `/rawkeep/HEX` stays open; `/echo` gives the body back; `/head` the head as it came;
//! `/big/N` N bytes; `/bighead` a head without end; `/early` answers before the body; `/hang` never answers; `/ws` a WebSocket that echoes; else `hello`.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::witness::{RECORD, Seen, What};

/// Serves `127.0.0.1:$PORT` until killed. The record goes to the working directory, the tenant's folder.
pub fn serve() -> io::Result<()> {
    let port: u16 =
        env::var("PORT").ok().and_then(|port| port.parse().ok()).ok_or_else(|| io::Error::other("no PORT"))?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let record = Arc::new(Mutex::new(OpenOptions::new().create(true).append(true).open(RECORD)?));
    let next = AtomicU64::new(0);
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let (number, record) = (next.fetch_add(1, Ordering::Relaxed), record.clone());
        thread::spawn(move || {
            if let Ok(mut connection) = Connection::new(stream, number, record) {
                // Whatever ends a connection has been written down already.
                let _ended = connection.run();
            }
        });
    }
    Ok(())
}

struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    number: u64,
    record: Arc<Mutex<File>>,
}

struct Request {
    head: String,
    body: Vec<u8>,
    trailers: String,
}

impl Request {
    fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("")
    }

    fn is_head(&self) -> bool {
        self.head.starts_with("HEAD ")
    }

    fn first(&self, name: &str) -> Option<&str> {
        super::h1::fields(&self.head, name).first().copied()
    }
}

impl Connection {
    fn new(stream: TcpStream, number: u64, record: Arc<Mutex<File>>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream.try_clone()?), writer: stream, number, record })
    }

    fn run(&mut self) -> io::Result<()> {
        while let Some(mut request) = self.head()? {
            let target = request.target().to_owned();
            if target.starts_with("/early") {
                self.answer("413 Content Too Large", b"too much", false)?;
            }
            match self.body(&request) {
                Ok((body, trailers)) => (request.body, request.trailers) = (body, trailers),
                Err(why) => {
                    self.note(What::Broken, &request);
                    return Err(why);
                }
            }
            if target != "/healthz" {
                self.note(What::Whole, &request);
            }
            if !target.starts_with("/early") && !self.serve(&target, &request)? {
                break;
            }
        }
        self.writer.shutdown(Shutdown::Both)
    }

    /// Answers; `false`: the connection is to be closed.
    fn serve(&mut self, target: &str, request: &Request) -> io::Result<bool> {
        if let Some(hex) = target.strip_prefix("/raw/") {
            self.writer.write_all(&unhex(hex))?;
            return Ok(false);
        }
        if let Some(hex) = target.strip_prefix("/rawkeep/") {
            self.writer.write_all(&unhex(hex))?;
            return Ok(true);
        }
        if let Some(count) = target.strip_prefix("/big/") {
            return self.big(count.parse().unwrap_or(0), request).map(|()| true);
        }
        let path = target.split('?').next().unwrap_or(target);
        match path {
            "/echo" => self.answer("200 OK", &request.body, request.is_head()),
            "/head" => self.answer("200 OK", request.head.as_bytes(), request.is_head()),
            "/bighead" => {
                self.writer.write_all(b"HTTP/1.1 200 OK\r\n")?;
                for number in 0..100_000 {
                    write!(self.writer, "X-{number}: {:0200}\r\n", number)?;
                }
                self.writer.write_all(b"Content-Length: 0\r\n\r\n")
            }
            "/hang" => {
                // Until the gateway gives up.
                let _gone = self.reader.read(&mut [0]);
                return Ok(false);
            }
            "/ws" if request.first("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) => {
                return self.tunnel(request).map(|()| false);
            }
            _ => self.answer("200 OK", b"hello", request.is_head()),
        }?;
        Ok(true)
    }

    fn answer(&mut self, status: &str, body: &[u8], head_only: bool) -> io::Result<()> {
        let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        if !head_only {
            answer.extend_from_slice(body);
        }
        self.writer.write_all(&answer)
    }

    fn big(&mut self, count: usize, request: &Request) -> io::Result<()> {
        write!(self.writer, "HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n")?;
        let block = vec![b'x'; 64 * 1024];
        let mut left = count;
        while left > 0 {
            let now = left.min(block.len());
            if let Err(why) = self.writer.write_all(&block[..now]) {
                self.note(What::Cut, request);
                return Err(why);
            }
            left -= now;
        }
        Ok(())
    }

    fn tunnel(&mut self, request: &Request) -> io::Result<()> {
        let key = request.first("sec-websocket-key").unwrap_or("").to_owned();
        write!(
            self.writer,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            accept(&key)
        )?;
        let mut buffer = [0; 4096];
        loop {
            let count = self.reader.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let bytes = Request { head: request.head.clone(), body: buffer[..count].to_vec(), trailers: String::new() };
            self.note(What::Tunnel, &bytes);
            self.writer.write_all(&buffer[..count])?;
        }
    }

    /// The next head; `None`: the connection ended between requests.
    fn head(&mut self) -> io::Result<Option<Request>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.reader.read_until(b'\n', &mut head)? == 0 {
                if !head.is_empty() {
                    self.garbage(&head);
                }
                return Ok(None);
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        if !is_strict(&text) {
            self.garbage(&head);
            return Ok(None);
        }
        Ok(Some(Request { head: text, body: Vec::new(), trailers: String::new() }))
    }

    fn body(&mut self, request: &Request) -> io::Result<(Vec<u8>, String)> {
        let mut body = Vec::new();
        if request.first("transfer-encoding").is_some() {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
                if size == 0 {
                    break;
                }
                let from = body.len();
                body.resize(from + size, 0);
                self.reader.read_exact(&mut body[from..])?;
                if !self.line()?.is_empty() {
                    return Err(io::Error::other("a chunk without its CRLF"));
                }
            }
            let mut trailers = String::new();
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    return Ok((body, trailers));
                }
                trailers.push_str(&line);
                trailers.push('\n');
            }
        }
        let length: usize = request.first("content-length").map_or(Ok(0), str::parse).map_err(io::Error::other)?;
        let got = (&mut self.reader).take(length as u64).read_to_end(&mut body)?;
        if got < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok((body, String::new())) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        let line = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    fn garbage(&self, bytes: &[u8]) {
        let head = String::from_utf8_lossy(bytes).into_owned();
        self.note(What::Garbage, &Request { head, body: Vec::new(), trailers: String::new() });
    }

    fn note(&self, what: What, request: &Request) {
        let seen = Seen {
            connection: self.number,
            what,
            head: request.head.clone(),
            body: String::from_utf8_lossy(&request.body[..request.body.len().min(4096)]).into_owned(),
            trailers: request.trailers.clone(),
        };
        let mut line = serde_json::to_vec(&seen).expect("strings and numbers have JSON");
        line.push(b'\n');
        if let Ok(mut record) = self.record.lock() {
            record.write_all(&line).expect("a record that cannot be written would prove nothing");
        }
    }
}

/// The head is what a gateway may send: one line `METHOD target HTTP/1.1`, fields of token names without folds or
/// controls, one Host, and at most one framing.
fn is_strict(head: &str) -> bool {
    let Some(head) = head.strip_suffix("\r\n\r\n") else { return false };
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or("").split(' ').collect();
    let framing = |name| super::h1::fields(head, name);
    words.len() == 3
        && words[2] == "HTTP/1.1"
        && is_token(words[0])
        && lines.all(|line| line.split_once(':').is_some_and(|(name, _)| is_token(name)))
        && !head.bytes().any(|b| b == 0 || b == b'\x0b' || b == b'\x0c')
        && !head.replace("\r\n", "").contains(['\r', '\n'])
        && framing("host").len() == 1
        && framing("transfer-encoding").len() + framing("content-length").len() <= 1
        && framing("transfer-encoding").iter().all(|value| *value == "chunked")
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// `Sec-WebSocket-Accept` (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            if at <= group.len() {
                text.push(LETTERS[(bits >> (18 - 6 * at) & 63) as usize] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// `/raw/` targets are written so.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .filter_map(|pair| std::str::from_utf8(pair).ok())
        .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_a_clean_head_is_strict() {
        assert!(is_strict("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        ] {
            assert!(!is_strict(bad), "{bad:?}");
        }
    }
}
