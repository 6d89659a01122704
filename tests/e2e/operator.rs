//! The operator's verbs, as people and scripts use them.

use std::fs;

use harness::{Setup, eventually, process};

/// Verbs that need a running gateway.
const NEED_A_GATEWAY: [&[&str]; 9] = [
    &["status"],
    &["status", "acme"],
    &["start", "acme"],
    &["stop", "acme"],
    &["restart", "acme"],
    &["reload"],
    &["certs"],
    &["certs", "renew", "apps.test"],
    &["certs", "check"],
];

#[test]
fn check_tells_every_error_at_once_and_needs_no_gateway() {
    let landlord = Setup::new().tenant("acme", "").tenant("beta", "company = \"Beta\"\n").prepare();
    let fine = landlord.landlord(&["check"]).expect(0);
    assert!(fine.said().contains('2'), "how many companies: {}", fine.said());

    landlord.drop_tenant("one", "compny = \"x\"\n");
    landlord.drop_tenant("two", "\nmax_users = \"many\"\n");
    landlord.drop_tenant("Three", "");
    landlord.drop_tenant("four", "domains = [\"dup.example\"]\n");
    landlord.drop_tenant("five", "domains = [\"dup.example\"]\n");
    let wrong = landlord.landlord(&["check"]).expect(78);
    for words in ["one.toml:1:1", "company", "two.toml:2:13", "max_users = \"many\"", "Three.toml", "dup.example"] {
        assert!(wrong.said().contains(words), "{words:?} is not in:\n{}", wrong.said());
    }
    assert!(!wrong.said().contains("acme.toml"), "nothing about those that are right");
}

#[test]
fn check_tells_every_error_of_the_gateways_own_file() {
    let landlord = Setup::new().prepare();
    landlord.edit_config("zone = \"apps.test\"", "zone = \"not a host\"\nzones = 1");
    landlord.edit_config("[ports]", "[ports]\nlost = 3");
    let wrong = landlord.landlord(&["check"]).expect(78);
    for words in ["landlord.toml:2:8", "landlord.toml:3:1", "zones", "lost"] {
        assert!(wrong.said().contains(words), "{words:?} is not in:\n{}", wrong.said());
    }
    let run = landlord.landlord(&["run"]).expect(78);
    assert!(run.said().contains("landlord.toml:"), "{}", run.said());
}

#[test]
fn check_tells_what_certificates_lack_and_shows_no_secret() {
    let landlord = Setup::new().prepare();
    let told = |settings: &str| {
        let file = landlord.dir().join("certificates.toml");
        fs::write(&file, format!("zone = \"apps.example.com\"\n{settings}")).expect("a file");
        let ran = landlord.landlord(&["--config", file.to_str().expect("a path"), "check"]);
        (ran.code, ran.said())
    };
    let table = [
        ("tls.provider = \"acme\"", "certificates.toml:2:16: `tls.provider` = \"acme\" needs [dns]"),
        ("[tls]\nprovider = \"files\"", "certificates.toml:3:12: `tls.provider` = \"files\" needs `tls.folder`"),
        ("acme.challenges = [\"dns-01\"]", "`acme.challenges` are for custom domains"),
        ("acme = { staging = true, directory = \"https://ca.example/\" }", "`acme.staging` stands for a directory"),
        ("dns.provider = \"cloudflair\"", "did you mean \"cloudflare\"?"),
        (
            "dns = { provider = \"cloudflare\", token = \"hush\" }",
            "put it alone into a file, and name that in `token_file`",
        ),
        ("defaults.tls.hsts = true", "is \"off\" or a duration"),
    ];
    for (settings, expected) in table {
        let (code, said) = told(settings);
        assert!(code == 78 && said.contains(expected), "{settings}: {code}, {said}");
        assert!(!said.contains("hush"), "{said}");
    }
}

