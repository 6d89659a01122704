//! The environment, read once and checked whole: every wrong variable is told at once.

use std::{
    ffi::OsString,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use crate::branding::Branding;

const DEFAULT_PORT: u16 = 8000;
const DEFAULT_DATABASE: &str = "sqlite:instance/app.db";

/// All that the environment says.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where to listen when no socket is handed over.
    pub(crate) address: SocketAddr,
    /// The company's short name.
    pub(crate) tenant: Option<String>,
    /// The company's folder.
    pub(crate) folder: PathBuf,
    /// What the site is for.
    pub(crate) environment: Environment,
    /// Feature modules that are switched on.
    pub(crate) features: Vec<String>,
    /// Looks.
    pub(crate) branding: Branding,
    /// Where the data is.
    pub(crate) database: DatabaseUrl,
    /// How many people may have an account.
    pub(crate) max_users: Option<u32>,
    /// The site's own address.
    pub(crate) url: Option<String>,
    /// Whether landlord runs us: it decides when to migrate, and stands between us and the clients.
    pub(crate) under_landlord: bool,
}

/// One wrong variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Its name.
    pub(crate) variable: &'static str,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

/// What a site is for, as the badge tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment(String);

/// Where the data is. One variant for each engine that is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseUrl {
    /// A file.
    Sqlite(PathBuf),
}

/// Looks a variable up in the environment of this process.
pub(crate) fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Reads `DATABASE_URL` alone, which is all that a migration needs.
pub(crate) fn database(look_up: &dyn Fn(&str) -> Option<OsString>) -> Result<DatabaseUrl, Problem> {
    let mut reader = Reader { look_up, problems: Vec::new() };
    let database = reader.database();
    reader.problems.pop().map_or(Ok(database), Err)
}

impl Settings {
    /// Reads every variable; all that are wrong are in the error.
    pub(crate) fn read(look_up: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { look_up, problems: Vec::new() };
        let settings = Self {
            address: reader.address(),
            tenant: reader.text("TENANT"),
            folder: reader.text("TENANT_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from),
            environment: reader.environment(),
            features: reader.features(),
            branding: reader.branding(),
            database: reader.database(),
            max_users: reader.number("MAX_USERS", "a whole number; leave it out for no limit"),
            url: reader.url(),
            under_landlord: reader.text("LANDLORD").is_some_and(|text| text != "0"),
        };
        if reader.problems.is_empty() { Ok(settings) } else { Err(reader.problems) }
    }

    /// The name for people.
    pub(crate) fn company(&self) -> &str {
        self.branding.company_name.as_deref().or(self.tenant.as_deref()).unwrap_or("Our company")
    }
}

impl Environment {
    /// The word itself.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The style of its badge.
    pub(crate) fn badge(&self) -> &'static str {
        match self.0.as_str() {
            "prod" | "production" => "red",
            "testing" | "test" => "blue",
            "dev" | "development" => "yellow",
            _ => "grey",
        }
    }

    /// Whether search engines may show the site.
    pub(crate) fn is_public(&self) -> bool {
        self.badge() == "red"
    }
}

impl DatabaseUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err("is no URL: write sqlite:PATH, for instance sqlite:instance/app.db".into());
        };
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.ends_with('/') {
                    return Err("names no file: write sqlite:PATH, for instance sqlite:instance/app.db".into());
                }
                if path.contains(['?', '#', '\0']) || path == ":memory:" {
                    return Err("takes a path and nothing else after sqlite:".into());
                }
                Ok(Self::Sqlite(path.into()))
            }
            // The rest may hold a password: it is never repeated.
            "postgres" | "postgresql" | "mysql" | "mariadb" => {
                Err(format!("{scheme} is not built into this version: use sqlite:PATH"))
            }
            _ => Err(format!("does not know the scheme {:?}: use sqlite:PATH", cut(scheme))),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.variable, self.message)
    }
}

