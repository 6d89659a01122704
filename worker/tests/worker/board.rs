//! The notice board: what visitors write, and what may come of it.

use tempfile::tempdir;

use crate::{client::Client, process::Worker};

#[test]
fn a_form_leads_back_to_the_board() {
    let folder = tempdir().unwrap();
    let worker = Worker::alone(folder.path(), &[]);
    let mut client = worker.client();
    let posted = client.post("/notices", "author=Jo+Doe&body=one%0D%0Atwo").unwrap();
    assert_eq!((posted.status, posted.field("location")), (303, Some("./#notice-1")));
    let listed = client.get("/api/notices").unwrap().json();
    assert_eq!(listed["notices"][0]["author"], "Jo Doe");
    assert_eq!(listed["notices"][0]["body"], "one\ntwo");
}

#[test]
fn what_is_written_is_text_everywhere() {
    let folder = tempdir().unwrap();
    let evil = r#""><script>alert('x')</script>&amp;"#;
    let branding = serde_json::json!({ "company_name": evil, "contact": evil, "gst_number": evil }).to_string();
    let settings = [("BRANDING", branding.as_str()), ("ENVIRONMENT", evil), ("FEATURES", evil)];
    let worker = Worker::alone(folder.path(), &settings);
    let mut client = worker.client();
    assert_eq!(client.note(evil, evil).unwrap().status, 201);
    let too_long = format!("author=%22%3E%3Cscript%3E&body=%3C/textarea%3E%3Cscript%3E{}", "x".repeat(2001));
    for page in [client.get("/").unwrap(), client.post("/notices", &too_long).unwrap(), client.get("/none").unwrap()] {
        assert!(!page.body.contains("<script") && page.body.contains("&#60;script&#62;"), "{}", page.body);
        let policy = page.field("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(client.get("/api/notices").unwrap().json()["notices"][0]["body"], evil);
}

#[test]
fn limits_are_told_and_what_was_written_is_kept() {
    let folder = tempdir().unwrap();
    let worker = Worker::alone(folder.path(), &[]);
    let mut client = worker.client();
    let page = client.post("/notices", &format!("author={}&body=my+words", "a".repeat(81))).unwrap();
    assert_eq!(page.status, 422);
    assert!(page.body.contains("At most 80 characters; these are 81.") && page.body.contains("my words"));
    let json = client.note("", &"b".repeat(2001)).unwrap();
    assert_eq!(json.status, 422);
    assert!(json.json()["fields"]["author"].is_string() && json.json()["fields"]["body"].is_string());
    assert_eq!(client.note("Jo", &"é".repeat(2000)).unwrap().status, 201);
    assert_eq!(client.get("/api/notices").unwrap().json()["notices"].as_array().unwrap().len(), 1);

    let huge = worker.client().post("/notices", &format!("author=a&body={}", "b".repeat(70_000))).unwrap();
    assert_eq!(huge.status, 413);
}

#[test]
fn another_site_cannot_write_here() {
    let folder = tempdir().unwrap();
    let worker = Worker::alone(folder.path(), &[]);
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let post = |fields: &str| {
        let fields = format!("{form}{fields}");
        worker.client().ask("POST", "/notices", &fields, "author=a&body=b").unwrap().status
    };
    assert_eq!(post("sec-fetch-site: cross-site\r\n"), 403);
    assert_eq!(post("sec-fetch-site: same-site\r\norigin: https://acme.localhost\r\n"), 403);
    assert_eq!(post("origin: https://evil.example\r\n"), 403);
    assert_eq!(post("origin: null\r\n"), 403);
    assert_eq!(post("origin: https://acme.localhost:8443\r\n"), 303);
    assert_eq!(post("sec-fetch-site: same-origin\r\n"), 303);
}

#[test]
fn methods_heads_and_unknown_addresses() {
    let folder = tempdir().unwrap();
    let worker = Worker::alone(folder.path(), &[]);
    let mut client = worker.client();
    for path in ["/", "/healthz", "/api/branding", "/api/notices", "/style.css", "/favicon.svg"] {
        let length = client.get(path).unwrap().field("content-length").map(str::to_owned);
        let head = client.ask("HEAD", path, "", "").unwrap();
        assert_eq!((head.status, head.field("content-length")), (200, length.as_deref()), "{path}");
    }
    assert_eq!(client.get("/nothing/here").unwrap().status, 404);
    assert_eq!(client.get("/api/nothing").unwrap().json()["error"], "There is nothing at this address.");
    let refused = client.ask("DELETE", "/api/notices", "", "").unwrap();
    assert_eq!((refused.status, refused.field("allow")), (405, Some("GET,HEAD,POST")));
    assert_eq!(client.get("/?before=x").unwrap().status, 200);
    assert_eq!(client.get("/api/notices?before=x").unwrap().status, 400);
}

#[test]
fn pages_of_the_board_meet_without_gap_or_overlap() {
    let folder = tempdir().unwrap();
    let worker = Worker::alone(folder.path(), &[]);
    let mut client = worker.client();
    for number in 1..=120 {
        assert_eq!(client.note("Jo", &format!("note {number}")).unwrap().status, 201);
    }
    let (mut seen, mut path) = (Vec::new(), "/api/notices?limit=50".to_owned());
    loop {
        let page = client.get(&path).unwrap().json();
        seen.extend(page["notices"].as_array().unwrap().iter().map(|notice| notice["id"].as_i64().unwrap()));
        let Some(next) = page["next"].as_i64() else { break };
        path = format!("/api/notices?limit=50&before={next}");
    }
    assert_eq!(seen, (1..=120).rev().collect::<Vec<_>>());
    let first = client.get("/").unwrap();
    assert!(first.body.contains(">note 71<") && !first.body.contains(">note 70<"));
    assert!(first.body.contains(r#"href="./?before=71""#));
    assert!(client.get("/?before=71").unwrap().body.contains(">note 70<"));
}

#[test]
fn two_generations_write_at_once_and_nothing_is_lost() {
    let folder = tempdir().unwrap();
    let workers = [Worker::alone(folder.path(), &[]), Worker::alone(folder.path(), &[])];
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let address = workers[writer % 2].address();
            scope.spawn(move || {
                let mut client = Client::connect(address).unwrap();
                for number in 0..25 {
                    assert_eq!(client.note("Jo", &format!("{writer}.{number}")).unwrap().status, 201);
                }
            });
        }
    });
    let mut bodies = std::collections::BTreeSet::new();
    let mut client = workers[0].client();
    for path in ["/api/notices", "/api/notices?before=101"] {
        let page = client.get(path).unwrap().json();
        bodies.extend(page["notices"].as_array().unwrap().iter().map(|n| n["body"].as_str().unwrap().to_owned()));
    }
    assert_eq!(bodies.len(), 200);
}
