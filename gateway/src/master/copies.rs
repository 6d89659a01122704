//! The copy of a tenant's data before a migration, and the way back.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    child::Child,
    event::Who,
    lease::{Lease, Starter},
    plan,
};
use crate::{
    model::{GenerationId, Tenant},
    sys::{
        self,
        spawn::{Program, Spawn},
    },
};

/// `$1` is the tenant's data, `$2` its copy; with `$3`, descriptor 6 is the control group that it is to enter first. The five
/// newest copies are kept.
const SNAPSHOT: &str = r#"set -e
if [ -n "$3" ]; then echo 0 >&6; exec 6>&-; fi
test -d "$1" || exit 0
rm -rf -- "$2.part"
cp -aT -- "$1" "$2.part"
rm -rf -- "$2"
mv -T -- "$2.part" "$2"
cd -- "$(dirname -- "$2")"
ls | grep -x 'before-[0-9]*' | sort -t- -k2,2n | head -n -5 | xargs -r rm -rf -- || true"#;

/// The way back. It may have been broken off at any point before: what was half copied then is no part of the data, nor is
/// anything that the tenant put there under that name.
const RESTORE: &str = r#"set -e
if [ -n "$3" ]; then echo 0 >&6; exec 6>&-; fi
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
        let kept = starter.gateway.state.join("backups").join(self.spec.name.as_str());
        sys::files::make_private_dir(&kept, 0o700).map_err(|e| format!("{}: {e}", kept.display()))?;
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
        let instance = plan::folder(gateway, &self.spec).join("instance");
        let snapshot = snapshot_path(&gateway.state, &self.spec, self.generation);
        let entrance = starter.entrance()?;
        let grouped = Path::new(if entrance.is_some() { "grouped" } else { "" });
        let args = [Path::new("-c"), Path::new(script), Path::new("snapshot"), &instance, &snapshot, grouped];
        let mut env = BTreeMap::from(self.marks(starter.house));
        env.insert("PATH".into(), "/usr/bin:/bin".into());
        let child = sys::spawn::spawn(Spawn {
            program: Program::Path("/bin/sh".into()),
            args: args.iter().map(|arg| arg.as_os_str().to_owned()).collect(),
            env: env.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            fds: entrance.into_iter().collect(),
            stdin_null: true,
            stdout: None,
            stderr: None,
            dir: Some(gateway.state.clone()),
            die_with_parent: !sys::unit::is_ours(),
        })
        .map_err(|e| format!("the copy cannot be started: {e}"))?;
        self.task = Some(Child::watch(child, who, 0, None, starter.events.clone()).map_err(|e| e.to_string())?);
        Ok(())
    }
}

fn snapshot_path(state: &Path, spec: &Tenant, generation: GenerationId) -> PathBuf {
    state.join("backups").join(spec.name.as_str()).join(format!("before-{generation}"))
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
            let copy = copies.join(format!("before-{generation}"));
            let args = [Path::new("-c"), Path::new(script), Path::new("snapshot"), &data, &copy];
            assert!(std::process::Command::new("/bin/sh").args(args).status().unwrap().success());
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
