//! Our account at an authority (RFC 8555 section 7.3): the plan's, or a new one. Orders that run at once share it.

use std::{cell::RefCell, collections::HashMap};

use base64::{Engine, alphabet, engine};
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use tokio::sync::Mutex;

use super::{
    client::Exchange,
    mailbox::Mailbox,
    order::Stop,
    pace::insist,
    problem::{self, Asked},
};
use crate::{
    model::FailureKind,
    wire::{AcmeSettings, Keepsake, OrderPlan},
};

/// The accounts that were made in this life of the role, by directory: newer than what a plan brings.
#[derive(Default)]
pub(super) struct Accounts {
    made: RefCell<HashMap<String, String>>,
    /// One at a time: orders that are asked for at once must not register an account each.
    registering: Mutex<()>,
}

/// An account that is open, and what it was opened from.
pub(super) struct Opened {
    pub(super) account: Account,
    credentials: String,
}

impl Accounts {
    /// The plan's account, or the one made since, or a new one.
    pub(super) async fn open(
        &self,
        plan: &OrderPlan,
        settings: &AcmeSettings,
        http: &Exchange,
        mailbox: &Mailbox,
    ) -> Result<Opened, Stop> {
        if let Some(known) = self.known(plan)
            && let Some(opened) = restore(known, http).await?
        {
            return Ok(opened);
        }
        let _only = self.registering.lock().await;
        self.register_unless_made(None, plan, settings, http, mailbox).await
    }

    /// Another account instead of `dead`, said loudly: the one that another order has made meanwhile, or a new one.
    pub(super) async fn replace(
        &self,
        dead: Opened,
        plan: &OrderPlan,
        settings: &AcmeSettings,
        http: &Exchange,
        mailbox: &Mailbox,
    ) -> Result<Opened, Stop> {
        let _only = self.registering.lock().await;
        self.register_unless_made(Some(&dead.credentials), plan, settings, http, mailbox).await
    }

    fn known(&self, plan: &OrderPlan) -> Option<String> {
        self.made.borrow().get(&plan.directory).cloned().or_else(|| plan.account.clone())
    }

    async fn register_unless_made(
        &self,
        dead: Option<&str>,
        plan: &OrderPlan,
        settings: &AcmeSettings,
        http: &Exchange,
        mailbox: &Mailbox,
    ) -> Result<Opened, Stop> {
        let made = self.made.borrow().get(&plan.directory).filter(|made| Some(made.as_str()) != dead).cloned();
        if let Some(made) = made
            && let Some(opened) = restore(made, http).await?
        {
            return Ok(opened);
        }
        if dead.is_some() || plan.account.is_some() {
            tracing::warn!(
                directory = plan.directory,
                "the authority does not know our account any more, or has ended it: registering a new one"
            );
            self.made.borrow_mut().remove(&plan.directory);
            mailbox.keep(&Keepsake::Account(None)).await?;
        }
        mailbox.step("registering an account");
        let opened = register(plan, settings, http).await?;
        mailbox.keep(&Keepsake::Account(Some(opened.credentials.clone()))).await?;
        self.made.borrow_mut().insert(plan.directory.clone(), opened.credentials.clone());
        Ok(opened)
    }
}

impl Opened {
    /// Whether the authority refuses this very account, asked by a request that is about nothing else.
    pub(super) async fn is_dead(&self, settings: &AcmeSettings) -> bool {
        let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
        match insist(async || self.account.update_contacts(&contact).await).await {
            Err(Error::Api(problem)) => {
                problem::is(&problem, "accountDoesNotExist") || problem::is(&problem, "unauthorized")
            }
            // It answered, and the account's status is not `valid`.
            Err(Error::Str("Unexpected account status after updating contact information")) => true,
            _ => false,
        }
    }
}

/// `None`: these are no credentials.
async fn restore(credentials: String, http: &Exchange) -> Result<Option<Opened>, Stop> {
    let Ok(parsed) = serde_json::from_str::<AccountCredentials>(&credentials) else { return Ok(None) };
    match Account::builder_with_http(Box::new(http.clone())).from_credentials(parsed).await {
        Ok(account) => Ok(Some(Opened { account, credentials })),
        Err(Error::KeyRejected) => Ok(None),
        Err(error) => Err(problem::failure(&error, http.last(), Asked::Account).into()),
    }
}

async fn register(plan: &OrderPlan, settings: &AcmeSettings, http: &Exchange) -> Result<Opened, Stop> {
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let binding = settings.eab.as_ref().map(|(kid, key)| binding(kid, key)).transpose()?;
    let made = insist(async || {
        let builder = Account::builder_with_http(Box::new(http.clone()));
        builder.create(&new, plan.directory.clone(), binding.as_ref()).await
    });
    let (account, credentials) = made.await.map_err(|error| problem::failure(&error, http.last(), Asked::Account))?;
    let credentials = serde_json::to_string(&credentials)
        .map_err(|error| problem::said(FailureKind::Request, format!("the new account: {error}"), false))?;
    Ok(Opened { account, credentials })
}

/// Authorities hand the key out as base64url, most without padding, some with.
fn binding(kid: &str, key: &str) -> Result<ExternalAccountKey, Stop> {
    let lenient = engine::GeneralPurposeConfig::new().with_decode_padding_mode(engine::DecodePaddingMode::Indifferent);
    let key = key.trim();
    [alphabet::URL_SAFE, alphabet::STANDARD]
        .iter()
        .find_map(|alphabet| engine::GeneralPurpose::new(alphabet, lenient).decode(key).ok())
        .map(|key| ExternalAccountKey::new(kid.to_owned(), &key))
        .ok_or_else(|| {
            let detail = "the key in eab_key_file is not base64url: copy it again from the authority's page";
            problem::said(FailureKind::Account, detail.to_owned(), false).into()
        })
}
