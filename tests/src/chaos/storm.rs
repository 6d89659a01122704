//! The storm itself: deeds of editors and operators, and a kill at a random instant after each.

use std::{
    collections::BTreeMap,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use super::{
    Dice, House,
    house::strike,
    wish::{Stopped, Wishes},
};
use crate::{PATIENCE, process};

/// How often each role is struck.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// The master.
    pub master: u32,
    /// A proxy.
    pub proxy: u32,
    /// The log role.
    pub log: u32,
    /// A process of a generation: a worker, its migration, or what is about to become one.
    pub worker: u32,
}

/// What a storm is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Kills in all.
    pub kills: u32,
    /// The longest time before a kill.
    pub pause: Duration,
    /// Who is struck.
    pub weights: Weights,
}

/// Who was struck.
#[derive(Clone, Debug, Default)]
pub struct Struck {
    /// How often each role.
    pub counts: BTreeMap<&'static str, u32>,
    /// The end of each struck proxy: from when it was killed to when nothing of it was left.
    pub proxies: Vec<(Instant, Instant)>,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Edit,
    Break,
    Suspend,
    Remove,
    Dotenv,
    Verb(&'static str),
    Reload,
    Version,
    /// To the program that runs: another proxy.
    Upgrade,
    /// To another file.
    Become,
}

/// A storm on its way over a house.
pub struct Storm<'a, H: House> {
    house: &'a mut H,
    wishes: &'a mut Wishes,
    /// Names that nobody touches.
    spared: &'a [&'a str],
    dice: Dice,
    verbs: BTreeMap<String, (&'static str, Child)>,
    asides: Vec<Child>,
    deeds: u32,
    struck: Struck,
    /// Whose each generation is, and where it listens.
    seen: BTreeMap<u64, Mark>,
}

/// No more than this many files are away at once: more would be held for an accident, as they should.
const AWAY: usize = 2;

