use super::*;
use crate::config::gateway::tests::{house, read};

const DNS: &str = "\ndns = { provider = \"cloudflare\", token_file = \"t\" }";

/// What is wrong with `text` in its first place, without the file's name.
fn wrong(text: &str) -> String {
    let told = read(text).unwrap_err();
    told.lines().next().unwrap().strip_prefix("/srv/l.toml:").unwrap().to_owned()
}

#[test]
fn a_house_is_its_own_authority_when_nothing_is_said() {
    let gateway = house("");
    assert_eq!((gateway.tls, gateway.certificates, gateway.dns), (TlsProvider::Local, None, None));
    assert_eq!(gateway.acme, Acme::default());
}

#[test]
fn an_authority_is_told_all_that_it_may_ask_for() {
    let gateway = house(
        r#"
        [tls]
        provider = "acme"
        [acme]
        directory = "https://ca.example.com:14000/dir"
        contact = ["mailto:ops@example.com", "mailto:boss@example.com"]
        root = "ca.pem"
        challenges = ["http-01"]
        addresses = ["203.0.113.7", "2001:db8::7"]
        eab_kid = "kid-1"
        eab_key_file = "eab.key"
        profile = "shortlived"
        propagation_timeout = "10m"
        [dns]
        provider = "cloudflare"
        token_file = "/etc/token"
        "#,
    );
    assert_eq!(gateway.tls, TlsProvider::Acme);
    let acme = gateway.acme;
    assert_eq!(acme.directory, "https://ca.example.com:14000/dir");
    assert_eq!(acme.contact, ["mailto:ops@example.com", "mailto:boss@example.com"]);
    assert_eq!(acme.root.as_deref(), Some(Path::new("/srv/ca.pem")));
    assert_eq!(acme.challenges, [Challenge::Http01]);
    assert_eq!(acme.addresses.len(), 2);
    let eab = acme.eab.unwrap();
    assert_eq!((eab.kid.as_str(), eab.key_file.named.as_str()), ("kid-1", "eab.key"));
    assert_eq!(eab.key_file.path, Path::new("/srv/eab.key"));
    assert_eq!((acme.profile.as_deref(), acme.propagation_timeout.as_secs()), (Some("shortlived"), 600));
}

#[test]
fn words_stand_for_directories_and_one_contact_needs_no_list() {
    let gateway = house("acme = { staging = true, contact = \"mailto:a@b.example\" }");
    assert_eq!(gateway.acme.directory, Acme::STAGING);
    assert_eq!(gateway.acme.contact, ["mailto:a@b.example"]);
    let gateway = house("acme = { staging = false, directory = \"https://ca.example/\" }");
    assert_eq!(gateway.acme.directory, "https://ca.example/");
}

#[test]
fn files_come_from_a_folder() {
    let gateway = house("tls = { provider = \"files\", folder = \"certs\" }");
    assert_eq!((gateway.tls, gateway.certificates.unwrap()), (TlsProvider::Files, PathBuf::from("/srv/certs")));
}

