//! One bad request, what must become of it, and the trial that finds out.

use super::{
    h1::{End, H1, NoReply},
    stage::Stage,
    witness::What,
};

/// Bytes of one HTTP/1.1 connection, and what must become of them.
#[derive(Clone, Debug)]
pub struct Case {
    /// For the failure's message.
    pub name: String,
    /// Sent as they are, in one go.
    pub bytes: Vec<u8>,
    /// What must become of them.
    pub expect: Expect,
}

/// What must become of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// One answer of these statuses, then the connection is closed, and nothing at the worker.
    Refused(&'static [u16]),
    /// As `Refused`, but a close without an answer will do: what came was no HTTP at all.
    Closed(&'static [u16]),
    /// 200, and exactly one request at the worker, with this body.
    Served(Vec<u8>),
    /// Either `Refused` or `Served`: the specification leaves the choice.
    Either(&'static [u16], Vec<u8>),
    /// One of these statuses (421: not here), and nothing at the worker; the connection may stay.
    Elsewhere(&'static [u16]),
}

/// 400 alone.
pub const BAD: &[u16] = &[400];
/// 400, or 501 for a transfer coding that is not known.
pub const BAD_CODING: &[u16] = &[400, 501];

impl Case {
    /// A case that must be refused with 400.
    pub fn bad(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), bytes, expect: Expect::Refused(BAD) }
    }

    /// The same bytes with another expectation.
    #[must_use]
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// A case that must work, and whose body is this at the worker.
    pub fn good(name: impl Into<String>, bytes: Vec<u8>, body: &[u8]) -> Self {
        Self { name: name.into(), bytes, expect: Expect::Served(body.to_vec()) }
    }

    fn method(&self) -> String {
        String::from_utf8_lossy(&self.bytes).split([' ', '\r', '\n']).find(|word| !word.is_empty()).unwrap_or("").into()
    }
}

/// A `POST /echo` with these field lines (each with its line end) and what follows the head.
pub fn post(host: &str, lines: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut bytes = format!("POST /echo HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    bytes.extend_from_slice(lines);
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(rest);
    bytes
}

/// A `GET /echo` with these field lines (each with its line end).
pub fn get(host: &str, lines: &[u8]) -> Vec<u8> {
    let mut bytes = format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    bytes.extend_from_slice(lines);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The request that hides behind a bad one and must never reach anybody.
pub fn smuggled(host: &str) -> Vec<u8> {
    format!("GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// Joins pieces of bytes.
pub fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

/// Tries all cases one after another, and fails with every one that went wrong.
pub async fn try_all(stage: &Stage, cases: &[Case]) {
    assert!(!cases.is_empty(), "a table without rows proves nothing");
    let mut wrong = Vec::new();
    for case in cases {
        if let Err(why) = try_one(stage, case).await {
            wrong.push(format!("{}: {why}\n    sent {:?}", case.name, preview(&case.bytes)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n  {}", wrong.len(), cases.len(), wrong.join("\n  "));
}

/// Tries one case, then asks a good request on a new connection, then looks at what the worker saw.
pub async fn try_one(stage: &Stage, case: &Case) -> Result<(), String> {
    let mark = stage.witness.mark();
    let mut client = H1::open(&stage.door, &stage.host).await.map_err(|why| format!("cannot connect: {why}"))?;
    client.send_much(&case.bytes).await;
    let first = client.reply(&case.method()).await;
    let served = match &case.expect {
        Expect::Refused(statuses) => {
            refused(&mut client, &first, statuses, false).await?;
            None
        }
        Expect::Closed(statuses) => {
            refused(&mut client, &first, statuses, true).await?;
            None
        }
        Expect::Elsewhere(statuses) => match &first {
            Ok(reply) if statuses.contains(&reply.status) => None,
            other => return Err(format!("{statuses:?} wanted, got {}", tell(other))),
        },
        Expect::Served(body) => match &first {
            Ok(reply) if reply.status == 200 && reply.whole => Some(body),
            other => return Err(format!("200 wanted, got {}", tell(other))),
        },
        Expect::Either(statuses, body) => match &first {
            Ok(reply) if reply.status == 200 && reply.whole => Some(body),
            _ => {
                refused(&mut client, &first, statuses, false).await?;
                None
            }
        },
    };
    stage.sing().await?;
    let seen = stage.witness.since(mark);
    if let Some(rude) = seen.iter().find(|seen| seen.what == What::Garbage) {
        return Err(format!("the worker got what is no request: {:?}", rude.head));
    }
    let whole: Vec<_> = seen.iter().filter(|seen| seen.what == What::Whole).collect();
    match (served, whole.as_slice()) {
        (None, []) => Ok(()),
        (Some(body), [one]) if one.body.as_bytes() == body.as_slice() => Ok(()),
        (Some(_), [one]) => Err(format!("the worker got the body {:?}", one.body)),
        (_, many) => {
            let heads: Vec<&str> = many.iter().map(|seen| seen.head.lines().next().unwrap_or("")).collect();
            Err(format!("the worker got {} requests: {heads:?}", many.len()))
        }
    }
}

async fn refused(
    client: &mut H1,
    first: &Result<super::h1::Reply, NoReply>,
    statuses: &[u16],
    mute: bool,
) -> Result<(), String> {
    match first {
        Ok(reply) if statuses.contains(&reply.status) => {}
        Err(NoReply::Ended(..)) if mute => return Ok(()),
        other => return Err(format!("{statuses:?} wanted, got {}", tell(other))),
    }
    match client.end().await {
        End::Open => Err("the connection stays open".into()),
        _ if !client.left().is_empty() => {
            Err(format!("more than one answer: {:?}", String::from_utf8_lossy(client.left())))
        }
        _ => Ok(()),
    }
}

fn tell(outcome: &Result<super::h1::Reply, NoReply>) -> String {
    match outcome {
        Ok(reply) => format!("{} (whole: {})", reply.status, reply.whole),
        Err(why) => why.to_string(),
    }
}

fn preview(bytes: &[u8]) -> String {
    bytes.iter().take(240).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect()
}
