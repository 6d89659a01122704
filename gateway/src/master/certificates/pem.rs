//! The blocks of a PEM file (RFC 7468), as text: what is kept and told onwards is what somebody wrote, byte for byte.

/// The private key and the chain that one text holds, in whatever order.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::master) struct Pair<'a> {
    /// The block of the only private key, if there is one.
    pub(in crate::master) key: Option<&'a str>,
    /// Every certificate, in the order of the text.
    pub(in crate::master) chain: String,
}

/// Takes a text apart. What lies between blocks is a comment; blocks of other kinds (EC and DH parameters) are passed over.
///
/// # Errors
/// A sentence: a block without an end, two private keys, or one that has a passphrase.
pub(in crate::master) fn pair(text: &str) -> Result<Pair<'_>, String> {
    let (mut key, mut chain) = (None, String::new());
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        let block = &rest[begin..];
        let label = block[BEGIN.len()..].split_once(DASHES).map(|(label, _)| label).filter(|it| !it.contains('\n'));
        let label = label.ok_or("a block of its PEM has no whole first line: the file is cut off")?;
        let last = format!("-----END {label}{DASHES}");
        let end = block.find(&last).ok_or_else(|| format!("its {label} has no end: the file is cut off"))?;
        let (block, after) = block.split_at(end + last.len());
        if block[BEGIN.len()..].contains(BEGIN) {
            return Err(format!("its {label} has no end before another block begins"));
        }
        match label {
            "CERTIFICATE" => {
                chain.push_str(block);
                chain.push('\n');
            }
            "ENCRYPTED PRIVATE KEY" => return Err(PASSPHRASE.to_owned()),
            _ if label.ends_with("PRIVATE KEY") => {
                if block.contains("Proc-Type: 4,ENCRYPTED") {
                    return Err(PASSPHRASE.to_owned());
                }
                if key.replace(block).is_some() {
                    return Err("it holds more than one private key".to_owned());
                }
            }
            _ => {}
        }
        rest = after;
    }
    Ok(Pair { key, chain })
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
const PASSPHRASE: &str = "its private key has a passphrase, which nobody could type: remove it (`openssl pkey`)";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----";
    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----";
    const TWO: &str = "-----BEGIN CERTIFICATE-----\nAg==\n-----END CERTIFICATE-----";

    #[test]
    fn key_and_chain_in_any_order_with_words_between() {
        let whole = Pair { key: Some(KEY), chain: format!("{ONE}\n{TWO}\n") };
        let parameters = "-----BEGIN EC PARAMETERS-----\nBg==\n-----END EC PARAMETERS-----";
        for text in [
            format!("{KEY}\n{ONE}\n{TWO}\n"),
            format!("Bag Attributes\n{ONE}\r\nissuer=x\n{TWO}\n{KEY}"),
            format!("{parameters}\n{ONE}\n{KEY}\n{TWO}"),
        ] {
            assert_eq!(pair(&text).unwrap(), whole, "{text}");
        }
        assert_eq!(pair("").unwrap(), Pair { key: None, chain: String::new() });
    }

    #[test]
    fn what_is_cut_off_anywhere_is_never_taken_for_less() {
        let text = format!("{KEY}\n{ONE}\n{TWO}");
        let mut found = Vec::new();
        for at in 0..text.len() {
            // A cut between two blocks leaves a whole text: only the check of what it means can tell.
            if let Ok(pair) = pair(&text[..at]) {
                found.push((pair.key.is_some(), pair.chain.matches("END").count()));
            }
        }
        found.dedup();
        assert_eq!(found, [(false, 0), (true, 0), (true, 1)]);
    }

    #[test]
    fn what_cannot_be_served_is_said() {
        let error = |text: &str| pair(text).unwrap_err();
        assert!(error(&format!("{KEY}\n{KEY}")).contains("more than one private key"));
        assert!(error(&KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")).contains("passphrase"));
        assert!(error(&KEY.replace("AA==", "Proc-Type: 4,ENCRYPTED\n\nAA==")).contains("passphrase"));
        assert!(error("-----BEGIN CERTIFICATE\nAA==").contains("cut off"));
        assert!(error(&format!("{}\n{ONE}", &ONE[..40])).contains("another block"));
    }
}
