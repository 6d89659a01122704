//! A WebSocket client (RFC 6455) over a raw connection.

use super::{ClientError, Raw, Result};
use crate::websocket::{self, Frame, Opcode};

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    raw: Raw,
}

impl WebSocket {
    /// Asks for the upgrade and holds the answer to RFC 6455 §4.1.
    pub async fn open(mut raw: Raw, host: &str, path: &str) -> Result<Self> {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        raw.send(format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ))
        .await?;
        let head = raw.head().await?;
        let accepted = head.status == 101
            && head.lists("connection", "upgrade")
            && head.lists("upgrade", "websocket")
            && head.field("sec-websocket-accept") == Some(websocket::accept(key).as_str());
        if accepted { Ok(Self { raw }) } else { Err(ClientError::Malformed(format!("no WebSocket: {head:?}"))) }
    }

    /// Sends a text.
    pub async fn send(&mut self, text: &str) -> Result<()> {
        self.send_frame(&Frame { opcode: Opcode::Text, payload: text.as_bytes().to_vec() }).await
    }

    /// Sends any frame, masked as a client's must be.
    pub async fn send_frame(&mut self, frame: &Frame) -> Result<()> {
        self.raw.send(frame.encode(Some([7, 11, 13, 17]))).await
    }

    /// The next frame.
    pub async fn receive(&mut self) -> Result<Frame> {
        let start = self.raw.receive_exactly(2).await?;
        let length = match start[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.array().await?)),
            127 => u64::from_be_bytes(self.array().await?),
            short => u64::from(short),
        };
        let length = usize::try_from(length).map_err(|_| ClientError::Malformed("a frame beyond memory".into()))?;
        let opcode = Opcode::from_bits(start[0] & 0x0f)
            .ok_or_else(|| ClientError::Malformed(format!("opcode {:#x}", start[0])))?;
        Ok(Frame { opcode, payload: self.raw.receive_exactly(length).await? })
    }

    /// The next text.
    pub async fn text(&mut self) -> Result<String> {
        let frame = self.receive().await?;
        if frame.opcode == Opcode::Text {
            return Ok(String::from_utf8_lossy(&frame.payload).into_owned());
        }
        Err(ClientError::Malformed(format!("a text was awaited, not {frame:?}")))
    }

    /// The connection beneath.
    pub fn raw(&mut self) -> &mut Raw {
        &mut self.raw
    }

    async fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.raw.receive_exactly(N).await?;
        Ok(bytes.try_into().expect("so many bytes were received"))
    }
}
