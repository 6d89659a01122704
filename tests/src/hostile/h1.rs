//! A byte-exact HTTP/1.1 client: what is given is sent, what comes back is parsed strictly, and how the connection ended is told.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::door::{Door, Tls};

/// How long anything may take before it counts as silence: a bound against hanging, not a promise.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Status line and fields, as they came.
    pub head: String,
    /// The body, without its chunk framing.
    pub body: Vec<u8>,
    /// The body came to the end that its framing promised.
    pub whole: bool,
}

impl Reply {
    /// The values of every field of this name.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The values of every field of this name in a head.
pub fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With TLS' own goodbye.
    Goodbye,
    /// Without it: the connection was aborted.
    Abort,
    /// It had not ended when patience did.
    Open,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// The connection ended first.
    #[error("the connection ended ({0:?}) after {1:?}")]
    Ended(End, String),
    /// Nothing (more) came in time.
    #[error("silence after {0:?}")]
    Silent(String),
    /// What came is no HTTP/1.1.
    #[error("not HTTP: {0:?}")]
    Malformed(String),
}

/// One connection.
pub struct H1 {
    tls: Tls,
    inbox: Vec<u8>,
    ended: Option<End>,
    /// How long to wait for bytes.
    pub patience: Duration,
}

impl H1 {
    /// Opens one under this name.
    pub async fn open(door: &Door, name: &str) -> io::Result<Self> {
        Ok(Self::over(door.h1(name).await?))
    }

    /// Speaks over this connection.
    pub fn over(tls: Tls) -> Self {
        Self { tls, inbox: Vec::new(), ended: None, patience: PATIENCE }
    }

    /// The connection underneath.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Sends these bytes as they are. That the peer has closed meanwhile is no error here: the answer tells.
    pub async fn send(&mut self, bytes: &[u8]) {
        let sending = async {
            self.tls.write_all(bytes).await?;
            self.tls.flush().await
        };
        let _refused_midway = timeout(self.patience, sending).await;
    }

    /// Sends a lot while reading, so that a peer that answers early is heard.
    pub async fn send_much(&mut self, bytes: &[u8]) {
        let (mut reader, mut writer) = tokio::io::split(&mut self.tls);
        let inbox = &mut self.inbox;
        let reading = async {
            let mut buffer = vec![0; 16 * 1024];
            loop {
                match reader.read(&mut buffer).await {
                    Ok(0) => break End::Goodbye,
                    Ok(count) => inbox.extend_from_slice(&buffer[..count]),
                    Err(_) => break End::Abort,
                }
            }
        };
        let writing = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        tokio::select! {
            end = reading => self.ended = Some(end),
            _sent_or_refused = writing => {}
            () = tokio::time::sleep(self.patience) => {}
        }
    }

    /// The next final answer to a request of this method; interim ones are skipped.
    pub async fn reply(&mut self, method: &str) -> Result<Reply, NoReply> {
        loop {
            let reply = self.any_reply(method).await?;
            if reply.status >= 200 || reply.status == 101 {
                return Ok(reply);
            }
        }
    }

    /// The next answer, interim or not.
    pub async fn any_reply(&mut self, method: &str) -> Result<Reply, NoReply> {
        let head_end = loop {
            if let Some(at) = find(&self.inbox, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.inbox[..head_end]).into_owned();
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse::<u16>().ok())
            .ok_or_else(|| NoReply::Malformed(head.clone()))?;
        self.inbox.drain(..head_end);
        let (body, whole) = if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            (Vec::new(), true)
        } else if !fields(&head, "transfer-encoding").is_empty() {
            self.chunks().await?
        } else if let Some(length) = fields(&head, "content-length").first() {
            let length = length.parse().map_err(|_| NoReply::Malformed(head.clone()))?;
            let whole = self.fill(length).await?;
            let have = length.min(self.inbox.len());
            (self.inbox.drain(..have).collect(), whole)
        } else {
            while self.more().await.is_ok() {}
            (std::mem::take(&mut self.inbox), self.ended == Some(End::Goodbye))
        };
        Ok(Reply { status, head, body, whole })
    }

    /// Sends and takes the answer.
    pub async fn ask(&mut self, bytes: &[u8]) -> Result<Reply, NoReply> {
        let method: Vec<u8> = bytes.iter().copied().take_while(|b| *b != b' ').collect();
        self.send(bytes).await;
        self.reply(&String::from_utf8_lossy(&method)).await
    }

    /// Reads and drops everything until the connection ends, or until `patience` passes without that.
    pub async fn end(&mut self) -> End {
        let _ended_or_silent = timeout(self.patience, async { while self.more().await.is_ok() {} }).await;
        self.ended.unwrap_or(End::Open)
    }

    /// What came and was not an answer yet.
    pub fn left(&self) -> &[u8] {
        &self.inbox
    }

    /// Waits until bytes come; an error when there are no more.
    pub async fn more(&mut self) -> Result<(), NoReply> {
        let so_far = |inbox: &[u8]| String::from_utf8_lossy(&inbox[..inbox.len().min(300)]).into_owned();
        if let Some(end) = self.ended {
            return Err(NoReply::Ended(end, so_far(&self.inbox)));
        }
        let mut buffer = vec![0; 16 * 1024];
        match timeout(self.patience, self.tls.read(&mut buffer)).await {
            Err(_) => Err(NoReply::Silent(so_far(&self.inbox))),
            Ok(Ok(0)) => {
                self.ended = Some(End::Goodbye);
                Err(NoReply::Ended(End::Goodbye, so_far(&self.inbox)))
            }
            Ok(Ok(count)) => {
                self.inbox.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Ok(Err(_)) => {
                self.ended = Some(End::Abort);
                Err(NoReply::Ended(End::Abort, so_far(&self.inbox)))
            }
        }
    }

    /// Waits for this many bytes: `false` when the connection ended before.
    async fn fill(&mut self, count: usize) -> Result<bool, NoReply> {
        while self.inbox.len() < count {
            match self.more().await {
                Ok(()) => {}
                Err(NoReply::Ended(..)) => return Ok(false),
                Err(why) => return Err(why),
            }
        }
        Ok(true)
    }

    async fn chunks(&mut self) -> Result<(Vec<u8>, bool), NoReply> {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line().await? else { return Ok((body, false)) };
            let size = usize::from_str_radix(&line, 16).map_err(|_| NoReply::Malformed(line))?;
            if size == 0 {
                break;
            }
            if !self.fill(size + 2).await? {
                let have = size.min(self.inbox.len());
                body.extend(self.inbox.drain(..have));
                return Ok((body, false));
            }
            body.extend(self.inbox.drain(..size));
            if self.inbox.drain(..2).collect::<Vec<u8>>() != b"\r\n" {
                return Err(NoReply::Malformed("a chunk without its CRLF".into()));
            }
        }
        loop {
            match self.line().await? {
                None => return Ok((body, false)),
                Some(line) if line.is_empty() => return Ok((body, true)),
                Some(_trailer) => {}
            }
        }
    }

    async fn line(&mut self) -> Result<Option<String>, NoReply> {
        loop {
            if let Some(at) = find(&self.inbox, b"\r\n") {
                let line = String::from_utf8_lossy(&self.inbox[..at]).into_owned();
                self.inbox.drain(..at + 2);
                return Ok(Some(line));
            }
            match self.more().await {
                Ok(()) => {}
                Err(NoReply::Ended(..)) => return Ok(None),
                Err(why) => return Err(why),
            }
        }
    }
}

/// Where `needle` begins.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
