//! Pours frames into a connection as fast as it takes them, and counts what comes back.

use std::{cell::RefCell, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames::{END_STREAM, Frame, H2, kind};

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Pieces written.
    pub written: usize,
    /// Last stream and code of the GOAWAY.
    pub goaway: Option<(u32, u32)>,
    /// RST_STREAM frames.
    pub resets: usize,
    /// Streams that were answered to their end.
    pub answered: usize,
    /// All frames.
    pub frames: usize,
    /// The connection ended.
    pub ended: bool,
}

/// Writes pieces until there are no more, the peer says GOAWAY with an error, or closes; reads all the while.
/// After the last piece it goes on reading for `linger`, or until the end.
pub async fn pour(client: &mut H2, mut pieces: impl Iterator<Item = Vec<u8>>, linger: Duration) -> Tally {
    let tally = RefCell::new(Tally::default());
    let (mut reader, mut writer) = tokio::io::split(&mut client.tls);
    let reading = async {
        let (mut inbox, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            inbox.extend_from_slice(&buffer[..count]);
            while let Some(frame) = Frame::take(&mut inbox) {
                let mut tally = tally.borrow_mut();
                tally.frames += 1;
                if let Some(goaway) = frame.goaway() {
                    tally.goaway = Some(goaway);
                }
                tally.resets += usize::from(frame.reset().is_some());
                let ends = matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.flags & END_STREAM != 0;
                tally.answered += usize::from(ends);
            }
        }
        tally.borrow_mut().ended = true;
    };
    let writing = async {
        for piece in pieces.by_ref() {
            let angry = tally.borrow().goaway.is_some_and(|(_, code)| code != 0);
            if angry || writer.write_all(&piece).await.is_err() {
                break;
            }
            tally.borrow_mut().written += 1;
        }
        // A peer that has gone is what the reader tells.
        let _gone = writer.flush().await;
        tokio::time::sleep(linger).await;
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    tally.into_inner()
}

/// Writes pieces without ever reading, until there are no more, the peer closes, or it takes none for `patience`.
pub async fn pour_deaf(client: &mut H2, pieces: impl Iterator<Item = Vec<u8>>, patience: Duration) -> usize {
    let mut written = 0;
    for piece in pieces {
        match tokio::time::timeout(patience, client.tls.write_all(&piece)).await {
            Ok(Ok(())) => written += 1,
            _closed_or_full => break,
        }
    }
    written
}
