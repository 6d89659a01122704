//! `landlord certs`: every certificate.

mod table;

pub(super) use table::word;

use std::process::ExitCode;

use super::{
    client::{Client, ClientError, Reply},
    exit, out,
};
use crate::{
    model::Gateway,
    wire::{CertificateEntry, ControlRequest},
};

/// Shows them all, as a table or as JSON. One that needs somebody is no failure of the asking: the code is 0.
pub(super) fn show(gateway: &Gateway, json: bool) -> ExitCode {
    let shown = ask(gateway).and_then(|answer| match answer {
        Ok(entries) if json => serde_json::to_string_pretty(&entries)
            .map(|text| out::line(&text))
            .map_err(|error| ClientError::Strange(error.to_string()))
            .map(|()| exit::DONE),
        Ok(entries) => {
            let now = jiff::Timestamp::now();
            out::raw(table::draw(entries, now, out::has_colour()).as_bytes());
            Ok(exit::DONE)
        }
        Err(refusal) => {
            out::complain(&out::harmless(&refusal));
            Ok(exit::FAILED)
        }
    });
    shown.unwrap_or_else(|error| {
        out::complain(&error.to_string());
        error.code()
    })
}

/// The certificates, or why they are not told.
fn ask(gateway: &Gateway) -> Result<Result<Vec<CertificateEntry>, String>, ClientError> {
    match Client::ask(gateway, &ControlRequest::Certificates)?.reply()? {
        Reply::Certificates(entries) => Ok(Ok(entries)),
        Reply::Done(outcome) => Ok(Err(outcome.message)),
        other => Err(ClientError::Strange(format!("{other:?}"))),
    }
}
