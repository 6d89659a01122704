//! One request from its head to the end of its answer, as the access log will tell it.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderValue, Method, Response, StatusCode, uri::PathAndQuery};

use super::upload::Upload;
use crate::{
    model::Host,
    proxy::{
        access::{Access, Record},
        exchange::{Connection, ResponseBody},
    },
};

/// The status in the log of a request whose client went away before an answer.
const CLIENT_GONE: u16 = 499;

/// The log line of one request, written when this ends; dropped before its end, the request was aborted.
#[derive(Debug)]
pub(crate) struct Journey {
    access: Rc<Access>,
    record: Option<Box<Record>>,
    started: Instant,
    upload: Option<Rc<Upload>>,
}

impl Journey {
    /// Begins with the head of a request.
    pub(crate) fn new(
        access: &Rc<Access>,
        connection: &Connection,
        started: Instant,
        request_id: HeaderValue,
        host: Option<Host>,
        target: Option<(Method, Option<PathAndQuery>)>,
    ) -> Self {
        let (method, path) = target.map_or((None, None), |(method, path)| (Some(method), path));
        let record = Record {
            at: SystemTime::now(),
            tenant: None,
            host,
            method,
            path,
            protocol: connection.protocol,
            status: StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST),
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            worker: None,
            client: connection.client_ip(),
            request_id,
            generation: None,
            held: Duration::ZERO,
            error: None,
            refused: false,
            aborted: false,
        };
        Self { access: Rc::clone(access), record: Some(Box::new(record)), started, upload: None }
    }

    /// Notes facts.
    pub(crate) fn note(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(record) = self.record.as_mut() {
            note(record);
        }
    }

    /// Its body's bytes are counted there.
    pub(crate) fn upload(&mut self, upload: &Rc<Upload>) {
        self.upload = Some(Rc::clone(upload));
    }

    /// Something went wrong; the first cause stays.
    pub(crate) fn error(&mut self, error: &'static str) {
        self.note(|record| {
            record.error.get_or_insert(error);
        });
    }

    /// It is refused: no worker sees it.
    pub(crate) fn refused(&mut self, reason: &'static str) {
        self.note(|record| (record.error, record.refused) = (Some(reason), true));
    }

    /// It ends with a page of ours.
    pub(crate) fn page(mut self, response: &Response<ResponseBody>) {
        self.note(|record| {
            record.status = response.status();
            if let ResponseBody::Full(Some(bytes)) = response.body() {
                record.bytes_out = bytes.len() as u64;
            }
        });
        self.end();
    }

    /// The answer has ended well.
    pub(crate) fn end(mut self) {
        self.write(false);
    }

    fn write(&mut self, aborted: bool) {
        if let Some(mut record) = self.record.take() {
            record.duration = self.started.elapsed();
            record.bytes_in = self.upload.as_ref().map_or(0, |upload| upload.bytes()).max(record.bytes_in);
            record.aborted = aborted;
            self.access.push(*record);
        }
    }
}

impl Drop for Journey {
    fn drop(&mut self) {
        self.write(true);
    }
}

/// Numbers that no other request has: a random beginning of this core, then a bijection of a count.
#[derive(Debug)]
pub(crate) struct RequestIds {
    core: u64,
    next: Cell<u64>,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self { core: random(), next: Cell::new(random()) }
    }

    /// 32 hex digits.
    pub(crate) fn next(&self) -> HeaderValue {
        let count = self.next.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.next.set(count);
        // splitmix64's finaliser.
        let mut z = (count ^ (count >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let mut hex = [0_u8; 32];
        for (at, digit) in hex.iter_mut().enumerate() {
            let half = if at < 16 { self.core } else { z };
            *digit = b"0123456789abcdef"[(half >> (60 - 4 * (at % 16)) & 15) as usize];
        }
        HeaderValue::from_bytes(&hex).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// A number from the system's randomness: `RandomState` is seeded from it.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_hex_and_differ() {
        let (one, two) = (RequestIds::new(), RequestIds::new());
        let ids: std::collections::HashSet<_> = (0..1000).flat_map(|_| [one.next(), two.next()]).collect();
        assert_eq!(ids.len(), 2000);
        assert!(ids.iter().all(|id| id.len() == 32 && id.as_bytes().iter().all(u8::is_ascii_hexdigit)));
    }
}
