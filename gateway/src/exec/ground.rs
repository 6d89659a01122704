//! What every worker may read, whatever it is written in: the system's programs and libraries, and what those read of its
//! settings. Nothing in it is a secret, and nothing of it is a company's.

use std::path::{Path, PathBuf};

use crate::sys::landlock::{Access, Grant};

/// Programs, libraries, and what they keep beside them. Those of Nix and Guix lie in stores.
const PROGRAMS: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];

/// Below /etc. Names that end in `*` stand for all that begin so. No folder that has keys in it (`ssl/private`), and nothing
/// that tells of accounts' passwords.
const SETTINGS: &[&str] = &[
    // The loader, and the C library: names, addresses, services, languages, time.
    "ld.so.cache",
    "ld.so.conf*",
    "ld.so.preload",
    "ld-musl-*",
    "nsswitch.conf",
    "resolv.conf",
    "hosts",
    "host.conf",
    "hostname",
    "gai.conf",
    "networks",
    "protocols",
    "services",
    "rpc",
    "passwd",
    "group",
    "shells",
    "localtime",
    "timezone",
    "locale.alias",
    "locale.conf",
    "default/locale",
    "selinux/config",
    "os-release",
    "lsb-release",
    "debian_version",
    "alpine-release",
    "redhat-release",
    "alternatives",
    // Whom to trust, and how to encrypt.
    "ssl/certs",
    "ssl/openssl.cnf",
    "ssl/cert.pem",
    "ssl/ca-bundle.pem",
    "ca-certificates*",
    "pki/ca-trust",
    "pki/java",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "pki/tls/openssl.cnf",
    "crypto-policies",
    "gnutls",
    "gcrypt",
    "krb5.conf*",
    // Languages and their libraries.
    "python*",
    "java*",
    "php*",
    "ruby*",
    "gemrc",
    "npmrc",
    "nodejs",
    "perl",
    "mono",
    "dotnet",
    "erlang",
    "R",
    // Shells, and what programs ask about files, fonts, pictures and databases.
    "profile",
    "profile.d",
    "bash.bashrc",
    "bashrc",
    "inputrc",
    "terminfo",
    "mime.types",
    "magic*",
    "mailcap",
    "fonts",
    "ImageMagick*",
    "papersize",
    "odbcinst.ini",
    "my.cnf*",
    "mysql/my.cnf",
    "mysql/mariadb.cnf",
    "mysql/conf.d",
    "mysql/mariadb.conf.d",
];

/// What runtimes read of the machine: processors, their caches, memory, large pages.
const MACHINE: &[&str] = &["/sys/devices/system", "/sys/kernel/mm/transparent_hugepage", "/sys/kernel/mm/hugepages"];

/// Devices that are nobody's.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// What a group says of its limits, by which Java, Node, Go and .NET size themselves. Not the folder: other tenants' groups
/// have their names in it.
const LIMITS: &[&str] = &[
    "memory.max",
    "memory.high",
    "memory.low",
    "memory.current",
    "memory.swap.max",
    "memory.swap.current",
    "memory.stat",
    "memory.events",
    "cpu.max",
    "cpu.weight",
    "cpu.stat",
    "cpuset.cpus.effective",
    "cpuset.mems.effective",
    "pids.max",
    "pids.current",
    "cgroup.controllers",
];

/// All of it. /proc as a whole, because /proc/self is another folder for each process that the worker starts: what of others is
/// in there and could hurt is for those alone who may trace them, which nobody outside our walls' domain is.
pub(super) fn grants() -> Vec<Grant> {
    let runs = PROGRAMS.iter().map(|path| Grant::new(*path, Access::Run));
    let devices = DEVICES.iter().map(|path| Grant::new(*path, Access::Device));
    let reads = settings().into_iter().chain(MACHINE.iter().map(PathBuf::from)).chain(["/proc".into()]);
    let reads = reads.chain(own_limits()).map(|path| Grant::new(path, Access::Read));
    runs.chain(devices).chain(reads).collect()
}

fn settings() -> Vec<PathBuf> {
    let etc = Path::new("/etc");
    let (patterns, names): (Vec<&str>, Vec<&str>) = SETTINGS.iter().copied().partition(|name| name.ends_with('*'));
    let mut found: Vec<PathBuf> = names.into_iter().map(|name| etc.join(name)).collect();
    for entry in std::fs::read_dir(etc).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let fits = |pattern: &&str| name.as_encoded_bytes().starts_with(pattern.trim_end_matches('*').as_bytes());
        if patterns.iter().any(fits) {
            found.push(entry.path());
        }
    }
    found.extend(resolver());
    found
}

/// The folder of the file that /etc/resolv.conf is a link to: whoever writes that file replaces it, and a rule for the file
/// itself would be for the one before.
fn resolver() -> Option<PathBuf> {
    let real = Path::new("/etc/resolv.conf").canonicalize().ok()?;
    let folder = real.parent()?;
    // Never a folder that has more in it than some manager's own files.
    let own = folder.starts_with("/run") && folder.components().count() > 2;
    own.then(|| folder.to_owned())
}

/// The limits of our control group and of those above it.
fn own_limits() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join(own);
    let groups = group.ancestors().take_while(|above| above.starts_with(root));
    groups.flat_map(|group| LIMITS.iter().map(move |file| group.join(file))).collect()
}
