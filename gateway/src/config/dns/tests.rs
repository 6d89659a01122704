use super::*;
use crate::config::gateway::tests::{house, read};

fn wrong(dns: &str) -> String {
    let told = read(&format!("[dns]\n{dns}")).unwrap_err();
    told.lines().next().unwrap().strip_prefix("/srv/l.toml:").unwrap().to_owned()
}

#[test]
fn a_provider_is_told_what_it_needs() {
    let dns = house(
        r#"
        [dns]
        provider = "rfc2136"
        server = "127.0.0.1"
        key_name = "landlord"
        key_file = "tsig.key"
        resolvers = ["192.0.2.1", "[2001:db8::1]:5353", "2001:db8::2"]
        "#,
    )
    .dns
    .unwrap();
    let plain = |text: &str| DnsSetting::Plain(text.to_owned());
    assert_eq!(dns.provider, "rfc2136");
    assert_eq!(dns.settings["server"], plain("127.0.0.1:53"));
    assert_eq!(dns.settings["key_name"], plain("landlord"));
    let DnsSetting::Secret(key) = &dns.settings["key"] else { panic!("{dns:?}") };
    assert_eq!((key.named.as_str(), key.path.as_path()), ("tsig.key", Path::new("/srv/tsig.key")));
    assert_eq!(dns.settings.len(), 3);
    let resolvers: Vec<String> = dns.resolvers.iter().map(ToString::to_string).collect();
    assert_eq!(resolvers, ["192.0.2.1:53", "[2001:db8::1]:5353", "[2001:db8::2]:53"]);
}

#[test]
fn values_are_what_the_field_takes() {
    let read = |text: &str| house(&format!("[dns]\n{text}")).dns.unwrap().settings;
    let inwx = read("provider = \"inwx\"\nusername = \"u\"\npassword_file = \"p\"\nsandbox = true");
    assert_eq!(inwx["sandbox"], DnsSetting::Plain("true".to_owned()));
    let dnsimple = read("provider = \"dnsimple\"\nauth_token_file = \"t\"\naccount_id = 1010");
    assert_eq!(dnsimple["account_id"], DnsSetting::Plain("1010".to_owned()));
    let exec = read("provider = \"exec\"\nprogram = \"/bin/x\"\ntimeout = \"2m\"");
    assert_eq!(exec["timeout"], DnsSetting::Plain("2m".to_owned()));
    let joker = read("provider = \"joker\"\nusername = \"u\"\npassword_file = \"p\"");
    assert_eq!(joker.len(), 2);
}

#[test]
fn every_error_says_what_to_write() {
    let table = [
        ("", "1:1: `dns.provider` is missing: `landlord dns providers` shows them all, such as \"rfc2136\""),
        (
            "provider = \"cloudflair\"\ntoken_file = \"x\"",
            "2:12: there is no DNS provider \"cloudflair\": `landlord dns providers` shows them all (did you mean \"cloudflare\"?)",
        ),
        (
            "provider = \"rfc2136\"\nserver = \"127.0.0.1\"",
            "1:1: the DNS provider \"rfc2136\" needs `key_name` (the TSIG key's name) and `key_file` (the TSIG key, base64) in [dns]",
        ),
        (
            "provider = \"joker\"\nusername = \"u\"",
            "1:1: the DNS provider \"joker\" needs `api_key_file`, or `username` and `password_file` in [dns]",
        ),
        (
            "provider = \"cloudflare\"\ntoken_fil = \"x\"\ntoken_file = \"x\"",
            "3:1: unknown key \"token_fil\" in [dns] (did you mean \"token_file\"?)",
        ),
        (
            "provider = \"cloudflare\"\napi_key = \"x\"\ntoken_file = \"x\"",
            "3:1: unknown key \"api_key\" in [dns]: those of \"cloudflare\" are token_file, provider, resolvers",
        ),
        (
            "provider = \"inwx\"\nusername_file = \"x\"\nusername = \"u\"\npassword_file = \"p\"",
            "3:1: unknown key \"username_file\" in [dns] (did you mean \"username\"?)",
        ),
        (
            "provider = \"exec\"\nprogram = \"x.sh\"",
            "3:11: `dns.program` must be an absolute path, such as \"/usr/local/bin/dns-record\"",
        ),
        (
            "provider = \"pdns\"\napi_key_file = \"x\"\nendpoint = \"localhost:8081\"",
            "4:12: `dns.endpoint` must be an address that begins with https://",
        ),
        (
            "provider = \"inwx\"\nsandbox = \"no\"",
            "1:1: the DNS provider \"inwx\" needs `username` (of an account that may change the zone) and `password_file` (its password) in [dns]",
        ),
        (
            "resolvers = [\"ns1.example.com\"]",
            "1:1: `dns.provider` is missing: `landlord dns providers` shows them all, such as \"rfc2136\"",
        ),
        (
            "provider = \"bunny\"\napi_key_file = \"x\"\nresolvers = [\"ns1.example.com\"]",
            "4:14: `dns.resolvers` cannot be \"ns1.example.com\": write the address of a name server, such as \"192.0.2.1:53\"",
        ),
        (
            "provider = \"bunny\"\napi_key_file = \"x\"\nresolvers = [\"::1\", \"[::1]:53\"]",
            "4:21: [::1]:53 is listed twice",
        ),
        (
            "provider = \"rfc2136\"\nserver = \"127.0.0.1\"\nkey_name = \"k\"\nkey_file = \"f\"\nkey_algorithm = \"hmac-md5\"",
            "6:17: `dns.key_algorithm` cannot be \"hmac-md5\": it is one of \"hmac-sha256\", \"hmac-sha384\", \"hmac-sha512\"",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(wrong(text), expected, "{text:?}");
    }
}

#[test]
fn a_secret_in_plain_is_refused_and_not_shown() {
    for text in [
        "provider = \"cloudflare\"\ntoken = \"hush\"",
        "provider = \"cloudflare\"\ntoken_file = \"t\"\napi_token = \"hush\"",
    ] {
        let told = read(&format!("[dns]\n{text}")).unwrap_err();
        assert!(!told.contains("hush"), "{told}");
    }
    assert_eq!(
        read("[dns]\nprovider = \"cloudflare\"\ntoken = \"hush\"").unwrap_err(),
        "/srv/l.toml:3:9: `dns.token` is a secret, and landlord.toml is no place for one: put it alone into a file, and name that in `token_file`"
    );
}
