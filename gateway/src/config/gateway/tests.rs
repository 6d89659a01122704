use std::net::SocketAddr;

use super::*;
use crate::model::{Listen, PortRange, UserRange};

/// A house of the zone `apps.example.com`, with `text` in its landlord.toml.
pub(crate) fn house(text: &str) -> Gateway {
    read(&format!("zone = \"apps.example.com\"\n{text}")).unwrap()
}

/// What `text` says as /srv/l.toml, or all that is wrong with it.
pub(crate) fn read(text: &str) -> Result<Gateway, String> {
    let (gateway, wrong) = parse(Some(Path::new("/srv/l.toml")), false, Path::new("/srv"), text.as_bytes());
    let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    if told.is_empty() { Ok(gateway.unwrap()) } else { Err(told.join("\n")) }
}

fn addresses(listed: &[SocketAddr]) -> String {
    listed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_laptop_needs_no_file() {
    let (gateway, wrong) = load_from(None, Path::new("/nowhere/landlord.toml"), Path::new("/home/me"));
    let gateway = gateway.unwrap();
    assert_eq!(wrong, []);
    assert_eq!(gateway.file, None);
    assert_eq!(gateway.zone.as_str(), "localhost");
    assert_eq!(gateway.tenants, Path::new("/home/me/tenants.d"));
    assert_eq!(gateway.state, Path::new("/home/me/.landlord"));
    assert_eq!(gateway.run, Path::new("/home/me/.landlord/run"));
    assert_eq!(addresses(&gateway.listen.https), "127.0.0.1:8443 [::1]:8443");
    assert_eq!(addresses(&gateway.listen.http), "127.0.0.1:8080 [::1]:8080");
    assert_eq!(gateway.ports, PortRange { first: 20_000, last: 29_999 });
    assert_eq!((gateway.users, gateway.users_written), (Some(UserRange { first: 70_000, last: 79_999 }), false));
    let bundled = &gateway.apps[&gateway.app];
    assert_eq!(bundled.command, ["landlord-worker", "serve"]);
    assert_eq!(bundled.migrate.as_deref().unwrap(), ["landlord-worker", "migrate"]);
    assert_eq!((bundled.health.as_deref(), bundled.listen), (Some("/healthz"), Listen::Inherit));
}

#[test]
fn defaults_follow_from_where_the_file_lies_and_from_the_zone() {
    let gateway = house("");
    assert_eq!(gateway.state, Path::new("/srv/.landlord"));
    assert_eq!(gateway.run, Path::new("/srv/.landlord/run"));
    assert_eq!(addresses(&gateway.listen.https), "[::]:443");
    assert_eq!(addresses(&gateway.listen.http), "[::]:80");
    assert_eq!(addresses(&read("").unwrap().listen.https), "127.0.0.1:8443 [::1]:8443");
    let folder = tempfile::tempdir().unwrap();
    let system = folder.path().join("landlord.toml");
    std::fs::write(&system, "zone = \"a.example\"\ntenants = \"../t\"").unwrap();
    for explicit in [None, Some(system.as_path())] {
        let gateway = load_from(explicit, &system, Path::new("/")).0.unwrap();
        assert_eq!(gateway.state, Path::new("/var/lib/landlord"));
        assert_eq!(gateway.run, Path::new("/run/landlord"));
        assert_eq!(gateway.tenants, folder.path().join("../t"));
    }
    let elsewhere = load_from(Some(Path::new("landlord.toml")), Path::new("/etc/x"), folder.path()).0.unwrap();
    assert_eq!(elsewhere.state, folder.path().join(".landlord"));
}

#[test]
fn everything_can_be_set() {
    let gateway = house(
        r#"
        tenants = "/t"
        state = "s"
        run = "/r"
        app = "flask"
        [listen]
        https = ["127.0.0.1:9443", "[::1]:9443"]
        http = []
        [ports]
        first = 30000
        last = 30100
        [users]
        [tls]
        provider = "local"
        [http]
        idle_timeout = "2m"
        header_bytes = "64K"
        streams = 64
        body_rate = 0
        [defaults.limits]
        memory = "512M"
        cpu = "150%"
        body = 1000
        [defaults.health]
        interval = "5s"
        [defaults.deploy]
        strategy = "hold"
        [defaults.sleep]
        after = "1h30m"
        [defaults.backup]
        schedule = "02:00"
        keep = 7
        [logs]
        file_size = "1M"
        files = 2
        [apps.flask]
        command = ["gunicorn", "--bind", "${HOST}:${PORT}", "${APP_DIR}/app:app", "$5 {x}"]
        root = "code"
        version = "7"
        health = { path = "/up", interval = "9s" }
        stop_signal = "SIGINT"
        stop_timeout = "0s"
        env = { DEBUG = false, WORKERS = 2, RATE = 1.5, NAME = "x" }
        deploy = { drain_timeout = "1m" }
        [apps.workspace]
        migrate = []
        version = "2"
        "#,
    );
    assert_eq!((gateway.tenants, gateway.state, gateway.run), ("/t".into(), "/srv/s".into(), "/r".into()));
    assert_eq!(addresses(&gateway.listen.https), "127.0.0.1:9443 [::1]:9443");
    assert_eq!(gateway.listen.http, []);
    assert_eq!(gateway.ports, PortRange { first: 30_000, last: 30_100 });
    assert_eq!((gateway.users, gateway.users_written), (Some(UserRange { first: 70_000, last: 79_999 }), true));
    assert_eq!((gateway.http.idle_timeout.as_secs(), gateway.http.header_bytes), (120, 65_536));
    assert_eq!((gateway.http.streams, gateway.http.body_rate), (64, 0));
    assert_eq!((gateway.limits.memory, gateway.limits.cpu), (Some(512 << 20), Some(150)));
    assert_eq!(gateway.limits.body, Some(1000));
    assert_eq!(gateway.sleep.after.unwrap().as_secs(), 5400);
    assert_eq!((gateway.log_file_bytes, gateway.log_files), (1 << 20, 2));
    let flask = &gateway.apps[&gateway.app];
    assert_eq!(flask.root.as_deref(), Some(Path::new("/srv/code")));
    assert_eq!((flask.listen, flask.stop_signal.as_str()), (Listen::Port, "SIGINT"));
    assert_eq!(flask.health.as_deref(), Some("/up"));
    assert_eq!(flask.health_defaults.as_ref().unwrap().interval.as_secs(), 9);
    assert_eq!(flask.deploy_defaults.as_ref().unwrap().strategy, gateway.deploy.strategy);
    let env: Vec<String> = flask.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(env, ["DEBUG=false", "NAME=x", "RATE=1.5", "WORKERS=2"]);
    let bundled = &gateway.apps[&bundled_name()];
    assert_eq!((bundled.migrate.as_ref(), bundled.version.as_deref()), (None, Some("2")));
    assert_eq!(bundled.command, ["landlord-worker", "serve"]);
}

#[test]
fn what_is_wrong_is_shown() {
    let table = [
        ("zonee = 1", "1:1: unknown key \"zonee\" (did you mean \"zone\"?)"),
        ("zone = \"a_b\"", "1:8: \"a_b\" is not a host name: '_' is not allowed in a name: use a-z, 0-9 and -"),
        ("zone = 5", "1:8: `zone` must be text in quotes, but it is a number"),
        ("state = \"\"", "1:9: `state` is empty: write something or remove it"),
        (
            "app = \"workspaec\"",
            "1:7: there is no app \"workspaec\": add [apps.workspaec], or use one of workspace (did you mean \"workspace\"?)",
        ),
        ("listen = 1", "1:10: `listen` must be a table, but it is a number"),
        ("listen.https = []", "1:16: `listen.https` is empty: name an address"),
        (
            "listen.https = [\":443\"]",
            "1:17: \":443\" is no address: write \"[::]:443\" or \"127.0.0.1:8443\" (did you mean \"[::]:443\"?)",
        ),
        ("listen.https = [443]", "1:17: each of `listen.https` must be text in quotes, but this is a number"),
        ("listen.https = [\"[::]:1\", \"[::]:1\"]", "1:27: [::]:1 is listed twice"),
        ("listen.https = [\"[::]:1\"]\nlisten.http = [\"[::]:1\"]", "2:16: [::]:1 is listed under `https` too"),
        ("ports = { first = 80 }", "1:19: `ports.first` must be a number from 1024 to 65535"),
        ("ports = { first = 3000, last = 2000 }", "1:32: `ports` ends before it begins: 3000 to 2000"),
        (
            "ports = { first = 8000, last = 9000 }",
            "1:32: `ports` has port 8443 in it, on which landlord itself listens",
        ),
        ("users.first = 0", "1:15: `users.first` must be a number from 1000 to 4294967294"),
        ("users.first = 1000", "1:15: `users` has 65534 or 65535 in it, which stand for nobody: begin at 65536"),
        (
            "tls.provider = \"locl\"",
            "1:16: `tls.provider` cannot be \"locl\": it is one of \"local\", \"acme\", \"files\" (did you mean \"local\"?)",
        ),
        ("http.header_bytes = \"2G\"", "1:21: `http.header_bytes` must be at most 1M"),
        ("http.idle_timeout = \"1ms\"", "1:21: `http.idle_timeout` must be at least 1s"),
        (
            "http.idle_timeout = 5",
            "1:21: `http.idle_timeout` must be a duration in quotes, such as \"30s\", but it is a number",
        ),
        (
            "defaults.limits.cpu = \"x\"",
            "1:23: `defaults.limits.cpu` must be percent of one core, such as 50 or \"50%\"",
        ),
        (
            "apps.A.command = [\"x\"]",
            "1:6: \"A\" cannot be an app's name: 'A' is not allowed in a name: use a-z, 0-9 and -",
        ),
        ("[apps.x]", "1:7: the app \"x\" has no command: add command = [\"program\", \"argument\"]"),
        ("apps.x.command = []", "1:18: `apps.x.command` is empty: name a program"),
        ("apps.x.command = [\"\"]", "1:19: the program's name is empty"),
        (
            "apps.x.command = \"a b\"",
            "1:18: `apps.x.command` must be a list of words, for there is no shell: write [\"a\", \"b\"]",
        ),
        (
            "apps.x.command = [\"a\", \"${PROT}\"]",
            "1:24: unknown ${PROT}: a command may use ${PORT} ${HOST} ${TENANT} ${TENANT_DIR} ${APP_DIR} (did you mean \"${PORT}\"?)",
        ),
        ("apps.x.command = [\"${PORT\"]", "1:19: `${` is never closed by `}`"),
        ("apps.x.command = [\"${APP_DIR}/x\"]", "1:19: ${APP_DIR} needs `root`, the folder of the app's code: add it"),
        (
            "apps.x = { command = [\"a\"], listen = \"tcp\" }",
            "1:38: `apps.x.listen` cannot be \"tcp\": it is one of \"inherit\", \"port\", \"unix\"",
        ),
        (
            "apps.x = { command = [\"a\"], health = \"up\" }",
            "1:38: `apps.x.health` must begin with a slash (did you mean \"/up\"?)",
        ),
        (
            "apps.x = { command = [\"a\"], stop_signal = \"TERM\" }",
            "1:43: `apps.x.stop_signal` cannot be \"TERM\": it is one of \"SIGTERM\", \"SIGINT\", \"SIGQUIT\", \"SIGHUP\", \"SIGUSR1\", \"SIGUSR2\", \"SIGWINCH\", \"SIGKILL\" (did you mean \"SIGTERM\"?)",
        ),
        (
            "apps.x = { command = [\"a\"], env = { PORT = 1 } }",
            "1:37: PORT is set by landlord itself: remove this line",
        ),
        ("logs.files = -1", "1:14: `logs.files` must be a number from 0 to 1000"),
        ("a = ", "1:5: this is not TOML: string values must be quoted, expected literal string"),
    ];
    for (text, expected) in table {
        let told = read(text).unwrap_err();
        let first = told.lines().next().unwrap();
        assert_eq!(first.strip_prefix("/srv/l.toml:"), Some(expected), "{text:?}");
    }
    let told = read("zone = 5\nlogs.file = 1\n").unwrap_err();
    assert_eq!(told.matches(" | ").count(), 4, "both errors at once, each with its line and its caret: {told}");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let (gateway, wrong) = load_from(Some(Path::new("l.toml")), Path::new("/etc/x"), Path::new("/nowhere"));
    assert!(gateway.is_none());
    assert_eq!(wrong[0].to_string(), "/nowhere/l.toml: there is no such file");
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        parse(None, false, Path::new("/"), &bytes);
    }

    #[test]
    fn no_values_panic(key in "(zone|app|listen|listen.https|ports.first|users.last|tls.provider|http.streams|apps.x.command|apps.x.health|apps.x.env.A|defaults.limits.cpu|logs.file_size)", value in "(\"[a-z0-9:${}é/%.]{0,9}\"|-?[0-9]{1,25}|1e9|true|\\[\"[A-Z${}]{0,9}\"\\]|\\{\\}|2020-01-01)") {
        parse(None, false, Path::new("/"), format!("{key} = {value}").as_bytes());
    }
}
