//! `scripts/install` and `scripts/package`, on files alone: what is put where, once and again, and what stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use harness::{
    Ran, binaries, eventually,
    installation::{another_build, package, run, script},
    machine::{Plan, Version},
};
use tempfile::TempDir;

/// A folder that stands for `/`, and the programs to install into it.
struct Root {
    dir: TempDir,
    programs: TempDir,
    prefix: &'static str,
}

impl Root {
    #[track_caller]
    fn new(prefix: &'static str) -> Self {
        let root = Self { dir: folder(), programs: folder(), prefix };
        for name in ["landlord", "landlord-worker"] {
            fs::copy(binaries::program(name), root.programs.path().join(name)).expect("a program is copied");
        }
        root
    }

    #[track_caller]
    fn install(&self, more: &[&str]) -> Ran {
        let (dir, programs) = (self.dir.path().display().to_string(), self.programs.path().display().to_string());
        let args = ["--prefix", self.prefix, "--destdir", &dir, "--binaries", &programs];
        script("install", &[&args[..], more].concat())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    #[track_caller]
    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Every file and folder, with all that a second installation could change of it.
    fn snapshot(&self) -> BTreeMap<PathBuf, (u64, u32, i64, i64, u64)> {
        let mut found = BTreeMap::new();
        walk(self.dir.path(), &mut |path| {
            let meta = fs::symlink_metadata(path).expect("it is there");
            let key = path.strip_prefix(self.dir.path()).expect("below the root").to_owned();
            found.insert(key, (meta.ino(), meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.size()));
        });
        found
    }

    /// Every file, as a path from the root.
    fn files(&self) -> BTreeSet<String> {
        let paths = self.snapshot().into_keys().map(|path| format!("/{}", path.display()));
        paths.filter(|path| self.path(path).is_file()).collect()
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        visit(&entry.path());
        if entry.path().is_dir() {
            walk(&entry.path(), visit);
        }
    }
}

#[test]
fn a_second_installation_changes_nothing_and_a_new_program_only_itself() {
    let root = Root::new("/usr/local");
    root.install(&[]).expect(0);
    for path in [
        "/usr/local/bin/landlord",
        "/usr/local/bin/landlord-worker",
        "/usr/local/lib/systemd/system/landlord.service",
        "/usr/local/lib/systemd/system/landlord@.service",
        "/usr/local/lib/sysusers.d/landlord.conf",
        "/usr/local/share/man/man1/landlord.1",
        "/usr/local/share/man/man1/landlord-status.1",
        "/usr/local/share/man/man1/landlord-worker.1",
        "/usr/local/share/man/man5/landlord.toml.5",
        "/usr/local/share/man/man5/landlord-tenant.5",
        "/usr/local/share/bash-completion/completions/landlord",
        "/usr/local/share/zsh/site-functions/_landlord",
        "/usr/local/share/fish/vendor_completions.d/landlord.fish",
        "/etc/landlord/landlord.toml",
    ] {
        assert!(root.path(path).is_file(), "{path} is missing: {:#?}", root.files());
    }
    assert!(root.path("/etc/landlord/tenants.d").is_dir());
    assert!(!root.files().iter().any(|file| file.ends_with(".new")), "{:?}", root.files());

    let before = root.snapshot();
    let again = root.install(&[]).expect(0);
    assert!(again.said().contains("nothing has changed"), "{}", again.said());
    assert_eq!(root.snapshot(), before);

    // An operator's word, and a new version.
    fs::write(root.path("/etc/landlord/landlord.toml"), "zone = \"apps.test\"\n").expect("settings are written");
    let program = root.programs.path().join("landlord");
    let mut bytes = fs::read(&program).expect("a program");
    bytes.push(0);
    fs::write(&program, bytes).expect("a new version");
    let before = root.snapshot();
    root.install(&[]).expect(0);
    let after = root.snapshot();
    let is_file = |path: &&PathBuf| root.dir.path().join(path).is_file();
    let changed: Vec<_> =
        after.iter().filter(|(path, it)| before.get(*path) != Some(it)).map(|(path, _)| path).collect();
    let changed: Vec<_> = changed.into_iter().filter(is_file).collect();
    assert_eq!(changed, [Path::new("usr/local/bin/landlord")]);
    assert_ne!(after[changed[0]].0, before[changed[0]].0, "a program that runs keeps its file");
    assert_eq!(root.read("/etc/landlord/landlord.toml"), "zone = \"apps.test\"\n");
}

#[test]
fn what_is_removed_is_what_was_installed() {
    let root = Root::new("/opt/landlord");
    root.install(&[]).expect(0);
    // An older version brought more.
    let (old, manifest) = ("/opt/landlord/share/man/man1/landlord-old.1", "/opt/landlord/share/landlord/installed");
    fs::write(root.path(old), "").expect("a page");
    let listed = root.read(manifest);
    fs::write(root.path(manifest), format!("{old}\n{listed}")).expect("a manifest");
    root.install(&[]).expect(0);
    assert!(!root.path(old).exists(), "a newer version takes away what it does not have");
    assert_eq!(root.read(manifest), listed);

    fs::create_dir_all(root.path("/var/lib/landlord/tenants/acme")).expect("a tenant's folder");
    fs::write(root.path("/var/lib/landlord/tenants/acme/.env"), "A=1\n").expect("a secret");
    fs::write(root.path("/etc/landlord/tenants.d/acme.toml"), "").expect("a tenant");
    let removed = root.install(&["--uninstall"]).expect(0);
    for kept in ["/etc/landlord", "/var/lib/landlord"] {
        assert!(removed.said().contains(kept), "{}", removed.said());
    }
    let kept =
        ["/etc/landlord/landlord.toml", "/etc/landlord/tenants.d/acme.toml", "/var/lib/landlord/tenants/acme/.env"];
    assert_eq!(root.files(), kept.map(str::to_owned).into());
    // Once more there is nothing to remove, which is worth a word.
    root.install(&["--uninstall"]).expect(1);
    // Installed again, it finds all as it was.
    root.install(&[]).expect(0);
    assert_eq!(root.read("/var/lib/landlord/tenants/acme/.env"), "A=1\n");
}

#[test]
fn units_and_settings_fit_where_they_are_installed() {
    let root = Root::new("/opt/landlord");
    root.install(&[]).expect(0);
    let unit = root.read("/etc/systemd/system/landlord.service");
    assert!(unit.contains("\nExecStart=/opt/landlord/bin/landlord run\n"), "{unit}");
    for file in root.files().iter().filter(|file| file.contains("/systemd/")) {
        assert!(!root.read(file).contains("/usr/bin/landlord"), "{file}");
    }
    let settings = root.path("/etc/landlord/landlord.toml");
    let mut check = Command::new(root.path("/opt/landlord/bin/landlord"));
    let checked = run(check.args(["check", "--config"]).arg(settings)).expect(0);
    assert!(checked.stdout.contains("OK: 0 tenants"), "{}", checked.said());
}

const BASH_COMPLETION: &str = "/usr/share/bash-completion/completions/landlord";

#[test]
fn the_manual_and_the_completions_can_be_read_by_those_who_read_them() {
    let root = Root::new("/usr");
    root.install(&[]).expect(0);
    let mut pages = 0;
    for file in root.files().iter().filter(|file| file.contains("/man/man")) {
        let ran = run(Command::new("groff").args(["-man", "-Tutf8", "-ww", "-P-cbou"]).arg(root.path(file))).expect(0);
        assert_eq!(ran.stderr, "", "{file}");
        assert!(ran.stdout.contains("\nSEE ALSO\n"), "{file}:\n{}", ran.stdout);
        pages += 1;
    }
    assert!(pages > 10, "{pages} pages");
    let completion = root.path(BASH_COMPLETION);
    let ask = "source \"$1\"; COMP_WORDS=(landlord sta); COMP_CWORD=1; _landlord landlord sta landlord; echo \"${COMPREPLY[*]}\"";
    let ran = run(Command::new("bash").args(["-c", ask, "bash"]).arg(completion)).expect(0);
    let words: BTreeSet<&str> = ran.stdout.split_whitespace().collect();
    assert_eq!(words, BTreeSet::from(["start", "status"]), "{}", ran.said());
    // What landlord itself and systemd say is nobody's to type.
    let every = "source \"$1\"; COMP_WORDS=(landlord ''); COMP_CWORD=1; _landlord landlord '' landlord; echo \"${COMPREPLY[*]}\"";
    let ran = run(Command::new("bash").args(["-c", every, "bash"]).arg(root.path(BASH_COMPLETION))).expect(0);
    let words: BTreeSet<&str> = ran.stdout.split_whitespace().filter(|word| !word.starts_with('-')).collect();
    let verbs = "certs check dns doctor env firewall logs reload restart run start status stop trust upgrade";
    assert_eq!(words, verbs.split(' ').collect(), "{}", ran.said());
    assert!(root.read("/usr/share/zsh/vendor-completions/_landlord").starts_with("#compdef landlord\n"));
}

/// Whoever is not root is told what to do instead, before anything is built.
#[test]
fn without_root_it_says_what_root_is_needed_for() {
    let copy = folder();
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    fs::create_dir(copy.path().join("scripts")).expect("a folder");
    for name in ["install", "common.sh"] {
        let from = binaries::workspace().join("scripts").join(name);
        fs::copy(from, copy.path().join("scripts").join(name)).expect("a script is copied");
    }
    let program = copy.path().join("scripts/install");
    let is_root = nix::unistd::geteuid().is_root();
    let mut command = if is_root { Command::new("setpriv") } else { Command::new(&program) };
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    }
    let ran = run(command.env_remove("DESTDIR").current_dir("/")).expect(1);
    assert!(ran.stderr.contains("sudo scripts/install --binaries"), "{}", ran.said());
    assert_eq!(script("install", &["--nonsense"]).code, 2);
    assert!(script("install", &["--help"]).expect(0).stdout.contains("--uninstall"));
}

