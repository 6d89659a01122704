//! The authorities' certificates that chains end in: many thousand chains share a handful.

use std::sync::{Mutex, PoisonError};

use rustls_pki_types::CertificateDer;

/// So many are kept once, for the life of the process; authorities have a few, and change them every few years. Any further
/// one is kept with each of its chains.
const MOST: usize = 64;

static KEPT: Mutex<Vec<&'static [u8]>> = Mutex::new(Vec::new());

/// The same certificate, in memory once however often it is asked for.
pub(super) fn shared(issuer: CertificateDer<'static>) -> CertificateDer<'static> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&known) = kept.iter().find(|&&known| known == &*issuer) {
        return CertificateDer::from(known);
    }
    if kept.len() >= MOST {
        return issuer;
    }
    let new: &'static [u8] = Box::leak(issuer.to_vec().into_boxed_slice());
    kept.push(new);
    CertificateDer::from(new)
}