#[test]
fn every_dns_provider_is_listed_and_its_settings_can_be_copied() {
    let landlord = Setup::new().prepare();
    let listed = landlord.landlord(&["dns", "providers", "--json"]).expect(0).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let names: Vec<&str> = listed.as_array().expect("an array").iter().filter_map(|it| it["name"].as_str()).collect();
    for name in ["cloudflare", "exec", "rfc2136", "route53"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let table = landlord.landlord(&["dns", "providers"]).expect(0).stdout;
    assert!(names.iter().all(|name| table.lines().any(|line| line.starts_with(&format!("{name} ")))), "{table}");
    let example = landlord.landlord(&["dns", "providers", "rfc2136"]).expect(0).stdout;
    let file = landlord.dir().join("copied.toml");
    fs::write(&file, format!("zone = \"apps.example.com\"\ntls.provider = \"acme\"\n{example}")).expect("a file");
    landlord.landlord(&["--config", file.to_str().expect("a path"), "check"]).expect(0);
    assert!(landlord.landlord(&["dns", "providers", "nobody"]).expect(1).stderr.contains("no DNS provider nobody"));
}

#[test]
fn there_is_nothing_to_trust_before_an_authority_or_where_it_is_another() {
    let landlord = Setup::new().prepare();
    for flag in [&["trust"][..], &["trust", "--print"], &["trust", "--install"], &["trust", "--remove"]] {
        let ran = landlord.landlord(flag).expect(1);
        assert!(ran.stderr.contains("local-ca-trust.pem") && ran.stdout.is_empty(), "{}", ran.said());
    }
    let file = landlord.dir().join("files.toml");
    fs::write(&file, "zone = \"apps.example.com\"\ntls = { provider = \"files\", folder = \"x\" }\n").expect("a file");
    let ran = landlord.landlord(&["--config", file.to_str().expect("a path"), "trust"]).expect(0);
    assert!(ran.stdout.contains("nothing to trust"), "{}", ran.said());
}

#[test]
fn a_missing_configuration_is_named() {
    let landlord = Setup::new().prepare();
    let missing = landlord.landlord(&["check", "--config", "/nowhere/landlord.toml"]).expect(78);
    assert!(missing.said().contains("/nowhere/landlord.toml"), "{}", missing.said());
}

#[test]
fn without_a_gateway_its_verbs_say_so() {
    let landlord = Setup::new().prepare();
    for verb in NEED_A_GATEWAY {
        let ran = landlord.landlord(verb).expect(69);
        assert!(ran.stderr.contains("not running"), "{verb:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{verb:?}: {}", ran.stdout);
    }
}

#[test]
fn wrong_usage_is_2() {
    let landlord = Setup::new().prepare();
    for verb in [&["frobnicate"][..], &["stop"], &["status", "--frob"], &["start", "a", "b"], &["logs"]] {
        let ran = landlord.landlord(verb).expect(2);
        assert!(!ran.stderr.is_empty(), "{verb:?}");
    }
    let ran = landlord.landlord(&["stop", "../../etc"]).expect(2);
    assert!(ran.stderr.contains("name"), "{}", ran.stderr);
}

#[test]
fn help_is_worth_reading() {
    let landlord = Setup::new().prepare();
    let help = landlord.landlord(&["--help"]).expect(0).stdout;
    for verb in ["run", "check", "status", "start", "stop", "restart", "reload", "logs", "certs", "dns", "trust"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(verb)), "{verb} is not in:\n{help}");
        let own = landlord.landlord(&[verb, "--help"]).expect(0).stdout;
        assert!(own.contains("Usage"), "{verb}: {own}");
    }
    for role in ["proxy", "exec"] {
        assert!(!help.lines().any(|line| line.trim_start().starts_with(role)), "a role is no verb: {help}");
    }
    let version = landlord.landlord(&["--version"]).expect(0).stdout;
    assert!(version.trim().starts_with("landlord "), "{version}");
}

#[test]
fn status_is_a_table_for_people_and_an_array_for_scripts() {
    let landlord = Setup::new()
        .tenant("acme", "company = \"Acme Corp\"\nenvironment = \"prod\"\n")
        .tenant("beta", "suspended = true\n")
        .start();
    let acme = landlord.wait_state("acme", "running");
    landlord.wait_state("beta", "suspended");

    let table = landlord.landlord(&["status"]).expect(0).stdout;
    for (name, state) in [("acme", "running"), ("beta", "suspended")] {
        assert!(table.lines().any(|line| line.contains(name) && line.contains(state)), "{name}:\n{table}");
    }
    assert!(table.contains(&acme.url), "{table}");
    let one = landlord.landlord(&["status", "acme"]).expect(0).stdout;
    assert!(one.contains("acme") && !one.contains("beta"), "{one}");
    assert_eq!(landlord.landlord(&["status", "nobody"]).code, 1);

    let all: serde_json::Value = serde_json::from_str(&landlord.landlord(&["status", "--json"]).stdout).expect("JSON");
    let entry = &all.as_array().expect("an array")[0];
    let mut keys: Vec<&str> = entry.as_object().expect("objects").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "app",
            "domains",
            "environment",
            "generation",
            "hosts",
            "name",
            "pid",
            "port",
            "reason",
            "restarts",
            "since",
            "state",
            "storage",
            "uptime_s",
            "url"
        ]
    );
    assert_eq!(entry["environment"], "prod");
    assert_eq!(entry["app"], "scripted");
    let since = entry["since"].as_str().expect("a time");
    assert!(since.ends_with('Z') && since.contains('T'), "RFC 3339, UTC: {since}");
    let one: serde_json::Value =
        serde_json::from_str(&landlord.landlord(&["status", "beta", "--json"]).stdout).expect("JSON");
    assert_eq!(one.as_array().expect("an array").len(), 1);
    assert_eq!(one[0]["pid"], serde_json::Value::Null);
}

