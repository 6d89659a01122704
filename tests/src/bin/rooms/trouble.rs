//! The troubles: a company for each, so that each has the limits that are meant for it.

use std::{fs, path::PathBuf};

use crate::company::{self, UNIT};

/// One way of using up what is everybody's.
pub(crate) struct Trouble {
    /// The company's name, and the worker's word for it.
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    /// For the table.
    pub(crate) what: &'static str,
    /// Of `[limits]`.
    pub(crate) limits: &'static str,
}

/// All of them.
pub(crate) const ALL: [Trouble; 5] = [
    Trouble { name: "eater", path: "/eat", what: "eats memory", limits: "memory = \"64M\"" },
    Trouble { name: "breeder", path: "/breed", what: "fork bomb", limits: "processes = 32" },
    Trouble { name: "scatterer", path: "/scatter", what: "leaves orphans", limits: "processes = 32" },
    Trouble { name: "capped", path: "/burn", what: "burns, 50 % quota", limits: "cpu = 50" },
    Trouble { name: "burner", path: "/burn", what: "burns, no quota", limits: "" },
];

/// What the kernel has counted in a company's group.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) microseconds: u64,
    pub(crate) killed: u64,
    pub(crate) refused: u64,
}

impl Trouble {
    /// Its company's file, with and without limits.
    pub(crate) fn toml(&self, limited: bool) -> String {
        let limits = if limited { self.limits } else { "memory = \"none\"\nprocesses = \"none\"" };
        format!("app = \"trouble\"\n[limits]\n{limits}\n")
    }

    /// Begins it; gives the process group that makes it.
    pub(crate) fn begin(&self) -> Result<i32, String> {
        let said = company::ask(self.name, self.path)?;
        said.parse().map_err(|_| format!("{} says {said:?} to {}", self.name, self.path))
    }

    /// What was counted so far; zeros where it has no group of its own.
    pub(crate) fn counts(&self) -> Counts {
        let number = |file: &str, key: &str| {
            let text = fs::read_to_string(PathBuf::from(format!("{UNIT}/t-{}/{file}", self.name))).unwrap_or_default();
            let find = |line: &str| line.strip_prefix(key)?.trim().parse().ok();
            text.lines().find_map(find).unwrap_or_default()
        };
        Counts {
            microseconds: number("cpu.stat", "usage_usec "),
            killed: number("memory.events", "oom_kill "),
            refused: number("pids.events", "max "),
        }
    }
}
