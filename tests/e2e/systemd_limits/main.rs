//! Limits with the controllers of a real cgroup v2, in a machine that is emulated: what tenants are divided by there, no other
//! test can see. One boot does everything; see `inside.py`.

use std::collections::BTreeMap;

use harness::{
    binaries,
    hostile::tell,
    machine::{SCRIPTED, Vm, units},
};
use serde_json::{Value, json};

const PYTHON: &str = "/usr/lib/landlord-tests/worker.py";

/// What was seen inside, by name.
struct Facts(BTreeMap<String, Value>, String);

impl Facts {
    fn of(said: String) -> Self {
        let lines = said.lines().filter_map(|line| Some(line.split_once("FACT ")?.1));
        let facts = lines.filter_map(|line| serde_json::from_str::<(String, Value)>(line).ok()).map(|(name, value)| {
            // There are many of these.
            let many = ["step", "neighbour"].contains(&name.as_str());
            (if many { format!("{name} {}", value[0].as_str().unwrap_or_default()) } else { name }, value)
        });
        Self(facts.collect(), said)
    }

    #[track_caller]
    fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| panic!("{name} was not told:\n{}", self.1))
    }

    #[track_caller]
    fn is(&self, name: &str, wanted: Value) {
        assert_eq!(*self.get(name), wanted, "{name}:\n{}", self.1);
    }

    /// Some of these files of a group have these values.
    #[track_caller]
    fn has(&self, name: &str, wanted: &[(&str, &str)]) {
        for (file, value) in wanted {
            assert_eq!(self.get(name)[file], *value, "{name}, {file}:\n{}", self.1);
        }
    }

    #[track_caller]
    fn contains(&self, name: &str, words: &str) {
        let found = self.get(name).to_string();
        assert!(found.contains(words), "{name} is {found}:\n{}", self.1);
    }
}