#[test]
fn verbs_end_when_the_thing_is_done() {
    let landlord = Setup::new().tenant("acme", "").start();
    let first = landlord.wait_state("acme", "running");

    landlord.landlord(&["restart", "acme"]).expect(0);
    let second = landlord.entry("acme");
    assert_eq!(second.state, "running");
    assert_ne!(second.pid, first.pid);

    landlord.landlord(&["stop", "acme"]).expect(0);
    assert_eq!(landlord.entry("acme").state, "stopped");
    assert!(!process::alive(second.pid.expect("a pid")));
    landlord.landlord(&["stop", "acme"]).expect(0);

    landlord.landlord(&["start", "acme"]).expect(0);
    assert_eq!(landlord.entry("acme").state, "running");
    landlord.landlord(&["start", "acme"]).expect(0);

    for verb in ["start", "stop", "restart"] {
        let ran = landlord.landlord(&[verb, "nobody"]).expect(1);
        assert!(ran.stderr.contains("nobody"), "{}", ran.stderr);
    }
}

#[test]
fn a_second_stop_waits_for_the_end_as_the_first_one_does() {
    let scripted = "listen = \"inherit\"\nhealth = \"/healthz\"\nstop_timeout = \"2s\"\n";
    let landlord = Setup::new().scripted(scripted).tenant("acme", "[env]\nIGNORE_TERM = \"1\"\n").start();
    let pid = landlord.wait_state("acme", "running").pid.expect("a pid");
    std::thread::scope(|scope| {
        scope.spawn(|| landlord.landlord(&["stop", "acme"]).expect(0));
        landlord.wait_state("acme", "stopped");
        landlord.landlord(&["stop", "acme"]).expect(0);
        assert!(!process::alive(pid), "nothing is left of it");
    });
}

#[test]
fn reload_tells_what_is_wrong_and_changes_nothing_then() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    landlord.edit_config("[ports]", "[prots]");
    let ran = landlord.landlord(&["reload"]);
    assert!(matches!(ran.code, 1 | 78), "{}", ran.said());
    assert!(ran.said().contains("landlord.toml:") && ran.said().contains("prots"), "{}", ran.said());
    let after = landlord.entry("acme");
    assert_eq!((after.pid, after.generation), (before.pid, before.generation));

    landlord.edit_config("[prots]", "[ports]");
    landlord.landlord(&["reload"]).expect(0);
    process::signal(landlord.pid(), nix::sys::signal::Signal::SIGHUP);
    landlord.drop_tenant("beta", "");
    landlord.wait_state("beta", "running");
    assert_eq!(landlord.entry("acme").pid, before.pid, "SIGHUP is a reload");
}

#[test]
fn logs_show_the_end_and_follow() {
    let landlord = Setup::new().tenant("acme", "[env]\nBOAST = \"first\"\n").start();
    landlord.wait_state("acme", "running");
    eventually("both streams are in the log", || {
        let shown = landlord.landlord(&["logs", "acme"]).stdout;
        (shown.contains("out: first") && shown.contains("err: first")).then_some(())
    });
    let last = landlord.landlord(&["logs", "acme", "-n", "1"]).expect(0).stdout;
    assert_eq!(last.lines().count(), 1, "{last}");

    let mut command = landlord.command(&["logs", "acme", "-f", "-n", "0"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut follower = process::spawn(command).expect("it starts");
    let lines = harness::Output::follow(follower.stdout.take().expect("piped"));
    // It may not have begun to follow when the first line is written: deploy until it tells.
    let mut number = 0;
    eventually("a line that was written later", || {
        number += 1;
        landlord.drop_tenant("acme", format!("[env]\nBOAST = \"later {number}\"\n"));
        lines.next_line(0, std::time::Duration::from_secs(3), |line| line.contains("out: later"))
    });
    assert!(!lines.text().contains("first"), "-n 0: {}", lines.text());
    // Not SIGINT: whoever runs the tests in a shell's background has it ignored.
    process::signal(follower.id(), nix::sys::signal::Signal::SIGTERM);
    assert!(process::wait(&mut follower, harness::PATIENCE).is_some());

    assert_eq!(landlord.landlord(&["logs", "nobody"]).code, 1);
}

#[test]
fn the_state_folder_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let mode = |path: std::path::PathBuf| fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(landlord.folder("acme")), 0o700);
    assert_eq!(mode(landlord.state().join("run/control.sock")), 0o600);
    assert_eq!(mode(landlord.folder("acme").join(".env")), 0o600);
    for part in ["instance", "files/uploads", "files/output", "files/logo", "tmp"] {
        assert!(landlord.folder("acme").join(part).is_dir(), "{part}");
    }
    let keys = fs::read_dir(landlord.state().join("certs")).expect("certificates");
    for key in keys.map(|entry| entry.expect("an entry").path()).filter(|path| path.to_string_lossy().contains("key")) {
        assert_eq!(mode(key.clone()) & 0o077, 0, "{}", key.display());
    }
}
