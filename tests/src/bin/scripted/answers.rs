//! What each path does. Every answer carries `X-Worker-Pid`.

use std::{
    io::{self, Write},
    net::TcpStream,
    path::Path,
    process::{abort, exit, id},
    time::Duration,
};

use harness::websocket::{self, Frame, Opcode};
use serde_json::{Value, json};

use crate::{
    bad,
    conversation::{Body, Conversation, Request},
    files,
    seen::Seen,
};

/// Pieces in which streamed bodies are written.
pub(crate) const PIECE: usize = 64 * 1024;

/// Answers request after request until the peer goes.
pub(crate) fn serve(conversation: &mut Conversation, seen: &Seen) -> io::Result<()> {
    while let Some(request) = conversation.request()? {
        seen.begin();
        let counted = !["/healthz", "/may-sleep", "/seen"].contains(&request.path());
        if counted {
            seen.head(&request.target);
        }
        let result = answer(conversation, &request, seen, counted);
        seen.end();
        if !result? || request.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
    Ok(())
}

/// One answer; whether the connection can be used again.
fn answer(conversation: &mut Conversation, request: &Request, seen: &Seen, counted: bool) -> io::Result<bool> {
    let mut body = request.body();
    // These look at the body themselves, or do not.
    match request.path() {
        "/echo" => return echo(conversation, body, seen),
        "/early" => return early(conversation, request),
        "/ws" => return websocket(conversation, request),
        "/half" => return half(conversation, body),
        _ => {}
    }
    if let Some(name) = request.after("/files/") {
        return files::file(conversation, request, body, name, seen);
    }
    if request.field("expect").is_some() {
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let received = match drain(conversation, &mut body) {
        Ok(received) => received,
        Err(error) => {
            seen.aborted();
            return Err(error);
        }
    };
    if counted {
        seen.complete();
    }
    if let Some(kind) = request.after("/bad/") {
        conversation.send(bad::answer(kind))?;
        return Ok(false);
    }
    if let Some(count) = request.after("/bytes/") {
        return bytes(conversation, request, count.parse().unwrap_or(0));
    }
    if let Some(count) = request.after("/drip/") {
        return drip(conversation, count.parse().unwrap_or(0));
    }
    if let Some(ms) = request.after("/slow/") {
        std::thread::sleep(Duration::from_millis(ms.parse().unwrap_or(0)));
        return text(conversation, 200, &format!("after {ms} ms"));
    }
    if let Some(code) = request.after("/status/") {
        return status(conversation, request, code.parse().unwrap_or(200));
    }
    if let Some(state) = request.after("/storage/") {
        return files::storage(conversation, state);
    }
    if let Some(id) = request.after("/id/") {
        return text(conversation, 200, id);
    }
    match request.path() {
        "/healthz" => health(conversation),
        "/may-sleep" => text(conversation, if Path::new("stay-awake").exists() { 423 } else { 204 }, ""),
        "/crash" => abort(),
        "/exit" => exit(3),
        "/hang" => hang(),
        "/seen" => document(conversation, &json!(seen.counts())),
        "/headers" => document(conversation, &headers(conversation, request, received)),
        "/generation" => document(conversation, &generation()),
        "/env" => document(conversation, &json!(std::env::vars().collect::<std::collections::BTreeMap<_, _>>())),
        "/events" => events(conversation),
        "/trailers" => trailers(conversation),
        "/shout" => shout(conversation, request),
        path => text(conversation, 200, &format!("{} {path}", request.method)),
    }
}

fn drain(conversation: &mut Conversation, body: &mut Body) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE];
    let mut received = 0;
    loop {
        match conversation.read(body, &mut buffer)? {
            0 => return Ok(received),
            read => received += read as u64,
        }
    }
}

fn health(conversation: &mut Conversation) -> io::Result<bool> {
    let sick = std::env::var("UNHEALTHY").is_ok_and(|value| match value.strip_prefix("file:") {
        Some(file) => Path::new(file).exists(),
        None => true,
    });
    let hung = std::env::var("HANG_FILE").is_ok_and(|file| Path::new(&file).exists());
    if hung {
        hang();
    }
    text(conversation, if sick { 500 } else { 200 }, "health")
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

fn headers(conversation: &Conversation, request: &Request, received: u64) -> Value {
    json!({
        "method": request.method,
        "target": request.target,
        "fields": request.fields,
        "body_bytes": received,
        "trailers": conversation.trailers,
    })
}

fn generation() -> Value {
    let variable = |name: &str| std::env::var(name).ok();
    json!({"pid": id(), "mark": variable("MARK"), "secret": variable("SECRET"), "port": variable("PORT")})
}

/// The body back as it comes, chunk by chunk.
fn echo(conversation: &mut Conversation, mut body: Body, seen: &Seen) -> io::Result<bool> {
    start_chunked(conversation.writer(), "application/octet-stream", "")?;
    let mut buffer = vec![0; PIECE];
    loop {
        match conversation.read(&mut body, &mut buffer) {
            Ok(0) => break,
            Ok(read) => chunk(conversation.writer(), &buffer[..read])?,
            Err(error) => {
                seen.aborted();
                return Err(error);
            }
        }
    }
    seen.complete();
    conversation.send(b"0\r\n\r\n")?;
    Ok(true)
}

/// Answers before the body is read, and never reads it.
fn early(conversation: &mut Conversation, request: &Request) -> io::Result<bool> {
    let status = request.target.split_once("status=").map_or("413", |(_, code)| code);
    conversation.send(
        format!(
            "HTTP/1.1 {status} Early\r\nX-Worker-Pid: {}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nearly",
            id()
        )
        .as_bytes(),
    )?;
    Ok(false)
}

/// Reads half a megabyte of the body, then dies.
fn half(conversation: &mut Conversation, mut body: Body) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE];
    let mut received = 0;
    while received < 512 * 1024 {
        match conversation.read(&mut body, &mut buffer)? {
            0 => break,
            read => received += read,
        }
    }
    abort()
}