#[test]
fn a_package_is_whole_and_the_same_every_time() {
    let (programs, first, second) = (binaries::profile_dir(), folder(), folder());
    let file = package(&programs, "1.2.3~rc.1", first.path());
    let name = file.file_name().expect("a file").to_string_lossy().into_owned();
    assert!(name.starts_with("landlord_1.2.3~rc.1_"), "{name}");
    let again = package(&programs, "1.2.3~rc.1", second.path());
    assert!(
        fs::read(&file).expect("a package") == fs::read(again).expect("a package"),
        "two packages of one thing differ"
    );

    let control = run(Command::new("dpkg-deb").arg("--field").arg(&file)).expect(0).stdout;
    for field in ["Package: landlord\n", "Version: 1.2.3~rc.1\n", "libc6 (>= 2."] {
        assert!(control.contains(field), "{field:?} is not in\n{control}");
    }
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(&file)).expect(0).stdout;
    for path in [
        "./usr/bin/landlord\n",
        "./usr/bin/landlord-worker\n",
        "./usr/lib/systemd/system/landlord.service\n",
        "./usr/lib/systemd/system/landlord@.service\n",
        "./usr/share/doc/landlord/copyright\n",
        "./usr/share/doc/landlord/changelog.Debian.gz\n",
        "./usr/share/man/man1/landlord.1.gz\n",
        "./etc/landlord/tenants.d/\n",
    ] {
        assert!(listed.contains(path), "{path:?} is not in\n{listed}");
    }
    assert!(!listed.contains("share/landlord/installed") && !listed.contains("etc/landlord/landlord.toml"), "{listed}");
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
}

