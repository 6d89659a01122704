//! The role between a master of the test's and a real authority.
#![allow(clippy::unwrap_used, reason = "tests")]

mod master;
mod pebble;

use master::{End, Fake, Master, names, plan};
use pebble::{EAB_KEY, Pebble};
use tokio::task::LocalSet;

use crate::{
    model::{Challenge, FailureKind},
    wire::OrderPlan,
};

/// Everything in one thread but the role and the authority.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(std::time::Duration::from_secs(300), test).await.expect("a test takes too long");
    });
}

#[test]
fn a_custom_domain_is_shown_by_either_challenge() {
    run(async {
        let pebble = Pebble::start(false, &[]).await;
        let mut master = Master::start(&pebble, None, Fake::default()).await;
        for challenge in [Challenge::Http01, Challenge::TlsAlpn01] {
            let issued = master.order(plan(&pebble, challenge)).await.issued();
            assert_eq!(names(&issued.chain_pem), ["shop.example.com"]);
            assert_eq!(Some(&issued.key_pem), master.kept.key_pem.as_ref());
            assert!(master.kept.account.is_some() && master.kept.order_url.is_some());
            let answers = pebble.world.answers.borrow();
            assert!(answers.http.is_empty() && answers.tls.is_empty(), "the answers are taken back");
            let secret = master.secrets.join("|");
            assert!(!secret.is_empty());
            assert!(!master.steps.iter().any(|line| master.secrets.iter().any(|secret| line.contains(secret))));
            master.kept.order_url = None;
            master.kept.key_pem = None;
        }
        assert_eq!(master.accounts, 1);
    });
}

#[test]
fn orders_at_once_share_one_new_account() {
    run(async {
        let pebble = Pebble::start(false, &[]).await;
        let mut master = Master::start(&pebble, None, Fake::default()).await;
        let ends = master.orders((0..6).map(|_| plan(&pebble, Challenge::Http01)).collect()).await;
        assert!(ends.into_iter().all(|end| matches!(end, End::Issued(_))));
        assert_eq!(master.accounts, 1);
    });
}

#[test]
fn a_binding_to_an_account_elsewhere() {
    run(async {
        let pebble = Pebble::start(true, &[]).await;
        let failure = Master::start(&pebble, None, Fake::default()).await.order(plan(&pebble, Challenge::Http01)).await;
        assert_eq!(failure.failed().kind, FailureKind::Account);
        let nonsense = Some(("kid-1".to_owned(), "*".to_owned()));
        let failure =
            Master::start(&pebble, nonsense, Fake::default()).await.order(plan(&pebble, Challenge::Http01)).await;
        assert_eq!(failure.failed().kind, FailureKind::Account);
        let right = Some(("kid-1".to_owned(), EAB_KEY.to_owned()));
        Master::start(&pebble, right, Fake::default()).await.order(plan(&pebble, Challenge::Http01)).await.issued();
    });
}

#[test]
fn an_order_goes_on_after_the_role_was_killed_at_each_keepsake() {
    run(async {
        let pebble = Pebble::start(false, &[]).await;
        let mut master = Master::start(&pebble, None, Fake::default()).await;
        master.kill_at_keep = true;
        let (mut lives, mut urls) = (0, Vec::new());
        let issued = loop {
            lives += 1;
            assert!(lives < 10);
            match master.order(master.again(plan(&pebble, Challenge::TlsAlpn01))).await {
                End::Killed => master.restart(&pebble).await,
                end => break end.issued(),
            }
            urls.extend(master.kept.order_url.clone());
        };
        assert_eq!(lives, 4, "killed at the account, the key and the order");
        assert_eq!(names(&issued.chain_pem), ["shop.example.com"]);
        assert_eq!((master.accounts, master.kept.order_url.as_ref()), (1, urls.first()));
        // What is valid already is taken without anything else being asked for.
        let again = master.order(master.again(plan(&pebble, Challenge::TlsAlpn01))).await.issued();
        assert_eq!(again.chain_pem, issued.chain_pem);
    });
}

#[test]
fn an_account_that_was_ended_is_replaced() {
    run(async {
        let pebble = Pebble::start(false, &[]).await;
        let mut master = Master::start(&pebble, None, Fake::default()).await;
        master.order(plan(&pebble, Challenge::Http01)).await.issued();
        let old = master.kept.account.clone().unwrap();
        master.deactivate(&pebble, &old).await;
        let plan = OrderPlan { account: Some(old.clone()), ..plan(&pebble, Challenge::Http01) };
        master.order(plan).await.issued();
        assert_eq!((master.accounts, master.forgotten), (2, 1));
        assert_ne!(master.kept.account, Some(old));
    });
}

