//! What everybody's files and operators say, as the test itself has said it.

use std::{collections::BTreeMap, fmt::Write as _};

use super::House;

/// Which app a tenant runs, by its name in the settings of [`super::setup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// The bundled worker on an inherited socket, with migrations.
    Board,
    /// The bundled worker on a unix socket, with migrations.
    Socket,
    /// The scripted worker on an inherited socket.
    Inherit,
    /// The scripted worker, which binds its port itself.
    Port,
    /// The scripted worker, deployed by `hold`, with a migration.
    Hold,
    /// The scripted worker below a shell: two processes.
    Wrapped,
}

impl App {
    fn name(self) -> &'static str {
        match self {
            Self::Board => "board",
            Self::Socket => "socket",
            Self::Inherit => "inherit",
            Self::Port => "port",
            Self::Hold => "hold",
            Self::Wrapped => "wrapped",
        }
    }

    /// Whether it keeps a notice board.
    pub fn is_bundled(self) -> bool {
        matches!(self, Self::Board | Self::Socket)
    }
}

/// Whether an operator has stopped a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The last word was `start` or `restart`, and it was acknowledged; or there was none.
    No,
    /// The last word was `stop`, and it was acknowledged.
    Yes,
    /// The last word was not acknowledged.
    Unknown,
}

/// What one tenant is to be.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its app.
    pub app: App,
    /// Whether its file is there.
    pub present: bool,
    /// Whether its file says so.
    pub suspended: bool,
    /// Whether its file is wrong.
    pub broken: bool,
    /// Every mark its file has ever had, the newest last.
    pub marks: Vec<String>,
    /// What its `.env` says, if there is one.
    pub secret: Option<String>,
    /// The operator's word.
    pub stopped: Stopped,
}

/// All of them, by name.
pub type Wishes = BTreeMap<String, Wish>;

impl Wish {
    /// A tenant that is to run.
    pub fn new(name: &str, app: App) -> Self {
        Self {
            app,
            present: true,
            suspended: false,
            broken: false,
            marks: vec![format!("{name}-0")],
            secret: None,
            stopped: Stopped::No,
        }
    }

    /// Its present mark.
    pub fn mark(&self) -> &str {
        self.marks.last().map_or("", String::as_str)
    }

    /// Its file.
    pub fn toml(&self) -> String {
        if self.broken {
            return format!("app = \"{}\"\nsuspended = maybe\n", self.app.name());
        }
        let mut text = format!("app = \"{}\"\nsuspended = {}\n", self.app.name(), self.suspended);
        let _ = match self.app.is_bundled() {
            true => write!(text, "[branding]\ncompany_name = \"{}\"\n", self.mark()),
            false => write!(text, "[env]\nMARK = \"{}\"\n", self.mark()),
        };
        text
    }

    /// The states in which it has come to what is wished.
    pub fn states(&self) -> &'static [&'static str] {
        match (self.present, self.suspended, self.stopped) {
            (false, ..) => &[],
            (true, true, Stopped::No) => &["suspended"],
            (true, true, _) => &["suspended", "stopped"],
            (true, false, Stopped::Yes) => &["stopped"],
            (true, false, _) => &["running"],
        }
    }

    /// Why what this tenant's site answers is not what is wished; `None` when it is.
    pub async fn wrong(&self, name: &str, house: &impl House) -> Option<String> {
        let site = house.site(name);
        let (path, whose, mark) = if self.app.is_bundled() {
            ("/api/branding", "tenant", "company_name")
        } else {
            ("/env", "TENANT", "MARK")
        };
        let answer = match site.get(path).await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => return Some(format!("{path}: {}", answer.status)),
            Err(error) => return Some(format!("{path}: {error}")),
        };
        let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if told[whose] != name {
            return Some(format!("another tenant's body: {told}"));
        }
        let marked = told[mark].as_str().unwrap_or_default();
        // Which of its settings were the last good ones is the gateway's to know.
        let right = if self.broken { self.marks.iter().any(|m| m == marked) } else { marked == self.mark() };
        if !right {
            return Some(format!("it is at {marked:?}, not at {:?}", self.mark()));
        }
        let secret = told["SECRET"].as_str().map(str::to_owned);
        if !self.app.is_bundled() && !self.broken && secret != self.secret {
            return Some(format!("its secret is {secret:?}, not {:?}", self.secret));
        }
        None
    }
}
