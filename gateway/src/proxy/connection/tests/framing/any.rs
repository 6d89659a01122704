//! Requests and near-requests at random, cut anywhere.

use proptest::prelude::*;

use super::*;

/// Requests and near-requests: pieces that matter, put together at random.
fn near_request() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => Just(&b"\r\n"[..]),
        4 => Just(&b"GET / HTTP/1.1\r\nHost: a.test\r\n"[..]),
        4 => Just(&b"POST /x?y HTTP/1.1\r\nHost: a.test\r\n"[..]),
        3 => Just(&b"Content-Length: 3\r\n"[..]),
        3 => Just(&b"Transfer-Encoding: chunked\r\n"[..]),
        2 => Just(&b"3\r\nabc\r\n"[..]),
        3 => Just(&b"0\r\n\r\n"[..]),
        2 => Just(&b"abc"[..]),
        2 => Just(&b"X: y\r\n"[..]),
        1 => Just(&b"\n"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b" "[..]),
        1 => Just(&b"\0"[..]),
        1 => Just(&b"X_Y: z\r\n"[..]),
        1 => Just(&b"2;e=f\r\nab\r\n"[..]),
        1 => Just(&b"HTTP/1.0\r\n"[..]),
    ];
    let noise = prop_oneof![6 => Just(None), 1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(Some)];
    (prop::collection::vec(piece, 1..14), noise).prop_map(|(pieces, noise)| {
        let mut bytes = pieces.concat();
        if let Some((at, byte)) = noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// One is soon done: more than usual, or as many as `PROPTEST_CASES` says.
fn many() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(2000), ..usual }
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn cutting_changes_nothing(input in near_request(), pieces in prop::collection::vec(1usize..20, 1..8)) {
        prop_assert_eq!(read(&input, &pieces), read(&input, &[usize::MAX]));
    }

    #[test]
    fn what_passes_is_what_others_read(input in near_request()) {
        let (passed, heads, _) = read(&input, &[usize::MAX]);
        prop_assert!(input.starts_with(&passed), "nothing is added, dropped or moved");
        let mut rest = &passed[..];
        for length in heads {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut fields);
            let parsed = request.parse(rest).map(|status| status.is_complete().then(|| status.unwrap()));
            prop_assert_eq!(parsed, Ok(Some(length)));
            let value = |name: &str| request.headers.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value);
            let (size, coding) = (value("content-length"), value("transfer-encoding"));
            prop_assert!(size.is_none() || coding.is_none());
            rest = &rest[length..];
            if let Some(size) = size {
                let size: usize = std::str::from_utf8(size).unwrap().parse().unwrap();
                rest = &rest[size.min(rest.len())..];
            } else if coding.is_some() {
                while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) {
                    let chunk = line + size as usize + 2;
                    if size == 0 {
                        // No trailers in this corpus but the empty one and `X: y`.
                        let end = rest[line - 2..].windows(4).position(|w| w == b"\r\n\r\n").map(|p| line - 2 + p + 4);
                        rest = &rest[end.unwrap_or(rest.len())..];
                        break;
                    }
                    rest = &rest[chunk.min(rest.len())..];
                }
                // What is left of a body that breaks off is no head.
            }
        }
    }
}
