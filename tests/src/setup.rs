//! What a test wants of its gateway before it starts: `landlord.toml`, tenants that are there already, the environment.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{Landlord, binaries, ports::Ports};

/// A gateway to be. [`Setup::start`] makes it.
///
/// Its zone is `apps.test`, its default app is the scripted worker (`[apps.scripted]`, on an inherited socket).
#[derive(Clone, Debug)]
pub struct Setup {
    app: String,
    keys: String,
    tables: String,
    scripted: String,
    sandbox: String,
    tenants: Vec<(String, String)>,
    env: Vec<(String, String)>,
    dotenvs: Vec<(String, String)>,
    descriptors: Option<u32>,
    default_users: bool,
    network_rights: bool,
    ports: Option<Arc<Ports>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// Defaults only, and nobody let in yet.
    pub fn new() -> Self {
        Self {
            app: "scripted".into(),
            keys: String::new(),
            tables: String::new(),
            scripted: "listen = \"inherit\"\nhealth = \"/healthz\"\n".into(),
            // What a test watches lies in its own folder, and shells start its programs; everything else of the walls stands.
            sandbox: format!("read = [{:?}]\nwrite = [\".\"]\n", programs()),
            tenants: Vec::new(),
            env: Vec::new(),
            dotenvs: Vec::new(),
            descriptors: None,
            default_users: false,
            network_rights: false,
            ports: None,
        }
    }

    /// The app of a tenant that names none.
    pub fn default_app(mut self, name: &str) -> Self {
        self.app = name.into();
        self
    }

    /// More top-level keys.
    pub fn keys(mut self, toml: &str) -> Self {
        self.keys.push_str(toml);
        self.keys.push('\n');
        self
    }

    /// More tables.
    pub fn tables(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self.tables.push('\n');
        self
    }

    /// All keys of `[apps.scripted]` but its command.
    pub fn scripted(mut self, toml: &str) -> Self {
        self.scripted = toml.into();
        self
    }

    /// All keys of `[defaults.sandbox]`: without any, workers are in their own folder and nowhere else. Unless said otherwise
    /// they may write in all of the test's folder.
    pub fn sandbox(mut self, toml: &str) -> Self {
        self.sandbox = toml.into();
        self
    }

    /// A tenant that is there from the start.
    pub fn tenant(mut self, name: &str, toml: &str) -> Self {
        self.tenants.push((name.into(), toml.into()));
        self
    }

    /// A tenant's `.env` that is there from the start.
    pub fn dotenv(mut self, name: &str, text: &str) -> Self {
        self.dotenvs.push((name.into(), text.into()));
        self
    }

    /// A variable of the gateway's own environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// As root, a user for each tenant, as where landlord.toml says nothing of it. Else `users = "none"` is written, unless
    /// the test writes of users itself: whoever is to own a folder must be able to reach it.
    pub fn default_users(mut self) -> Self {
        self.default_users = true;
        self
    }

    /// So many descriptors for each of the gateway's processes, and no more.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// The gateway may change the rules of its network, which must be one of the test's own ([`crate::network::alone`]).
    /// Others may not, so that the machine's is never touched.
    #[track_caller]
    pub fn network_rights(mut self) -> Self {
        assert!(crate::network::is_own(), "the machine's own network is nobody's to change");
        self.network_rights = true;
        self
    }

    /// Ports that were taken before, because somebody else must know them already.
    pub fn ports(mut self, ports: &Arc<Ports>) -> Self {
        self.ports = Some(Arc::clone(ports));
        self
    }

    /// Starts the gateway in a folder of its own and waits until it answers its operator and its visitors.
    #[track_caller]
    pub fn start(self) -> Landlord {
        Landlord::start_with(&self)
    }

    /// Makes the folder but starts nothing: for verbs that need no gateway, and for starts that fail.
    #[track_caller]
    pub fn prepare(self) -> Landlord {
        Landlord::prepare(&self)
    }

    pub(crate) fn initial_tenants(&self) -> &[(String, String)] {
        &self.tenants
    }

    pub(crate) fn initial_dotenvs(&self) -> &[(String, String)] {
        &self.dotenvs
    }

    pub(crate) fn take_ports(&self) -> Arc<Ports> {
        self.ports.clone().unwrap_or_else(|| Arc::new(Ports::take()))
    }

    pub(crate) fn descriptor_limit(&self) -> Option<u32> {
        self.descriptors
    }

    pub(crate) fn has_network_rights(&self) -> bool {
        self.network_rights
    }

    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.env
    }

    pub(crate) fn toml(&self, ports: &Ports) -> String {
        let mut text = String::new();
        let says = |toml: &str| toml.lines().any(|line| line.starts_with("[users]") || line.starts_with("users ="));
        if !self.default_users && !says(&self.keys) && !says(&self.tables) {
            text.push_str("users = \"none\"\n");
        }
        let workers = ports.workers();
        write!(
            text,
            "zone = \"apps.test\"\ntenants = \"tenants.d\"\nstate = \"state\"\napp = {:?}\n{}\n\
             [listen]\nhttps = [\"127.0.0.1:{}\"]\nhttp = [\"127.0.0.1:{}\"]\n\n\
             [ports]\nfirst = {}\nlast = {}\n\n\
             [defaults.sandbox]\n{}\n\n\
             [apps.scripted]\n{}\n{}\n",
            self.app,
            self.keys,
            ports.https(),
            ports.http(),
            workers.start(),
            workers.end(),
            self.sandbox,
            with_command(&binaries::program("scripted"), &self.scripted),
            self.tables,
        )
        .expect("writing to a text cannot fail");
        text
    }
}

/// The folder of the tests' own programs.
fn programs() -> PathBuf {
    binaries::program("scripted").parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A command may be given by the test itself, to change it later.
fn with_command(program: &Path, keys: &str) -> String {
    if keys.contains("command") { keys.to_owned() } else { format!("command = [{program:?}]\n{keys}") }
}
