use std::time::Duration;

use super::*;
use crate::{config::gateway::tests::house, model::Strategy};

/// The tenant `acme` of a house with `settings`, whose file has `text`.
fn acme(settings: &str, text: &str) -> Result<Tenant, String> {
    let name = "acme".parse().unwrap();
    match read(&house(settings), &name, Path::new("acme.toml"), text.as_bytes()) {
        Ok(draft) => Ok(draft.tenant),
        Err(wrong) => {
            assert!(!wrong.is_empty() && wrong.iter().all(|rejection| rejection.tenant.as_ref() == Some(&name)));
            Err(wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

#[test]
fn everything_has_a_default() {
    let tenant = acme("", "").unwrap();
    assert_eq!(tenant.company, "acme");
    assert_eq!(tenant.hosts, ["acme.apps.example.com".parse().unwrap()]);
    assert_eq!((tenant.canonical.as_ref(), tenant.max_users, tenant.suspended), (None, None, false));
    assert_eq!((tenant.app.name.as_str(), tenant.environment.0.as_str()), ("workspace", "prod"));
    assert_eq!(tenant.branding.company_name.as_deref(), Some("acme"));
    assert_eq!(tenant.health.path.as_deref(), Some("/healthz"));
    assert_eq!((tenant.deploy.strategy, tenant.sleep.after), (None, None));
    assert_eq!(tenant.url(8443), "https://acme.apps.example.com:8443");
}

#[test]
fn everything_can_be_set() {
    let tenant = acme(
        "",
        r##"
        company     = "Acme Corp"
        domains     = ["Portal.Acme.com", "acme.org"]
        canonical   = "portal.acme.com"
        app         = "workspace"
        environment = "testing"
        features    = ["patients", "locations", "patients"]
        max_users   = 50
        suspended   = true
        [branding]
        company_name = "ACME"
        primary_color = "#0a5"
        logo = "acme/logo.png"
        gst_number = "12"
        contact = "help@acme.com"
        [limits]
        memory = "256M"
        cpu = "none"
        processes = 64
        storage = "1G"
        requests_per_second = 100
        concurrent_requests = 10
        body = "10M"
        held_requests = 5
        [health]
        path = "/up?full=1"
        interval = "1s"
        timeout = "500ms"
        failures = 5
        start_timeout = "1m"
        [deploy]
        strategy = "overlap"
        drain_timeout = "1m"
        upgrade_timeout = "0s"
        hold_timeout = "5s"
        [sleep]
        after = "5m"
        [backup]
        schedule = "daily"
        keep = 3
        [env]
        COLOUR = "blue"
        DATABASE_URL = "postgres://x"
        N = 7
        "##,
    )
    .unwrap();
    assert_eq!(
        tenant.hosts.iter().map(Host::as_str).collect::<Vec<_>>(),
        ["acme.apps.example.com", "portal.acme.com", "acme.org"]
    );
    assert_eq!(tenant.url(443), "https://portal.acme.com");
    assert_eq!(tenant.features, ["patients", "locations"]);
    assert_eq!((tenant.max_users, tenant.suspended, tenant.limits.memory), (Some(50), true, Some(256 << 20)));
    assert_eq!((tenant.limits.body, tenant.limits.held_requests), (Some(10 << 20), 5));
    assert_eq!((tenant.health.path.as_deref(), tenant.health.failures), (Some("/up?full=1"), 5));
    assert_eq!((tenant.deploy.strategy, tenant.deploy.upgrade_timeout), (Some(Strategy::Overlap), Duration::ZERO));
    assert_eq!(tenant.sleep.after, Some(Duration::from_secs(300)));
    assert_eq!(tenant.env["N"], "7");
    assert_eq!(tenant.branding.company_name.as_deref(), Some("ACME"));
}

#[test]
fn tenant_over_app_over_defaults_over_built_in() {
    let house = r#"
        [defaults.health]
        interval = "3s"
        timeout = "3s"
        failures = 9
        path = "/default"
        [defaults.limits]
        memory = "1G"
        processes = 5
        [defaults.sleep]
        after = "1h"
        [apps.flask]
        command = ["flask"]
        health = { timeout = "4s", failures = 8 }
        deploy = { strategy = "hold" }
        env = { A = "app", B = "app" }
    "#;
    let tenant =
        acme(house, "app = 'flask'\nhealth.failures = 7\nenv.B = 'own'\nsleep.after = 'never'\nlimits.memory = 'none'")
            .unwrap();
    let health = &tenant.health;
    assert_eq!((health.interval.as_secs(), health.timeout.as_secs(), health.failures), (3, 4, 7));
    assert_eq!((health.path.as_deref(), health.start_timeout.as_secs()), (Some("/default"), 30));
    assert_eq!(tenant.deploy.strategy, Some(Strategy::Hold));
    assert_eq!((tenant.env["A"].as_str(), tenant.env["B"].as_str()), ("app", "own"));
    assert_eq!((tenant.limits.memory, tenant.limits.processes), (None, Some(5)));
    assert_eq!(tenant.sleep.after, None);
    assert_eq!(acme(house, "").unwrap().health.path.as_deref(), Some("/healthz"));
}

#[test]
fn browsers_are_told_to_come_by_https_alone_where_the_file_or_the_house_says_so() {
    let hsts = |settings, text| acme(settings, text).unwrap().hsts.map(|age| age.as_secs() / 86_400);
    assert_eq!(hsts("", ""), None);
    assert_eq!(hsts("", "tls.hsts = \"2y\""), Some(730));
    assert_eq!(hsts("defaults.tls.hsts = \"30d\"", ""), Some(30));
    assert_eq!(hsts("defaults.tls.hsts = \"30d\"", "tls.hsts = \"off\""), None);
    assert_eq!(hsts("defaults.tls.hsts = \"off\"", "tls.hsts = \"1w\""), Some(7));
    let told = acme("", "tls.hsts = \"of\"").unwrap_err();
    assert!(told.starts_with("acme.toml:1:12: `tls.hsts`: \"of\" is not a duration"), "{told}");
    assert!(acme("", "tls.provider = \"acme\"").is_err(), "certificates are the house's");
}

#[test]
fn what_is_wrong_is_shown_with_its_place() {
    let table = [
        ("compny = 'x'", "1:1: unknown key \"compny\" (did you mean \"company\"?)\n    1 | compny = 'x'\n      | ^"),
        (
            "\n\tcompany = 5",
            "2:12: `company` must be text in quotes, but it is a number\n    2 |  company = 5\n      |            ^",
        ),
        ("company = ' '", "1:11: `company` is empty: write something or remove it"),
        (
            "company = 'x\u{1b}'",
            "1:13: this is not TOML: invalid literal string, expected non-single-quote visible characters\n    1 | company = 'x\\u{1b}'",
        ),
        ("company = \"a\\u0000\"", "1:11: `company` has a NUL byte, which no worker can be given: remove it"),
        ("company = 'x'\ncompany = 'y'", "2:1: this is not TOML: duplicate key"),
        ("zzzzzz = 1", "1:1: unknown key \"zzzzzz\": the keys here are path, host, domains,"),
        ("[limits]\nmemroy = 1", "2:1: unknown key \"memroy\" in [limits] (did you mean \"memory\"?)"),
        ("[helth]", "1:2: unknown key \"helth\" (did you mean \"health\"?)"),
        ("limits = 5", "1:10: `limits` must be a table, but it is a number"),
        ("[[limits]]", "1:1: `limits` must be a table, but it is a list"),
        (
            "app = 'worksapce'",
            "1:7: there is no app \"worksapce\": landlord.toml declares workspace (did you mean \"workspace\"?)",
        ),
        ("domains = 'a.org'", "1:11: `domains` must be a list, but it is text: write [\"a.org\"]"),
        ("domains = ['ok.org', 'a b.org']", "1:22: \"a b.org\" is not a host name: ' ' is not allowed in a name"),
        ("domains = ['*.acme.com']", "1:12: \"*.acme.com\" is not a host name: '*' is not allowed in a name"),
        ("domains = ['10.0.0.1']", "1:12: \"10.0.0.1\" is an address: a host must be a name"),
        (
            "domains = ['bücher.de']",
            "1:12: \"bücher.de\" is not a host name: 'ü' is not allowed in a name: use a-z, 0-9 and - (write an international name in its xn-- form)",
        ),
        ("domains = ['x.apps.example.com']", "1:12: x.apps.example.com lies within the zone apps.example.com"),
        ("domains = ['apps.example.com']", "1:12: apps.example.com lies within the zone apps.example.com"),
        ("domains = ['console.apps.example.com']", "1:12: console.apps.example.com is reserved for landlord itself"),
        (
            "domains = ['acme.apps.example.com']",
            "1:12: acme.apps.example.com is always this tenant's: remove it from `domains`",
        ),
        ("domains = ['a.org', 'A.org']", "1:21: a.org is listed twice"),
        (
            "canonical = 'a.org'",
            "1:13: `canonical` must be one of this tenant's hosts, which are acme.apps.example.com: add a.org to `domains`",
        ),
        ("path = '/prod'", "1:8: `path` (a tenant under a path prefix) is not supported yet: remove it"),
        ("host = 'a.org'", "1:8: `host` (a tenant under a path prefix) is not supported yet: remove it"),
        (
            "environment = 'Prod'",
            "1:15: `environment` cannot be \"Prod\": 'P' is not allowed in a name: use a-z, 0-9 and - (did you mean \"prod\"?)",
        ),
        ("features = ['a,b']", "1:13: a feature cannot be \"a,b\": use letters, digits and _ - . : /"),
        ("max_users = '50'", "1:13: `max_users` must be a number: write it without quotes"),
        ("max_users = 0", "1:13: `max_users` must be a number from 1 to 4294967295"),
        ("max_users = 1.5", "1:13: `max_users` must be a whole number, but it is a fraction"),
        ("suspended = 'yes'", "1:13: `suspended` must be true or false without quotes, but it is text"),
        (
            "branding.primary_color = '0a5'",
            "1:26: `branding.primary_color` cannot be \"0a5\": write a colour as \"#rgb\" or \"#rrggbb\" (did you mean \"#0a5\"?)",
        ),
        (
            "branding.primary_color = 'red'",
            "1:26: `branding.primary_color` cannot be \"red\": write a colour as \"#rgb\" or \"#rrggbb\"\n",
        ),
        ("branding.logo = '../x'", "1:17: `branding.logo` must be a path below files/logo/ or an https:// address"),
        ("branding.logo = 'https://a;b/x'", "1:17: `branding.logo` must be a path below"),
        ("limits.memory = '1'", "1:17: `limits.memory` must be at least 1M"),
        ("limits.body = true", "1:15: `limits.body` must be a size, such as \"512M\", but it is true"),
        ("health.path = 'up'", "1:15: `health.path` must begin with a slash (did you mean \"/up\"?)"),
        ("health.path = '/a b'", "1:15: `health.path` must be a path of a URL: visible ASCII without spaces and #"),
        (
            "health.interval = '5'",
            "1:19: `health.interval`: \"5\" is not a duration: write a whole number and ms, s, m, h, d, w or y",
        ),
        ("health.interval = '1ms'", "1:19: `health.interval` must be at least 100ms"),
        (
            "deploy.strategy = 'hodl'",
            "1:19: `deploy.strategy` cannot be \"hodl\": it is one of \"overlap\", \"hold\" (did you mean \"hold\"?)",
        ),
        ("sleep.after = 'nevr'", "1:15: `sleep.after`: \"nevr\" is not a duration"),
        ("backup.keep = 'x'", "1:15: `backup.keep` must be a whole number, but it is text"),
        ("env.TENANT = 'x'", "1:5: TENANT is set by landlord itself: remove this line"),
        ("env.'A B' = 'x'", "1:5: \"A B\" cannot be the name of a setting: use letters, digits and _"),
        ("env.A = ['x']", "1:9: `env.A` must be text in quotes, but it is a list"),
        ("env.A = \"\\u0000\"", "1:9: `env.A` has a NUL byte, which no worker can be given: remove it"),
    ];
    for (text, expected) in table {
        let told = acme("", text).expect_err(text);
        let told = told.strip_prefix("acme.toml:").unwrap_or(&told);
        assert!(told.starts_with(expected), "{text:?}\n     was {told}\nexpected {expected}");
    }
}

#[test]
fn all_errors_are_told_at_once_in_the_files_order() {
    let told = acme("", "[env]\nPORT = 1\n[limits]\ncpu = 'x'\n[sleep]\nafer = '1m'\n").unwrap_err();
    let places: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("acme.toml:")).map(|it| &it[..1]).collect();
    assert_eq!(places, ["2", "4", "6"], "{told}");
    let many: String = (0..1000).map(|number| format!("k{number} = 1\n")).collect();
    let told = acme("", &many).unwrap_err();
    assert!(told.ends_with("acme.toml: 980 more things are wrong in this file") && told.len() < 16_384, "{told}");
}

#[test]
fn a_domain_that_is_wrong_is_told_once() {
    let told = acme("", "domains = ['x.apps.example.com']\ncanonical = 'x.apps.example.com'").unwrap_err();
    assert_eq!(told.matches("acme.toml:").count(), 1, "{told}");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
    assert_eq!(acme("", "\u{feff}company = 'x'\r\nmax_users = 5\r\n").unwrap().company, "x");
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = read(&house(""), &"acme".parse().unwrap(), Path::new("f"), &bytes);
    }

    #[test]
    fn no_values_panic(
        key in "(company|domains|canonical|app|environment|features|max_users|branding.logo|branding.primary_color|limits.cpu|limits.body|health.path|deploy.strategy|sleep.after|env.A|env)",
        value in "('[a-zA-Z0-9.*:/é#%-]{0,70}'|-?[0-9]{1,25}|1e9|true|\\['[A-Za-z.é-]{0,300}'\\]|\\{\\}|2020-01-01)",
    ) {
        let _ = acme("", &format!("{key} = {value}"));
    }
}
