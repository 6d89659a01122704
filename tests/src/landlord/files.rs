//! The editor's side: files that come, change and go.

use std::fs;

use super::Landlord;

impl Landlord {
    /// A new or changed tenant file, whole at once: written beside and renamed over.
    #[track_caller]
    pub fn drop_tenant(&self, name: &str, toml: impl AsRef<[u8]>) {
        let beside = self.tenants().join(format!(".{name}.toml.tmp"));
        fs::write(&beside, toml).expect("a tenant file is written");
        fs::rename(beside, self.tenant_file(name)).expect("a tenant file is renamed");
    }

    /// A changed tenant file, as editors do that truncate and write.
    #[track_caller]
    pub fn overwrite_tenant(&self, name: &str, toml: impl AsRef<[u8]>) {
        fs::write(self.tenant_file(name), toml).expect("a tenant file is written");
    }

    /// The file is gone.
    #[track_caller]
    pub fn remove_tenant(&self, name: &str) {
        fs::remove_file(self.tenant_file(name)).expect("a tenant file is removed");
    }

    /// A tenant's secrets.
    #[track_caller]
    pub fn write_dotenv(&self, name: &str, text: &str) {
        let beside = self.folder(name).join(".env.tmp");
        fs::write(&beside, text).expect("a .env is written");
        fs::rename(beside, self.folder(name).join(".env")).expect("a .env is renamed");
    }

    /// Changes `landlord.toml` by replacing a text in it.
    #[track_caller]
    pub fn edit_config(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("landlord.toml");
        assert!(text.contains(from), "{from:?} is not in landlord.toml:\n{text}");
        fs::write(self.config(), text.replace(from, to)).expect("landlord.toml is written");
    }
}
