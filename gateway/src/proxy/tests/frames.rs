//! HTTP/2 frame by frame, as a visitor sees it.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{HOST, Master};

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// What matters of a frame that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The end of this stream's answer: its body.
    Answer(u32, String),
    /// A PING to be answered with this.
    Ping(Vec<u8>),
    /// The last stream and the error code.
    GoAway(u32, u32),
    /// The connection's end.
    End,
}

/// A visitor who speaks HTTP/2 by hand.
pub(super) struct Frames {
    stream: TlsStream<TcpStream>,
    body: Vec<u8>,
}

impl Frames {
    /// Opens a connection, and says nothing but the preface.
    pub(super) async fn open(master: &Master) -> Self {
        let stream = master.open(TcpStream::connect(master.address).await.unwrap(), "h2").await;
        let mut frames = Self { stream, body: Vec::new() };
        frames.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        frames.send(SETTINGS, 0, 0, b"").await;
        frames
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// A GET on this stream.
    pub(super) async fn ask(&mut self, stream: u32, path: &str) {
        // RFC 7541: GET and https by their index, then the names by theirs and the values as they are.
        let mut block = vec![0x82, 0x87, 0x04, path.len() as u8];
        block.extend(path.as_bytes());
        block.extend([0x01, HOST.len() as u8]);
        block.extend(HOST.as_bytes());
        self.send(1, 0x5, stream, &block).await;
    }

    /// Answers a PING.
    pub(super) async fn pong(&mut self, payload: &[u8]) {
        self.send(PING, 1, 0, payload).await;
    }

    /// Asks for a sign of life, which comes behind all that was said before.
    pub(super) async fn ping(&mut self) {
        self.send(PING, 0, 0, b"are you?").await;
    }

    /// The next thing that matters.
    pub(super) async fn see(&mut self) -> Seen {
        loop {
            let mut header = [0; 9];
            if self.stream.read_exact(&mut header).await.is_err() {
                return Seen::End;
            }
            let [a, b, c, kind, flags, id @ ..] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.unwrap();
            let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match kind {
                DATA => {
                    self.body.extend_from_slice(&payload);
                    if flags & 1 != 0 {
                        let body = String::from_utf8(std::mem::take(&mut self.body)).unwrap();
                        return Seen::Answer(u32::from_be_bytes(id), body);
                    }
                }
                PING => return Seen::Ping(payload),
                GOAWAY => return Seen::GoAway(word(0), word(4)),
                _ => {}
            }
        }
    }
}
