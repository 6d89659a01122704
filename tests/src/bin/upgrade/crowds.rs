//! The crowds that every gateway meets.

use std::time::Duration;

use harness::{
    client::Site,
    traffic::{Kind, Load, Report, Traffic},
};

/// All crowds on one gateway.
pub(crate) struct Crowds(Vec<(Crowd, Traffic)>);

/// One of them: what it is called, and whether its latencies say anything of the gateway.
pub(crate) struct Crowd {
    pub(crate) name: &'static str,
    pub(crate) quick: bool,
}

impl Crowds {
    pub(crate) fn start(site: &Site) -> Self {
        let resting = |seconds| Kind::Resting { each: Duration::from_secs(seconds) };
        let all = [
            ("new connections", true, Load::new(Kind::NewConnection, 50)),
            ("kept, busy", true, Load::new(Kind::KeepAlive, 100)),
            ("kept, 200 ms answers", false, Load::slow(Kind::KeepAlive, 20, 200)),
            ("HTTP/2", true, Load::new(Kind::Http2, 100)),
            ("kept, used every 1 s", true, Load::new(resting(1), 30)),
            ("kept, used every 4 s", true, Load::new(resting(4), 30)),
            ("kept, used every 9 s", true, Load::new(resting(9), 10)),
        ];
        let start =
            |(name, quick, load): (_, _, Load)| (Crowd { name, quick }, Traffic::start(site.clone(), load.watchful()));
        Self(all.into_iter().map(start).collect())
    }

    pub(crate) fn stop(self) -> Vec<(Crowd, Report)> {
        self.0.into_iter().map(|(crowd, traffic)| (crowd, traffic.stop())).collect()
    }
}
