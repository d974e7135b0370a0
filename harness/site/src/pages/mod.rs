//! The pages: what each says, filled into its template.

mod cells;
mod downloads;
mod evidence;
mod index;
mod method;
mod module;
mod others;
mod pictures;
mod scenario;

pub use downloads::downloads;
pub use evidence::{everyone, evidence};
pub use index::{Card, Content, Ranked, index};
pub use method::method;
pub use module::module;
pub use others::others;
pub use pictures::pictures;
pub use scenario::scenario;

/// What every page has: its title, and the way back to the top.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Of the page.
    pub title: String,
    /// From the page to the site's folder: empty, or some `../`.
    pub root: String,
    /// From the page to the board's folder.
    pub board: String,
    /// Of this program.
    pub version: &'static str,
}

impl Frame {
    /// Of a page that lies `depth` folders below that of its board.
    pub fn new(title: impl Into<String>, folder: &str, depth: usize) -> Self {
        let up = "../".repeat(depth);
        let root = if folder.is_empty() { up.clone() } else { format!("{up}../") };
        Self { title: title.into(), root, board: up, version: env!("CARGO_PKG_VERSION") }
    }

    /// The board's first page.
    pub fn home(&self) -> String {
        self.home_of("index.html")
    }

    /// A page of the board.
    pub fn home_of(&self, page: &str) -> String {
        format!("{}{page}", self.board)
    }
}

/// A link.
#[derive(Debug, Clone)]
pub struct Link {
    /// Where to.
    pub href: String,
    /// As it reads.
    pub title: String,
}

/// Address of a VPN's page in its board.
pub fn module_page(module: &str) -> String {
    format!("vpn/{module}.html")
}

/// Address of a network's page in its board.
pub fn scenario_page(scenario: &str) -> String {
    format!("network/{scenario}.html")
}

/// Address of the evidence of a VPN in a network, in its board.
pub fn evidence_page(scenario: &str, module: &str) -> String {
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
