//! What a program looks at before it follows another one: everything that it would go on from, in a copy, so that a look
//! changes nothing.

use std::path::{Path, PathBuf};

use super::{
    certificates,
    fleet::Fleet,
    records::{Numbers, Records},
};
use crate::{
    machine::Now,
    model::{Gateway, TlsProvider},
    sys,
    wire::PROTOCOL,
};

/// What a program says that could: an exit status of 0 alone many others have.
pub const GO: &str = "landlord can go on from here";

/// Whether this program could go on from what the one that runs by `gateway` has written down.
///
/// # Errors
/// A sentence for a person: what it does not understand.
pub fn preflight(gateway: &Gateway) -> Result<(), String> {
    let copy = Copy::make(&gateway.run)?;
    let (run, state) = (copy.folder.join("run"), copy.folder.join("state"));
    copy.file(&gateway.run.join("fleet.json"), &run.join("fleet.json"))?;
    let tenants = copy.folder(&gateway.run.join("fleet"), &run.join("fleet"))?;
    let records = copy.folder(&gateway.state.join("records"), &state.join("records"))?;
    if gateway.tls == TlsProvider::Local {
        copy.folder(&gateway.state.join("certs"), &state.join("certs"))?;
    }
    copy.file(&gateway.state.join("generation"), &state.join("generation"))?;

    let fleet = Fleet::open(&run).map_err(|e| format!("{}: {e}", run.display()))?;
    let house = fleet.house().ok_or("it does not understand fleet.json")?;
    if !house.speaks(PROTOCOL) {
        return Err("it does not speak with the proxies that run".into());
    }
    let now = sys::clock::monotonic().map_err(|e| e.to_string())?;
    let mut understood = 0;
    for (name, memory) in fleet.tenants() {
        // It is enough that this comes back.
        let _ = crate::machine::tenant::Tenant::recall(name, 0, memory.machine, Now(now));
        understood += 1;
    }
    if understood < tenants {
        return Err(format!("it does not understand what is remembered of {} tenants", tenants - understood));
    }
    let folder = state.join("records");
    let known = Records::open(folder.clone()).map_err(|e| format!("{}: {e}", folder.display()))?.all().len();
    if known < records {
        return Err(format!("it does not understand the records of {} tenants", records - known));
    }
    drop(Numbers::open(state.join("generation"), known == 0));
    certificates::preflight(gateway, &state.join("certs"))
}

/// One at a time.
fn folder(run: &Path) -> PathBuf {
    run.join("preflight")
}

/// Removes what a program that did not come to its end has left.
pub(super) fn clear(gateway: &Gateway) {
    // It lies in memory and is forgotten with the next boot.
    let _ = std::fs::remove_dir_all(folder(&gateway.run));
}

/// The copy; gone when it is dropped.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn make(run: &Path) -> Result<Self, String> {
        let folder = folder(run);
        // What a look that was broken off has left would count as if it were there.
        let _ = std::fs::remove_dir_all(&folder);
        let made = sys::files::make_private_dir(&folder, 0o700);
        made.map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Whether it was there; it need not be.
    fn file(&self, from: &Path, to: &Path) -> Result<bool, String> {
        let made = |path: &Path| sys::files::make_private_dir(path, 0o700);
        to.parent().map_or(Ok(()), made).map_err(|e| format!("{}: {e}", to.display()))?;
        match std::fs::copy(from, to) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(format!("{}: {error}", from.display())),
        }
    }

    /// Every file of a folder; how many of them are of tenants.
    fn folder(&self, from: &Path, to: &Path) -> Result<usize, String> {
        let mut count = 0;
        for entry in std::fs::read_dir(from).map_err(|e| format!("{}: {e}", from.display()))?.flatten() {
            let name = entry.file_name();
            // A tenant may leave meanwhile: the one that runs goes on with its work.
            if entry.file_type().is_ok_and(|kind| kind.is_file()) && self.file(&entry.path(), &to.join(&name))? {
                count += usize::from(Path::new(&name).extension().is_some_and(|ending| ending == "json"));
            }
        }
        Ok(count)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It lies in memory and is forgotten with the next boot.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
