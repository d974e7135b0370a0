//! A network namespace as text for `ip`, `nft` and `tc`, and the script that makes it so.
//!
//! On an emulated processor a new process costs as much as hundreds of netlink messages, so each
//! tool is started once per namespace and everything else is the shell's own.

use std::fmt::Write;

use serde::Serialize;

/// What one namespace is told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Namespace {
    /// Its name in /run/netns.
    pub name: String,
    /// Lines for `ip -batch`.
    pub ip: Vec<String>,
    /// A ruleset for `nft -f`; empty if nothing is filtered or translated.
    pub nft: String,
    /// Files below /proc/sys and their content, written after the ruleset, which loads conntrack.
    pub sysctls: Vec<(String, String)>,
    /// Lines for `tc -batch`.
    pub tc: Vec<String>,
    /// Shell commands that come last.
    pub commands: Vec<String>,
    /// Configuration files of those commands: path and content.
    pub files: Vec<(String, String)>,
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

    /// POSIX sh that applies it. Fails at the first thing that fails.
    pub fn script(&self) -> String {
        let mut body = String::new();
        body += &batch("ip -batch -", &self.ip.join("\n"), "IP");
        body += &batch("nft -f -", self.nft.trim_end(), "NFT");
        for (path, value) in &self.sysctls {
            let _ = writeln!(body, "echo {value} >/proc/sys/{path}");
        }
        body += &batch("tc -batch -", &self.tc.join("\n"), "TC");
        for (path, content) in &self.files {
            body += &batch(&format!("cat >{path}"), content.trim_end(), "FILE");
        }
        for command in &self.commands {
            let _ = writeln!(body, "{command}");
        }
        batch(&format!("nsenter --net=/run/netns/{} sh -eu", self.name), body.trim_end(), "NETNS")
    }
}

/// A command with `input` as its standard input, or nothing when there is no input.
pub(super) fn batch(command: &str, input: &str, mark: &str) -> String {
    if input.is_empty() {
        return String::new();
    }
    format!("{command} <<'{mark}'\n{input}\n{mark}\n")
}
