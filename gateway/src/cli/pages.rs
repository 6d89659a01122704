//! The manual: landlord(1) and landlord-VERB(1) from the command line's own definition, landlord.toml(5) and
//! landlord-tenant(5) as they were written by hand in `gateway/man/`.

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::arguments::Arguments;

const GATEWAY_FILE: &str = include_str!("../../man/landlord.toml.5");
const TENANT_FILE: &str = include_str!("../../man/landlord-tenant.5");

/// What a page of another section is for; shown at the foot of each page of section 1.
const OTHERS: [(&str, &str); 2] = [("landlord.toml", "5"), ("landlord-tenant", "5")];

/// One page of the manual, as roff source.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) section: u8,
    pub(super) text: String,
}

impl Page {
    /// `landlord-status.1`
    pub(super) fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// Every page.
///
/// # Errors
/// None in practice: pages are written to memory.
pub(super) fn all() -> io::Result<Vec<Page>> {
    let mut landlord = Arguments::command();
    landlord.build();
    let verbs = verbs_of(&landlord);
    let mut pages = vec![by_hand("landlord.toml", GATEWAY_FILE), by_hand("landlord-tenant", TENANT_FILE)];
    pages.push(page(&landlord, &verbs)?);
    for verb in &verbs {
        let orders = verbs_of(verb);
        pages.push(page(verb, &orders)?);
        for order in &orders {
            pages.push(page(order, &[])?);
        }
    }
    Ok(pages)
}

fn verbs_of(command: &Command) -> Vec<Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect()
}

fn by_hand(name: &str, text: &str) -> Page {
    Page { name: name.to_owned(), section: 5, text: text.replace("@VERSION@", env!("CARGO_PKG_VERSION")) }
}

fn page(command: &Command, verbs: &[Command]) -> io::Result<Page> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let man = Man::new(command.clone());
    let mut text = title(&name).into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    description(command).to_writer(&mut text)?;
    man.render_options_section(&mut text)?;
    if !verbs.is_empty() {
        list_of(verbs).to_writer(&mut text)?;
    }
    if let Some(after) = command.get_after_long_help() {
        sections(&after.to_string()).to_writer(&mut text)?;
    }
    see_also(&name).to_writer(&mut text)?;
    Ok(Page { name, section: 1, text: once(&String::from_utf8_lossy(&text)) })
}

/// No date: the same program writes the same pages on every day.
fn title(name: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {} 1 \"\" \"landlord {version}\" \"landlord\"\n", name.to_uppercase().replace('-', "\\-"))
}

/// `roff`, in which each section defines what an apostrophe is, with that definition once at the top.
fn once(roff: &str) -> String {
    let is_definition = |line: &&str| line.contains(".ds Aq");
    let definition = roff.lines().filter(is_definition).take(2);
    let lines = definition.chain(roff.lines().filter(|line| !is_definition(line)));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The long text without its first paragraph where that is the one line which NAME shows already.
fn description(command: &Command) -> Roff {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().map_or_else(|| about.clone(), ToString::to_string);
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    let said = format!("{about}.");
    let paragraphs: Vec<&str> = long.split("\n\n").collect();
    let rest = if paragraphs.len() > 1 && paragraphs[0] == said { &paragraphs[1..] } else { &paragraphs[..] };
    for (at, paragraph) in rest.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph.replace('\n', " "))]);
    }
    roff
}

fn list_of(verbs: &[Command]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["VERBS"]);
    for verb in verbs {
        roff.control("TP", []);
        let name = verb.get_display_name().unwrap_or(verb.get_name());
        roff.text([bold(name), roman("(1)")]);
        roff.text([roman(verb.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
    roff
}

/// The help's last part as sections: a line at the margin that ends in a colon is a heading; below it, indented lines are a
/// list of terms and meanings, two spaces or more apart, until an empty line begins a paragraph.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let (mut is_after_gap, mut in_paragraph) = (false, false);
    for line in text.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|heading| !heading.starts_with(' ')) {
            roff.control("SH", [heading.to_uppercase().as_str()]);
            (is_after_gap, in_paragraph) = (false, false);
        } else if line.trim().is_empty() {
            is_after_gap = true;
        } else if is_after_gap || in_paragraph {
            if std::mem::take(&mut is_after_gap) {
                roff.control("PP", []);
            }
            in_paragraph = true;
            roff.text([roman(line.trim())]);
        } else {
            roff.control("TP", []);
            let (term, meaning) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
            roff.text([bold(term)]);
            if !meaning.is_empty() {
                roff.text([roman(meaning.trim())]);
            }
        }
    }
    roff
}

fn see_also(name: &str) -> Roff {
    let mut pages: Vec<(String, &str)> = Vec::new();
    if name != "landlord" {
        pages.push(("landlord".to_owned(), "1"));
    }
    pages.extend(OTHERS.map(|(page, section)| (page.to_owned(), section)));
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let last = pages.len().saturating_sub(1);
    for (at, (page, section)) in pages.iter().enumerate() {
        let end = if at == last { String::new() } else { ",".to_owned() };
        roff.text([bold(page.as_str()), roman(format!("({section}){end}"))]);
    }
    roff
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
