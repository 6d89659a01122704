//! A disk of a few megabytes, which a test can fill: a file system in memory, in a mount namespace of its own, so that nobody
//! else's view of this machine changes and nothing is left of it whatever becomes of the test.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::sys::statvfs::statvfs;

/// The disk. Dropped, it is gone with all that is on it, once nobody uses it any more.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    place: PathBuf,
}

impl SmallDisk {
    /// One of so many MiB at this folder.
    ///
    /// # Panics
    /// When it cannot be mounted: that takes root.
    #[track_caller]
    pub fn at(place: &Path, mebibytes: u32) -> Self {
        // Told where by a line and not by a word: processes that name a test's folder are taken for its gateway's.
        let script = format!(
            "read place && mount -t tmpfs -o mode=0711,size={mebibytes}m tmpfs \"$place\" && echo mounted && read end"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare can be started (it is in util-linux)");
        let stdin = holder.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "{}", place.display()).expect("the shell reads");
        let mut answer = String::new();
        let stdout = holder.stdout.as_mut().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut answer).expect("the shell answers");
        assert_eq!(answer, "mounted\n", "a file system can be mounted: run the tests as root");
        Self { holder, place: place.to_owned() }
    }

    /// Its root, as the test itself reaches it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.holder.id()))
            .join(self.place.strip_prefix("/").unwrap_or(&self.place))
    }

    /// A command that sees it where it is, and may not change the rules of the machine's network.
    pub fn entering(&self, program: &Path) -> Vec<String> {
        let holder = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        let words = ["nsenter", &holder, "--", "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"];
        words.into_iter().map(str::to_owned).chain([program.display().to_string()]).collect()
    }

    /// Bytes that can still be written.
    pub fn free(&self) -> u64 {
        let told = statvfs(&self.path()).expect("its figures");
        told.blocks_available() * told.fragment_size()
    }

    /// A file that takes up all but so many bytes.
    pub fn fill(&self, file: &Path, but: u64) {
        let bytes = i64::try_from(self.free().saturating_sub(but)).expect("a file's size");
        take_up(file, bytes);
    }
}

/// Makes a file of so many bytes that are really there.
pub fn take_up(file: &Path, bytes: i64) {
    let made = std::fs::File::create(file).expect("a file is made");
    nix::fcntl::fallocate(made, nix::fcntl::FallocateFlags::empty(), 0, bytes).expect("there is room for it");
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // With its last process the namespace goes.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
