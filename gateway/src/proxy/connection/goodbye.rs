//! The second GOAWAY of HTTP/2, and what it waits for.
//!
//! `h2` sends it as soon as the PING behind the first one is answered. But clients answer a PING ahead of the requests that
//! they have ready (`h2`'s own client does, in the same write), and those would be behind the last stream that it names. So
//! the answer is kept from `h2` for a moment: on its way in, it becomes a frame of a type that nobody knows, which is to be
//! ignored (RFC 9113 section 4.1), and an answer like it is put in later, between two frames.

use std::{cell::Cell, time::Duration};

/// What crosses the first GOAWAY may come so long after the PING's answer.
pub(super) const CROSSING: Duration = Duration::from_millis(500);

/// RFC 9113 section 11.2 leaves it to experiments.
pub(super) const UNKNOWN: u8 = 0xfe;

type Payload = [u8; 8];

/// How far the goodbye is.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Nothing was said.
    #[default]
    Silent,
    /// The first GOAWAY and its PING are on their way.
    Asked,
    /// The client has answered the PING; so much of the answer is here.
    Answering(usize, Payload),
    /// All of it.
    Answered(Payload),
    /// It has waited for long enough.
    Due(Payload),
    /// `h2` has it.
    Said,
}

/// One connection's goodbye.
#[derive(Debug, Default)]
pub(super) struct Goodbye(Cell<State>);

impl Goodbye {
    /// `h2` is about to say the first GOAWAY.
    pub(super) fn ask(&self) {
        self.0.set(State::Asked);
    }

    /// An answer to a PING begins. `true`: it is the one, to be kept from `h2`.
    pub(super) fn answer(&self) -> bool {
        let wanted = matches!(self.0.get(), State::Asked);
        if wanted {
            self.0.set(State::Answering(0, Payload::default()));
        }
        wanted
    }

    /// More of a frame's payload.
    pub(super) fn payload(&self, bytes: &[u8]) {
        if let State::Answering(at, mut payload) = self.0.get() {
            let end = payload.len().min(at + bytes.len());
            payload[at..end].copy_from_slice(&bytes[..end - at]);
            self.0.set(if end == payload.len() { State::Answered(payload) } else { State::Answering(end, payload) });
        }
    }

    /// The client has answered; what crosses the first GOAWAY is being waited for.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.0.get(), State::Answered(_))
    }

    /// What crosses it has come.
    pub(super) fn release(&self) {
        if let State::Answered(payload) = self.0.get() {
            self.0.set(State::Due(payload));
        }
    }

    /// The frame that `h2` is to see now, once.
    pub(super) fn take(&self) -> Option<[u8; 17]> {
        let State::Due(payload) = self.0.get() else { return None };
        self.0.set(State::Said);
        let mut frame = [0; 17];
        frame[2] = 8;
        frame[3] = 6;
        frame[4] = 1;
        frame[9..].copy_from_slice(&payload);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_is_kept_however_it_is_cut_and_shown_once() {
        let goodbye = Goodbye::default();
        assert!(!goodbye.answer(), "nothing was asked");
        goodbye.ask();
        assert!(goodbye.answer());
        goodbye.payload(b"abc");
        goodbye.release();
        assert!(!goodbye.is_answered() && goodbye.take().is_none());
        goodbye.payload(b"defgh");
        assert!(goodbye.is_answered() && !goodbye.answer(), "another one is none of ours");
        assert!(goodbye.take().is_none(), "not yet");
        goodbye.release();
        assert_eq!(goodbye.take().as_ref(), Some(b"\x00\x00\x08\x06\x01\x00\x00\x00\x00abcdefgh"));
        assert!(goodbye.take().is_none(), "once");
    }
}
