//! What is spoken in a handshake, as others judge it: testssl.sh, sslyze with Mozilla's *intermediate* profile, OpenSSL.

use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use harness::{Landlord, Setup, binaries};
use serde_json::Value;

/// testssl.sh's own sections, in programs of their own that run at once. All but `-E` (each cipher with each protocol),
/// which finds nothing that `-s` and sslyze do not, and takes longer than everything else.
const SECTIONS: [&[&str]; 3] = [&["-p", "-s", "-f"], &["-S", "-P", "-h"], &["-U"]];

/// What testssl.sh finds because the certificate is a local authority's, which says nowhere how to ask for revocations.
const LOCAL_CA: [&str; 1] = ["cert_revocation"];

/// What it finds in the fields of the worker's own answer: how a page may be framed is for its company to say.
const WORKER: [&str; 1] = ["security_headers"];

/// What it cannot try with this machine's OpenSSL. The other tests here look at renegotiation and at tickets.
const UNTRIED: [&str; 3] = ["engine_problem", "secure_renego", "sessionresumption_ticket"];

fn open() -> Landlord {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    landlord
}

fn bounded(seconds: u32, program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=5").arg(seconds.to_string()).arg(program).stdin(Stdio::null());
    command
}

/// All that testssl.sh finds in one of its sections.
fn testssl(landlord: &Landlord, sections: &[&str]) -> Vec<Value> {
    let json = landlord.dir().join(format!("testssl{}.json", sections.concat()));
    let url = format!("https://{}:{}/", landlord.host("acme"), landlord.https().port());
    let output = bounded(240, Path::new("testssl"))
        .args(["--quiet", "--warnings", "off", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1", "--add-ca"])
        .arg(landlord.ca())
        .arg("--jsonfile")
        .arg(&json)
        .args(sections)
        .arg(&url)
        .current_dir(landlord.dir())
        .output()
        .expect("timeout is in coreutils");
    let said = String::from_utf8_lossy(&output.stdout);
    // Its code is the number of findings, or 127 and more where it could not do its work.
    let code = output.status.code().unwrap_or(-1);
    assert!((0..124).contains(&code), "testssl ended with {code} (apt-get install testssl.sh):\n{said}");
    let text = fs::read_to_string(&json).unwrap_or_else(|error| panic!("{error}:\n{said}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

#[test]
fn testssl_finds_nothing_above_low() {
    let landlord = open();
    let findings: Vec<Value> = std::thread::scope(|scope| {
        let landlord = &landlord;
        let at_work = SECTIONS.map(|sections| scope.spawn(move || testssl(landlord, sections)));
        at_work.into_iter().flat_map(|section| section.join().expect("a section to its end")).collect()
    });
    let of = |id: &str| -> &Value {
        findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("{id} was not looked at"))
    };
    // What was looked at, so that an empty list is no praise.
    for id in ["SSLv2", "SSLv3", "TLS1", "TLS1_1"] {
        assert!(of(id)["finding"].as_str().is_some_and(|finding| finding.contains("not offered")), "{}", of(id));
    }
    for id in [
        "TLS1_2",
        "TLS1_3",
        "ALPN_HTTP2",
        "PFS",
        "cipherlist_STRONG",
        "cipher_order",
        "cert_chain_of_trust",
        "cert_trust",
        "cert_expirationStatus",
        "heartbleed",
        "CCS",
        "ticketbleed",
        "ROBOT",
        "secure_client_renego",
        "CRIME_TLS",
        "BREACH",
        "fallback_SCSV",
        "LUCKY13",
    ] {
        assert_eq!(of(id)["severity"], "OK", "{}", of(id));
    }
    let bad: Vec<&Value> = findings
        .iter()
        .filter(|finding| {
            let (id, severity) = (finding["id"].as_str(), finding["severity"].as_str());
            let (id, severity) = (id.expect("an id"), severity.expect("a severity"));
            // An id may name the certificate it is about: `cert_revocation <cert#1>`.
            let named = |names: &[&str]| names.contains(&id.split_whitespace().next().unwrap_or_default());
            match severity {
                "OK" | "INFO" | "LOW" | "DEBUG" => false,
                "WARN" => !named(&UNTRIED),
                _ => !(named(&LOCAL_CA) || named(&WORKER)),
            }
        })
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// sslyze in the tests' own environment.
fn sslyze() -> PathBuf {
    let path = binaries::target().join("peers/venv/bin/sslyze");
    assert!(
        path.is_file(),
        "{} is missing: scripts/test installs it (target/peers/venv/bin/pip install sslyze)",
        path.display()
    );
    path
}

/// Versions, suites, curves, key, signature and life of the certificate, and known attacks. The profile's own groups end
/// with P-384; sslyze's OpenSSL does not know the hybrid one, which the next test looks at.
#[test]
fn sslyze_finds_mozillas_intermediate_profile() {
    let landlord = open();
    let host = landlord.host("acme");
    let output = bounded(120, &sslyze())
        .args(["--mozilla_config", "intermediate", "--sni", &host, "--certinfo_ca_file"])
        .arg(landlord.ca())
        .arg(format!("{host}:{}{{127.0.0.1}}", landlord.https().port()))
        .output()
        .expect("timeout is in coreutils");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("OK - Compliant."), "{}\n{said}", output.status);
    for line in
        ["Client Renegotiation DoS Attack:   OK", "Secure Renegotiation:              OK", "OK - Compression disabled"]
    {
        assert!(said.contains(line), "{line}:\n{said}");
    }
}

/// All that `openssl s_client` says until the other side closes. It is sent `input`, and no end.
fn s_client(landlord: &Landlord, args: &[&str], input: &str) -> String {
    let address = format!("{}:{}", Ipv4Addr::LOCALHOST, landlord.https().port());
    let mut child = bounded(60, Path::new("openssl"))
        .args(["s_client", "-connect", &address, "-CAfile"])
        .arg(landlord.ca())
        .args(args)
        .current_dir(landlord.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout is in coreutils");
    let mut stdin = child.stdin.take().expect("piped");
    // Who was refused reads no more.
    let _told = stdin.write_all(input.as_bytes());
    let output = child.wait_with_output().expect("a child of ours");
    drop(stdin);
    let code = output.status.code().unwrap_or(-1);
    assert!(!(124..=127).contains(&code), "openssl ended with {code} (apt-get install openssl)");
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

#[test]
fn openssl_agrees_on_what_it_should_and_is_refused_the_rest() {
    let landlord = open();
    let host = landlord.host("acme");
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let name = ["-servername", host.as_str()];
    let shake = |args: &[&str]| s_client(&landlord, &[&name, args].concat(), &request);

    for (args, agreed) in [
        (&["-tls1_3"][..], "New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256"),
        (&["-tls1_3", "-groups", "P-384"], "Server Temp Key: ECDH, secp384r1, 384 bits"),
        (&["-tls1_2"], "New, TLSv1.2, Cipher is ECDHE-ECDSA-AES256-GCM-SHA384"),
        (&["-tls1_2"], "Secure Renegotiation IS supported"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305"),
        (&["-alpn", "h2,http/1.1", "-tls1_3"], "ALPN protocol: h2"),
    ] {
        let said = shake(args);
        assert!(said.contains(agreed) && said.contains("Verify return code: 0 (ok)"), "{args:?}: {agreed}\n{said}");
    }
    for (args, refused) in [
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"], "alert handshake failure"),
        (&["-tls1_3", "-groups", "P-521"], "alert handshake failure"),
        (&["-alpn", "spdy/3"], "alert no application protocol"),
    ] {
        let said = shake(args);
        assert!(said.contains(refused) && said.contains("no peer certificate"), "{args:?}: {refused}\n{said}");
    }
    for args in [&["-noservername"][..], &["-servername", "nobody.example"]] {
        let said = s_client(&landlord, args, &request);
        assert!(said.contains("unrecognized name") && said.contains("no peer certificate"), "{args:?}\n{said}");
    }
    // A line with nothing but R asks for a renegotiation.
    let said = s_client(&landlord, &[&name[..], &["-tls1_2"]].concat(), "R\n");
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}

/// Connections come to all cores in turn as the kernel likes; each core can read each other's tickets.
#[test]
fn every_core_resumes_what_any_core_has_begun() {
    let landlord = open();
    let host = landlord.host("acme");
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for version in ["-tls1_2", "-tls1_3"] {
        let shake = |session: [&str; 2]| {
            let said = s_client(&landlord, &["-servername", &host, version, session[0], session[1]], &request);
            assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
            said
        };
        let first = shake(["-sess_out", "session.pem"]);
        assert!(first.contains("\nNew, TLSv1"), "{first}");
        for _ in 0..16 {
            let again = shake(["-sess_in", "session.pem"]);
            assert!(again.contains("\nReused, TLSv1"), "{again}");
        }
        // Early data would be a request that can be sent again by whoever has seen it.
        assert!(!first.contains("Max Early Data: 1") && !first.contains("Early data was accepted"), "{first}");
    }
}
