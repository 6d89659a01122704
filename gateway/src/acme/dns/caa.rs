//! Whether CAA records let an authority issue (RFC 8659).

use hickory_resolver::proto::rr::{Name, RData, RecordType, rdata::CAA};

use super::lookup::{Found, Resolver, shown};

/// What the CAA records of a name say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// Whoever, or ours.
    Granted,
    /// Others are named, and we do not know what ours is called.
    Unsure(String),
    /// Not ours: a sentence.
    Denied(String),
}

/// The nearest CAA records at or above a name decide (RFC 8659 section 3). `issuer` is what ours is called in them.
/// A server that we ask may know its own zones only, and refuse to speak of what is above: what cannot be looked up from here
/// is a remark, and the authority sees for itself.
pub(super) async fn permission(resolver: &Resolver, host: &Name, issuer: Option<&str>) -> Permission {
    let mut at = host.clone();
    while !at.is_root() {
        let found = match resolver.find(&at, RecordType::CAA).await {
            Ok(found) => found,
            Err(error) => return Permission::Unsure(format!("CAA records could not be looked up: {error}")),
        };
        if let Found::Records(records) = found {
            let records: Vec<&CAA> = records
                .iter()
                .filter_map(|record| match record {
                    RData::CAA(caa) => Some(caa),
                    _ => None,
                })
                .collect();
            return judge(&records, &shown(&at), issuer);
        }
        at = at.base_name();
    }
    Permission::Granted
}

/// For a name that is no wildcard: `issue` alone counts.
fn judge(records: &[&CAA], at: &str, issuer: Option<&str>) -> Permission {
    let known = ["issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"];
    let tag = |record: &&&CAA| record.tag.to_ascii_lowercase();
    if let Some(strange) =
        records.iter().find(|record| record.issuer_critical && !known.contains(&tag(record).as_str()))
    {
        return Permission::Denied(format!(
            "a CAA record at {at} has the critical property {:?}, which no authority knows: remove it",
            strange.tag
        ));
    }
    let issue: Vec<&&CAA> = records.iter().filter(|record| tag(record) == "issue").collect();
    if issue.is_empty() {
        return Permission::Granted;
    }
    let named: Vec<String> = issue.iter().map(|record| domain(&record.value)).filter(|name| !name.is_empty()).collect();
    let add = format!("add \"{at}. CAA 0 issue \\\"{}\\\"\"", issuer.unwrap_or("the authority's name"));
    match issuer {
        Some(issuer) if named.iter().any(|name| name.eq_ignore_ascii_case(issuer)) => Permission::Granted,
        _ if named.is_empty() => {
            Permission::Denied(format!("the CAA records at {at} forbid every authority to issue: {add}"))
        }
        Some(issuer) => Permission::Denied(format!(
            "the CAA records at {at} allow only {} to issue, not {issuer}: {add}",
            named.join(", ")
        )),
        None => Permission::Unsure(format!(
            "the CAA records at {at} allow only {} to issue: see that your authority is among them",
            named.join(", ")
        )),
    }
}

/// The issuer's name before its parameters (RFC 8659 section 4.2).
fn domain(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

/// What an authority is called in CAA records, for those that it is sure of.
pub(super) fn issuer(directory: &str) -> Option<&'static str> {
    let host = directory.strip_prefix("https://")?.split('/').next()?;
    host.ends_with(".api.letsencrypt.org").then_some("letsencrypt.org")
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::CAA;

    use super::*;

    fn caa(tag: &str, value: &str, critical: bool) -> CAA {
        let mut record = CAA::new_issue(critical, None, Vec::new());
        record.tag = tag.to_owned();
        record.value = value.as_bytes().to_vec();
        record
    }

    fn of(records: &[CAA], issuer: Option<&str>) -> Permission {
        judge(&records.iter().collect::<Vec<_>>(), "example.com", issuer)
    }

    #[test]
    fn issue_records_decide() {
        let ours = Some("letsencrypt.org");
        assert_eq!(of(&[caa("iodef", "mailto:a@b", false)], ours), Permission::Granted);
        assert_eq!(of(&[caa("issuewild", ";", false)], ours), Permission::Granted);
        assert_eq!(of(&[caa("ISSUE", " LetsEncrypt.org ; validationmethods=dns-01", true)], ours), Permission::Granted);
        let other = caa("issue", "pki.goog", false);
        assert_eq!(of(&[other.clone(), caa("issue", "letsencrypt.org", false)], ours), Permission::Granted);
        let Permission::Denied(why) = of(std::slice::from_ref(&other), ours) else { panic!("not denied") };
        assert_eq!(
            why,
            "the CAA records at example.com allow only pki.goog to issue, not letsencrypt.org: \
             add \"example.com. CAA 0 issue \\\"letsencrypt.org\\\"\""
        );
        assert!(matches!(of(&[other], None), Permission::Unsure(_)));
        assert!(matches!(of(&[caa("issue", ";", false)], None), Permission::Denied(_)));
        assert!(matches!(of(&[caa("issue", "", false)], ours), Permission::Denied(_)));
        assert!(matches!(of(&[caa("future", "x", true)], ours), Permission::Denied(_)));
        assert_eq!(of(&[caa("future", "x", false)], ours), Permission::Granted);
    }

    #[test]
    fn issuers_are_known_by_their_directory() {
        use crate::model::Acme;
        assert_eq!(issuer(Acme::PRODUCTION), Some("letsencrypt.org"));
        assert_eq!(issuer(Acme::STAGING), Some("letsencrypt.org"));
        assert_eq!(issuer("https://acme.example/directory"), None);
        assert_eq!(issuer("https://evil.example/.api.letsencrypt.org"), None);
    }
}
