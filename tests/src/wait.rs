//! Waiting for a condition, bounded in time. The bound is for a machine on a bad day: no test's verdict hangs on it
//! unless the thing never comes.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// How long anything that must happen may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a condition that has no event.
const GLANCE: Duration = Duration::from_millis(10);

/// Looks at `condition` until it gives something; panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: impl Display, condition: impl FnMut() -> Option<T>) -> T {
    match within(PATIENCE, condition) {
        Some(found) => found,
        None => panic!("waited {PATIENCE:?} in vain for this: {what}"),
    }
}

/// [`eventually`] for a condition that has to be asked for.
pub async fn eventually_async<T>(what: impl Display, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for this: {what}");
        tokio::time::sleep(GLANCE).await;
    }
}

/// Looks at `condition` until it gives something or `bound` has passed.
pub fn within<T>(bound: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(GLANCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_looked_at_again_until_it_holds() {
        let mut looks = 0;
        let found = within(PATIENCE, || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, Some(3));
    }

    #[test]
    fn a_condition_that_never_holds_is_given_up() {
        assert_eq!(within(Duration::from_millis(30), || None::<()>), None);
    }
}
