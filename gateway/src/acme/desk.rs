//! What the master asks for, each in a task of its own.

use std::{cell::RefCell, collections::HashMap, os::fd::OwnedFd, rc::Rc};

use tokio::{sync::watch, task};

use super::{
    MasterLink,
    account::Accounts,
    client::Http,
    mailbox::{Heard, Mailbox},
    order::Order,
    records::{self, Records},
    renewal, sealed,
};
use crate::wire::{AcmeSettings, FromAcme, JobId, LinkError, OrderPlan, Record, ToAcme};

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
                self.spawn(move |shop| async move { FromAcme::Looked { job, finding: shop.records.look(&host).await } })
            }
            ToAcme::AskRenewal { job, certificate } => self.spawn(move |shop| async move {
                FromAcme::Renewal {
                    job,
                    answer: renewal::ask(&shop.http, &shop.settings.directory, &certificate).await,
                }
            }),
            ToAcme::Clean { job } => {
                let record: Record = sealed(fds.pop())?;
                self.spawn(move |shop| async move {
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
        let (shop, orders) = (self.shop.clone(), self.orders.clone());
        task::spawn_local(async move {
            // The master has gone, if it cannot be told: the loop that receives ends the role.
            let _ = Order::new(&shop, &mailbox, plan).run().await;
            orders.borrow_mut().remove(&job);
        });
    }

    /// What is said of an order that has ended is late, not wrong.
    fn hear(&self, job: JobId, change: impl FnOnce(&mut Heard)) {
        if let Some(heard) = self.orders.borrow().get(&job) {
            heard.send_modify(change);
        }
    }

    fn spawn<F: Future<Output = FromAcme> + 'static>(&self, work: impl FnOnce(Rc<Shop<R>>) -> F) {
        let (link, work) = (self.link.clone(), work(self.shop.clone()));
        task::spawn_local(async move {
            let _ = link.send(&work.await, super::NOTHING).await;
        });
    }
}
