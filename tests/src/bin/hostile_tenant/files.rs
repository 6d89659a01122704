//! What lies about: neighbours' data, the house's own, the system's.

use std::{fs, path::PathBuf};

use super::{Attack, Victims, refused, told};

const EITHER: &[&str] = &["users", "files"];
const FILES: &[&str] = &["files"];

pub(super) fn attacks() -> Vec<Attack> {
    let read = |name: &str, walls, path: &'static str| {
        let place = below(path);
        Attack::new(format!("read-{name}"), walls, move |victims| {
            let path = place(victims)?;
            fs::read(&path).map(|bytes| format!("{} bytes", bytes.len())).map_err(|error| refused(&error))
        })
    };
    let list = |name: &str, walls, path: &'static str| {
        let place = below(path);
        Attack::new(format!("list-{name}"), walls, move |victims| {
            let path = place(victims)?;
            fs::read_dir(&path).map(|all| format!("{} entries", all.count())).map_err(|error| refused(&error))
        })
    };
    let write = |name: &str, walls, path: &'static str| {
        let place = below(path);
        Attack::new(format!("write-{name}"), walls, move |victims| {
            let path = place(victims)?;
            fs::write(&path, "planted").map(|()| "written".to_owned()).map_err(|error| refused(&error))
        })
    };
    vec![
        list("neighbour", EITHER, "state/tenants/beta"),
        read("neighbours-dotenv", EITHER, "state/tenants/beta/.env"),
        write("neighbours-files", EITHER, "state/tenants/beta/files/planted"),
        list("tenants", EITHER, "state/tenants"),
        list("backups", EITHER, "state/backups"),
        list("logs", EITHER, "state/logs"),
        read("neighbours-log", EITHER, "state/logs/beta.log"),
        list("records", EITHER, "state/records"),
        read("authority", EITHER, "state/certs/local-ca.pem"),
        list("certs", EITHER, "state/certs"),
        list("run", EITHER, "state/run"),
        read("fleet", EITHER, "state/run/fleet.json"),
        write("state", EITHER, "state/planted"),
        read("settings", FILES, "landlord.toml"),
        write("settings", EITHER, "landlord.toml"),
        list("tenant-files", FILES, "tenants.d"),
        write("tenant-file", EITHER, "tenants.d/planted.toml"),
        read("shadow", EITHER, "/etc/shadow"),
        list("homes", FILES, "/home"),
        list("temporary", FILES, "/tmp"),
        write("temporary", FILES, "/tmp/landlord-planted"),
        list("root", EITHER, "/root"),
    ]
}

/// Something in the gateway's own folder, or anywhere.
fn below(path: &'static str) -> impl Fn(&Victims) -> Result<PathBuf, String> {
    move |victims| Ok(PathBuf::from(told(victims, "dir")?).join(path))
}
