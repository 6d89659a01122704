//! How often the authority is asked, and when it is given up.

use std::time::Duration;

use instant_acme::{Error, Problem};
use tokio::time::{Instant, sleep, timeout_at};

/// One call is made at most this often while its nonces are rejected: the library beneath makes three tries of each, so that
/// with every other nonce rejected one in 2^30 calls fails.
const NONCES: u32 = 10;

/// Makes a call again while the authority rejects its nonces (RFC 8555 section 6.5). A rejected call has changed nothing.
pub(super) async fn insist<T>(mut call: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 1..NONCES {
        match call().await {
            Err(Error::Api(problem)) if is_bad_nonce(&problem) => {}
            done => return done,
        }
    }
    call().await
}

fn is_bad_nonce(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce")
}

/// When a polled order is asked for next.
pub(super) struct Pace {
    deadline: Instant,
    next: Duration,
}

impl Pace {
    const FIRST: Duration = Duration::from_millis(250);
    const SLOWEST: Duration = Duration::from_secs(10);

    /// Until `deadline`.
    pub(super) fn until(deadline: Instant) -> Self {
        Self { deadline, next: Self::FIRST }
    }

    /// Waits as long as the authority asks, else a little longer each time. `false`: the deadline comes first.
    pub(super) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        let own = self.next;
        self.next = (own * 3 / 2).min(Self::SLOWEST);
        let pause = asked.map_or(own, |asked| asked.max(Self::FIRST));
        let next = Instant::now().checked_add(pause);
        next.is_some_and(|next| next < self.deadline) && timeout_at(self.deadline, sleep(pause)).await.is_ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn rejected() -> Error {
        serde_json::from_str::<Problem>(r#"{"type":"urn:ietf:params:acme:error:badNonce"}"#).unwrap().into()
    }

    #[tokio::test]
    async fn rejected_nonces_are_made_again_and_other_errors_are_not() {
        let calls = Cell::new(0);
        let count = || calls.replace(calls.get() + 1);
        assert!(insist(async || if count() < 9 { Err(rejected()) } else { Ok(()) }).await.is_ok());
        assert_eq!(calls.take(), 10);
        assert!(insist(async || if count() < 10 { Err(rejected()) } else { Ok(()) }).await.is_err());
        assert_eq!(calls.take(), 10);
        assert!(
            insist(async || {
                count();
                Err::<(), _>(Error::Str("x"))
            })
            .await
            .is_err()
        );
        assert_eq!(calls.take(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn polls_grow_rarer_obey_the_authority_and_end() {
        let start = Instant::now();
        let mut pace = Pace::until(start + Duration::from_secs(600));
        assert!(pace.wait(Some(Duration::from_secs(20))).await);
        assert_eq!(start.elapsed().as_secs(), 20);
        assert!(!pace.wait(Some(Duration::from_secs(581))).await, "not before the deadline");
        assert!(!pace.wait(Some(Duration::MAX)).await, "nor for longer than any clock counts");
        assert_eq!(start.elapsed().as_secs(), 20, "it is known at once");
        let mut polls = 0;
        while pace.wait(None).await {
            polls += 1;
        }
        assert!((50..90).contains(&polls), "{polls}");
    }
}
