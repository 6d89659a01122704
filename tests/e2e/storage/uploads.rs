//! A tenant's visitors fill its folder through the gateway: they are served until there is no room, and told so then; who
//! reads, and who comes to its neighbour, never notices.

use std::fs;

use harness::{
    Landlord, Setup,
    client::{Response, Result, Site, send_body},
    eventually, eventually_async,
};
use serde_json::Value;

use super::{MIB, counted};

/// Bytes of one upload.
const UPLOAD: usize = 512 << 10;

/// The ways in which a body can come.
#[derive(Clone, Copy, Debug)]
enum By {
    Length,
    Chunks,
    Http2,
}

const EACH: [By; 3] = [By::Length, By::Chunks, By::Http2];

/// One upload, and what came of it. Who is refused with the head need not be heard to the end.
async fn upload(site: &Site, by: By, name: &str) -> Response {
    let (path, body) = (format!("/files/{name}"), vec![b'x'; UPLOAD]);
    let answer: Result<Response> = async {
        let message = match by {
            By::Http2 => {
                let connection = site.h2().await?;
                let request = connection.request("PUT", &path).body(()).expect("a request");
                let (answer, mut stream) = connection.open(request, false).await?;
                let _ = send_body(&mut stream, body.into(), true).await;
                return answer.head().await?.whole().await;
            }
            By::Length => site.message("PUT", &path, &[], &body),
            By::Chunks => {
                let mut message = site.message("PUT", &path, &[("Transfer-Encoding", "chunked")], b"");
                for piece in body.chunks(100_000) {
                    message.extend([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
                }
                message.extend(b"0\r\n\r\n");
                message
            }
        };
        let mut raw = site.h1().await?;
        let _ = raw.send(message).await;
        raw.response_to("PUT").await
    }
    .await;
    answer.unwrap_or_else(|error| panic!("no answer to {path} by {by:?}: {error}"))
}

/// So many files are kept, by each way in turn.
async fn fill(site: &Site, names: std::ops::Range<usize>) {
    for (nth, by) in names.zip(EACH.into_iter().cycle()) {
        let answer = upload(site, by, &nth.to_string()).await;
        assert_eq!((answer.status, answer.text()), (200, UPLOAD.to_string()), "upload {nth} by {by:?}");
    }
}

/// A line of the gateway's own about the tenant's disk.
fn said(landlord: &Landlord, event: &str) -> bool {
    landlord.logs().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|line| {
        line["message"] == "disk" && line["event"] == event && line["tenant"] == "acme" && line["limit"] == 8 * MIB
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_kept_until_the_folder_is_full_and_again_once_there_is_room() {
    // Within its walls, so that its worker sees its file as any worker does.
    let setup = Setup::new().sandbox("").tenant("acme", "limits.storage = \"8M\"\n").tenant("beta", "");
    let landlord = setup.start();
    landlord.wait_state("acme", "running");
    landlord.wait_state("beta", "running");
    let (acme, beta) = (landlord.site("acme"), landlord.site("beta"));
    let told = async |state: &str| acme.get(&format!("/storage/{state}")).await.expect("an answer").json::<Value>();

    // Seven of eight MiB.
    fill(&acme, 0..14).await;
    let entry = counted(&landlord, "a warning", |storage| storage.state == "warn");
    assert!(entry.reason.contains("% full"), "{entry:?}");
    assert!(told("warn").await["used"].as_i64() >= Some(8 * MIB * 8 / 10), "80 % or more");
    eventually("the warning is in the log", || said(&landlord, "warn").then_some(()));

    // One who is warned is served as ever.
    fill(&acme, 14..16).await;
    let entry = counted(&landlord, "it is full", |storage| storage.state == "full");
    assert!(entry.reason.contains("507") && entry.state == "running", "{entry:?}");
    assert!(told("full").await["used"].as_i64() >= Some(8 * MIB));
    eventually("that is in the log", || said(&landlord, "full").then_some(()));
    eventually_async("its uploads are refused", async || {
        (upload(&acme, By::Length, "first").await.status == 507).then_some(())
    })
    .await;
    let seen = acme.get("/seen").await.expect("an answer").json::<Value>();
    for by in EACH {
        let refused = upload(&acme, by, "too-much").await;
        assert_eq!(refused.status, 507, "by {by:?}");
        assert!(refused.text().contains("has no room left"), "by {by:?}: {}", refused.text());
        assert_eq!((refused.field("x-worker-pid"), refused.field("cache-control")), (None, Some("no-store")));
    }
    let json = acme.request("POST", "/", &[("Accept", "application/json")], b"more").await.expect("an answer");
    assert_eq!((json.status, &json.json::<Value>()["error"]), (507, &Value::from("storage_full")));
    let now = acme.get("/seen").await.expect("an answer").json::<Value>();
    assert_eq!(now["targets"], seen["targets"], "none of them came to its worker");
    assert!(!landlord.folder("acme").join("files/too-much").exists());
    eventually("they are in the access log", || {
        (landlord.logs().matches("\"reject\":\"storage\"").count() >= 5).then_some(())
    });

    // Reading goes on, and so does whoever is beside it.
    for nth in [0, 15] {
        let kept = acme.get(&format!("/files/{nth}")).await.expect("an answer");
        assert_eq!((kept.status, kept.text()), (200, UPLOAD.to_string()));
    }
    let h2 = acme.h2().await.expect("h2");
    assert_eq!(h2.get("/").await.expect("an answer").status, 200);
    fill(&beta, 0..3).await;

    // It tidies up, and nobody has to be told: the next count is not asked for. One may fall into the middle of it.
    for nth in 0..14 {
        assert_eq!(acme.request("DELETE", &format!("/files/{nth}"), &[], b"").await.expect("an answer").status, 200);
    }
    assert!(told("ok").await["used"].as_i64() < Some(8 * MIB));
    eventually_async("its uploads are kept again", async || {
        (upload(&acme, By::Length, "again").await.status == 200).then_some(())
    })
    .await;
    fill(&acme, 20..23).await;
    eventually("that it has room is in the log", || said(&landlord, "ok").then_some(()));
    assert_eq!(fs::metadata(landlord.folder("acme").join("files/again")).expect("it is kept").len(), UPLOAD as u64);
    assert_eq!((landlord.entry("acme").restarts, landlord.entry("beta").restarts), (0, 0));
}