/// Reads variables and gathers what is wrong with them.
struct Reader<'a> {
    look_up: &'a dyn Fn(&str) -> Option<OsString>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, variable: &'static str, message: impl Into<String>) {
        self.problems.push(Problem { variable, message: message.into() });
    }

    /// An empty variable is one that is not set.
    fn text(&mut self, variable: &'static str) -> Option<String> {
        match (self.look_up)(variable)?.into_string() {
            Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Err(_) => {
                self.problem(variable, "is not UTF-8");
                None
            }
        }
    }

    fn number<N: std::str::FromStr>(&mut self, variable: &'static str, wanted: &str) -> Option<N> {
        let text = self.text(variable)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.problem(variable, format!("is {:?}: it must be {wanted}", cut(&text)));
        }
        number
    }

    fn address(&mut self) -> SocketAddr {
        let port = self.number("PORT", "a port number, 0 to 65535").unwrap_or(DEFAULT_PORT);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let host = match self.text("HOST") {
            None => local,
            Some(text) if text == "localhost" => local,
            Some(text) => text.trim_matches(['[', ']']).parse().unwrap_or_else(|_| {
                self.problem("HOST", format!("is {:?}: it must be an address such as 127.0.0.1 or ::1", cut(&text)));
                local
            }),
        };
        SocketAddr::new(host, port)
    }

    fn environment(&mut self) -> Environment {
        let word = self.text("ENVIRONMENT").unwrap_or_else(|| "dev".into());
        if word.chars().count() > 63 || word.chars().any(char::is_control) {
            self.problem("ENVIRONMENT", "must be one short word, such as prod, testing or dev");
        }
        Environment(word)
    }

    fn features(&mut self) -> Vec<String> {
        let list = self.text("FEATURES").unwrap_or_default();
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn branding(&mut self) -> Branding {
        let Some(json) = self.text("BRANDING") else { return Branding::default() };
        Branding::parse(&json).unwrap_or_else(|error| {
            self.problem("BRANDING", error.to_string());
            Branding::default()
        })
    }

    fn database(&mut self) -> DatabaseUrl {
        let text = self.text("DATABASE_URL").unwrap_or_else(|| DEFAULT_DATABASE.into());
        DatabaseUrl::parse(&text).unwrap_or_else(|message| {
            self.problem("DATABASE_URL", message);
            DatabaseUrl::Sqlite(PathBuf::new())
        })
    }

    fn url(&mut self) -> Option<String> {
        let url = self.text("TENANT_URL")?;
        if !(url.starts_with("https://") || url.starts_with("http://")) {
            self.problem("TENANT_URL", format!("is {:?}: it must start with https:// or http://", cut(&url)));
        }
        Some(url)
    }
}

/// A hostile or mistaken value must not fill the log.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Vec<Problem>> {
        Settings::read(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn alone_it_needs_nothing() {
        let settings = read(&[("FEATURES", ""), ("PORT", "")]).unwrap();
        assert_eq!(settings.address.to_string(), "127.0.0.1:8000");
        assert_eq!(settings.database.to_string(), "sqlite:instance/app.db");
        assert_eq!((settings.company(), settings.environment.badge()), ("Our company", "yellow"));
        assert!(settings.features.is_empty() && !settings.under_landlord);
    }

    #[test]
    fn a_full_environment() {
        let settings = read(&[
            ("HOST", "::1"),
            ("PORT", "20017"),
            ("TENANT", "acme"),
            ("ENVIRONMENT", "prod"),
            ("FEATURES", "patients, locations,"),
            ("BRANDING", r##"{"company_name":"Acme Corp","primary_color":"#c00"}"##),
            ("MAX_USERS", "50"),
            ("LANDLORD", "1"),
        ])
        .unwrap();
        assert_eq!(settings.address.to_string(), "[::1]:20017");
        assert_eq!((settings.company(), settings.environment.badge()), ("Acme Corp", "red"));
        assert_eq!(settings.features, ["patients", "locations"]);
        assert_eq!((settings.max_users, settings.under_landlord), (Some(50), true));
    }

    #[test]
    fn every_error_at_once() {
        let problems = read(&[
            ("PORT", "70000"),
            ("HOST", "nowhere"),
            ("BRANDING", "{"),
            ("MAX_USERS", "many"),
            ("DATABASE_URL", "postgres://user:secret@db/app"),
            ("TENANT_URL", "ftp://x"),
        ])
        .unwrap_err();
        let told: Vec<_> = problems.iter().map(|problem| problem.variable).collect();
        assert_eq!(told, ["PORT", "HOST", "BRANDING", "DATABASE_URL", "MAX_USERS", "TENANT_URL"]);
        assert!(problems.iter().all(|problem| !problem.message.contains("secret")), "{problems:?}");
    }

    #[test]
    fn database_urls() {
        let path = |text: &str| DatabaseUrl::parse(text).map(|DatabaseUrl::Sqlite(path)| path);
        assert_eq!(path("sqlite:instance/app.db").unwrap(), PathBuf::from("instance/app.db"));
        assert_eq!(path("sqlite://app.db").unwrap(), PathBuf::from("app.db"));
        assert_eq!(path("sqlite:///srv/app.db").unwrap(), PathBuf::from("/srv/app.db"));
        for bad in ["", "app.db", "sqlite:", "sqlite://", "sqlite:x/", "sqlite::memory:", "sqlite:a?mode=ro", "redis:x"]
        {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }
}
