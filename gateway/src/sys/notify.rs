//! The service manager that started us, and what it is told (sd_notify(3)). Without one, nothing is told.

use std::{env, io, time::Duration};

use sd_notify::NotifyState;

/// One thing that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// We serve; also the end of a reload.
    Ready,
    /// A reload has begun.
    Reloading,
    /// The end has begun.
    Stopping,
    /// A sentence for `systemctl status`.
    Status(&'a str),
    /// The loop goes round.
    Alive,
    /// What is under way may go on for this long from now, whatever the unit's own timeouts say.
    Extend(Duration),
}

/// The manager is there, and listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manager {
    /// It ends us unless we say [`Word::Alive`] this often.
    pub watchdog: Option<Duration>,
}

impl Manager {
    /// The one that started this very process, if any did.
    pub fn find() -> Option<Self> {
        env::var_os("NOTIFY_SOCKET")?;
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0).map(Duration::from_micros);
        Some(Self { watchdog })
    }

    /// Tells all of `words` at once.
    ///
    /// # Errors
    /// It does not take them: its socket is gone.
    pub fn tell(self, words: &[Word<'_>]) -> io::Result<()> {
        let mut states = Vec::with_capacity(words.len() + 1);
        for word in words {
            match word {
                Word::Ready => states.push(NotifyState::Ready),
                Word::Reloading => {
                    states.push(NotifyState::Reloading);
                    // From systemd 253 on, a reload without it is a protocol error.
                    states.push(NotifyState::monotonic_usec_now()?);
                }
                Word::Stopping => states.push(NotifyState::Stopping),
                Word::Status(text) => states.push(NotifyState::Status(text)),
                Word::Alive => states.push(NotifyState::Watchdog),
                Word::Extend(span) => {
                    states.push(NotifyState::ExtendTimeoutUsec(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)));
                }
            }
        }
        sd_notify::notify(&states)
    }
}

/// The name of the unit whose control group we are in, or below: `landlord.service`.
pub fn own_unit() -> Option<String> {
    unit_of(&std::fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// From the text of cgroups(7) `/proc/PID/cgroup`: the innermost service of the unified hierarchy, or of systemd's own.
fn unit_of(groups: &str) -> Option<String> {
    let path = |prefix: &str| groups.lines().find_map(|line| line.strip_prefix(prefix));
    let named = groups.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path));
    let services = |path: &str| path.rsplit('/').find(|part| part.ends_with(".service")).map(str::to_owned);
    path("0::").and_then(services).or_else(|| named.and_then(services))
}

/// Where systemd looks for units, those of an administrator first.
const UNIT_FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Whether a unit of this name is installed.
pub fn has_unit(name: &str) -> bool {
    UNIT_FOLDERS.iter().any(|folder| std::path::Path::new(folder).join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_innermost_service() {
        let unit = |text| unit_of(text).unwrap_or_default();
        assert_eq!(unit("0::/system.slice/landlord.service\n"), "landlord.service");
        assert_eq!(unit("0::/system.slice/landlord.service/master\n"), "landlord.service");
        assert_eq!(unit("1:name=systemd:/system.slice/landlord.service\n0::/\n"), "landlord.service");
        assert_eq!(unit("0::/user.slice/user-0.slice/user@0.service/app.slice/run.scope\n"), "user@0.service");
        assert_eq!(unit("0::/\n"), "");
    }

    #[test]
    fn a_unit_that_nobody_installed_is_not_there() {
        assert!(!has_unit("landlord-of-nowhere@.service"));
    }
}
