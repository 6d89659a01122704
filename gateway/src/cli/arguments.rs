//! The command line.

mod orders;

use std::{os::fd::RawFd, path::PathBuf};

use clap::{Parser, Subcommand};

pub(super) use self::orders::{CertsOrder, DnsOrder, EnvOrder, UnitOrder};
use super::help;
use crate::model::TenantName;

/// One process, one database and one domain per customer: the one program that hosts them.
#[derive(Debug, Parser)]
#[command(name = "landlord", version, long_about = help::ABOUT, after_long_help = help::AFTER, after_help = help::MORE)]
#[command(max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// Where landlord.toml is [else: /etc/landlord/landlord.toml if there is one, else a laptop's defaults]
    #[arg(long, global = true, value_name = "PATH", env = "LANDLORD_CONFIG", hide_env_values = true)]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the gateway in the foreground, until SIGTERM or Ctrl-C
    #[command(long_about = help::RUN)]
    Run {
        /// The number of a descriptor with the list of those that the program before this one has handed over
        #[arg(long, value_name = "FD", hide = true, value_parser = clap::value_parser!(i32).range(3..))]
        handover: Option<RawFd>,
    },
    /// Whether this program could go on from what the one that runs has written down
    #[command(hide = true)]
    Preflight {
        /// The settings in force, a descriptor
        #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
        settings: RawFd,
    },
    /// Check landlord.toml and every tenant's file; needs no running landlord
    #[command(long_about = help::CHECK)]
    Check {
        /// One JSON object instead of text for people
        #[arg(long)]
        json: bool,
    },
    /// Show what every tenant, or one, is doing
    #[command(long_about = help::STATUS)]
    Status {
        /// One tenant; all if not given
        name: Option<TenantName>,
        /// A JSON array, one object a tenant; with --watch one array a line
        #[arg(long)]
        json: bool,
        /// Go on showing it, after every change
        #[arg(long, short)]
        watch: bool,
    },
    /// Start a tenant that was stopped, and wait until it serves
    #[command(long_about = help::START)]
    Start {
        /// The tenant
        name: TenantName,
    },
    /// Stop a tenant, and remember it; its data is kept
    #[command(long_about = help::STOP)]
    Stop {
        /// The tenant
        name: TenantName,
    },
    /// Replace a tenant's worker without losing a request
    #[command(long_about = help::RESTART)]
    Restart {
        /// The tenant
        name: TenantName,
    },
    /// Read landlord.toml and every tenant's file again, now
    #[command(long_about = help::RELOAD)]
    Reload {
        /// Let go of every tenant whose file is gone, however many they are
        #[arg(long)]
        accept_removals: bool,
    },
    /// Become another version of landlord, without losing a request
    #[command(long_about = help::UPGRADE)]
    Upgrade {
        /// The program to become [else: this one]
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Show what a tenant's worker wrote
    #[command(long_about = help::LOGS)]
    Logs {
        /// The tenant
        #[arg(required_unless_present = "access")]
        name: Option<TenantName>,
        /// The gateway's access log instead; with a name, its lines about that tenant
        #[arg(long)]
        access: bool,
        /// Go on showing what is written, across rotation
        #[arg(long, short)]
        follow: bool,
        /// How many of the last lines to begin with
        #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
        lines: usize,
    },
    /// Show and edit a tenant's secrets, its .env
    #[command(long_about = help::ENV)]
    Env {
        /// The tenant
        name: TenantName,
        #[command(subcommand)]
        order: Option<EnvOrder>,
    },
    /// Show every certificate: until when, and what is missing
    #[command(long_about = help::CERTS, args_conflicts_with_subcommands = true)]
    Certs {
        #[command(subcommand)]
        order: Option<CertsOrder>,
        /// A JSON array, one object a certificate
        #[arg(long)]
        json: bool,
    },
    /// Who can write the zone's challenge records
    #[command(long_about = help::DNS)]
    Dns {
        #[command(subcommand)]
        order: DnsOrder,
    },
    /// Have this machine trust landlord's own authority
    #[command(long_about = help::TRUST)]
    Trust {
        /// Write its root to stdout, PEM
        #[arg(long, conflicts_with_all = ["install", "remove"])]
        print: bool,
        /// Put it where this machine, and browsers of this user, look for authorities
        #[arg(long, conflicts_with = "remove")]
        install: bool,
        /// Take it away from there
        #[arg(long)]
        remove: bool,
    },
    /// Keep tenants from each other's ports
    #[command(long_about = help::FIREWALL)]
    Firewall {
        /// Write the rules to stdout, and change nothing
        #[arg(long, conflicts_with = "remove")]
        print: bool,
        /// Take them away
        #[arg(long)]
        remove: bool,
    },
    /// Tell what this machine gives, what landlord does with it, and how to get the rest
    #[command(long_about = help::DOCTOR)]
    Doctor {
        /// A JSON array instead of text for people
        #[arg(long)]
        json: bool,
    },
    /// Write shell completions and the manual's pages; for installations
    #[command(hide = true)]
    Generate {
        /// Where `completions/` and `man/` are to be
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// What a tenant's systemd unit runs
    #[command(hide = true)]
    Unit {
        #[command(subcommand)]
        order: UnitOrder,
    },
    #[command(flatten)]
    Role(Role),
    /// Ends what is left of the unit; run by systemd when it was stopped
    #[command(hide = true)]
    Sweep,
}

/// What `landlord run` starts by itself.
#[derive(Debug, Subcommand)]
pub(super) enum Role {
    /// The proxy role; started by `landlord run`
    #[command(hide = true)]
    Proxy {
        /// The link to the master, an inherited descriptor
        #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
        link: RawFd,
        /// What it says goes to systemd's journal
        #[arg(long)]
        journal: bool,
        #[command(flatten)]
        identity: Identity,
    },
    /// The log role; started by `landlord run`
    #[command(hide = true)]
    Log {
        /// The link to the master, an inherited descriptor
        #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
        link: RawFd,
        /// What it says, and what workers say, goes to systemd's journal
        #[arg(long)]
        journal: bool,
        #[command(flatten)]
        identity: Identity,
    },
    /// The acme role; started by `landlord run`
    #[command(hide = true)]
    Acme {
        /// The link to the master, an inherited descriptor
        #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
        link: RawFd,
        /// What it says goes to systemd's journal
        #[arg(long)]
        journal: bool,
        #[command(flatten)]
        identity: Identity,
    },
    /// Counts what is in tenants' folders; started by `landlord run`
    #[command(hide = true)]
    Count {
        /// Whose, a descriptor
        #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
        order: RawFd,
        /// The folder of all tenants, a descriptor
        #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
        tenants: RawFd,
        /// Where the figures go, a descriptor
        #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
        out: RawFd,
        #[command(flatten)]
        identity: Identity,
    },
    /// Becomes a tenant's worker; started by `landlord run`
    #[command(hide = true)]
    Exec {
        /// What to become, an inherited descriptor
        #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
        plan: RawFd,
    },
}

/// Whom a role becomes when it was started as root.
#[derive(Debug, clap::Args)]
pub(super) struct Identity {
    /// Become this user
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    /// Become this group
    #[arg(long, requires = "uid")]
    gid: Option<u32>,
}

impl Identity {
    /// Both or nothing.
    pub(super) fn pair(&self) -> Option<(u32, u32)> {
        self.uid.zip(self.gid)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_tenants_name_cannot_leave_its_folder() {
        for bad in ["../x", "-x", "a/b", "", "console", "A"] {
            let error = Arguments::try_parse_from(["landlord", "logs", "--", bad]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn a_certificate_is_told_by_a_name_of_its_own() {
        let renew = |name| Arguments::try_parse_from(["landlord", "certs", "renew", name]);
        let asked = |parsed: Arguments| match parsed.verb {
            Verb::Certs { order: Some(CertsOrder::Renew { name }), .. } => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(asked(renew("*.Apps.example.com").unwrap()), "*.apps.example.com");
        for bad in ["*", "*.*.example.com", "../x", "192.0.2.1", ""] {
            assert_eq!(renew(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
        let check = |directory| Arguments::try_parse_from(["landlord", "certs", "check", "--directory", directory]);
        assert!(check("https://ca.example/dir").is_ok() && check("http://ca.example/dir").is_err());
        assert!(Arguments::try_parse_from(["landlord", "trust", "--print", "--install"]).is_err());
        assert!(Arguments::try_parse_from(["landlord", "certs", "--json", "renew", "a.example"]).is_err());
    }

    #[test]
    fn help_names_every_verb_and_no_role() {
        let help = Arguments::command().render_long_help().to_string();
        let verbs = [
            "run", "check", "status", "start", "stop", "restart", "reload", "upgrade", "logs", "env", "certs", "dns",
            "trust", "firewall", "doctor",
        ];
        for verb in verbs {
            assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{verb} "))), "{verb}\n{help}");
        }
        assert!(!help.contains("role"), "{help}");
        assert_eq!(Arguments::try_parse_from(["landlord", "--help"]).unwrap_err().exit_code(), 0);
        assert_eq!(Arguments::try_parse_from(["landlord"]).unwrap_err().exit_code(), 2);
        assert_eq!(Arguments::try_parse_from(["landlord", "exec", "--plan", "2"]).unwrap_err().exit_code(), 2);
    }
}
