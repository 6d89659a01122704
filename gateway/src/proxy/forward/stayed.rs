//! A request as it stays here: kept whole, so that it can be sent again where that is safe.

use std::rc::Rc;

use http::{HeaderValue, Method, Request, Uri, header, request::Parts, uri::PathAndQuery};
use hyper::upgrade::OnUpgrade;

use super::{attempt::Sending, forwarder::Settings, headers, headers::Facts, upgrade, upload::Upload};
use crate::{
    model::{Authority, Host},
    proxy::{
        exchange::{Connection, Protocol, RequestBody},
        upstream::pool::CoreBackend,
    },
};

/// One admitted request.
#[derive(Debug)]
pub(crate) struct Stayed {
    pub(crate) parts: Parts,
    /// What a worker is sent: `/path?query`, or `*`, whatever form the client used.
    pub(crate) uri: Uri,
    pub(crate) host: Host,
    /// The configured name, for `Host`.
    name_value: HeaderValue,
    /// As the visitor named it, for `X-Forwarded-Host`.
    host_value: HeaderValue,
    pub(crate) upload: Rc<Upload>,
    /// The client's side of a WebSocket that it asked for.
    pub(crate) upgrade: Option<OnUpgrade>,
    connection: Rc<Connection>,
    pub(crate) id: HeaderValue,
}

impl Stayed {
    /// `limit`: bytes of its body.
    pub(crate) fn new(
        connection: Rc<Connection>,
        host: Host,
        mut request: Request<RequestBody>,
        id: HeaderValue,
        limit: Option<u64>,
        settings: &Settings,
    ) -> Self {
        let websocket =
            connection.protocol == Protocol::H1 && upgrade::asks_for_websocket(request.method(), request.headers());
        let upgrade = websocket.then(|| hyper::upgrade::on(&mut request));
        let name_value = ascii(host.as_str());
        let host_value = host_value(&host, &name_value, &request, settings.https_port);
        let (parts, body) = request.into_parts();
        let uri = Uri::from(parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        let upload = Rc::new(Upload::new(body, limit, settings.response_timeout));
        Self { parts, uri, host, name_value, host_value, upload, upgrade, connection, id }
    }

    /// On which connection it came.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The body's length as declared; `None`: there is no body, or only its end will tell.
    pub(crate) fn declared(&self) -> Option<u64> {
        if self.upload.is_empty() {
            // RFC 9110 §8.6: a method that may have content says that it has none.
            let says = [Method::POST, Method::PUT, Method::PATCH].contains(&self.parts.method);
            return says.then_some(0);
        }
        let header = self.parts.headers.get(header::CONTENT_LENGTH);
        header.and_then(|value| value.to_str().ok()?.parse().ok()).or_else(|| self.upload.exact())
    }

    /// What is sent to this backend.
    pub(crate) fn sending(&self, backend: &CoreBackend, settings: &Settings, fresh: bool) -> Sending<'_> {
        let length = self.declared();
        let facts = Facts {
            client: self.connection.client,
            name: &self.name_value,
            host: &self.host_value,
            port: settings.https_port,
            request_id: &self.id,
            tenant: &backend.tenant,
            websocket: self.upgrade.is_some(),
            length,
            chunked: length.is_none() && !self.upload.is_empty(),
        };
        Sending {
            method: &self.parts.method,
            uri: &self.uri,
            headers: headers::request(&self.parts.headers, &facts),
            upload: &self.upload,
            websocket: self.upgrade.is_some(),
            fresh,
            patience: settings.response_timeout,
        }
    }
}

/// The configured name, and our port where the client named it and it is not the usual one.
fn host_value(host: &Host, name: &HeaderValue, request: &Request<RequestBody>, port: u16) -> HeaderValue {
    let named = match request.uri().authority() {
        Some(authority) => authority.port_u16(),
        None => {
            request.headers().get(header::HOST).and_then(|value| value.to_str().ok()?.parse::<Authority>().ok()?.port)
        }
    };
    match named {
        Some(named) if named == port && port != 443 => ascii(&format!("{host}:{port}")),
        _ => name.clone(),
    }
}

/// A host name is visible ASCII: this never fails.
fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
