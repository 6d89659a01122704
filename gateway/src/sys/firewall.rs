//! Loopback between tenants: one nftables table for each range of workers' ports. Whoever opens a connection to one of them
//! from this machine is told that nobody listens, unless it is root or the gateway's proxy.
//!
//! Every user of a machine reaches what listens on 127.0.0.1, so that without this, tenants could talk to each other's
//! workers past the gateway. nft(8) loads the table; whether it holds is found out by a [`knock`], and not believed.

use std::{
    fs,
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::Signal,
        socket::{AddressFamily, SockFlag, SockType, socket},
    },
    unistd::{Uid, setfsuid},
};

use super::{
    process,
    spawn::{self, Child, Program, Spawn},
};

/// Where nft(8) is, on Debian and elsewhere. `PATH` is not asked: this is run as root.
const PLACES: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", "/usr/bin/nft"];
/// `CAP_NET_ADMIN` of capabilities(7).
const NET_ADMIN: u32 = 12;
/// Loopback answers at once; a machine that is this slow is asked again later.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The table of one range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// The uid of the proxy, which forwards to the workers and asks how they are.
    pub proxy: u32,
}

/// Why a table could not be loaded or removed.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// There is no nft(8).
    #[error("there is no nft: install nftables (apt-get install nftables)")]
    NoProgram,
    /// It ended with an error.
    #[error("nft says: {0}")]
    Refused(String),
    /// It did not end.
    #[error("nft has not ended after {} s", .0.as_secs())]
    Silent(Duration),
    /// It could not be started or waited for.
    #[error("nft cannot be run: {0}")]
    System(#[from] io::Error),
}

impl Table {
    /// Its name in the `inet` family.
    pub fn name(&self) -> String {
        format!("landlord_{}_{}", self.first, self.last)
    }

    /// Takes the place of one of the same name at once, without a moment in between: nft(8) sends all of it as one
    /// transaction.
    ///
    /// Only what opens a connection is judged, so that nothing is ever taken from one that is open. A connection to any
    /// address of this machine goes over `lo`. What carries no socket's user (a subflow of MPTCP) is refused like a
    /// stranger. The listening socket that a worker is handed was made by root, and could be turned into a client with
    /// root's name on it: it keeps its port, by which it is known.
    pub fn text(&self) -> String {
        let Self { first, last, proxy } = self;
        format!(
            "{remove}table inet {name} {{\n\
             \tchain output {{\n\
             \t\ttype filter hook output priority filter; policy accept;\n\
             \t\toifname \"lo\" tcp dport {first}-{last} tcp flags & (fin | syn | rst | ack) == syn jump judge\n\
             \t}}\n\
             \tchain judge {{\n\
             \t\ttcp sport {first}-{last} reject with tcp reset\n\
             \t\tmeta skuid {{ 0, {proxy} }} accept\n\
             \t\treject with tcp reset\n\
             \t}}\n\
             }}\n",
            remove = self.removal(),
            name = self.name(),
        )
    }

    /// Removes it; that there is none is no error.
    pub fn removal(&self) -> String {
        let name = self.name();
        format!("add table inet {name}\ndelete table inet {name}\n")
    }
}

/// Whether this process may change the rules of its network (`CAP_NET_ADMIN`).
pub fn is_permitted() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let sets = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let sets = sets.and_then(|sets| u64::from_str_radix(sets.trim(), 16).ok()).unwrap_or(0);
    sets & (1 << NET_ADMIN) != 0
}

/// nft(8), where it is installed.
pub fn program() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Starts nft(8) with `text`. What it has to say is read from the descriptor once it has ended.
///
/// # Errors
/// There is none, or it cannot be started.
pub fn start(text: &str) -> Result<(Child, OwnedFd), FirewallError> {
    let program = program().ok_or(FirewallError::NoProgram)?;
    let (said, saying) = spawn::pipe()?;
    let child = spawn::spawn(Spawn {
        program: Program::Path(program),
        args: vec![text.into()],
        env: Vec::new(),
        fds: Vec::new(),
        stdin_null: true,
        stdout: Some(saying.try_clone()?),
        stderr: Some(saying),
        dir: Some("/".into()),
        die_with_parent: true,
    })?;
    Ok((child, said))
}

/// [`start`], and waits for its end, at most for `patience`.
///
/// # Errors
/// There is no nft, it refuses, or it does not end.
pub fn run(text: &str, patience: Duration) -> Result<(), FirewallError> {
    let (child, said) = start(text)?;
    let end = Instant::now() + patience;
    let exit = loop {
        if let Some(exit) = process::reap(child.pidfd.as_fd())? {
            break exit;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            process::send_signal(child.pidfd.as_fd(), Signal::SIGKILL as i32)?;
            return Err(FirewallError::Silent(patience));
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    };
    if exit.success() {
        return Ok(());
    }
    super::fd::never_wait(&said)?;
    let mut words = Vec::new();
    // That nobody has closed the other end yet is no reason to wait: all that was said is there.
    let _ = fs::File::from(said).take(4096).read_to_end(&mut words);
    Err(FirewallError::Refused(reason(&String::from_utf8_lossy(&words))))
}

/// The first line of what nft says; it goes on with the rules, and marks below them.
pub fn reason(said: &str) -> String {
    said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing").to_owned()
}

/// Whether `uid`, whom the rules must stop, is refused on a port of loopback where `listener` listens for this one question.
/// `None`: it is our own user. Neither the rules nor who has loaded them make a difference.
///
/// # Errors
/// Nothing can be said: no socket is to be had, or nobody answers.
pub async fn knock(listener: OwnedFd, port: u16, uid: Option<u32>) -> io::Result<bool> {
    let socket = tokio::net::TcpSocket::from_std_stream(std::net::TcpStream::from(socket_of(uid)?));
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let answered = tokio::time::timeout(ANSWERED_WITHIN, socket.connect(at)).await;
    drop(listener);
    match answered {
        Ok(Ok(_)) => Ok(false),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A TCP socket that is `uid`'s, as the kernel sees it. The change is this thread's alone, and ends before anything else is
/// done (setfsuid(2)).
fn socket_of(uid: Option<u32>) -> io::Result<OwnedFd> {
    let make = || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        socket(AddressFamily::Inet, SockType::Stream, flags, None).map_err(io::Error::from)
    };
    let Some(uid) = uid.map(Uid::from_raw) else { return make() };
    let own = setfsuid(uid);
    // It gives who we were, and says nothing of success: said again, it gives who we are.
    let changed = setfsuid(uid) == uid;
    let made = make();
    setfsuid(own);
    if changed { made } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_nft_says_first_is_the_reason() {
        assert_eq!(reason("\nError: Could not process rule: Operation not permitted\nadd table\n^^^"), {
            "Error: Could not process rule: Operation not permitted"
        });
        assert_eq!(reason(""), "nothing");
    }

    #[test]
    fn without_rules_a_knock_is_answered() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!runtime.block_on(knock(listener.into(), port, None)).unwrap());
        let stranger = super::super::identity::is_root().then_some(79_999);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!runtime.block_on(knock(listener.into(), port, stranger)).unwrap());
        let own = nix::unistd::geteuid();
        assert_eq!(setfsuid(own), own, "we are who we were");
    }
}
