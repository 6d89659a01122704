//! The zone's certificate: `*.zone` and the apex in one, by DNS-01, with every way of writing a record.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use harness::{
    Setup,
    authority::{Authority, Kind},
};

const ZONE: &str = "*.apps.test";

/// A gateway's settings with another `[dns]` table.
fn with_dns(authority: &Authority, from: &str, to: &str) -> Setup {
    let table = authority.dns_table();
    assert!(table.contains(from), "{from:?} is not in {table}");
    authority.setup_with("", &table.replace(from, to))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_certificate_is_for_the_apex_and_all_below_and_outlives_a_restart() {
    let authority = Authority::start();
    let mut landlord = authority.setup().tenant("acme", "").start();
    let first = landlord.wait_certificate(ZONE, "valid");
    assert_eq!(first.names, [ZONE, "apps.test"]);
    assert_eq!((first.source.as_str(), first.tenant), ("acme", None));
    assert!(first.issuer.expect("an issuer").contains("Pebble"));

    // Two values at one name, and none is left behind.
    let written = authority.zone().written();
    assert_eq!(written.len(), 2, "{written:?}");
    assert!(written.iter().all(|record| record.starts_with("_acme-challenge.apps.test ")), "{written:?}");
    assert!(written[0] != written[1], "one for each of the names");
    assert!(authority.zone().challenges().is_empty(), "{:?}", authority.zone().challenges());

    landlord.wait_state("acme", "running");
    assert_eq!(authority.site(&landlord, "acme.apps.test").get("/").await.expect("an answer").status, 200);
    landlord.drop_tenant("beta", "");
    landlord.wait_state("beta", "running");
    assert_eq!(authority.site(&landlord, "beta.apps.test").get("/").await.expect("an answer").status, 200);

    let file = fs::metadata(landlord.certificate_file(ZONE)).expect("its file");
    let folder = fs::metadata(landlord.state().join("acme")).expect("what is remembered");
    assert_eq!(file.permissions().mode() & 0o7777, 0o600);
    assert_eq!(folder.permissions().mode() & 0o7777, 0o700);

    landlord.stop();
    landlord.start_again();
    assert_eq!(landlord.wait_certificate(ZONE, "valid").serial, first.serial);
    landlord.wait_state("beta", "running");
    assert_eq!(authority.site(&landlord, "beta.apps.test").get("/").await.expect("an answer").status, 200);
    assert_eq!((authority.front().orders(ZONE), authority.front().count(Kind::NewAccount)), (1, 1));
}

#[test]
fn a_cname_of_the_challenge_is_followed() {
    let authority = Authority::start();
    authority.zone().set("_acme-challenge.apps.test", "CNAME", &["hook.delegated.test."]);
    let landlord = authority.setup().start();
    landlord.wait_certificate(ZONE, "valid");
    let written = authority.zone().written();
    assert_eq!(written.len(), 2, "{written:?}");
    assert!(written.iter().all(|record| record.starts_with("hook.delegated.test ")), "{written:?}");
    assert!(authority.zone().challenges().is_empty(), "{:?}", authority.zone().challenges());
}

#[test]
fn a_program_of_the_operators_own_writes_the_records() {
    let authority = Authority::start();
    let program = authority.dir().join("records");
    let zone = authority.zone();
    let script = format!(
        "#!/bin/sh\nset -eu\ncase \"$1\" in present) verb=add ;; cleanup) verb=delete ;; *) exit 2 ;; esac\n\
         printf 'server {} {}\\nupdate %s %s 1 TXT \"%s\"\\nsend\\n' \"$verb\" \"$2\" \"$3\" | nsupdate -k {}\n",
        zone.address().ip(),
        zone.address().port(),
        zone.key_conf().display(),
    );
    fs::write(&program, script).expect("a program is written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let dns = format!("[dns]\nprovider = \"exec\"\nprogram = {program:?}\nresolvers = [\"{}\"]\n", zone.address());
    let landlord = authority.setup_with("", &dns).start();
    landlord.wait_certificate(ZONE, "valid");
    assert_eq!(zone.written().len(), 2, "{:?}", zone.written());
    assert!(zone.challenges().is_empty(), "{:?}", zone.challenges());
}

#[test]
fn a_program_that_fails_is_quoted_and_the_authority_is_not_asked_to_look() {
    let authority = Authority::start();
    let program = authority.dir().join("records");
    fs::write(&program, "#!/bin/sh\necho 'the zone is locked' >&2\nexit 3\n").expect("a program is written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let address = authority.zone().address();
    let dns = format!("[dns]\nprovider = \"exec\"\nprogram = {program:?}\nresolvers = [\"{address}\"]\n");
    let landlord = authority.setup_with("", &dns).start();
    let failed = landlord.wait_certificate_for(ZONE, harness::PATIENCE, "an error", |one| one.last_error.is_some());
    let error = failed.last_error.expect("an error");
    assert!(error.contains("the zone is locked"), "{error}");
    assert!(failed.next_try.is_some(), "when it is tried again");
    assert_eq!(authority.front().count(Kind::Challenge), 0, "{}", authority.front().told());
}

#[test]
fn a_wrong_key_is_said_in_a_sentence_and_the_authority_is_not_asked_to_look() {
    let authority = Authority::start();
    let wrong = authority.secret("wrong.key", "d3JvbmcgYnkgb25lIGJ5dGUgb3IgdHdvLCBhbGFzLi4=");
    let key = format!("{:?}", authority.zone().key_file());
    let landlord = with_dns(&authority, &key, &format!("{wrong:?}")).start();
    let failed = landlord.wait_certificate_for(ZONE, harness::PATIENCE, "an error", |one| one.last_error.is_some());
    let error = failed.last_error.expect("an error");
    assert!(error.contains("key_name, key_file, key_algorithm"), "{error}");
    assert!(!error.contains("d3Jvbmc"), "a secret is in {error}");
    assert_eq!(authority.front().count(Kind::Challenge), 0, "{}", authority.front().told());
    assert!(authority.zone().written().is_empty());
    let table = landlord.landlord(&["certs"]).expect(0).stdout;
    assert!(table.contains(ZONE), "{table}");
}

#[test]
fn the_authority_is_not_asked_to_look_before_the_last_server_shows_the_record() {
    let authority = Authority::start();
    let lagging = authority.lagging();
    let both = format!("resolvers = [\"{}\", \"{}\"]", authority.zone().address(), lagging.address());
    let one = format!("resolvers = [\"{}\"]", authority.zone().address());
    let landlord = with_dns(&authority, &one, &both).start();
    harness::eventually("the secondary is asked again and again", || {
        (lagging.asked("_acme-challenge.apps.test", "TXT") >= 4).then_some(())
    });
    assert_eq!(authority.front().count(Kind::Challenge), 0, "{}", authority.front().told());
    // One record after the other, or both at once: whenever one is new, the secondary is told.
    landlord.wait_certificates(harness::PATIENCE, "the certificate", |all| {
        lagging.catch_up();
        all.iter().any(|one| one.state == "valid")
    });
    assert_eq!(authority.pebble().log().lines().iter().filter(|line| line.contains("set INVALID")).count(), 0);
    assert!(authority.zone().challenges().is_empty());
}

#[test]
fn a_record_that_never_shows_is_cleaned_and_the_authority_not_asked_to_look() {
    let authority = Authority::start();
    let lagging = authority.lagging();
    let both = format!("resolvers = [\"{}\", \"{}\"]", authority.zone().address(), lagging.address());
    let one = format!("resolvers = [\"{}\"]", authority.zone().address());
    let table = authority.dns_table().replace(&one, &both);
    let landlord = authority.setup_with("propagation_timeout = \"3s\"\n", &table).start();
    let failed = landlord.wait_certificate_for(ZONE, harness::PATIENCE, "an error", |one| one.last_error.is_some());
    let error = failed.last_error.expect("an error");
    assert!(error.contains(&lagging.address().to_string()), "which server it was: {error}");
    assert_eq!(authority.front().count(Kind::Challenge), 0, "{}", authority.front().told());
    assert!(!authority.zone().written().is_empty());
    harness::eventually("its records are removed", || authority.zone().challenges().is_empty().then_some(()));
}

#[test]
fn dns_that_takes_its_time_is_waited_for() {
    let authority = Authority::start();
    let slow = authority.slow_dns(Duration::from_millis(700));
    let one = format!("resolvers = [\"{}\"]", authority.zone().address());
    let landlord = with_dns(&authority, &one, &format!("resolvers = [\"{}\"]", slow.address())).start();
    landlord.wait_certificate(ZONE, "valid");
    assert!(slow.asked() > 0, "nobody asked it");
    assert_eq!(authority.front().orders(ZONE), 1);
}