/// Exactly so many bytes, with their length.
fn bytes(conversation: &mut Conversation, request: &Request, count: u64) -> io::Result<bool> {
    let chunked = request.target.contains("?chunked");
    if chunked {
        start_chunked(conversation.writer(), "application/octet-stream", "")?;
    } else {
        conversation
            .send(format!("HTTP/1.1 200 OK\r\nX-Worker-Pid: {}\r\nContent-Length: {count}\r\n\r\n", id()).as_bytes())?;
    }
    if request.method == "HEAD" {
        return Ok(true);
    }
    let piece = [b'x'; PIECE];
    let mut left = count;
    while left > 0 {
        let size = left.min(PIECE as u64) as usize;
        if chunked {
            chunk(conversation.writer(), &piece[..size])?;
        } else {
            conversation.send(&piece[..size])?;
        }
        left -= size as u64;
    }
    if chunked {
        conversation.send(b"0\r\n\r\n")?;
    }
    Ok(true)
}

/// So many lines, one each 100 ms: a long download.
fn drip(conversation: &mut Conversation, count: u32) -> io::Result<bool> {
    start_chunked(conversation.writer(), "text/plain", "")?;
    for number in 0..count {
        chunk(conversation.writer(), format!("line {number}\n").as_bytes())?;
        std::thread::sleep(Duration::from_millis(100));
    }
    conversation.send(b"0\r\n\r\n")?;
    Ok(true)
}

/// Server-sent events, one each 100 ms, without end.
fn events(conversation: &mut Conversation) -> io::Result<bool> {
    start_chunked(conversation.writer(), "text/event-stream", "")?;
    for number in 0u64.. {
        chunk(conversation.writer(), format!("data: {number}\n\n").as_bytes())?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(false)
}

fn trailers(conversation: &mut Conversation) -> io::Result<bool> {
    start_chunked(conversation.writer(), "text/plain", "Trailer: X-Sum\r\n")?;
    chunk(conversation.writer(), b"body")?;
    conversation.send(b"0\r\nX-Sum: 4\r\n\r\n")?;
    Ok(true)
}

/// Fields that are the gateway's business: hop-by-hop ones, and some that stay.
fn shout(conversation: &mut Conversation, request: &Request) -> io::Result<bool> {
    let host = request.field("host").unwrap_or_default();
    conversation.send(
        format!(
            "HTTP/1.1 200 OK\r\nConnection: X-Drop-Me\r\nX-Drop-Me: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n\
             X-Keep-Me: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Host: {host}\r\nContent-Length: 0\r\n\r\n"
        )
        .as_bytes(),
    )?;
    Ok(true)
}

fn websocket(conversation: &mut Conversation, request: &Request) -> io::Result<bool> {
    let Some(key) = request.field("sec-websocket-key") else {
        return text(conversation, 426, "a WebSocket lives here");
    };
    conversation.send(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            websocket::accept(key)
        )
        .as_bytes(),
    )?;
    loop {
        let frame = Frame::read(conversation.reader())?;
        let closing = frame.opcode == Opcode::Close;
        let opcode = if frame.opcode == Opcode::Ping { Opcode::Pong } else { frame.opcode };
        conversation.send(&Frame { opcode, payload: frame.payload }.encode(None))?;
        if closing {
            return Ok(false);
        }
    }
}

/// A bare status, without a body where there must be none.
fn status(conversation: &mut Conversation, request: &Request, code: u16) -> io::Result<bool> {
    if matches!(code, 204 | 304) || request.method == "HEAD" {
        conversation
            .send(format!("HTTP/1.1 {code} Bare\r\nX-Worker-Pid: {}\r\nETag: \"e\"\r\n\r\n", id()).as_bytes())?;
        return Ok(true);
    }
    text(conversation, code, "status")
}

pub(crate) fn text(conversation: &mut Conversation, status: u16, body: &str) -> io::Result<bool> {
    whole(conversation, status, "text/plain", body)
}

pub(crate) fn document(conversation: &mut Conversation, value: &Value) -> io::Result<bool> {
    whole(conversation, 200, "application/json", &value.to_string())
}

fn whole(conversation: &mut Conversation, status: u16, kind: &str, body: &str) -> io::Result<bool> {
    let shown = if conversation.head_only { "" } else { body };
    conversation.send(
        format!(
            "HTTP/1.1 {status} Scripted\r\nContent-Type: {kind}\r\nX-Worker-Pid: {}\r\nContent-Length: {}\r\n\r\n{shown}",
            id(),
            body.len()
        )
        .as_bytes(),
    )?;
    Ok(true)
}

fn start_chunked(writer: &mut TcpStream, kind: &str, extra: &str) -> io::Result<()> {
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nX-Worker-Pid: {}\r\n{extra}Transfer-Encoding: chunked\r\n\r\n",
        id()
    )
}

/// One chunk in one write, so that a visitor who sees it sees it whole.
fn chunk(writer: &mut TcpStream, data: &[u8]) -> io::Result<()> {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    writer.write_all(&bytes)
}
