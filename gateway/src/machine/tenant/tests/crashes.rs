//! A worker that crashes, once or again and again.

use super::*;

#[test]
fn a_crash_holds_the_visitors_until_it_is_healthy_again() {
    let mut script = Script::serving();
    script.then(exited(1, 1), &["kill 1", "publish"]).route("hold [1]").view(State::Holding, "exit status 3");
    script.then(gone(1, 1), &[]).view(State::Backoff, "exit status 3");
    script.time(&["spawn 1#2"]).then(spawned(1), &["publish"]).route("hold [1?2]");
    script.then(healthy(1, 2), &["publish"]).route("serve 1 [1!2]").view(State::Running, "");
    assert_eq!(script.tenant.view().restarts, 1);
}

#[test]
fn a_crash_loop_is_failed_also_during_its_rare_attempts() {
    let mut script = Script::new();
    script.then(overlap("a"), &["open 1", "publish"]).then(opened(1), &["spawn 1#1", "publish"]);
    for attempt in 1..=5 {
        script.then(spawned(1), &["publish"]);
        let ended = "not ok: generation 1 ended 3 times before it was healthy: exit status 3; it is tried again";
        let told = if attempt == 3 { vec!["kill 1", ended, "publish"] } else { vec!["kill 1", "publish"] };
        script.then(exited(1, attempt), &told);
        script.then(gone(1, attempt), &[]);
        if attempt < 5 {
            script.view(State::Backoff, "exit status 3").time(&[&format!("spawn 1#{}", attempt + 1)]);
        }
    }
    script.route("failed 300 [1]").view(State::Failed, "exit status 3");
    script.time(&["spawn 1#6"]).then(spawned(1), &["publish"]).route("failed 300 [1?6]");
    script.then(healthy(1, 6), &["publish"]).route("serve 1 [1!6]").view(State::Running, "");
}

#[test]
fn when_the_old_one_crashes_during_a_deploy_the_new_one_takes_over_as_soon_as_it_can() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]).then(spawned(2), &["publish"]);
    script.then(exited(1, 1), &["kill 1", "publish"]).route("hold [1 2?1]");
    script.then(healthy(2, 1), &["publish"]).route("serve 2 [1 2!1]");
    script.then(gone(1, 1), &[]);
    script.applied(&["ok: generation 2 serves", "publish"]).applied(&["close 1", "publish"]).route("serve 2 [2!1]");
}
