//! A house of folders, and programs that live in it behind the walls.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use landlord::{
    sys::{
        memfd,
        process::Pidfd,
        spawn::{Program, Spawn, spawn},
    },
    wire::{Estate, Job, Plan, ProcessLimits, Walls},
};

/// A house with two tenants; ours is `acme`.
pub(crate) struct House {
    dir: tempfile::TempDir,
    pub(crate) identity: Option<(u32, u32)>,
}

pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) report: String,
    pub(crate) code: Option<i32>,
}

impl House {
    /// With whatever this test runs as: root keeps its uid here, and so every file mode is on the tenant's side.
    pub(crate) fn new() -> Self {
        Self::of(None)
    }

    pub(crate) fn of(identity: Option<(u32, u32)>) -> Self {
        let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        let house = Self { dir, identity };
        for folder in ["state/tenants/acme", "state/tenants/other", "state/logs", "app"] {
            fs::create_dir_all(house.dir.path().join(folder)).unwrap();
        }
        fs::write(house.at("state/tenants/other/.env"), "SECRET=theirs\n").unwrap();
        fs::write(house.at("state/tenants/acme/.env"), "MINE=1\n").unwrap();
        fs::write(house.at("landlord.toml"), "").unwrap();
        fs::write(house.at("app/code.txt"), "code\n").unwrap();
        if let Some((uid, gid)) = identity {
            for path in ["state/tenants/acme", "state/tenants/acme/.env"] {
                std::os::unix::fs::chown(house.at(path), Some(uid), Some(gid)).unwrap();
            }
        }
        house
    }

    pub(crate) fn at(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    pub(crate) fn walls(&self) -> Walls {
        Walls {
            filesystem: true,
            syscalls: true,
            closed: ["state", "landlord.toml"].map(|own| self.at(own)).to_vec(),
            ..Walls::default()
        }
    }

    pub(crate) fn plan(&self, argv: &[&str], walls: Walls) -> Plan {
        let dir = self.at("state/tenants/acme");
        let pair = |name: &str, value: String| (name.to_owned(), value);
        Plan {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::from([
                pair("HOUSE", self.at("").display().to_string()),
                pair("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
                pair("HOME", dir.display().to_string()),
                pair("TMPDIR", dir.join("tmp").display().to_string()),
            ]),
            extra: BTreeMap::new(),
            dotenv: Some(dir.join(".env")),
            dir,
            rooms: vec!["tmp".into()],
            listen_fds: false,
            job: Job::Exec,
            estate: Estate::default(),
            identity: self.identity,
            group: None,
            limits: ProcessLimits::default(),
            sandbox: Some(walls),
            report: 5,
            die_with_parent: true,
            path: "/usr/local/bin:/usr/bin:/bin".into(),
        }
    }

    /// What came of a Python program within the walls.
    pub(crate) async fn python(&self, walls: Walls, script: &str) -> Said {
        run(&self.plan(&["/usr/bin/python3", "-c", &format!("{PRELUDE}\n{script}")], walls)).await
    }

    pub(crate) async fn shell(&self, walls: Walls, script: &str) -> Said {
        run(&self.plan(&["sh", "-c", script], walls)).await
    }
}

/// `tell(name, call)`: the name of the error that a call ends with, or `ok`.
pub(crate) const PRELUDE: &str = r##"
import ctypes, errno, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
house = os.environ["HOUSE"]
def tell(name, call):
    try:
        call()
        print(name, "ok")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
def system(number, *words):
    checked(libc.syscall(number, *[ctypes.c_long(word) for word in words]))
"##;

pub(crate) async fn run(plan: &Plan) -> Said {
    run_by(Path::new(env!("CARGO_BIN_EXE_landlord")), &[], plan).await
}

/// By this program, which is given these words before those of the shim.
pub(crate) async fn run_by(program: &Path, words: &[&str], plan: &Plan) -> Said {
    let abi = landlord::sys::machine::landlock_abi().unwrap_or(0);
    assert!(abi >= 6, "these tests need Linux 6.12, with Landlock 6 or newer: it has {abi}");
    let (mut out, theirs) = io::pipe().unwrap();
    let (mut report, report_end) = io::pipe().unwrap();
    let sealed = memfd::seal("plan", &serde_json::to_vec(plan).unwrap()).unwrap();
    let errors = theirs.try_clone().unwrap();
    let child = spawn(Spawn {
        program: Program::Path(program.into()),
        args: words.iter().chain(&["exec", "--plan", "4"]).map(Into::into).collect(),
        env: Vec::new(),
        fds: vec![(sealed, 4), (report_end.into(), 5)],
        stdin_null: true,
        stdout: Some(theirs.into()),
        stderr: Some(errors.into()),
        dir: None,
        die_with_parent: true,
    })
    .unwrap();
    let (mut said, mut why) = (String::new(), String::new());
    out.read_to_string(&mut said).unwrap();
    report.read_to_string(&mut why).unwrap();
    let exit = Pidfd::new(child.pidfd).unwrap().exited().await.unwrap();
    Said { out: said, report: why, code: exit.code }
}
