//! What the master asks for, each in a task of its own.

use std::{cell::RefCell, collections::HashMap, os::fd::OwnedFd, rc::Rc};

use tokio::{sync::watch, task};

use super::{
    MasterLink,
    account::Accounts,
    client::Http,
    mailbox::{Heard, Mailbox},
    order::Order,
    problem,
    records::{self, Records},
    renewal, sealed,
};
use crate::{
    model::{Failure, FailureKind, Finding},
    wire::{AcmeSettings, FromAcme, JobId, LinkError, OrderPlan, Record, ToAcme},
};

/// All that jobs share.
pub(super) struct Shop<R> {
    pub(super) settings: AcmeSettings,
    pub(super) records: R,
    pub(super) http: Http,
    pub(super) accounts: Accounts,
}

/// Where jobs are taken, and where they are found again.
pub(super) struct Desk<R> {
    link: Rc<MasterLink>,
    shop: Rc<Shop<R>>,
    orders: Rc<RefCell<HashMap<JobId, watch::Sender<Heard>>>>,
}

impl<R: Records + 'static> Desk<R> {
    /// With nothing to do yet.
    ///
    /// # Errors
    /// The roots are none: a sentence.
    pub(super) fn new(link: Rc<MasterLink>, settings: AcmeSettings, records: R) -> Result<Self, String> {
        let http = Http::new(settings.root_pem.as_deref())?;
        let shop = Shop { settings, records, http, accounts: Accounts::default() };
        Ok(Self { link, shop: Rc::new(shop), orders: Rc::default() })
    }

    /// Takes one message.
    ///
    /// # Errors
    /// What belongs beside it is not there.
    pub(super) fn take(&mut self, message: ToAcme, mut fds: Vec<OwnedFd>) -> Result<(), LinkError> {
        match message {
            ToAcme::Order { job } => self.order(job, sealed(fds.pop())?),
            ToAcme::Cancel { job } => self.hear(job, |heard| heard.cancelled = true),
            ToAcme::Kept { job } => self.hear(job, |heard| heard.kept += 1),
            ToAcme::Answering { job } => self.hear(job, |heard| heard.answering += 1),
            ToAcme::Look { job, host } => {
                let lost = FromAcme::Looked { job, finding: Finding::Unknown(FAULT.to_owned()) };
                self.spawn(lost, move |shop| async move {
                    FromAcme::Looked { job, finding: shop.records.look(&host).await }
                });
            }
            ToAcme::AskRenewal { job, certificate } => {
                let lost = FromAcme::Renewal { job, answer: Err(fault()) };
                self.spawn(lost, move |shop| async move {
                    FromAcme::Renewal {
                        job,
                        answer: renewal::ask(&shop.http, &shop.settings.directory, &certificate).await,
                    }
                });
            }
            ToAcme::Clean { job } => {
                let record: Record = sealed(fds.pop())?;
                let lost = FromAcme::Cleaned { job, error: Some(FAULT.to_owned()) };
                self.spawn(lost, move |shop| async move {
                    FromAcme::Cleaned { job, error: records::remove(&shop.records, &record).await.err() }
                });
            }
            ToAcme::Hello { .. } | ToAcme::Configure => {}
        }
        Ok(())
    }

    fn order(&self, job: JobId, plan: OrderPlan) {
        let (mailbox, heard) = Mailbox::new(self.link.clone(), job);
        self.orders.borrow_mut().insert(job, heard);
        let shop = self.shop.clone();
        let work = task::spawn_local(async move {
            // The master has gone, if it cannot be told: the loop that receives ends the role.
            let _ = Order::new(&shop, &mailbox, plan).run().await;
        });
        let (link, orders) = (self.link.clone(), self.orders.clone());
        task::spawn_local(async move {
            // Whoever waits for its end would wait for ever. What it has written is noted, and cleaned.
            if work.await.is_err() {
                let _ = link.send(&FromAcme::Failed { job, failure: fault() }, super::NOTHING).await;
            }
            orders.borrow_mut().remove(&job);
        });
    }

    /// What is said of an order that has ended is late, not wrong.
    fn hear(&self, job: JobId, change: impl FnOnce(&mut Heard)) {
        if let Some(heard) = self.orders.borrow().get(&job) {
            heard.send_modify(change);
        }
    }

    /// Says what `work` brings; `lost`, if it panics.
    fn spawn<F: Future<Output = FromAcme> + 'static>(&self, lost: FromAcme, work: impl FnOnce(Rc<Shop<R>>) -> F) {
        let (link, work) = (self.link.clone(), task::spawn_local(work(self.shop.clone())));
        task::spawn_local(async move {
            let _ = link.send(&work.await.unwrap_or(lost), super::NOTHING).await;
        });
    }
}

/// What is said of a panic, which is in the log.
const FAULT: &str = "a fault in landlord itself ended it: see landlord's log";

fn fault() -> Failure {
    problem::said(FailureKind::Request, FAULT.to_owned(), false)
}
