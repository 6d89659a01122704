//! Requests that no worker sees.

use super::*;
use crate::proxy::exchange::Refusal;

#[test]
fn closed_tenants_have_their_page() {
    core(async {
        let mut house = House::new();
        for (serving, word) in [
            (Serving::Failed { retry_after: 42 }, "not available"),
            (Serving::Suspended, "suspended"),
            (Serving::Stopped, "maintenance"),
        ] {
            house.apply(acme(serving.clone(), vec![]));
            let response = house.get("/").await;
            assert_eq!(response.status(), 503, "{serving:?}");
            if let Serving::Failed { .. } = serving {
                assert_eq!(response.headers()["retry-after"], "42");
            }
            assert!(text(response).await.contains(word), "{serving:?}");
            assert_eq!(house.record().await.tenant.as_deref(), Some("acme"));
        }
    });
}

#[test]
fn other_hosts_move_to_the_canonical_one_with_path_and_query() {
    core(async {
        let mut house = House::new();
        let canonical = Some("portal.acme.com".parse().unwrap());
        house.apply(TenantRoute { canonical, ..acme(Serving::Hold, vec![]) });
        let response = house.send(request(Method::POST, "/a?b=c", RequestBody::Empty)).await;
        assert_eq!(response.status(), 308);
        assert_eq!(response.headers()["location"], "https://portal.acme.com:8443/a?b=c");
        let acme: Host = HOST.parse().unwrap();
        assert_eq!(house.forwarder.redirect(&acme).as_deref(), Some("https://portal.acme.com:8443"));
        assert!(house.forwarder.owner(&acme).is_some());
    });
}

#[test]
fn an_unknown_host_is_404_and_nobodys() {
    core(async {
        let mut house = House::new();
        house.apply(acme(Serving::Hold, vec![]));
        let unknown = Request::builder().uri("/").header("host", "evil.example").body(RequestBody::Empty).unwrap();
        let response = house.send(unknown).await;
        assert_eq!(response.status(), 404);
        assert!(!text(response).await.contains("acme"));
        let host: Host = "evil.example".parse().unwrap();
        assert!(house.forwarder.redirect(&host).is_none() && house.forwarder.owner(&host).is_none());
    });
}

#[test]
fn a_refusal_is_a_page_and_a_line() {
    core(async {
        let mut house = House::new();
        let connection = admitted(request(Method::GET, "/", RequestBody::Empty), Protocol::H1).connection;
        connection.draining.set(true);
        let refusal = Refusal { status: http::StatusCode::BAD_REQUEST, reason: "framing" };
        let response = house.forwarder.refuse(&connection, refusal, None);
        assert_eq!((response.status(), &response.headers()["connection"]), (refusal.status, &"close".parse().unwrap()));
        let record = house.record().await;
        assert_eq!((record.error, record.refused, record.aborted), (Some("framing"), true, false));
    });
}

#[test]
fn strict_transport_security_is_on_every_answer_of_its_tenant() {
    core(async {
        let mut house = House::new();
        let strict =
            |serving, backends| TenantRoute { hsts: Some(Duration::from_secs(31_536_000)), ..acme(serving, backends) };
        let said = |response: &Response<ResponseBody>| {
            let values = response.headers().get_all("strict-transport-security").iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        house.apply(strict(Serving::Suspended, vec![]));
        assert_eq!(said(&house.get("/").await), ["max-age=31536000"], "a page");
        let canonical = Some("portal.acme.com".parse().unwrap());
        house.apply(TenantRoute { canonical, ..strict(Serving::Hold, vec![]) });
        let moved = house.get("/").await;
        assert_eq!((moved.status().as_u16(), said(&moved)), (308, vec!["max-age=31536000".to_owned()]));
        let connection = admitted(request(Method::GET, "/", RequestBody::Empty), Protocol::H2).connection;
        let refuse = |status| house.forwarder.refuse(&connection, Refusal { status, reason: "host" }, None);
        assert_eq!(said(&refuse(http::StatusCode::BAD_REQUEST)), ["max-age=31536000"], "a refusal");
        let misdirected = refuse(http::StatusCode::MISDIRECTED_REQUEST);
        assert!(said(&misdirected).is_empty(), "in nobody's name");

        // The operator's word is before the worker's, and without it the worker's stands.
        let (listener, port) = listener().await;
        let serving = Serving::Serve { generation: crate::model::GenerationId(1) };
        let worker = async {
            let mut line = Line::accept(&listener).await;
            for _ in 0..2 {
                line.head().await;
                let own = "Strict-Transport-Security: max-age=1; includeSubDomains";
                line.say(&format!("HTTP/1.1 200 OK\r\n{own}\r\n{own}\r\nContent-Length: 0\r\n\r\n")).await;
            }
        };
        let visitor = async {
            house.apply(strict(serving.clone(), vec![at(1, port, true)]));
            assert_eq!(said(&house.get("/").await), ["max-age=31536000"]);
            house.apply(acme(serving, vec![at(1, port, true)]));
            assert_eq!(said(&house.get("/").await), ["max-age=1; includeSubDomains"; 2]);
        };
        tokio::join!(worker, visitor);
    });
}