impl<'a, H: House> Storm<'a, H> {
    /// A storm over `house`, whose tenants are as `wishes` say.
    pub fn new(house: &'a mut H, wishes: &'a mut Wishes, spared: &'a [&'a str], seed: u64) -> Self {
        let struck = Struck::default();
        let (verbs, asides) = (BTreeMap::new(), Vec::new());
        Self { house, wishes, spared, dice: Dice::new(seed), verbs, asides, deeds: 0, struck, seen: BTreeMap::new() }
    }

    /// Rages to its end; all its deeds are done then, and the wishes say what they have asked for.
    pub fn rage(mut self, plan: &Plan) -> Struck {
        let end = Instant::now() + PATIENCE * 10;
        let mut kills = 0;
        while kills < plan.kills {
            assert!(Instant::now() < end, "after {kills} kills nobody is left to be killed");
            if let Some(said) = self.house.gave_up() {
                panic!("after {kills} kills the master ended by itself:\n{said}");
            }
            self.hear_verbs();
            self.deed();
            std::thread::sleep(self.dice.pause(plan.pause));
            kills += u32::from(self.kill(plan));
        }
        self.calm();
        self.struck
    }

    fn deed(&mut self) {
        let deed = self.dice.weighed(&[
            (30, Deed::Edit),
            (8, Deed::Break),
            (8, Deed::Suspend),
            (6, Deed::Remove),
            (10, Deed::Dotenv),
            (12, Deed::Verb("restart")),
            (8, Deed::Verb("stop")),
            (8, Deed::Verb("start")),
            (6, Deed::Reload),
            (4, Deed::Version),
            (3, Deed::Upgrade),
            (5, Deed::Become),
        ]);
        let names: Vec<String> = self.wishes.keys().filter(|n| !self.spared.contains(&n.as_str())).cloned().collect();
        let name = self.dice.one_of(&names).clone();
        self.deeds += 1;
        match deed {
            Deed::Edit => self.edit(&name, |wish| wish.broken = false),
            Deed::Break => self.edit(&name, |wish| wish.broken = true),
            Deed::Suspend => self.edit(&name, |wish| (wish.broken, wish.suspended) = (false, !wish.suspended)),
            Deed::Remove => self.remove(&name),
            Deed::Dotenv => self.dotenv(&name),
            Deed::Verb(verb) => self.verb(&name, verb),
            Deed::Reload => self.aside(&["reload"]),
            Deed::Upgrade => self.aside(&["upgrade"]),
            Deed::Become => {
                let program = self.dice.one_of(&self.house.programs()).display().to_string();
                self.aside(&["upgrade", "--binary", &program]);
            }
            Deed::Version => self.new_version(),
        }
    }

    fn edit(&mut self, name: &str, change: impl FnOnce(&mut super::Wish)) {
        let wish = self.wishes.get_mut(name).expect("a name that is there");
        let mark = format!("{name}-{}", wish.marks.len());
        wish.present = true;
        change(wish);
        if !wish.broken {
            wish.marks.push(mark);
        }
        let file = self.house.tenants().join(format!("{name}.toml"));
        self.house.write(&file, &wish.toml()).expect("a tenant's file is written");
    }

    fn remove(&mut self, name: &str) {
        let away = self.wishes.values().filter(|wish| !wish.present).count();
        let wish = self.wishes.get_mut(name).expect("a name that is there");
        if wish.present && away < AWAY {
            wish.present = false;
            std::fs::remove_file(self.house.tenants().join(format!("{name}.toml")))
                .expect("a tenant's file is removed");
        }
    }

    fn dotenv(&mut self, name: &str) {
        let secret = format!("{name}-s{}", self.deeds);
        // A tenant that has just been let in may have no folder yet.
        if self.house.write_dotenv(name, &format!("SECRET={secret}\n")).is_ok() {
            self.wishes.get_mut(name).expect("a name that is there").secret = Some(secret);
        }
    }

    /// One operator's word at a time for each tenant, so that the last one is known.
    fn verb(&mut self, name: &str, verb: &'static str) {
        let wish = self.wishes.get_mut(name).expect("a name that is there");
        if self.verbs.contains_key(name) || !wish.present {
            return;
        }
        wish.stopped = Stopped::Unknown;
        let mut command = self.house.command(&[verb, name]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.verbs.insert(name.to_owned(), (verb, process::spawn(command).expect("landlord can be started")));
    }

    fn hear_verbs(&mut self) {
        let ended = self.verbs.iter_mut().filter_map(|(name, (verb, child))| {
            let status = child.try_wait().expect("a child of ours can be waited for")?;
            Some((name.clone(), *verb, status.success()))
        });
        for (name, verb, acknowledged) in ended.collect::<Vec<_>>() {
            self.verbs.remove(&name);
            let wish = self.wishes.get_mut(&name).expect("a name that is there");
            wish.stopped = match (acknowledged, verb) {
                (false, _) => Stopped::Unknown,
                (true, "stop") => Stopped::Yes,
                (true, _) => Stopped::No,
            };
        }
        self.asides.retain_mut(|child| child.try_wait().expect("a child of ours can be waited for").is_none());
    }

    fn aside(&mut self, args: &[&str]) {
        let mut command = self.house.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.asides.push(process::spawn(command).expect("landlord can be started"));
    }

    /// The apps with migrations get a new version: each of their tenants is deployed by `hold`.
    fn new_version(&mut self) {
        let text = std::fs::read_to_string(self.house.config()).expect("landlord.toml");
        let version = text.split_once("version = \"").and_then(|(_, rest)| rest.split('"').next()?.parse::<u32>().ok());
        let version = version.expect("the apps have versions");
        let (from, to) = (format!("version = \"{version}\""), format!("version = \"{}\"", version + 1));
        self.house.write(&self.house.config(), &text.replace(&from, &to)).expect("landlord.toml is written");
    }

    /// Whether somebody was there to be killed.
    fn kill(&mut self, plan: &Plan) -> bool {
        let Weights { master, proxy, log, worker } = plan.weights;
        let role = self.dice.weighed(&[(master, "master"), (proxy, "proxy"), (log, "log"), (worker, "worker")]);
        let Some(pid) = self.master_or(role) else { return false };
        let at = Instant::now();
        if !strike(pid) {
            return false;
        }
        *self.struck.counts.entry(role).or_default() += 1;
        if role == "proxy" {
            // Its connections end when its last thread does.
            crate::eventually("a killed proxy is gone", || process::reaped(pid).then_some(()));
            self.struck.proxies.push((at, Instant::now()));
        }
        if role == "master" {
            self.house.revive();
        }
        true
    }

    fn master_or(&mut self, role: &str) -> Option<u32> {
        let processes = self.house.processes();
        let marked: Vec<_> = processes.iter().filter_map(|pid| Some((*pid, mark(*pid)?))).collect();
        for (_, mark) in &marked {
            let first = self.seen.entry(mark.generation).or_insert_with(|| mark.clone());
            assert_eq!(first, mark, "one generation's number for two");
        }
        let found: Vec<u32> = match role {
            "master" => return self.house.master(),
            "worker" => {
                let spared = |mark: &Mark| self.spared.contains(&mark.tenant.as_str());
                marked.iter().filter(|(_, mark)| !spared(mark)).map(|(pid, _)| *pid).collect()
            }
            verb => processes.into_iter().filter(|pid| does(*pid, verb)).collect(),
        };
        if found.is_empty() { None } else { Some(*self.dice.one_of(&found)) }
    }

    /// The operators' last words are heard out.
    fn calm(&mut self) {
        crate::eventually("the operators' commands end", || {
            self.hear_verbs();
            (self.verbs.is_empty() && self.asides.is_empty()).then_some(())
        });
    }
}

/// Whose a process is, by its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) tenant: String,
    pub(super) generation: u64,
    pub(super) port: Option<String>,
}

/// `None`: it is of no generation.
pub(super) fn mark(pid: u32) -> Option<Mark> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let text = String::from_utf8_lossy(&environ).into_owned();
    let value = |name: &str| text.split('\0').find_map(|entry| entry.strip_prefix(name)).map(str::to_owned);
    let (tenant, generation) = (value("TENANT=")?, value("LANDLORD_GENERATION=")?.parse().ok()?);
    Some(Mark { tenant, generation, port: value("PORT=") })
}

/// Whether a process is `landlord VERB`.
pub(super) fn does(pid: u32, verb: &str) -> bool {
    process::command_line(pid).get(1).is_some_and(|word| word == verb)
}
