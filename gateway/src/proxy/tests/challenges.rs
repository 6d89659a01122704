//! What is told to be answered to an authority is answered by every core once the proxy says so.

use super::*;
use crate::wire::{Answers, HttpAnswer};

fn answers(token: &str) -> OwnedFd {
    let answer = HttpAnswer {
        host: "new.example".parse().unwrap(),
        token: token.to_owned(),
        key_authorization: format!("{token}.key"),
    };
    let answers = Answers { http: vec![answer], tls: vec![] };
    memfd::seal("answers", &serde_json::to_vec(&answers).unwrap()).unwrap()
}

/// Asks each core's own port.
async fn ask(ports: &[SocketAddr], token: &str) -> Vec<String> {
    let mut all = Vec::new();
    for port in ports {
        let mut client = TcpStream::connect(port).await.unwrap();
        let request = format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: new.example\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        all.push(answer);
    }
    all
}

#[test]
fn answers_are_given_by_every_core_and_told_again_to_a_master_that_comes_back() {
    run(async {
        let mut master = Master::new().await;
        let mut ports = Vec::new();
        for core in 0..2 {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            ports.push(socket.local_addr().unwrap());
            master.tell(ToProxy::Listener { kind: ListenerKind::Http, core }, Some(socket.into())).await;
        }
        // Before anybody is let in.
        master.tell(ToProxy::Answers { serial: 1 }, Some(answers("one"))).await;
        assert_eq!(master.hear().await, FromProxy::Answering { serial: 1 });
        master.route(make::tenant("acme", &[HOST], Serving::Suspended)).await;
        assert_eq!(master.hear().await, FromProxy::Ready);
        for answer in ask(&ports, "one").await {
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\none.key"), "{answer}");
        }
        // Each telling is the whole of it.
        master.tell(ToProxy::Answers { serial: 2 }, Some(answers("two"))).await;
        assert_eq!(master.hear().await, FromProxy::Answering { serial: 2 });
        for (token, status) in [("one", 404), ("two", 200)] {
            for answer in ask(&ports, token).await {
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{token}: {answer}");
            }
        }
        master.tell(ToProxy::Hello { protocol: PROTOCOL }, None).await;
        assert_eq!(master.hear().await, FromProxy::Hello { protocol: PROTOCOL, epoch: 1 });
        assert_eq!(master.hear().await, FromProxy::Ready);
        assert_eq!(master.hear().await, FromProxy::Answering { serial: 2 });
        assert_eq!(master.hear().await, FromProxy::Applied { epoch: 1 });
    });
}
