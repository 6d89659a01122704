//! One order, from the account to the certificate (RFC 8555 section 7.4).

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::Duration,
};

use instant_acme::{CertificateIdentifier, Error, Identifier, NewOrder, OrderStatus};
use rcgen::KeyPair;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    account::Opened,
    challenge::{self, Work},
    client::Exchange,
    desk::Shop,
    leaf::{self, ChainError},
    mailbox::Mailbox,
    pace::{Pace, insist},
    problem::{self, Asked},
    records::{self, Records},
    words,
};
use crate::{
    model::{Failure, FailureKind},
    wire::{Answers, FromAcme, Issued, Keepsake, LinkError, OrderPlan, Record},
};

/// What an order may take beside what its records take to be seen.
const LONGEST: Duration = Duration::from_secs(600);
/// Every proxy answers within milliseconds.
const ANSWERING: Duration = Duration::from_secs(60);
/// This many polls in a row may fail for want of the authority.
const FAULTS: u32 = 3;

/// Why an order does not go on.
pub(super) enum Stop {
    /// To be told to the master.
    Failed(Failure),
    /// There is no master.
    Link(LinkError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// An order under way.
pub(super) struct Order<'a, R> {
    shop: &'a Shop<R>,
    mailbox: &'a Mailbox,
    plan: OrderPlan,
    http: Exchange,
    deadline: Instant,
    /// What must be cleaned, however it ends.
    written: RefCell<Vec<Record>>,
    answered: Cell<bool>,
}

impl<'a, R: Records> Order<'a, R> {
    /// By `plan`.
    pub(super) fn new(shop: &'a Shop<R>, mailbox: &'a Mailbox, plan: OrderPlan) -> Self {
        let deadline = Instant::now() + LONGEST + shop.settings.propagation_timeout;
        let (written, answered) = (RefCell::default(), Cell::default());
        Self { shop, mailbox, plan, http: shop.http.exchange(), deadline, written, answered }
    }

    /// To its end, which the master is told after everything is cleaned.
    ///
    /// # Errors
    /// The master has gone.
    pub(super) async fn run(self) -> Result<(), LinkError> {
        let outcome = tokio::select! {
            outcome = timeout_at(self.deadline, self.certificate()) => outcome.unwrap_or_else(|_| Err(late().into())),
            () = self.mailbox.cancelled() => {
                Err(problem::said(FailureKind::Cancelled, "it was given up".to_owned(), false).into())
            }
        };
        if !matches!(outcome, Err(Stop::Link(_))) {
            self.clean_up().await?;
        }
        match outcome {
            Ok(issued) => self.mailbox.issued(&issued).await,
            Err(Stop::Failed(failure)) => {
                self.mailbox.say(&FromAcme::Failed { job: self.mailbox.job(), failure }).await
            }
            Err(Stop::Link(error)) => Err(error),
        }
    }

    async fn certificate(&self) -> Result<Issued, Stop> {
        let (settings, accounts) = (&self.shop.settings, &self.shop.accounts);
        let opened = accounts.open(&self.plan, settings, &self.http, self.mailbox).await?;
        let (key, new) = leaf::key(self.plan.key_pem.as_deref()).map_err(ours)?;
        if new {
            self.mailbox.keep(&Keepsake::Key(key.serialize_pem())).await?;
        }
        let mut order = self.begin(opened).await?;
        if order.state().status == OrderStatus::Pending {
            self.validate(&mut order).await?;
        }
        self.finish(&mut order, key).await
    }

    /// The order that was placed before, or a new one; with another account, where ours is dead.
    async fn begin(&self, opened: Opened) -> Result<instant_acme::Order, Stop> {
        let settings = &self.shop.settings;
        let placed = match &self.plan.order_url {
            Some(url) => {
                self.mailbox.step("going on with the order that was placed");
                insist(async || opened.account.order(url.clone()).await).await
            }
            None => self.place(&opened).await?,
        };
        let order = match placed {
            Err(error) if names_account(&error) && opened.is_dead(settings).await => {
                let opened = self.shop.accounts.replace(opened, &self.plan, settings, &self.http, self.mailbox).await?;
                // An order of the old account's is out of reach.
                let order = self.place(&opened).await?.map_err(|error| self.failure(&error, Asked::Order))?;
                return self.kept(order).await;
            }
            Err(error) => {
                let gone = self.plan.order_url.is_some() && self.is_gone();
                let failure = self.failure(&error, Asked::Order);
                return Err(Failure { order_ended: failure.order_ended || gone, ..failure }.into());
            }
            Ok(order) => order,
        };
        if self.plan.order_url.is_some() { self.recognized(order).await } else { self.kept(order).await }
    }

