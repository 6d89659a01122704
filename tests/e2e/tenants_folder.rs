//! A file is a company: dropping, editing, renaming and removing files, right ones and wrong ones.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
};

use harness::{Entry, Landlord, Setup};
use serde_json::Value;

async fn mark(landlord: &Landlord, tenant: &str) -> String {
    let answer = landlord.site(tenant).get("/generation").await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json::<Value>()["mark"].as_str().unwrap_or_default().to_owned()
}

fn marked(mark: &str) -> String {
    format!("company = \"Acme\"\n[env]\nMARK = {mark:?}\n")
}

/// Waits until everything that was done to the folder so far has been acted on: a company dropped later is let in.
fn settle(landlord: &Landlord, name: &str) {
    landlord.drop_tenant(name, "suspended = true\n");
    landlord.wait_state(name, "suspended");
}

fn same_worker(one: &Entry, other: &Entry) -> bool {
    (one.pid, one.generation, one.restarts) == (other.pid, other.generation, other.restarts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_company_comes_changes_moves_and_goes() {
    let landlord = Setup::new().tenant("beta", "").start();
    let beta = landlord.wait_state("beta", "running");

    landlord.drop_tenant("acme", marked("1"));
    let first = landlord.wait_state("acme", "running");
    assert_eq!(first.hosts, ["acme.apps.test"]);
    assert_eq!(first.url, format!("https://acme.apps.test:{}", landlord.https().port()));
    assert_eq!(mark(&landlord, "acme").await, "1");

    landlord.drop_tenant("acme", marked("2"));
    landlord.wait_entry("acme", "a new generation", |e| e.state == "running" && e.generation > first.generation);
    assert_eq!(mark(&landlord, "acme").await, "2");

    fs::write(landlord.folder("acme").join("files/kept.txt"), "kept").expect("a file of the tenant's");
    fs::rename(landlord.tenant_file("acme"), landlord.tenant_file("apex")).expect("renamed");
    landlord.wait_state("apex", "running");
    landlord.wait_gone("acme");
    assert_eq!(mark(&landlord, "apex").await, "2");
    assert!(landlord.site("acme").get("/").await.is_err(), "nobody is there any more: the handshake fails");

    landlord.remove_tenant("apex");
    landlord.wait_gone("apex");
    assert_eq!(fs::read_to_string(landlord.folder("acme").join("files/kept.txt")).expect("data is kept"), "kept");
    assert!(landlord.folder("apex").is_dir(), "data is kept");
    assert!(same_worker(&beta, &landlord.entry("beta")), "nobody else is touched");

    landlord.drop_tenant("acme", marked("3"));
    landlord.wait_state("acme", "running");
    assert_eq!(mark(&landlord, "acme").await, "3", "a company that comes back finds its folder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_editors_way_of_saving_is_one_step() {
    let landlord = Setup::new().tenant("acme", &marked("1")).start();
    let mut before = landlord.wait_state("acme", "running");
    let file = landlord.tenant_file("acme");
    let dir = landlord.tenants();

    let mut step = 1;
    let mut saved = async |how: &str, save: &dyn Fn(&str)| {
        step += 1;
        let text = marked(&step.to_string());
        save(&text);
        let after = landlord.wait_entry("acme", how, |e| e.state == "running" && e.generation > before.generation);
        assert_eq!(after.generation, before.generation.map(|number| number + 1), "one step: {how}");
        assert_eq!(mark(&landlord, "acme").await, step.to_string(), "{how}");
        assert_eq!(after.reason, "", "{how}");
        before = after;
    };

    saved("truncate and write", &|text| landlord.overwrite_tenant("acme", text)).await;
    saved("truncate and write in pieces", &|text| {
        let mut file = fs::File::create(&file).expect("truncated");
        for piece in text.as_bytes().chunks(7) {
            file.write_all(piece).expect("written");
        }
    })
    .await;
    saved("write beside and rename over", &|text| landlord.drop_tenant("acme", text)).await;
    saved("vim: a probe, a backup, a swap file", &|text| {
        fs::write(dir.join("4913"), "").expect("written");
        fs::remove_file(dir.join("4913")).expect("removed");
        fs::write(dir.join(".acme.toml.swp"), b"b0VIM 9.0\0\0junk").expect("written");
        fs::rename(&file, dir.join("acme.toml~")).expect("renamed");
        fs::write(&file, text).expect("written");
        fs::remove_file(dir.join("acme.toml~")).expect("removed");
        fs::remove_file(dir.join(".acme.toml.swp")).expect("removed");
    })
    .await;
    saved("emacs: a lock, an autosave, a backup", &|text| {
        symlink("me@here.1234:5678", dir.join(".#acme.toml")).expect("linked");
        fs::write(dir.join("#acme.toml#"), "compan").expect("written");
        fs::copy(&file, dir.join("acme.toml~")).expect("copied");
        fs::write(&file, text).expect("written");
        fs::remove_file(dir.join("#acme.toml#")).expect("removed");
        fs::remove_file(dir.join(".#acme.toml")).expect("removed");
    })
    .await;
    saved("remove and write anew", &|text| {
        fs::remove_file(&file).expect("removed");
        fs::write(&file, text).expect("written");
    })
    .await;

    // What editors leave lying about is nobody, and the same content again is no step.
    fs::write(dir.join("acme.toml.bak"), "junk").expect("written");
    fs::write(dir.join("acme.toml.orig"), "junk").expect("written");
    fs::write(dir.join(".hidden.toml"), "junk").expect("written");
    landlord.overwrite_tenant("acme", marked(&step.to_string()));
    settle(&landlord, "zz");
    assert!(same_worker(&before, &landlord.entry("acme")));
    let names: Vec<String> = landlord.status().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["acme", "zz"]);
}

/// Puts something wrong in the place of a company's file.
type Spoil<'a> = Box<dyn Fn() + 'a>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_file_is_named_and_hurts_nobody() {
    let landlord = Setup::new()
        .tenant("acme", &marked("good"))
        .tenant("beta", "domains = [\"portal.beta.example\"]\n[env]\nMARK = \"beta\"\n")
        .start();
    let (acme, beta) = (landlord.wait_state("acme", "running"), landlord.wait_state("beta", "running"));
    let file = landlord.tenant_file("acme");
    let landlord = &landlord;
    let write = |text: &'static str| -> Spoil<'_> { Box::new(move || landlord.drop_tenant("acme", text)) };
    let remove = || fs::remove_file(&file).expect("removed");

    // What it is, how it is made, and the words that its reason must have.
    let mut wrongs: Vec<(&str, Spoil<'_>, Vec<&str>)> = vec![
        ("unknown key", write("compny = \"Acme\"\n"), vec!["acme.toml:1:1", "compny", "company"]),
        ("unknown key in a table", write("\n[health]\nintervall = \"1s\"\n"), vec!["acme.toml:3:1", "interval"]),
        ("wrong type", write("max_users = \"many\"\n"), vec!["acme.toml:1:13"]),
        ("bad duration", write("[health]\ninterval = \"soon\"\n"), vec!["acme.toml:2:12", "soon"]),
        ("no such app", write("app = \"scriptd\"\n"), vec!["acme.toml:1", "scriptd", "scripted"]),
        ("bad host", write("domains = [\"bad_host.example\"]\n"), vec!["acme.toml:1", "bad_host.example"]),
        ("address as host", write("domains = [\"127.0.0.1\"]\n"), vec!["acme.toml:1", "127.0.0.1"]),
        (
            "another's host",
            write("domains = [\"portal.beta.example\"]\n"),
            vec!["acme.toml", "portal.beta.example", "beta"],
        ),
        ("another's name in the zone", write("domains = [\"beta.apps.test\"]\n"), vec!["acme.toml", "beta.apps.test"]),
        ("broken TOML", write("company = \"Acme\nx = 1\n"), vec!["acme.toml:1:"]),
        ("twice the same key", write("company = \"a\"\ncompany = \"b\"\n"), vec!["acme.toml:2:1", "duplicate"]),
        ("a contract's name in [env]", write("[env]\nPORT = \"1\"\n"), vec!["acme.toml:2", "PORT"]),
        (
            "two megabytes",
            Box::new(|| landlord.drop_tenant("acme", format!("# {}\n", "x".repeat(2 << 20)))),
            vec!["acme.toml", "64 KiB"],
        ),
        ("binary junk", Box::new(|| landlord.drop_tenant("acme", [0xff, 0, 0x1b, b'[', 0x80])), vec!["acme.toml"]),
        (
            "a symlink",
            Box::new(|| {
                let elsewhere = landlord.dir().join("elsewhere.toml");
                fs::write(&elsewhere, marked("evil")).expect("written");
                remove();
                symlink(elsewhere, &file).expect("linked");
            }),
            vec!["acme.toml", "symlink"],
        ),
        (
            "a folder",
            Box::new(|| {
                remove();
                fs::create_dir(&file).expect("made");
            }),
            vec!["acme.toml", "folder"],
        ),
        (
            "a FIFO",
            Box::new(|| {
                remove();
                nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("made");
            }),
            vec!["acme.toml", "FIFO"],
        ),
    ];
    if !nix::unistd::geteuid().is_root() {
        wrongs.push((
            "unreadable",
            Box::new(|| fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).expect("changed")),
            vec!["acme.toml"],
        ));
    }

    for (what, spoil, words) in wrongs {
        spoil();
        let entry = landlord.wait_entry("acme", what, |e| !e.reason.is_empty());
        for word in &words {
            assert!(entry.reason.contains(word), "{what}: {word:?} is not in {:?}", entry.reason);
        }
        assert_eq!(entry.state, "running", "{what}: the last good settings stay in force");
        assert!(same_worker(&acme, &entry), "{what}: {entry:?}");
        assert_eq!(mark(landlord, "acme").await, "good", "{what}");
        let shown = landlord.landlord(&["status"]);
        assert!(shown.said().contains(words[0]), "{what}: in landlord status too: {}", shown.said());

        if file.is_dir() {
            fs::remove_dir(&file).expect("removed");
        }
        landlord.drop_tenant("acme", marked("good"));
        landlord.wait_entry("acme", &format!("mended after: {what}"), |e| e.reason.is_empty());
        assert!(same_worker(&acme, &landlord.entry("acme")), "{what}: mending with the same content is no step");
        assert!(same_worker(&beta, &landlord.entry("beta")), "{what}: nobody else is touched");
    }
    assert_eq!(mark(landlord, "beta").await, "beta");
}

#[test]
fn a_wrong_file_of_somebody_new_is_shown_until_it_is_mended() {
    let landlord = Setup::new().tenant("beta", "").start();
    let beta = landlord.wait_state("beta", "running");

    for name in ["Bad_Name", "-dash", "a.b", "console"] {
        landlord.drop_tenant(name, "");
        let entry = landlord.wait_state(name, "rejected");
        assert!(entry.reason.contains(&format!("{name}.toml")), "{}", entry.reason);
        landlord.remove_tenant(name);
        landlord.wait_gone(name);
    }
    landlord.drop_tenant("newco", "suspended = \"perhaps\"\n");
    let entry = landlord.wait_state("newco", "rejected");
    assert!(entry.reason.contains("newco.toml:1:13"), "{}", entry.reason);
    // The one line and a caret, for people.
    let shown = landlord.landlord(&["status"]).said();
    assert!(shown.contains("suspended = \"perhaps\""), "the line itself: {shown}");

    landlord.drop_tenant("newco", "");
    landlord.wait_state("newco", "running");
    assert!(same_worker(&beta, &landlord.entry("beta")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_hosts_changed_means_no_restart() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    landlord.drop_tenant("acme", "domains = [\"portal.acme.example\", \"www.acme.example\"]\n");
    let after = landlord.wait_entry("acme", "three hosts", |e| e.hosts.len() == 3);
    assert!(same_worker(&before, &after));
    let portal = landlord.site_at("portal.acme.example");
    let answer = portal.get("/id/portal").await.expect("a certificate for the custom domain too");
    assert_eq!(answer.text(), "portal");

    landlord.drop_tenant("acme", "");
    landlord.wait_entry("acme", "one host again", |e| e.hosts.len() == 1);
    assert!(portal.get("/").await.is_err(), "the handshake fails");
    assert!(same_worker(&before, &landlord.entry("acme")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_company_keeps_its_data_and_shows_a_page() {
    let landlord = Setup::new().tenant("acme", "company = \"Acme Corp\"\n").start();
    landlord.wait_state("acme", "running");
    fs::write(landlord.folder("acme").join("files/kept.txt"), "kept").expect("written");

    landlord.drop_tenant("acme", "company = \"Acme Corp\"\nsuspended = true\n");
    let entry =
        landlord.wait_entry("acme", "suspended, without a worker", |e| e.state == "suspended" && e.pid.is_none());
    assert_eq!(entry.url, format!("https://acme.apps.test:{}", landlord.https().port()));
    let page = landlord.site("acme").get("/").await.expect("a page");
    assert_eq!(page.status, 503);
    assert!(page.text().contains("Acme Corp"), "{}", page.text());

    landlord.drop_tenant("acme", "company = \"Acme Corp\"\n");
    landlord.wait_state("acme", "running");
    assert_eq!(landlord.site("acme").get("/").await.expect("a page").status, 200);
    assert_eq!(fs::read_to_string(landlord.folder("acme").join("files/kept.txt")).expect("kept"), "kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_vanishes_removes_nobody() {
    let landlord = Setup::new().tenant("acme", "").tenant("beta", "").start();
    let (acme, beta) = (landlord.wait_state("acme", "running"), landlord.wait_state("beta", "running"));
    let away = landlord.dir().join("unmounted");
    fs::rename(landlord.tenants(), &away).expect("the folder is gone");

    // A reload reads it at once: no need to wait for the event.
    let reload = landlord.landlord(&["reload"]);
    assert!(reload.said().contains("tenants.d"), "it is said: {}", reload.said());
    assert!(same_worker(&acme, &landlord.entry("acme")));
    assert!(same_worker(&beta, &landlord.entry("beta")));
    assert_eq!(landlord.site("acme").get("/").await.expect("an answer").status, 200);
    assert!(landlord.landlord(&["status"]).said().contains("tenants.d"), "and shown");

    fs::rename(&away, landlord.tenants()).expect("the folder is back");
    landlord.drop_tenant("gamma", "");
    landlord.wait_state("gamma", "running");
    assert!(same_worker(&acme, &landlord.entry("acme")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_folder_waits_for_a_word() {
    let names = ["a1", "a2", "a3", "a4", "a5", "a6"];
    let landlord = names.iter().fold(Setup::new(), |setup, name| setup.tenant(name, "")).start();
    let before: Vec<Entry> = names.iter().map(|name| landlord.wait_state(name, "running")).collect();

    for name in &names[..5] {
        landlord.remove_tenant(name);
    }
    settle(&landlord, "zz");
    for (name, entry) in names.iter().zip(&before) {
        assert!(same_worker(entry, &landlord.entry(name)), "{name} is still served");
    }
    let shown = landlord.landlord(&["status"]).said();
    assert!(shown.contains("--accept-removals"), "what to do: {shown}");
    assert_eq!(landlord.site("a1").get("/").await.expect("an answer").status, 200);

    landlord.landlord(&["reload", "--accept-removals"]).expect(0);
    for name in &names[..5] {
        landlord.wait_gone(name);
        assert!(landlord.folder(name).is_dir(), "data is kept");
    }
    assert!(same_worker(&before[5], &landlord.entry("a6")));
    assert!(!landlord.landlord(&["status"]).said().contains("--accept-removals"));
}

#[test]
fn a_folder_that_was_emptied_while_landlord_was_down_waits_for_a_word_too() {
    let names = ["a1", "a2", "a3", "a4", "a5"];
    let mut landlord = names.iter().fold(Setup::new(), |setup, name| setup.tenant(name, "")).start();
    names.iter().for_each(|name| drop(landlord.wait_state(name, "running")));
    landlord.stop();
    names[..4].iter().for_each(|name| landlord.remove_tenant(name));
    landlord.start_again();
    names.iter().for_each(|name| drop(landlord.wait_state(name, "running")));
    assert!(landlord.landlord(&["status"]).said().contains("--accept-removals"));

    landlord.landlord(&["reload", "--accept-removals"]).expect(0);
    names[..4].iter().for_each(|name| landlord.wait_gone(name));
    landlord.stop();
    landlord.start_again();
    landlord.wait_state("a5", "running");
    assert_eq!(landlord.status().len(), 1, "the word was remembered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_file_takes_its_domain_along_at_once() {
    // The name that leaves comes after the other, and is slow to leave: it still has a place in the house.
    let text = "domains = [\"portal.example\"]\n[env]\nIGNORE_TERM = \"1\"\n";
    let landlord = Setup::new().tenant("zulu", text).start();
    landlord.wait_state("zulu", "running");
    fs::rename(landlord.tenant_file("zulu"), landlord.tenant_file("acme")).expect("renamed");
    landlord.wait_state("acme", "running");
    assert_eq!(landlord.entry("zulu").state, "removed");
    assert_eq!(landlord.site_at("portal.example").get("/id/x").await.expect("an answer").text(), "x");
    for verb in ["start", "restart", "stop"] {
        assert!(landlord.landlord(&[verb, "zulu"]).expect(1).said().contains("file is gone"), "{verb}");
    }
    landlord.wait_gone("zulu");
}

#[test]
fn a_landlord_toml_that_was_away_for_a_moment_is_read_again() {
    let landlord = Setup::new().scripted("version = \"v1\"\nlisten = \"inherit\"\n").tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let away = landlord.dir().join("away");
    fs::rename(landlord.config(), &away).expect("renamed");
    harness::eventually("it is missed", || {
        landlord.landlord(&["status"]).said().contains("landlord.toml").then_some(())
    });
    let text = fs::read_to_string(&away).expect("read");
    fs::write(landlord.config(), text.replace("\"v1\"", "\"v2\"")).expect("written");
    landlord.wait_entry("acme", "the new version", |e| e.state == "running" && e.generation > before.generation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_rewrites_end_in_the_last_one() {
    let landlord = Setup::new().tenant("acme", &marked("0")).start();
    landlord.wait_state("acme", "running");
    for number in 1..=200 {
        landlord.drop_tenant("acme", marked(&number.to_string()));
    }
    settle(&landlord, "zz");
    harness::eventually_async("the last one is served", async || {
        (mark(&landlord, "acme").await == "200").then_some(())
    })
    .await;
}
