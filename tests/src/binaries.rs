//! Where the built programs are: beside the test's own, so that a debug test never runs a release gateway.

use std::path::{Path, PathBuf};

/// `target/<profile>`, told from where this test itself runs.
pub fn profile_dir() -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let dir = this.parent().expect("a program lies in a folder");
    if dir.ends_with("deps") {
        dir.parent().expect("deps lies in a profile's folder").to_owned()
    } else {
        dir.to_owned()
    }
}

/// The path of one of the workspace's programs.
///
/// # Panics
/// When it has not been built.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let path = profile_dir().join(name);
    assert!(
        path.is_file(),
        "{} is missing: run cargo build --workspace first (with the tests' own profile)",
        path.display()
    );
    path
}

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// The workspace's `target` folder: two up from a profile's folder is not always it, so it is asked by name.
pub fn target() -> PathBuf {
    profile_dir().parent().expect("a profile's folder lies in target").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a file of this one's folder and those below has a test in it.
    fn tested(path: &Path) -> bool {
        match std::fs::read_dir(path) {
            Ok(entries) => entries.flatten().any(|entry| tested(&entry.path())),
            Err(_) => {
                let text = std::fs::read_to_string(path).expect("source");
                ["#[test]", "::test"].iter().any(|mark| text.contains(mark))
            }
        }
    }

    #[test]
    fn programs_that_are_not_built_for_tests_have_none() {
        for path in ["gateway/src/main.rs", "tests/src/bin"] {
            assert!(!tested(&workspace().join(path)), "{path}: nobody runs it, test = false is in Cargo.toml");
        }
        for manifest in ["gateway/Cargo.toml", "tests/Cargo.toml"] {
            let text = std::fs::read_to_string(workspace().join(manifest)).expect("a manifest");
            let programs = text.split("[[").filter_map(|part| part.strip_prefix("bin]]"));
            for program in programs {
                assert!(program.contains("test = false"), "{manifest}: built for tests that it has not:{program}");
            }
        }
        assert!(tested(&workspace().join("tests/src/binaries.rs")), "and this one is seen");
    }
}
