//! argv to a verb, and how each kind of failure leaves the process.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::{
    serve,
    settings::{self, Settings},
    store::{self, StoreError},
};

/// sysexits' EX_CONFIG: nothing will change until a person changes something.
const EX_CONFIG: u8 = 78;

/// A small site for one company: its name, its colour, and a notice board.
///
/// Under landlord it serves on the socket that it is given. Alone, without any setting, it serves
/// http://127.0.0.1:8000 and keeps its data in instance/app.db below the current folder.
#[derive(Parser)]
#[command(name = "landlord-worker", version, after_help = ENVIRONMENT, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Copy, Subcommand)]
enum Verb {
    /// Serve the site until SIGTERM or SIGINT (the default)
    Serve,
    /// Bring the database's schema up to date, and leave
    Migrate,
}

const ENVIRONMENT: &str = "\
Environment:
  HOST, PORT      where to listen (127.0.0.1 and 8000); PORT=0 takes any free port
  LISTEN_FDS=1    serve on file descriptor 3 instead, a listening TCP or unix socket; LISTEN_PID must be our pid
  DATABASE_URL    sqlite:PATH, relative to the current folder (sqlite:instance/app.db)
  TENANT          the company's short name; TENANT_DIR its folder (the current one); TENANT_URL its address
  ENVIRONMENT     prod, testing, dev or another word, shown as a badge (dev)
  BRANDING        JSON: company_name, primary_color, logo, gst_number, contact
  FEATURES        a,b,c     MAX_USERS  a number
  LANDLORD=1      run by landlord: serve does not migrate a database that has a schema already
  RUST_LOG        what to log (info)

Exit codes:
  0 done   1 failed   2 wrong usage   78 wrong settings, or a database that needs another version";

/// Runs the verb that argv names.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    match cli.verb.unwrap_or(Verb::Serve) {
        Verb::Serve => run_serve(),
        Verb::Migrate => run_migrate(),
    }
}

fn run_serve() -> ExitCode {
    let settings = match Settings::read(&settings::process_environment) {
        Ok(settings) => settings,
        Err(problems) => return misconfigured(&problems),
    };
    match serve::serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(serve::ServeError::Store(error)) => store_failed(&error),
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_migrate() -> ExitCode {
    let database = match settings::database(&settings::process_environment) {
        Ok(database) => database,
        Err(problem) => return misconfigured(&[problem]),
    };
    match store::migrate(&database) {
        Ok(applied) if applied.is_empty() => {
            info!("{database} is up to date");
            ExitCode::SUCCESS
        }
        Ok(applied) => {
            for migration in applied {
                info!("applied migration {migration}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => store_failed(&error),
    }
}

fn misconfigured(problems: &[settings::Problem]) -> ExitCode {
    for problem in problems {
        error!("{problem}");
    }
    ExitCode::from(EX_CONFIG)
}

fn store_failed(error: &StoreError) -> ExitCode {
    error!("{error}");
    match error {
        StoreError::Behind { .. } | StoreError::Ahead { .. } | StoreError::Foreign { .. } => ExitCode::from(EX_CONFIG),
        _ => ExitCode::FAILURE,
    }
}

/// Lines on stderr, which under landlord is the tenant's log.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        // A reader that went away must not take the site with it: eprintln! would panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
}
