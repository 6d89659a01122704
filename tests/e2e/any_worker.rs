//! Any worker: the bundled one, and programs that know nothing of landlord. Each with its own folder, `.env` and port.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{Landlord, Setup, binaries, eventually_async};
use serde_json::Value;

/// A program's real path: shims of version managers need a home that a worker does not have.
fn python() -> PathBuf {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().expect("python3");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

/// gunicorn in the tests' own environment.
fn gunicorn() -> PathBuf {
    let path = binaries::target().join("peers/venv/bin/gunicorn");
    assert!(
        path.is_file(),
        "{} is missing: scripts/test installs it (python3 -m venv target/peers/venv && \
         target/peers/venv/bin/pip install gunicorn flask)",
        path.display()
    );
    path
}

fn node() -> PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::split_paths(&path)
        .map(|dir| dir.join("node"))
        .find(|path| path.is_file())
        .expect("node is missing: apt-get install nodejs")
}

/// An app's code, outside of any tenant's folder.
fn code(dir: &Path, file: &str, text: &str) -> PathBuf {
    fs::create_dir_all(dir).expect("a folder for code");
    fs::write(dir.join(file), text).expect("code");
    dir.to_owned()
}

async fn json(landlord: &Landlord, tenant: &str, path: &str) -> Value {
    let answer = landlord.site(tenant).get(path).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Two companies on one app that answers `/env` with its environment: own folders, ports and secrets, a redeploy of
/// one alone, and a whole restart of its worker.
async fn holds_its_contract(landlord: &Landlord) {
    for tenant in ["acme", "beta"] {
        landlord.wait_state(tenant, "running");
        let env = json(landlord, tenant, "/env").await;
        assert_eq!(env["TENANT"], tenant);
        assert_eq!(env["HOST"], "127.0.0.1");
        assert_eq!(env["TENANT_DIR"], landlord.folder(tenant).to_str().expect("a path"));
        assert_eq!(env["SECRET"], format!("{tenant} # not a comment"), "from .env");
        assert_eq!(env["PLAIN"], "env wins", ".env wins over [env]");
        assert_eq!(env["TENANT_URL"], format!("https://{tenant}.apps.test:{}", landlord.https().port()));
        assert_eq!(env["TZ"], "UTC");
        let port = landlord.entry(tenant).port.expect("a port").to_string();
        assert_eq!(env["PORT"], port);
    }
    let (acme, beta) = (landlord.entry("acme"), landlord.entry("beta"));
    assert_ne!(acme.port, beta.port);

    landlord.write_dotenv("acme", "SECRET=changed\nPLAIN=\"env wins\"\n");
    landlord.wait_entry("acme", "redeployed", |e| e.state == "running" && e.generation > acme.generation);
    assert_eq!(json(landlord, "acme", "/env").await["SECRET"], "changed");
    let after = landlord.entry("beta");
    assert_eq!((after.pid, after.generation), (beta.pid, beta.generation), "that tenant only");

    landlord.landlord(&["stop", "acme"]).expect(0);
    assert_eq!(landlord.site("acme").get("/env").await.expect("a page").status, 503);
    landlord.landlord(&["start", "acme"]).expect(0);
    json(landlord, "acme", "/env").await;
}

fn two_companies(setup: Setup, app: &str) -> Setup {
    ["acme", "beta"].into_iter().fold(setup, |setup, tenant| {
        setup
            .tenant(tenant, &format!("app = {app:?}\n[env]\nPLAIN = \"loses\"\n"))
            .dotenv(tenant, &format!("SECRET='{tenant} # not a comment'\nexport PLAIN=\"env wins\"\n"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripted_worker() {
    for listen in ["inherit", "port"] {
        let setup = Setup::new().scripted(&format!("listen = {listen:?}\nhealth = \"/healthz\"\n"));
        let landlord = two_companies(setup, "scripted").start();
        holds_its_contract(&landlord).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gunicorn_with_flask() {
    let home = tempfile::tempdir().expect("a folder");
    // Not site.py: that is a module of Python's own.
    let dir = code(
        home.path(),
        "company_site.py",
        "import os, flask\n\
         app = flask.Flask(__name__)\n\
         @app.get('/healthz')\ndef health(): return 'ok'\n\
         @app.get('/env')\ndef env(): return dict(os.environ)\n",
    );
    let app = format!(
        "[apps.flask]\ncommand = [{:?}, \"--workers\", \"2\", \"--bind\", \"127.0.0.1:${{PORT}}\", \
         \"--chdir\", \"${{APP_DIR}}\", \"company_site:app\"]\nroot = {dir:?}\nhealth = \"/healthz\"\n",
        gunicorn()
    );
    let landlord = two_companies(Setup::new().tables(&app), "flask").start();
    holds_its_contract(&landlord).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_server() {
    let home = tempfile::tempdir().expect("a folder");
    let dir = code(
        home.path(),
        "server.js",
        "const http = require('http');\n\
         const server = http.createServer((request, response) => {\n\
           if (request.url === '/env') { response.setHeader('content-type', 'application/json');\n\
             response.end(JSON.stringify(process.env)); }\n\
           else { response.end('hello'); }\n\
         });\n\
         server.listen(process.env.PORT, process.env.HOST);\n\
         process.on('SIGTERM', () => server.close(() => process.exit(0)));\n",
    );
    let app = format!(
        "[apps.node]\ncommand = [{:?}, \"${{APP_DIR}}/server.js\"]\nroot = {dir:?}\nstop_timeout = \"2s\"\n",
        node()
    );
    let landlord = two_companies(Setup::new().tables(&app), "node").start();
    holds_its_contract(&landlord).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_own_file_server() {
    let app = format!(
        "[apps.files]\ncommand = [{:?}, \"-m\", \"http.server\", \"${{PORT}}\", \"--bind\", \"${{HOST}}\", \
         \"--directory\", \"files\"]\n",
        python()
    );
    let landlord = Setup::new().tables(&app).tenant("acme", "app = \"files\"\n").start();
    landlord.wait_state("acme", "running");
    fs::write(landlord.folder("acme").join("files/hello.txt"), "from acme's folder").expect("written");
    let answer = landlord.site("acme").get("/hello.txt").await.expect("an answer");
    assert_eq!(answer.text(), "from acme's folder");
    assert_eq!(landlord.site("acme").get("/nothing").await.expect("an answer").status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundled_worker() {
    let landlord = Setup::new()
        .default_app("workspace")
        .tenant(
            "acme",
            "company = \"Acme & Sons\"\nenvironment = \"prod\"\nfeatures = [\"notes\"]\n\
             [branding]\nprimary_color = \"#123abc\"\n",
        )
        .tenant("beta", "environment = \"testing\"\n")
        .start();
    for tenant in ["acme", "beta"] {
        landlord.wait_state(tenant, "running");
        assert_eq!(landlord.site(tenant).get("/healthz").await.expect("an answer").status, 200);
    }
    let page = landlord.site("acme").get("/").await.expect("a page");
    assert_eq!(page.status, 200);
    let escaped = ["Acme &amp; Sons", "Acme &#38; Sons"].iter().any(|name| page.text().contains(name));
    assert!(escaped, "{}", page.text());
    let branding = json(&landlord, "acme", "/api/branding").await;
    for value in ["Acme & Sons", "#123abc"] {
        assert!(branding.to_string().contains(value), "{branding}");
    }
    assert!(landlord.folder("acme").join("instance/app.db").is_file());
    assert!(landlord.folder("beta").join("instance/app.db").is_file());
    landlord.landlord(&["restart", "acme"]).expect(0);
    assert_eq!(landlord.site("acme").get("/healthz").await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_common_grammar_of_env_files() {
    let text = "# a comment\n\n\
        BARE=plain words\n\
        export EXPORTED=yes\n\
        SINGLE='a $HOME `id` \\n \"b\"'\n\
        DOUBLE=\"a\\tb \\\"c\\\" $(id)\"\n\
        HASH=a#b\n\
        COMMENT=value # not part of it\n\
        EMPTY=\n\
        SPACED = around\n\
        MULTI=\"first\nsecond\"\n\
        URL=postgres://u:p=w@h/d?x=1\n";
    let landlord = Setup::new().tenant("acme", "").dotenv("acme", text).start();
    landlord.wait_state("acme", "running");
    let env = json(&landlord, "acme", "/env").await;
    for (name, value) in [
        ("BARE", "plain words"),
        ("EXPORTED", "yes"),
        ("SINGLE", "a $HOME `id` \\n \"b\""),
        ("DOUBLE", "a\tb \"c\" $(id)"),
        ("HASH", "a#b"),
        ("COMMENT", "value"),
        ("EMPTY", ""),
        ("SPACED", "around"),
        ("MULTI", "first\nsecond"),
        ("URL", "postgres://u:p=w@h/d?x=1"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_line_is_named_and_the_old_generation_serves() {
    // By `hold` the old worker would be stopped first: the file is read before that.
    for strategy in ["overlap", "hold"] {
        keeps_the_last_good_dotenv(&format!("[deploy]\nstrategy = \"{strategy}\"\n")).await;
    }
}

async fn keeps_the_last_good_dotenv(tenant: &str) {
    let landlord = Setup::new().tenant("acme", tenant).dotenv("acme", "SECRET=good\n").start();
    let before = landlord.wait_state("acme", "running");
    for (text, line) in [
        ("SECRET=new\nthis is no setting\n", ".env:2"),
        ("A=1\nB=2\nSECRET=\"hunter2\n", ".env:3"),
        ("SECRET=new\nPORT=1\n", ".env:2"),
        ("2BAD=1\n", ".env:1"),
    ] {
        landlord.write_dotenv("acme", text);
        let entry = landlord.wait_entry("acme", line, |e| e.reason.contains(line));
        assert_eq!((entry.state.as_str(), entry.pid), ("running", before.pid), "{text:?}");
        assert_eq!(json(&landlord, "acme", "/generation").await["secret"], "good");
        assert!(!entry.reason.contains("hunter2"), "a secret is never shown: {}", entry.reason);
    }
    assert!(landlord.landlord(&["restart", "acme"]).expect(1).said().contains(".env:1"), "a restart would stop it");
    assert_eq!(landlord.entry("acme").pid, before.pid);
    landlord.write_dotenv("acme", "SECRET=mended\n");
    eventually_async("the mended one serves", async || {
        (json(&landlord, "acme", "/generation").await["secret"] == "mended").then_some(())
    })
    .await;
    landlord.wait_entry("acme", "nothing to say any more", |e| e.state == "running" && e.reason.is_empty());
}
