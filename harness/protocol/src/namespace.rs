//! What a network namespace is told.

use serde::{Deserialize, Serialize};

/// A network namespace and what it is told, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Namespace {
    /// Its name in /run/netns; empty for the machine's own.
    pub name: String,
    /// Lines for `ip -batch`, of the part of its language that the agent speaks.
    pub ip: Vec<String>,
    /// A ruleset for `nft -f`; empty if nothing is filtered or translated.
    pub nft: String,
    /// Files below /proc/sys and their content, written after the ruleset, which loads conntrack. As in
    /// sysctl.d(5), a path that begins with `-` may be absent.
    pub sysctls: Vec<(String, String)>,
    /// Lines for `tc -batch`.
    pub tc: Vec<String>,
    /// Configuration files of the commands: path and content.
    pub files: Vec<(String, String)>,
    /// Shell commands that come last.
    pub commands: Vec<String>,
}

impl Namespace {
    /// An empty one.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds a sysctl by its path below /proc/sys.
    pub fn sysctl(&mut self, path: impl Into<String>, value: impl ToString) {
        self.sysctls.push((path.into(), value.to_string()));
    }

    /// Whether there is nothing to be done in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::new(self.name.clone())
    }
}
