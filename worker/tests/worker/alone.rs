//! Without the gateway: what it needs, what it refuses, how it looks after itself.

use std::net::TcpListener;

use tempfile::tempdir;

use crate::process::{Worker, database, run};

#[test]
fn it_needs_nothing_and_keeps_what_it_is_told() {
    let folder = tempdir().unwrap();
    let worker = Worker::alone(folder.path(), &[]);
    let mut client = worker.client();
    let page = client.get("/").unwrap();
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Our company") && page.body.contains("badge-yellow"), "{}", page.body);
    assert_eq!(client.note("Jo", "Milk is out").unwrap().status, 201);
    worker.stop();

    let worker = Worker::alone(folder.path(), &[("ENVIRONMENT", "prod"), ("TENANT", "acme")]);
    let page = worker.client().get("/").unwrap();
    assert!(page.body.contains("Milk is out") && page.body.contains("badge-red"), "{}", page.body);
    worker.stop();
    assert!(!folder.path().join("instance/app.db-wal").exists(), "a clean stop leaves one whole file");
}

#[test]
fn every_wrong_setting_is_told_at_once() {
    let folder = tempdir().unwrap();
    let wrong =
        [("PORT", "eighty"), ("BRANDING", r#"{"primary_color":"red"}"#), ("DATABASE_URL", "mysql://u:hush@h/d")];
    let (code, said) = run(folder.path(), "serve", &wrong);
    assert_eq!(code, 78, "{said}");
    for word in ["PORT", "eighty", "BRANDING", "#rrggbb", "DATABASE_URL", "mysql is not built"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("hush"), "a password was logged: {said}");
    assert!(!folder.path().join("instance").exists(), "nothing is made before the settings are right");
}

#[test]
fn a_taken_port_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, said) = run(tempdir().unwrap().path(), "serve", &[("PORT", &port)]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&port) && said.contains("PORT=8001"), "{said}");
}

#[test]
fn health_is_that_of_the_database() {
    let folder = tempdir().unwrap();
    let worker = Worker::alone(folder.path(), &[]);
    let mut client = worker.client();
    let well = client.get("/healthz").unwrap();
    assert_eq!((well.status, well.json()["status"].as_str()), (200, Some("ok")));

    std::fs::rename(database(folder.path()), folder.path().join("moved.db")).unwrap();
    let ill = client.get("/healthz").unwrap();
    assert_eq!((ill.status, ill.field("retry-after")), (503, Some("1")));
    assert!(ill.json()["reason"].as_str().unwrap().contains("replaced or removed"), "{}", ill.body);

    std::fs::rename(folder.path().join("moved.db"), database(folder.path())).unwrap();
    assert_eq!(client.get("/healthz").unwrap().status, 200);
}

#[test]
fn the_company_logo_comes_from_its_folder_and_from_nowhere_else() {
    let folder = tempdir().unwrap();
    let logos = folder.path().join("files/logo");
    std::fs::create_dir_all(&logos).unwrap();
    std::fs::write(logos.join("mark.svg"), "<svg/>").unwrap();
    let worker = Worker::alone(folder.path(), &[("BRANDING", r#"{"logo":"mark.svg"}"#)]);
    let mut client = worker.client();
    assert!(client.get("/").unwrap().body.contains(r#"src="./logo""#));
    let logo = client.get("/logo").unwrap();
    assert_eq!((logo.status, logo.field("content-type"), logo.body.as_str()), (200, Some("image/svg+xml"), "<svg/>"));
    assert!(logo.field("content-security-policy").unwrap().contains("sandbox"));
    assert_eq!(client.get("/logo/../../app.db").unwrap().status, 404);
    drop(worker);

    let (code, said) = run(folder.path(), "serve", &[("BRANDING", r#"{"logo":"../instance/app.db"}"#)]);
    assert_eq!(code, 78, "{said}");
}
