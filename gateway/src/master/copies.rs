//! The copy of a tenant's data before a migration, and the way back.
//!
//! Both are the tenant's own work: root opens nothing of what it is made of. The copies of a tenant are in a folder of its own
//! that lies in one that only root can pass, and is entered before the change of user: of the tenant's processes none but
//! the one that copies can reach it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    event::Who,
    lease::{Lease, Starter},
    plan,
    shim::{GROUP_FD, REPORT_FD},
};
use crate::{
    model::Tenant,
    sys,
    wire::{Estate, Job, Plan},
};

/// `$1` is the tenant's data, `$2` its copy in the working folder. The five newest copies are kept.
const SNAPSHOT: &str = r#"set -e
test -d "$1" || exit 0
rm -rf -- "$2.part"
cp -aT -- "$1" "$2.part"
rm -rf -- "$2"
mv -T -- "$2.part" "$2"
ls | grep -x 'before-[0-9]*' | sort -t- -k2,2n | head -n -5 | xargs -r rm -rf -- || true"#;

/// The way back. It may have been broken off at any point before: what was half copied then is no part of the data, nor is
/// anything that the tenant put there under that name.
const RESTORE: &str = r#"set -e
test -d "$2" || exit 0
rm -rf -- "$1.restored"
cp -aT -- "$2" "$1.restored"
if test -e "$1" && test ! -e "$2.failed"; then mv -T -- "$1" "$2.failed"; fi
if test -e "$1"; then rm -rf -- "$2.again"; mv -T -- "$1" "$2.again"; fi
mv -T -- "$1.restored" "$1"
rm -rf -- "$2.again""#;

impl Lease {
    /// Copies the tenant's `instance/` to where the tenant cannot write, before a migration.
    ///
    /// # Errors
    /// A sentence for a person.
    pub(super) fn snapshot(&mut self, starter: &Starter<'_>) -> Result<(), String> {
        self.copy(SNAPSHOT, Who::Snapshot(self.spec.name.clone(), self.generation), starter)
    }

    /// Puts the snapshot back; what is replaced is kept beside it.
    ///
    /// # Errors
    /// A sentence for a person.
    pub(super) fn restore(&mut self, starter: &Starter<'_>) -> Result<(), String> {
        self.copy(RESTORE, Who::Restore(self.spec.name.clone(), self.generation), starter)
    }

    fn copy(&mut self, script: &str, who: Who, starter: &Starter<'_>) -> Result<(), String> {
        let gateway = starter.gateway;
        let copies = folder(&gateway.state, &self.spec);
        if copies.symlink_metadata().is_err() {
            sys::files::make_private_dir(&copies, 0o700).map_err(|e| format!("{}: {e}", copies.display()))?;
        }
        let instance = plan::folder(gateway, &self.spec).join("instance").to_string_lossy().into_owned();
        let copy = format!("before-{}", self.generation);
        let words = ["/bin/sh", "-c", script, "snapshot", &instance, &copy];
        let mut env = BTreeMap::from(self.marks(starter.house));
        env.insert("PATH".into(), "/usr/bin:/bin".into());
        let plan = Plan {
            argv: words.map(str::to_owned).into(),
            dir: copies,
            rooms: Vec::new(),
            env,
            extra: BTreeMap::new(),
            dotenv: None,
            listen_fds: false,
            job: Job::Exec,
            identity: self.identity.or(starter.shared),
            estate: Estate { closed: true, ..self.estate(gateway) },
            group: starter.group.is_some().then_some(GROUP_FD),
            limits: starter.limits,
            sandbox: None,
            report: REPORT_FD,
            die_with_parent: !sys::unit::is_ours(),
            path: String::new(),
        };
        self.task = Some(self.spawn(&plan, None, who, 0, starter)?);
        Ok(())
    }
}

/// The folder of a tenant's copies.
pub(super) fn folder(state: &Path, spec: &Tenant) -> PathBuf {
    state.join("backups").join(spec.name.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_copy_comes_back_whole_even_after_a_try_that_was_broken_off() {
        let temp = tempfile::tempdir().unwrap();
        let (data, copies) = (temp.path().join("instance"), temp.path().join("backups"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&copies).unwrap();
        let run = |script: &str, generation: u32| {
            let copy = format!("before-{generation}");
            let args = [Path::new("-c"), Path::new(script), Path::new("snapshot"), &data, Path::new(&copy)];
            let mut shell = std::process::Command::new("/bin/sh");
            assert!(shell.args(args).current_dir(&copies).status().unwrap().success());
        };
        for generation in 7..13 {
            fs::write(data.join("app.db"), generation.to_string()).unwrap();
            run(SNAPSHOT, generation);
        }
        assert!(!copies.join("before-7").exists() && copies.join("before-8").exists(), "five are kept");

        fs::write(data.join("app.db"), "half migrated").unwrap();
        fs::create_dir(temp.path().join("instance.restored")).unwrap();
        fs::write(temp.path().join("instance.restored/torn"), "").unwrap();
        run(RESTORE, 12);
        let names = |path: &Path| fs::read_dir(path).unwrap().map(|at| at.unwrap().file_name()).collect::<Vec<_>>();
        assert_eq!(
            (names(&data), fs::read_to_string(data.join("app.db")).unwrap()),
            (vec!["app.db".into()], "12".into())
        );
        assert_eq!(fs::read_to_string(copies.join("before-12.failed/app.db")).unwrap(), "half migrated");

        // Broken off between its two renames.
        fs::remove_dir_all(&data).unwrap();
        run(RESTORE, 12);
        assert_eq!(fs::read_to_string(data.join("app.db")).unwrap(), "12");

        // Done, and nobody knows.
        run(RESTORE, 12);
        assert_eq!(fs::read_to_string(data.join("app.db")).unwrap(), "12");
        assert_eq!(fs::read_to_string(copies.join("before-12.failed/app.db")).unwrap(), "half migrated");
    }
}