    async fn place(&self, opened: &Opened) -> Result<Result<instant_acme::Order, Error>, Stop> {
        let account = &opened.account;
        self.mailbox.step("placing an order");
        let names: Vec<Identifier> = self.plan.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let plain = || {
            let order = NewOrder::new(&names);
            match &self.plan.profile {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        if let Some(wanted) = &self.plan.profile
            && !account.profiles().any(|profile| profile.name == wanted)
        {
            let offered: Vec<&str> = account.profiles().map(|profile| profile.name).collect();
            let offered = if offered.is_empty() { "none".to_owned() } else { words::safe(&offered.join(", ")) };
            let detail = format!("the authority has no profile {wanted:?}; it has: {offered}");
            return Err(problem::said(FailureKind::Request, detail, false).into());
        }
        if let Some(replaced) = self.plan.replaces.as_deref().and_then(identifier) {
            let order = plain().replaces(replaced);
            match insist(async || account.new_order(&order).await).await {
                // The directory has no renewal information any more.
                Err(Error::Unsupported(_)) => {}
                placed => return Ok(placed),
            }
        }
        let order = plain();
        Ok(insist(async || account.new_order(&order).await).await)
    }

    async fn kept(&self, order: instant_acme::Order) -> Result<instant_acme::Order, Stop> {
        self.mailbox.keep(&Keepsake::Order(order.url().to_owned())).await?;
        Ok(order)
    }

    /// An order of before, if it is for the same names.
    async fn recognized(&self, mut order: instant_acme::Order) -> Result<instant_acme::Order, Stop> {
        if !matches!(order.state().status, OrderStatus::Pending | OrderStatus::Ready) {
            return Ok(order);
        }
        self.load(&mut order).await?;
        let mut names = BTreeSet::new();
        let mut identifiers = order.identifiers();
        while let Some(Ok(name)) = identifiers.next().await {
            names.insert(name.to_string().to_ascii_lowercase());
        }
        if names != self.plan.names.iter().map(|name| name.to_ascii_lowercase()).collect() {
            let detail = "the order that was placed is for other names".to_owned();
            return Err(problem::said(FailureKind::Request, detail, true).into());
        }
        Ok(order)
    }

    /// Shows control of every name.
    async fn validate(&self, order: &mut instant_acme::Order) -> Result<(), Stop> {
        self.load(order).await?;
        let work = challenge::choose(order, &self.plan.challenges).await?;
        self.show(&work).await?;
        self.mailbox.step("waiting for the authority to look");
        self.tell(order, &work).await?;
        self.poll(order, Asked::Validation, |status| status != OrderStatus::Pending).await
    }

    /// Has every answer and record where the authority will look.
    async fn show(&self, work: &Work) -> Result<(), Stop> {
        let mut records = Vec::new();
        for (name, value) in &work.texts {
            let (name, zone) = self.shop.records.locate(name).await.map_err(of_dns)?;
            let record = Record { name, zone, value: value.clone() };
            self.written.borrow_mut().push(record.clone());
            self.mailbox.keep(&Keepsake::Record(record.clone())).await?;
            records.push(record);
        }
        for record in &records {
            self.mailbox.step(format!("writing the record {}", record.name));
            self.shop.records.present(record).await.map_err(of_dns)?;
        }
        for record in &records {
            let mut progress = |line: String| self.mailbox.step(line);
            self.shop.records.wait_visible(record, &mut progress).await.map_err(of_dns)?;
        }
        if !(work.answers.http.is_empty() && work.answers.tls.is_empty()) {
            self.answered.set(true);
            self.mailbox.answer(&work.answers).await?;
            timeout(ANSWERING, self.mailbox.answering()).await.map_err(|_| {
                let detail = "the proxies did not come to answer the challenge".to_owned();
                problem::said(FailureKind::Unreachable, detail, false)
            })??;
        }
        Ok(())
    }

    async fn tell(&self, order: &mut instant_acme::Order, work: &Work) -> Result<(), Stop> {
        let mut authorizations = order.authorizations();
        for kind in &work.tell {
            let Some(authorization) = authorizations.next().await else { break };
            let mut authorization = authorization.map_err(|error| self.failure(&error, Asked::Validation))?;
            let Some(kind) = kind else { continue };
            let Some(mut challenge) = authorization.challenge(kind.clone()) else { continue };
            insist(async || challenge.set_ready().await)
                .await
                .map_err(|error| self.failure(&error, Asked::Validation))?;
        }
        Ok(())
    }

    /// From an order that is ready, or further, to its certificate.
    async fn finish(&self, order: &mut instant_acme::Order, key: KeyPair) -> Result<Issued, Stop> {
        if order.state().status == OrderStatus::Ready {
            self.mailbox.step("asking for the certificate");
            let request = leaf::request(&self.plan.names, &key).map_err(ours)?;
            insist(async || order.finalize_csr(&request).await)
                .await
                .map_err(|error| self.failure(&error, Asked::Certificate))?;
        }
        if matches!(order.state().status, OrderStatus::Ready | OrderStatus::Processing) {
            let ended = |status| matches!(status, OrderStatus::Valid | OrderStatus::Invalid);
            self.poll(order, Asked::Certificate, ended).await?;
        }
        if order.state().status != OrderStatus::Valid {
            return Err(self.why_invalid(order).await);
        }
        let chain = insist(async || order.certificate().await)
            .await
            .map_err(|error| self.failure(&error, Asked::Certificate))?
            .unwrap_or_default();
        leaf::check(&chain, &key).map_err(|error| match error {
            ChainError::Garbage(_) => problem::said(FailureKind::Unreachable, words::safe(&error.to_string()), false),
            ChainError::AnotherKey => problem::said(FailureKind::Request, error.to_string(), true),
        })?;
        Ok(Issued { chain_pem: chain, key_pem: key.serialize_pem() })
    }

    async fn load(&self, order: &mut instant_acme::Order) -> Result<(), Stop> {
        let loaded = insist(async || {
            let mut authorizations = order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                authorization?;
            }
            Ok(())
        });
        loaded.await.map_err(|error| self.failure(&error, Asked::Order).into())
    }

    /// Asks how the order is until it is `enough`, as rarely as the authority wants.
    async fn poll(
        &self,
        order: &mut instant_acme::Order,
        asked: Asked,
        enough: impl Fn(OrderStatus) -> bool,
    ) -> Result<(), Stop> {
        let mut pace = Pace::until(self.deadline);
        let (mut faults, mut fault) = (0, None);
        while pace.wait(self.http.last().retry_after).await {
            match insist(async || order.refresh().await.map(drop)).await {
                Ok(()) if enough(order.state().status) => return Ok(()),
                Ok(()) => (faults, fault) = (0, None),
                Err(error) => {
                    let failure = self.failure(&error, asked);
                    if failure.kind != FailureKind::Unreachable || faults == FAULTS {
                        return Err(failure.into());
                    }
                    (faults, fault) = (faults + 1, Some(failure));
                }
            }
        }
        let retry_after = self.http.last().retry_after;
        Err(fault.unwrap_or_else(|| Failure { retry_after, ..late() }).into())
    }

    /// The authority's words about an order that came to nothing: its own, or those about one of its names.
    async fn why_invalid(&self, order: &mut instant_acme::Order) -> Stop {
        if self.load(order).await.is_ok()
            && let Some(failure) = challenge::first_dead(order).await
        {
            return failure.into();
        }
        let failure = match &order.state().error {
            Some(problem) => problem::of_object(problem, Asked::Validation),
            None => problem::said(FailureKind::Validation, "the order became invalid".to_owned(), true),
        };
        Failure { order_ended: true, ..failure }.into()
    }

    /// Leaves nothing behind. A record that cannot be removed is left to the master, which has it noted.
    async fn clean_up(&self) -> Result<(), LinkError> {
        if self.answered.get() {
            self.mailbox.answer(&Answers::default()).await?;
        }
        for record in self.written.take() {
            match records::remove(&self.shop.records, &record).await {
                Ok(()) => self.mailbox.keep(&Keepsake::Removed(record)).await?,
                Err(why) => tracing::warn!(name = record.name, why, "a challenge's record could not be removed yet"),
            }
        }
        Ok(())
    }

    fn failure(&self, error: &Error, asked: Asked) -> Failure {
        problem::failure(error, self.http.last(), asked)
    }

    fn is_gone(&self) -> bool {
        self.http.last().status.is_some_and(|status| matches!(status.as_u16(), 404 | 410))
    }
}

fn names_account(error: &Error) -> bool {
    matches!(error, Error::Api(said) if problem::is(said, "accountDoesNotExist") || problem::is(said, "unauthorized"))
}

/// RFC 9773 section 4.1: two parts of base64url.
fn identifier(text: &str) -> Option<CertificateIdentifier<'_>> {
    let (authority, serial) = text.split_once('.')?;
    Some(CertificateIdentifier { authority_key_identifier: authority.into(), serial: serial.into() })
}

fn late() -> Failure {
    problem::said(FailureKind::Unreachable, "the authority did not come to an end in time".to_owned(), false)
}

fn ours(why: String) -> Stop {
    problem::said(FailureKind::Request, why, false).into()
}

fn of_dns(why: String) -> Stop {
    problem::said(FailureKind::Dns, words::safe(&why), false).into()
}
