//! landlord: `landlord upgrade`.

use harness::{Landlord, Setup, client::Site};

use crate::{Gateway, IDLE_TIMEOUT};

/// One company on the scripted worker.
pub(crate) struct House {
    landlord: Landlord,
}

impl House {
    pub(crate) fn start() -> Self {
        let http = format!("[http]\nidle_timeout = \"{}s\"\n", IDLE_TIMEOUT.as_secs());
        let landlord = Setup::new().tables(&http).tenant("acme", "").start();
        landlord.wait_state("acme", "running");
        Self { landlord }
    }
}

impl Gateway for House {
    fn name(&self) -> String {
        format!("landlord {}, landlord upgrade", env!("CARGO_PKG_VERSION"))
    }

    fn site(&self) -> Site {
        self.landlord.site("acme")
    }

    fn upgrade(&mut self) -> Result<(), String> {
        let before = self.landlord.proxies();
        let ran = self.landlord.landlord(&["upgrade"]);
        if ran.code != 0 {
            return Err(format!("exit code {}: {}", ran.code, ran.said().trim()));
        }
        let another = self.landlord.proxies().iter().any(|pid| !before.contains(pid));
        if another { Ok(()) } else { Err("it said done, and no other proxy is there".into()) }
    }
}
