//! Where landlord logs to systemd's journal: workers' lines with their tenant, landlord's own with their priority, whatever
//! becomes of journald meanwhile.

use std::collections::BTreeMap;

use harness::{
    eventually,
    machine::{Install, SCRIPTED, Service, Version},
};

/// A worker that also writes whatever is put into the pipe `words` in its folder.
fn parrot() -> String {
    let script = format!("[ -p words ] || mkfifo words; while :; do cat words; done & exec {SCRIPTED}");
    format!("[apps.parrot]\ncommand = [\"sh\", \"-c\", {script:?}]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n")
}

/// landlord as it is installed, whatever its manager believes of its readiness: that is another test's.
fn install(version: Version) -> Install {
    Install::new(version).tables(&parrot()).drop_in("landlord.service", "[Service]\nType=exec\nWatchdogSec=0\n")
}

/// Starts it with acme let in, and waits until acme is running.
#[track_caller]
fn start(install: Install) -> Service {
    let service = install.tenant("acme", "app = \"parrot\"\n").start();
    eventually("it answers its operator", || (service.landlord(&["status"]).code == 0).then_some(()));
    service.wait_state("acme", "running");
    service
}

/// Lets the worker of acme say what `printf` makes of `format`.
#[track_caller]
fn say(service: &Service, format: &str) {
    let pipe = eventually("the worker listens to its pipe", || {
        let found = service.machine().shell("find /var/lib/landlord/tenants/acme -name words").expect(0).stdout;
        (!found.is_empty()).then(|| found.trim().to_owned())
    });
    service.machine().shell(&format!("printf '{format}' >{pipe}")).expect(0);
}