#[test]
fn an_authority_that_is_not_convinced_says_why() {
    run(async {
        let pebble = Pebble::start(false, &[]).await;
        let mut master = Master::start(&pebble, None, Fake::default()).await;
        master.answers_badly = true;
        let failure = master.order(plan(&pebble, Challenge::Http01)).await.failed();
        assert_eq!((failure.kind, failure.order_ended), (FailureKind::Validation, true), "{failure:?}");
        assert!(failure.detail.contains("404"), "{failure:?}");
        assert!(pebble.world.answers.borrow().http.is_empty());
        let again = master.order(master.again(plan(&pebble, Challenge::Http01))).await.failed();
        assert_eq!((again.kind, again.order_ended), (FailureKind::Validation, true), "{again:?}");

        let unknown = OrderPlan {
            order_url: Some(pebble.directory.replace("/dir", "/my-order/x")),
            ..plan(&pebble, Challenge::Http01)
        };
        let gone = master.order(unknown).await.failed();
        assert!(gone.order_ended, "{gone:?}");
        let other = OrderPlan {
            challenges: vec![Challenge::Dns01],
            names: vec!["*.example.com".to_owned()],
            ..plan(&pebble, Challenge::Http01)
        };
        let other = OrderPlan { challenges: vec![Challenge::Http01], ..other };
        let failure = master.order(other).await.failed();
        assert_eq!(failure.kind, FailureKind::Request);
        assert!(failure.detail.contains("dns-01 for *.example.com"), "{failure:?}");
    });
}

#[test]
fn an_authority_that_is_down_costs_no_order() {
    run(async {
        let mut pebble = Pebble::start(false, &[]).await;
        pebble.stop();
        let mut master = Master::start(&pebble, None, Fake::default()).await;
        let failure = master.order(plan(&pebble, Challenge::Http01)).await.failed();
        assert_eq!((failure.kind, failure.order_ended), (FailureKind::Unreachable, false), "{failure:?}");
        assert!(failure.detail.contains("refused"), "{failure:?}");
        let http = super::client::Http::new(Some(&pebble.root)).unwrap();
        let renewal = super::renewal::ask(&http, &pebble.directory, "a.b").await.unwrap_err();
        assert_eq!(renewal.kind, FailureKind::Unreachable);
    });
}

#[test]
fn a_fault_of_ours_ends_its_own_order_and_no_other() {
    run(async {
        let pebble = Pebble::start(false, &[("PEBBLE_VA_ALWAYS_VALID", "1")]).await;
        let mut master = Master::start(&pebble, None, Fake::default()).await;
        let of = |name: &str| OrderPlan {
            names: vec![name.to_owned()],
            challenges: vec![Challenge::Dns01],
            ..plan(&pebble, Challenge::Dns01)
        };
        let failure = master.order(of(master::PANICS)).await.failed();
        assert_eq!((failure.kind, failure.order_ended), (FailureKind::Request, false), "{failure:?}");
        master.order(of("apps.example")).await.issued();
    });
}

#[test]
fn two_records_at_one_name_are_written_awaited_and_removed() {
    run(async {
        let pebble = Pebble::start(false, &[("PEBBLE_VA_ALWAYS_VALID", "1")]).await;
        let fake = Fake::default();
        let mut master = Master::start(&pebble, None, fake.clone()).await;
        let wildcard = || OrderPlan {
            names: vec!["*.apps.example".to_owned(), "apps.example".to_owned()],
            challenges: vec![Challenge::Dns01],
            ..plan(&pebble, Challenge::Dns01)
        };
        fake.refuse_removals(1);
        let issued = master.order(wildcard()).await.issued();
        assert_eq!(names(&issued.chain_pem), ["*.apps.example", "apps.example"]);
        assert_eq!(fake.verbs(), ["present", "present", "wait", "wait", "refused", "remove", "remove"]);
        assert_eq!((master.recorded, master.kept_records.len()), (2, 0));

        fake.hide();
        master.cancel_at_step = Some("hidden");
        let failure = master.order(OrderPlan { account: master.kept.account.clone(), ..wildcard() }).await.failed();
        assert_eq!((failure.kind, failure.order_ended), (FailureKind::Cancelled, false));
        assert_eq!(fake.verbs(), ["present", "present", "wait", "remove", "remove"]);
        assert_eq!((master.recorded, master.kept_records.len()), (4, 0));
    });
}