#[test]
fn every_error_says_what_to_write() {
    let table = [
        ("tls.provider = \"files\"", "1:16: `tls.provider` = \"files\" needs `tls.folder`, where the certificates are"),
        (
            "tls.folder = \"x\"",
            "1:14: `tls.folder` is for `tls.provider` = \"files\" alone: remove it, or set the provider",
        ),
        (
            "acme = { staging = true, directory = \"https://ca.example/\" }",
            "1:20: `acme.staging` stands for a directory of its own: remove it, or `acme.directory`",
        ),
        (
            "acme.directory = \"http://127.0.0.1/dir\"",
            "1:18: `acme.directory` must begin with https://, which RFC 8555 asks for (did you mean \"https://127.0.0.1/dir\"?)",
        ),
        (
            "acme.directory = \"letsencrypt\"",
            "1:18: `acme.directory` must be an address such as \"https://acme-v02.api.letsencrypt.org/directory\"",
        ),
        (
            "acme.contact = \"ops@example.com\"",
            "1:16: `acme.contact` cannot be \"ops@example.com\": write \"mailto:you@example.com\" (did you mean \"mailto:ops@example.com\"?)",
        ),
        (
            "acme.contact = [\"mailto:a@b.example\", \"tel:1\"]",
            "1:39: `acme.contact` cannot be \"tel:1\": write \"mailto:you@example.com\"",
        ),
        ("acme.contact = 5", "1:16: `acme.contact` must be text in quotes, or a list of texts"),
        ("acme.challenges = []", "1:19: `acme.challenges` is empty: name one, or remove it"),
        (
            "acme.challenges = [\"http-01\", \"tls-alpn-1\"]",
            "1:31: there is no challenge \"tls-alpn-1\": write \"tls-alpn-01\" or \"http-01\" (did you mean \"tls-alpn-01\"?)",
        ),
        ("acme.challenges = [\"http-01\", \"http-01\"]", "1:31: \"http-01\" is listed twice"),
        (
            "acme.challenges = [\"dns-01\"]",
            "1:20: `acme.challenges` are for custom domains, whose DNS is not ours: leave out \"dns-01\", which the zone's own certificate always uses",
        ),
        (
            "acme.addresses = [\"example.com\"]",
            "1:19: \"example.com\" is no address: write \"203.0.113.7\" or \"2001:db8::7\"",
        ),
        (
            "acme.addresses = [\"0.0.0.0\"]",
            "1:19: no domain can point to 0.0.0.0: name an address that visitors come to",
        ),
        ("acme.addresses = [\"::1\", \"0::1\"]", "1:26: ::1 is listed twice"),
        (
            "acme.eab_kid = \"x\"",
            "1:16: an external account has both `acme.eab_kid` and `acme.eab_key_file`: add eab_key_file",
        ),
        (
            "acme.eab_key_file = \"x\"",
            "1:21: an external account has both `acme.eab_kid` and `acme.eab_key_file`: add eab_kid",
        ),
        ("acme.propagation_timeout = \"1ms\"", "1:28: `acme.propagation_timeout` must be at least 1s"),
        ("acme.stagin = true", "1:6: unknown key \"stagin\" in [acme] (did you mean \"staging\"?)"),
        (
            "acme.profile = \"a b\"",
            "1:16: `acme.profile` must be a name that the directory lists: visible ASCII without spaces",
        ),
        (
            "zone = \"a.example.com\"\ntls.provider = \"acme\"",
            "2:16: `tls.provider` = \"acme\" needs [dns]: the certificate of *.a.example.com is to be had by DNS alone. `landlord dns providers` shows who can write its records",
        ),
        ("defaults.tls.hsts = false", "1:21: `tls.hsts` is \"off\" or a duration, such as \"1y\""),
        (
            "defaults.tls.hsts = \"11y\"",
            "1:21: `defaults.tls.hsts`: \"11y\" is too long: the longest duration is 3650d",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(wrong(text), expected, "{text:?}");
    }
}

#[test]
fn nobody_issues_for_what_is_nobodys() {
    let told = |zone: &str, acme: &str| {
        read(&format!("zone = \"{zone}\"\ntls.provider = \"acme\"\n{acme}{DNS}"))
            .map(|_| ())
            .map_err(|it| it.lines().next().unwrap().to_owned())
    };
    let own = "acme.directory = \"https://ca.corp.example/dir\"";
    assert_eq!(told("apps.example.com", ""), Ok(()));
    assert_eq!(told("apps.contest", ""), Ok(()));
    for zone in ["apps.test", "test", "office.local", "apps.internal", "home.arpa", "intranet"] {
        let why = told(zone, "").unwrap_err();
        assert!(why.contains("acme-v02.api.letsencrypt.org does not issue"), "{why}");
        assert!(told(zone, "acme.staging = true").is_err());
        assert_eq!(told(zone, own), Ok(()));
    }
    for zone in ["localhost", "apps.localhost"] {
        let why = told(zone, own).unwrap_err();
        assert!(
            why.starts_with(&format!("/srv/l.toml:2:16: `tls.provider` cannot be \"acme\" for the zone {zone}")),
            "{why}"
        );
    }
}

#[test]
fn a_secret_in_the_settings_is_not_shown() {
    let told = read("acme = { eab_kid = \"k\", eab_key = \"hush-hush\" }").unwrap_err();
    assert!(told.contains("`acme.eab_key` is a secret") && !told.contains("hush"), "{told}");
}

proptest::proptest! {
    #[test]
    fn no_values_panic(key in "(tls.provider|tls.folder|acme.(directory|staging|contact|root|challenges|addresses|eab_kid|profile)|dns|dns.(provider|resolvers|server))", value in "(\"[a-z0-9:@é/%.-]{0,9}\"|-?[0-9]{1,25}|true|\\[\"[a-z0-9:.@]{0,9}\"\\]|\\{\\})") {
        let _ = read(&format!("{key} = {value}"));
    }
}
