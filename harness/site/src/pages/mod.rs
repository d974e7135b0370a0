//! The pages: what each says, filled into its template.

mod card;
mod cells;
mod downloads;
mod evidence;
mod index;
mod method;
mod module;
mod others;
mod pictures;
mod promises;
mod repeating;
mod scenario;

use crate::questions;

pub(crate) use downloads::downloads;
pub(crate) use evidence::{everyone, evidence};
pub(crate) use index::{Content, index};
pub(crate) use method::method;
pub(crate) use module::module;
pub(crate) use others::others;
pub(crate) use pictures::pictures;
pub(crate) use scenario::scenario;

/// What every page has: its title, and the way back to the top.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Of the page.
    pub(crate) title: String,
    /// From the page to the site's folder: empty, or some `../`.
    pub(crate) root: String,
    /// From the page to the board's folder.
    pub(crate) board: String,
    /// Of this program.
    pub(crate) version: &'static str,
}

impl Frame {
    /// Of a page that lies `depth` folders below that of its board.
    pub(crate) fn new(title: impl Into<String>, folder: &str, depth: usize) -> Self {
        let up = "../".repeat(depth);
        let root = if folder.is_empty() { up.clone() } else { format!("{up}../") };
        Self { title: title.into(), root, board: up, version: env!("CARGO_PKG_VERSION") }
    }

    /// The board's first page.
    pub(crate) fn home(&self) -> String {
        self.home_of("index.html")
    }

    /// A page of the board.
    pub(crate) fn home_of(&self, page: &str) -> String {
        format!("{}{page}", self.board)
    }
}

/// A link.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Where to.
    pub(crate) href: String,
    /// As it reads.
    pub(crate) title: String,
}

/// A metric in a heading, with the way to what it is.
#[derive(Debug, Clone)]
pub(crate) struct Told<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Where it is explained; empty where this program does not know.
    pub(crate) href: String,
    /// In a line.
    pub(crate) title: &'static str,
}

/// A metric on a page of that frame.
pub(crate) fn told<'a>(frame: &Frame, workload: &str, metric: &'a str) -> Told<'a> {
    let title = questions::source(workload, metric);
    let known = !title.is_empty();
    let root = &frame.root;
    let href = if known { format!("{root}method.html#{workload}.{metric}") } else { String::new() };
    Told { name: metric, href, title }
}

/// Address of a VPN's page in its board.
pub(crate) fn module_page(module: &str) -> String {
    format!("vpn/{module}.html")
}

/// Address of a network's page in its board.
pub(crate) fn scenario_page(scenario: &str) -> String {
    format!("network/{scenario}.html")
}

/// Address of the evidence of a VPN in a network, in its board.
pub(crate) fn evidence_page(scenario: &str, module: &str) -> String {
    format!("cell/{scenario}/{module}.html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_up_lead_to_the_site_and_to_the_board() {
        let first = Frame::new("x", "", 2);
        assert_eq!((first.root.as_str(), first.home().as_str()), ("../../", "../../index.html"));
        let other = Frame::new("x", "kvm", 1);
        assert_eq!((other.root.as_str(), other.home().as_str()), ("../../", "../index.html"));
        assert_eq!(Frame::new("x", "", 0).root, "");
    }
}
