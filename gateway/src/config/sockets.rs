//! `[listen]`, `[ports]` and `[users]`: where landlord listens, and what it gives to workers.

use std::net::SocketAddr;

use toml::{Spanned, de::DeValue};

use super::{
    document::{Table, Value, Wrong},
    readers,
};
use crate::model::{Listeners, PortRange, UserRange};

/// The ports of workers when nothing is said: below the kernel's ephemeral range.
pub(super) const PORTS: PortRange = PortRange { first: 20_000, last: 29_999 };

/// `[listen]`: the standard ports for a house with a zone of its own, high ones on loopback for a laptop.
pub(super) fn listen(table: Option<Table<'_, '_>>, is_laptop: bool) -> Listeners {
    let default = |standard: u16, high: u16| -> Vec<SocketAddr> {
        if is_laptop {
            vec![([127, 0, 0, 1], high).into(), ([0, 0, 0, 0, 0, 0, 0, 1], high).into()]
        } else {
            vec![([0u16; 8], standard).into()]
        }
    };
    let (mut https, mut http) = (None, None);
    if let Some(mut table) = table {
        https = table.read("https", |value| match addresses(value)? {
            none if none.is_empty() => Err(format!("`{}` is empty: name an address", value.name).into()),
            some => Ok(some),
        });
        http = table.read("http", |value| {
            let found = addresses(value)?;
            let taken = |it: &&Spanned<SocketAddr>| {
                it.get_ref().port() != 0
                    && https.iter().flatten().any(|other: &Spanned<SocketAddr>| other.get_ref() == it.get_ref())
            };
            match found.iter().find(taken) {
                Some(both) => Err(Wrong {
                    span: Some(both.span()),
                    ..Wrong::from(format!("{} is listed under `https` too", both.get_ref()))
                }),
                None => Ok(found),
            }
        });
        table.finish();
    }
    let plain = |listed: Vec<Spanned<SocketAddr>>| listed.into_iter().map(Spanned::into_inner).collect();
    Listeners {
        https: https.map_or_else(|| default(443, 8443), plain),
        http: http.map_or_else(|| default(80, 8080), plain),
    }
}

fn addresses(value: &Value<'_>) -> Result<Vec<Spanned<SocketAddr>>, Wrong> {
    let mut found: Vec<Spanned<SocketAddr>> = Vec::new();
    for text in readers::texts(value)? {
        let wrong = |error: String, hint| Err(Wrong { span: Some(text.span()), error, hint });
        let Ok(address) = text.get_ref().parse::<SocketAddr>() else {
            let hint =
                text.get_ref().trim_start_matches(['*', ':']).parse::<u16>().ok().map(|port| format!("[::]:{port}"));
            return wrong(
                format!("{:?} is no address: write \"[::]:443\" or \"127.0.0.1:8443\"", text.get_ref()),
                hint,
            );
        };
        if address.port() != 0 && found.iter().any(|other| *other.get_ref() == address) {
            return wrong(format!("{address} is listed twice"), None);
        }
        found.push(Spanned::new(text.span(), address));
    }
    Ok(found)
}

/// `[ports]`
pub(super) fn ports(mut table: Table<'_, '_>, listen: &Listeners) -> PortRange {
    let first = table.read_spanned("first", readers::count(1024..=65_535));
    let last = table.read_spanned("last", readers::count(1024..=65_535));
    let span = last.as_ref().or(first.as_ref()).map(Spanned::span);
    let number = |read: Option<Spanned<u32>>, default: u16| {
        read.and_then(|port| u16::try_from(port.into_inner()).ok()).unwrap_or(default)
    };
    let range = PortRange { first: number(first, PORTS.first), last: number(last, PORTS.last) };
    if let Some(span) = span {
        let own = listen.https.iter().chain(&listen.http).map(SocketAddr::port);
        let (first, last) = (range.first, range.last);
        if first > last {
            table.document().reject(span, format!("`ports` ends before it begins: {first} to {last}"), None);
        } else if let Some(own) = own.into_iter().find(|port| (first..=last).contains(port)) {
            let error = format!("`ports` has port {own} in it, on which landlord itself listens");
            table.document().reject(span, error, None);
        }
    }
    table.finish();
    range
}

/// The uids of tenants when nothing is said: outside what accounts, systemd and containers are given.
pub(super) const USERS: UserRange = UserRange { first: 70_000, last: 79_999 };

/// `[users]`, and whether it was written; `users = "none"`: everybody is whoever started landlord.
pub(super) fn users(root: &mut Table<'_, '_>) -> (Option<UserRange>, bool) {
    let Some(value) = root.take("users") else { return (Some(USERS), false) };
    if let DeValue::String(_) = value.spanned.get_ref() {
        root.judge(&value, readers::one_of(&[("none", ())])(&value));
        return (None, true);
    }
    (root.value_as_table(value).map(user_range), true)
}

fn user_range(mut table: Table<'_, '_>) -> UserRange {
    // Below 1000 are the system's; 65534 is nobody and 65535 is no uid at all in 16 bits.
    let uid = || readers::count(1000..=u32::MAX - 1);
    let first = table.read_spanned("first", uid());
    let last = table.read_spanned("last", uid());
    let span = last.as_ref().or(first.as_ref()).map(Spanned::span);
    let range = UserRange {
        first: first.map_or(USERS.first, Spanned::into_inner),
        last: last.map_or(USERS.last, Spanned::into_inner),
    };
    if let Some(span) = span {
        let UserRange { first, last } = range;
        if first > last {
            table.document().reject(span, format!("`users` ends before it begins: {first} to {last}"), None);
        } else if first <= 65_535 && last >= 65_534 {
            let error = "`users` has 65534 or 65535 in it, which stand for nobody: begin at 65536".to_owned();
            table.document().reject(span, error, None);
        }
    }
    table.finish();
    range
}