/// On a machine with systemd: started by its unit, left alone by a second installation, stopped by its removal.
#[test]
fn from_the_sources_to_a_running_unit_and_back() {
    let programs = binaries::profile_dir();
    let plan =
        Plan::new(Version::V257).private_network().bind(binaries::workspace(), "/src").bind(&programs, "/programs");
    let machine = plan.boot();
    let install = |more: &str| machine.shell(&format!("/src/scripts/install --binaries /programs {more}")).expect(0);
    let installed = install("");
    assert!(installed.said().contains("systemctl enable --now landlord"), "{}", installed.said());
    machine.shell("systemctl enable --now landlord").expect(0);
    assert_eq!(machine.property("landlord", "Type"), "notify-reload");
    machine.write("/etc/landlord/tenants.d/acme.toml", "");
    let ask = "curl -sS --cacert /var/lib/landlord/certs/local-ca.pem --resolve acme.localhost:443:127.0.0.1 \
               -o /dev/null -w '%{http_code}' https://acme.localhost/healthz";
    eventually("acme is served", || (machine.shell(ask).stdout == "200").then_some(()));
    let pid = machine.property("landlord", "MainPID");
    let again = install("");
    assert!(again.said().contains("nothing has changed"), "{}", again.said());
    assert!(!again.said().contains("upgrading"), "it runs what is installed: {}", again.said());
    assert_eq!(machine.property("landlord", "MainPID"), pid);

    let removed = install("--uninstall");
    assert!(removed.said().contains("/var/lib/landlord"), "{}", removed.said());
    assert_eq!(machine.property("landlord", "LoadState"), "not-found");
    assert_eq!(machine.run(&["pgrep", "--list-full", "landlord"]).code, 1, "nothing of it runs");
    for kept in ["/var/lib/landlord/tenants/acme/instance/app.db", "/etc/landlord/tenants.d/acme.toml"] {
        machine.run(&["test", "-e", kept]).expect(0);
    }
    assert_eq!(machine.shell("find /usr/local /etc/systemd -name '*landlord*'").expect(0).stdout, "");
}

/// What is installed while landlord runs takes over in place: the same process, the same worker.
#[test]
fn a_newer_build_takes_over_in_place() {
    let (programs, newer) = (binaries::profile_dir(), another_build());
    let plan = Plan::new(Version::V257).private_network().file("/etc/landlord/tenants.d/acme.toml", "");
    let plan = plan.bind(binaries::workspace(), "/src").bind(&programs, "/programs").bind(newer.path(), "/newer");
    let machine = plan.boot();
    machine.shell("/src/scripts/install --binaries /programs && systemctl enable --now landlord").expect(0);
    let running = "landlord status --json | grep -Eo '\"(state|pid)\": ?(\"[a-z]*\"|[0-9]+)' | sort";
    let before = eventually("acme runs", || {
        let said = machine.shell(running).stdout;
        (said.contains("running") && said.contains("\"pid\"")).then_some(said)
    });
    let pid = machine.property("landlord", "MainPID");
    let installed = machine.shell("/src/scripts/install --binaries /newer").expect(0);
    assert!(installed.said().contains("upgrading the landlord that runs"), "{}", installed.said());
    assert_eq!(machine.property("landlord", "MainPID"), pid);
    machine.shell(&format!("[ /proc/{pid}/exe -ef /usr/local/bin/landlord ]")).expect(0);
    assert_eq!(machine.shell(running).stdout, before, "the same worker");
}
