//! What the system tells the master.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::event::Event;

/// Signals as events, from now on.
///
/// # Errors
/// A handler cannot be installed.
pub(super) fn subscribe(events: &mpsc::UnboundedSender<Event>) -> std::io::Result<()> {
    let kinds: [(SignalKind, fn() -> Event); 4] = [
        (SignalKind::terminate(), || Event::Terminate),
        (SignalKind::interrupt(), || Event::Terminate),
        (SignalKind::hangup(), || Event::Reload),
        (SignalKind::child(), || Event::Child),
    ];
    for (kind, event) in kinds {
        let (mut signals, events) = (signal(kind)?, events.clone());
        tokio::task::spawn_local(async move {
            while signals.recv().await.is_some() {
                if events.send(event()).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