#[test]
fn hogs_and_bombs_end_in_their_own_group_and_the_neighbour_answers() {
    let facts = Facts::of(machine().run());
    assert!(!facts.0.contains_key("failed"), "{}", facts.1);
    for (name, value) in facts.0.iter().filter(|(name, _)| name.starts_with("step ") || name.starts_with("neighbour "))
    {
        tell(format_args!("{name}: {value}"));
    }
    facts.is("started", json!([0, ""]));
    facts.is("up", json!(true));
    facts.is("divided", json!("cpu io memory pids"));
    facts.is("groups", json!([".", "master", "roles", "t-calm", "t-calm/g1", "t-hog", "t-hog/g2"]));

    // What is written in the tenant's file, and what holds for who has no limit of memory.
    let hog = [("memory.max", "67108864"), ("memory.high", "max"), ("memory.swap.max", "0"), ("pids.max", "20")];
    facts.has("limits", &hog);
    facts.has("limits", &[("cpu.max", "50000 100000"), ("cpu.weight", "100")]);
    let machine = facts.get("machine").as_u64().expect("bytes");
    let most: u64 = facts.get("default")["memory.max"].as_str().expect("bytes").parse().expect("a number");
    assert!(most.abs_diff(machine / 4 * 3) < 4096, "{most} of {machine}");
    facts.has("default", &[("cpu.max", "max 100000"), ("pids.max", "256")]);
    assert_eq!(facts.get("worker")["oom_score_adj"], "300");
    assert_eq!(facts.get("worker")["cgroup"], "0::/system.slice/landlord.service/t-hog/g2");
    let rlimits = facts.get("worker")["limits"].as_str().expect("text");
    let data = rlimits.lines().find(|line| line.starts_with("Max data size")).expect("a line");
    assert!(data.contains("unlimited"), "the group bounds memory, and not each process by itself: {data}");

    facts.is("house", json!(["-500", "1000", "1000"]));

    // A changed file holds at once, for the worker that runs.
    facts.is("changed", json!(true));
    facts.has("changed limits", &[("memory.max", "50331648"), ("cpu.max", "80000 100000")]);
    let same = facts.get("same worker");
    assert_eq!(same[0], same[1], "{}", facts.1);

    facts.contains("oom told", "out of memory: limit 48 MiB");
    facts.contains("oom logged", "out of memory: limit 48 MiB");
    facts.is("back", json!(true));
    facts.contains("child logged", "one of its processes was ended");
    let lives = facts.get("worker lives");
    assert_eq!(lives[0], lives[1], "its child was ended, and not the worker:\n{}", facts.1);

    facts.is("bomb", json!(true));
    facts.contains("bomb logged", "got no more");
    facts.is("most", json!(20));
    for trouble in ["hog", "bomb"] {
        let visits = facts.get(&format!("neighbour {trouble}"));
        assert!(visits[1].as_u64().is_some_and(|answers| answers >= 5), "{visits}:\n{}", facts.1);
        assert_eq!(visits[2], json!([]), "the neighbour's visitors met nothing else:\n{}", facts.1);
    }

    // systemd 257 starts the next master beside the tenants' groups, and these stay as they are.
    facts.is("again", json!(true));
    let after = facts.get("after the crash");
    assert_eq!(after[0], most.to_string(), "{}", facts.1);
    let (before, now) = (after[1].as_u64().expect("bytes"), after[2].as_u64().expect("bytes"));
    assert!(now * 2 > before, "what it held before is counted still: {now} of {before}");
    assert_eq!(after[3], "0::/system.slice/landlord.service/t-calm/g1");
    facts.is("adopted", json!("HTTP/1.1 200 OK"));

    let stopped = facts.get("stopped");
    assert_eq!((&stopped[0], &stopped[2]), (&json!(0), &json!(0)), "nothing of the bomb is left:\n{}", facts.1);
    facts.is("down", json!([0, "", false]));

    // systemd 252 starts it in the unit's own group, where the kernel would refuse it, had the end of the last one not been seen to.
    facts.is("older started", json!([0, ""]));
    facts.is("older up", json!(true));
    facts.is("older again", json!(["cpu io memory pids", most.to_string(), true, "HTTP/1.1 200 OK"]));
    let unit = "0::/system.slice/landlord.service";
    let place = facts.get("older place");
    assert_eq!(place[0], format!("{unit}/main"), "{}", facts.1);
    assert!(place[1].as_str().is_some_and(|path| path.starts_with(&format!("{unit}/t-calm/g"))), "{place}");

    facts.is("closed started", json!([0, ""]));
    facts.is("closed up", json!(true));
    facts.contains("closed logged", "master: Read-only file system");
}

fn machine() -> Vm {
    let toml = format!(
        "zone = \"apps.test\"\napp = \"scripted\"\n[users]\nfirst = 70000\nlast = 79999\n\
         [apps.scripted]\ncommand = [{SCRIPTED:?}]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n\
         [apps.python]\ncommand = [\"/usr/bin/python3\", {PYTHON:?}]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n\
         stop_timeout = \"5s\"\n[defaults.health]\nstart_timeout = \"60s\"\ninterval = \"30s\"\ntimeout = \"20s\"\n"
    );
    let hog = "app = \"python\"\n[limits]\nmemory = \"64M\"\ncpu = 50\nprocesses = 20\n";
    let mut vm = Vm::new(include_str!("inside.py"))
        .program("/usr/bin/landlord", &binaries::program("landlord"))
        .program(SCRIPTED, &binaries::program("scripted"))
        .file(PYTHON, include_str!("worker.py"))
        .file("/etc/landlord/landlord.toml", toml)
        .file("/etc/landlord/tenants.d/hog.toml", hog)
        .file("/etc/landlord/tenants.d/calm.toml", "")
        .file(
            "/etc/systemd/system/landlord.service.d/test.conf",
            "[Service]\nStandardOutput=null\nStandardError=append:/run/landlord.log\n",
        );
    for (name, text) in units() {
        let place = if name == "notify-reload.conf" { "landlord.service.d/" } else { "" };
        vm = vm.file(&format!("/usr/lib/systemd/system/{place}{name}"), text);
    }
    vm
}