/// Entries of the journal, oldest first, each with its fields as `journalctl -o json` gives them.
#[track_caller]
fn entries(service: &Service, matches: &[&str]) -> Vec<BTreeMap<String, serde_json::Value>> {
    let command = [&["journalctl", "--no-pager", "--all", "--output=json"], matches].concat();
    let text = service.machine().run(&command).stdout;
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// The messages of [`entries`]; journalctl writes one that is no text as an array of its bytes.
#[track_caller]
fn messages(service: &Service, matches: &[&str]) -> Vec<Vec<u8>> {
    let message = |entry: &BTreeMap<String, serde_json::Value>| match &entry["MESSAGE"] {
        serde_json::Value::String(text) => text.clone().into_bytes(),
        serde_json::Value::Array(bytes) => bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect(),
        other => panic!("a message {other:?}"),
    };
    entries(service, matches).iter().map(message).collect()
}

#[track_caller]
fn wait_message(service: &Service, message: &[u8]) {
    let what = format!("{:?} is in the journal", String::from_utf8_lossy(message));
    eventually(&what, || messages(service, &["TENANT=acme"]).iter().any(|it| it == message).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_lines_are_in_the_journal_and_in_their_files() {
    for version in Version::ALL {
        let service = start(install(version));
        say(&service, "hello\\n<3>it is bad\\n\\001\\377 \\000\\nlast\\n");
        wait_message(&service, b"last");
        for expected in [&b"hello"[..], b"it is bad", b"\x01\xff \0"] {
            assert!(
                messages(&service, &["TENANT=acme", "PRIORITY=6"]).iter().any(|it| it == expected)
                    != (expected == b"it is bad")
            );
        }
        assert_eq!(messages(&service, &["TENANT=acme", "--priority=err"]), [b"it is bad"]);
        let told = entries(&service, &["TENANT=acme", "SYSLOG_IDENTIFIER=acme"]);
        assert!(told.iter().all(|entry| entry["_SYSTEMD_UNIT"] == "landlord.service"), "{told:#?}");
        let logs = service.landlord(&["logs", "acme"]).expect(0).stdout;
        assert!(logs.contains("hello") && logs.contains("it is bad") && logs.contains("last"), "{logs}");

        // Visitors are the access log's.
        let answer = service.site("acme").get("/id/a-visitor").await.expect("an answer");
        assert_eq!(answer.text(), "a-visitor");
        eventually("the access log has the visitor", || {
            service.landlord(&["logs", "--access"]).stdout.contains("/id/a-visitor").then_some(())
        });
        let everything = messages(&service, &[]);
        let visited = everything.iter().any(|it| String::from_utf8_lossy(it).contains("a-visitor"));
        assert!(!visited, "no access line is in the journal");
    }
}

#[test]
fn what_landlord_says_has_a_priority_and_the_companys_unit() {
    for version in Version::ALL {
        let service = start(install(version));
        service.drop_tenant("wrong", "app = 7\n");
        let started = ["--unit=landlord@acme.service", "EVENT=start"];
        let started = eventually("the start of the worker is in the journal", || entries(&service, &started).pop());
        assert_eq!((&started["PRIORITY"], &started["SYSLOG_IDENTIFIER"]), (&"6".into(), &"landlord".into()));
        assert_eq!(started["TENANT"], "acme");
        assert_eq!(started["GENERATION"], service.entry("acme").generation.expect("a generation").to_string());
        let message = started["MESSAGE"].as_str().expect("a text");
        assert!(message.starts_with("worker tenant=acme generation="), "{message}");
        let wrong = ["SYSLOG_IDENTIFIER=landlord", "--priority=warning"];
        let wrong = eventually("a wrong file is a warning", || {
            entries(&service, &wrong).into_iter().find(|entry| entry["MESSAGE"].to_string().contains("wrong.toml"))
        });
        assert_eq!(wrong["PRIORITY"], "4");
    }
}

#[test]
fn a_journald_that_restarts_or_is_gone_for_a_while_loses_no_line() {
    for version in Version::ALL {
        let service = start(install(version));
        let before = service.entry("acme");
        say(&service, "before\\n");
        wait_message(&service, b"before");
        service.machine().systemctl(&["restart", "systemd-journald"]).expect(0);
        say(&service, "after a restart\\n");
        wait_message(&service, b"after a restart");

        let mut units = vec!["systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"];
        units.insert(0, "stop");
        service.machine().systemctl(&units).expect(0);
        say(&service, "while nobody reads\\n");
        eventually("the file has it at once", || {
            service.landlord(&["logs", "acme"]).stdout.contains("while nobody reads").then_some(())
        });
        units[0] = "start";
        service.machine().systemctl(&units).expect(0);
        wait_message(&service, b"while nobody reads");
        say(&service, "after the gap\\n");
        wait_message(&service, b"after the gap");
        let after = service.entry("acme");
        assert_eq!((after.pid, after.restarts), (before.pid, before.restarts), "the worker never noticed");
        for line in [&b"before"[..], b"after a restart", b"while nobody reads", b"after the gap"] {
            let times = messages(&service, &["TENANT=acme"]).iter().filter(|it| *it == line).count();
            assert_eq!(times, 1, "{:?}", String::from_utf8_lossy(line));
        }
    }
}

#[test]
fn a_flood_is_cut_to_its_share_and_hides_nobody_elses_words() {
    // 30 MB at once, in lines of 1000 bytes: far more than its share of any time that this takes.
    let script = format!("tr '\\0' x </dev/zero | head -c 30000000 | fold -w 999; echo; exec {SCRIPTED}");
    let app =
        format!("[apps.flood]\ncommand = [\"sh\", \"-c\", {script:?}]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n");
    for version in Version::ALL {
        let service = start(install(version).tables(&app));
        service.drop_tenant("flood", "app = \"flood\"\n");
        service.wait_state("flood", "running");
        say(&service, "me too\\n");
        wait_message(&service, b"me too");
        let told = eventually("each line is in the journal or told of", || {
            let told: Vec<String> = messages(&service, &["TENANT=flood"])
                .into_iter()
                .map(|message| String::from_utf8_lossy(&message).into_owned())
                .collect();
            let number = |line: &String| line.split(' ').nth(1)?.parse::<usize>().ok();
            let sum = |end: &str| told.iter().filter(|it| it.ends_with(end)).filter_map(number).sum::<usize>();
            let kept = 1000 * told.iter().filter(|it| it.len() == 999 && it.bytes().all(|byte| byte == b'x')).count();
            let (dropped, unheard) = (sum(" bytes dropped"), 1000 * sum(" `landlord logs`"));
            // The last line is a short one.
            let all = (30_029_000..=30_031_000).contains(&(kept + dropped + unheard));
            all.then_some((kept, dropped))
        });
        assert!(told.0 >= 900_000 && told.1 >= 10_000_000, "{told:?}");
    }
}
