//! A tenant's terms, looked at with a request's head: what they do not let in waits for nothing, and nothing of its body
//! is read.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::{
    bucket::{Bucket, Empty},
    stayed::Stayed,
};
use crate::proxy::{pages::Page, routes::Tenant};

/// What one table says of a tenant's requests. Of a tenant without limits, nothing that costs anything.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// Bytes of one body.
    pub(crate) body: Option<u64>,
    /// Where a request takes a token, or may find no room: whose they are.
    strict: Option<Strict>,
}

#[derive(Debug)]
struct Strict {
    tenant: Arc<str>,
    company: Arc<str>,
    bucket: Option<Arc<Bucket>>,
    full: bool,
}

/// Why a request is not let in.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Its tenant gets more requests a second than it may.
    Rate(Owner, Arc<Bucket>, Empty),
    /// It has a body, and its tenant's storage is used up.
    Full(Owner),
    /// Its body says that it is too large.
    Oversize,
}

/// Whose page is shown.
#[derive(Debug)]
pub(crate) struct Owner {
    tenant: Arc<str>,
    company: Arc<str>,
}

impl Terms {
    pub(crate) fn of(tenant: &Tenant) -> Self {
        let strict = (tenant.full || tenant.bucket.is_some()).then(|| Strict {
            tenant: Arc::clone(&tenant.name),
            company: Arc::clone(&tenant.company),
            bucket: tenant.bucket.clone(),
            full: tenant.full,
        });
        Self { body: tenant.body, strict }
    }

    /// Takes a token, and says why the request is refused, if it is.
    pub(crate) fn refuses(self, stayed: &Stayed) -> Option<Refused> {
        if let Some(Strict { tenant, company, bucket, full }) = self.strict {
            let owner = Owner { tenant, company };
            if let Some(bucket) = bucket
                && let Err(empty) = bucket.take()
            {
                return Some(Refused::Rate(owner, bucket, empty));
            }
            if full && !stayed.upload.is_empty() {
                return Some(Refused::Full(owner));
            }
        }
        let most = self.body?;
        (stayed.declared()? > most).then_some(Refused::Oversize)
    }
}

impl Refused {
    /// For the access log.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Rate(..) => "rate",
            Self::Full(_) => "storage",
            Self::Oversize => "oversize",
        }
    }

    /// Whose it was, where that is known.
    pub(crate) fn tenant(&self) -> Option<Arc<str>> {
        match self {
            Self::Rate(owner, ..) | Self::Full(owner) => Some(Arc::clone(&owner.tenant)),
            Self::Oversize => None,
        }
    }

    /// What the visitor sees.
    pub(crate) fn page(&self) -> Page<'_> {
        match self {
            Self::Rate(owner, _, empty) => Page::TooMany { company: &owner.company, retry_after: empty.retry_after },
            Self::Full(owner) => Page::Full { company: &owner.company },
            Self::Oversize => Page::Status(StatusCode::PAYLOAD_TOO_LARGE),
        }
    }

    /// What programs are told beside it.
    pub(crate) fn explain(&self, headers: &mut HeaderMap) {
        if let Self::Rate(_, bucket, empty) = self {
            bucket.explain(*empty, headers);
        }
    }
}
