//! Which challenge shows control of each name, and what must be there for it (RFC 8555 section 8, RFC 8737).

use instant_acme::{AuthorizationHandle, AuthorizationStatus, ChallengeStatus, ChallengeType, Order};

use super::{
    leaf,
    order::Stop,
    problem::{self, Asked},
    words,
};
use crate::{
    model::{Challenge, Failure, FailureKind, Host},
    wire::{Answers, HttpAnswer},
};

/// What an order's authorizations need.
#[derive(Default)]
pub(super) struct Work {
    /// Of each authorization, in their order: what it is to be told about; `None`: nothing.
    pub(super) tell: Vec<Option<ChallengeType>>,
    /// What proxies are to answer.
    pub(super) answers: Answers,
    /// TXT records: the name of the order that each is for, and its text.
    pub(super) texts: Vec<(String, String)>,
}

/// Chooses a challenge for each authorization that is pending: the first of `preference` that is offered, and DNS-01 for a
/// wildcard. The authorizations must be loaded.
pub(super) async fn choose(order: &mut Order, preference: &[Challenge]) -> Result<Work, Stop> {
    let mut work = Work::default();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization
            .map_err(|error| problem::failure(&error, super::client::Last::default(), Asked::Validation))?;
        match authorization.status {
            AuthorizationStatus::Valid => work.tell.push(None),
            AuthorizationStatus::Pending => work.add(authorization, preference)?,
            _ => return Err(dead(&authorization).into()),
        }
    }
    Ok(work)
}

/// Why an authorization is none any more, in the authority's words. `None`: none is dead.
pub(super) async fn first_dead(order: &mut Order) -> Option<Failure> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        if !matches!(authorization.status, AuthorizationStatus::Valid | AuthorizationStatus::Pending) {
            return Some(dead(&authorization));
        }
    }
    None
}

impl Work {
    fn add(&mut self, authorization: AuthorizationHandle<'_>, preference: &[Challenge]) -> Result<(), Stop> {
        let name = authorization.identifier().to_string();
        let offered = |kind: Challenge| authorization.challenges.iter().any(|offer| offer.r#type == theirs(kind));
        let chosen = preference
            .iter()
            .copied()
            .filter(|kind| !authorization.wildcard || *kind == Challenge::Dns01)
            .find(|kind| offered(*kind))
            .ok_or_else(|| none_acceptable(&authorization, preference))?;
        // A challenge borrows its authorization for all of that one's lifetime: this one's is shorter.
        let mut authorization = authorization;
        let Some(challenge) = authorization.challenge(theirs(chosen)) else { return Ok(()) };
        // One that an earlier life of ours has told about is under way: it is answered, and not told about again.
        let tell = (challenge.status == ChallengeStatus::Pending).then(|| theirs(chosen));
        let key_authorization = challenge.key_authorization();
        match chosen {
            Challenge::Dns01 => self.texts.push((name, key_authorization.dns_value())),
            Challenge::Http01 => self.answers.http.push(HttpAnswer {
                host: host(&name)?,
                token: challenge.token.clone(),
                key_authorization: key_authorization.as_str().to_owned(),
            }),
            Challenge::TlsAlpn01 => {
                let certificate = leaf::for_challenge(&host(&name)?, &key_authorization)
                    .map_err(|why| problem::said(FailureKind::Request, why, false))?;
                self.answers.tls.push(certificate);
            }
        }
        self.tell.push(tell);
        Ok(())
    }
}

fn theirs(kind: Challenge) -> ChallengeType {
    match kind {
        Challenge::Dns01 => ChallengeType::Dns01,
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

fn shown(kind: &ChallengeType) -> String {
    match kind {
        ChallengeType::Dns01 => "dns-01".to_owned(),
        ChallengeType::Http01 => "http-01".to_owned(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        ChallengeType::DeviceAttest01 => "device-attest-01".to_owned(),
        ChallengeType::Unknown(other) => words::safe(other),
        other => format!("{other:?}"),
    }
}

fn list(kinds: impl Iterator<Item = ChallengeType>) -> String {
    let kinds: Vec<String> = kinds.map(|kind| shown(&kind)).collect();
    if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") }
}

fn none_acceptable(authorization: &AuthorizationHandle<'_>, preference: &[Challenge]) -> Failure {
    let offered = list(authorization.challenges.iter().map(|challenge| challenge.r#type.clone()));
    let wanted = list(preference.iter().map(|kind| theirs(*kind)));
    let name = words::safe(&authorization.identifier().to_string());
    let detail = format!("the authority offers {offered} for {name}, and it may be shown by {wanted} only");
    problem::said(FailureKind::Request, detail, true)
}

fn dead(authorization: &AuthorizationHandle<'_>) -> Failure {
    match authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
        Some(error) => Failure { order_ended: true, ..problem::of_object(error, Asked::Validation) },
        None => {
            let name = words::safe(&authorization.identifier().to_string());
            let status = format!("{:?}", authorization.status).to_lowercase();
            problem::said(FailureKind::Validation, format!("the authorization for {name} is {status}"), true)
        }
    }
}

fn host(name: &str) -> Result<Host, Stop> {
    name.parse().map_err(|error| {
        problem::said(FailureKind::Request, format!("the authority names {}: {error}", words::safe(name)), true).into()
    })
}
