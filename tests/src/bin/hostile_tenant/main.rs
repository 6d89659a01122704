//! A tenant's worker that tries whatever it should not be able to do, one thing a request.
//!
//! `GET /attacks` lists them: name, and the walls of which each alone stops it. `GET /attack/NAME?KEY=VALUE…` tries one and tells
//! how it was refused, or `SUCCEEDED`; `/tidy` gives back what was kept. Nothing is tried that would hurt the machine if it
//! did succeed: signals are SIGCONT, and whatever is used up is bounded here as well.

mod calls;
mod files;
mod filler;
mod hunger;
mod neighbours;
mod network;

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

use serde_json::json;

/// What an attack is told of those it is aimed at: `dir`, `port`, `free_port`, `abstract`, and the pids `neighbour`, `master`, `proxy`.
type Victims = BTreeMap<String, String>;

/// `Ok`: it succeeded, and how. `Err`: by what it was refused.
type Attempt = dyn Fn(&Victims) -> Result<String, String>;

/// One thing to try.
struct Attack {
    name: String,
    /// Each of these walls alone stops it.
    walls: &'static [&'static str],
    attempt: Box<Attempt>,
}

impl Attack {
    fn new(
        name: impl Into<String>,
        walls: &'static [&'static str],
        attempt: impl Fn(&Victims) -> Result<String, String> + 'static,
    ) -> Self {
        Self { name: name.into(), walls, attempt: Box::new(attempt) }
    }
}

fn main() -> io::Result<()> {
    if let Some(part) = std::env::args().nth(1) {
        hunger::play(&part);
    }
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).ok_or(io::ErrorKind::NotFound)?;
    for stream in TcpListener::bind(("127.0.0.1", port))?.incoming().flatten() {
        std::thread::spawn(move || {
            // Whoever asked may have gone.
            let _ = serve(stream);
        });
    }
    Ok(())
}

fn attacks() -> Vec<Attack> {
    [
        files::attacks(),
        neighbours::attacks(),
        network::attacks(),
        calls::attacks(),
        hunger::attacks(),
        filler::attacks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One request, one answer, and the end.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = reader.by_ref().lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut length = 0;
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    // What is not read would reset the connection, and the answer with it.
    io::copy(&mut reader.take(length), &mut io::sink())?;
    let target = first.split(' ').nth(1).unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let victims = query.split('&').filter_map(|pair| pair.split_once('='));
    let victims: Victims = victims.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let body = match path.strip_prefix("/attack/") {
        Some(name) => match attacks().iter().find(|attack| attack.name == name) {
            Some(attack) => match (attack.attempt)(&victims) {
                Ok(how) => format!("SUCCEEDED: {how}"),
                Err(why) => format!("refused: {why}"),
            },
            None => "no such attack".to_owned(),
        },
        None if path == "/tidy" => {
            filler::tidy()?;
            "ok".to_owned()
        }
        None if path == "/attacks" => {
            let all: Vec<_> = attacks().iter().map(|attack| json!([attack.name, attack.walls])).collect();
            json!(all).to_string()
        }
        None => "ok".to_owned(),
    };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// What a victim is called here.
fn told<'a>(victims: &'a Victims, key: &str) -> Result<&'a str, String> {
    victims.get(key).map(String::as_str).ok_or_else(|| format!("the test does not say {key}"))
}

fn refused(error: &io::Error) -> String {
    error.to_string()
}
