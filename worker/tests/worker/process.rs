//! A worker as a process: started, heard, stopped, and never left behind.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::client::Client;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Worker {
    child: Child,
    log: Receiver<String>,
    heard: Vec<String>,
}

/// A command with nothing of our environment, in `folder`.
pub(crate) fn command(folder: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landlord-worker"));
    command.env_clear().envs(environment.iter().copied()).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a worker that is to end by itself; its exit code and what it said.
pub(crate) fn run(folder: &Path, verb: &str, environment: &[(&str, &str)]) -> (i32, String) {
    let output = command(folder, environment).arg(verb).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

impl Worker {
    /// On a port of its own choice.
    pub(crate) fn alone(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = command(folder, environment);
        command.env("PORT", "0");
        Self::start(command)
    }

    /// On `listener`, which it gets as descriptor 3.
    pub(crate) fn on(listener: impl Into<OwnedFd>, folder: &Path, environment: &[(&str, &str)]) -> Self {
        // The shell moves the socket from 0 to 3, and its pid stays the worker's.
        let handing_over = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve"#;
        let mut command = Command::new("sh");
        command.args(["-c", handing_over, env!("CARGO_BIN_EXE_landlord-worker")]).env_clear();
        command.envs(environment.iter().copied()).current_dir(folder).stdin(listener.into());
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut worker = Self { child, log, heard: Vec::new() };
        worker.hear(" is on ");
        worker
    }

    /// Waits for a line with `text`.
    pub(crate) fn hear(&mut self, text: &str) -> String {
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("{error}: never heard {text:?} in {:#?}", self.heard),
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let at = self.heard.iter().find_map(|line| line.split_once("http://")).unwrap().1;
        at.split(',').next().unwrap().parse().unwrap()
    }

    pub(crate) fn client(&self) -> Client<std::net::TcpStream> {
        Client::connect(self.address()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        // The log ends with the process.
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => self.heard.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(error) => panic!("{error}: it does not end: {:#?}", self.heard),
            }
        }
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ended().code(), Some(0), "{:#?}", self.heard);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the data is, by default.
pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join("instance/app.db")
}
