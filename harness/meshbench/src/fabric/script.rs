//! Namespaces as a shell script, so that they can be read, and made on any machine with stock tools.

use std::fmt::Write;

use meshbench_protocol::Namespace;

/// POSIX sh that does with `nsenter`, `ip`, `nft` and `tc` what the agent does. Fails at the first
/// thing that fails.
pub(super) fn script(namespaces: &[Namespace]) -> String {
    let namespaces = namespaces.iter().filter(|namespace| !namespace.is_empty());
    namespaces.fold(String::from("set -eu\n"), |script, namespace| script + &one(namespace))
}

fn one(namespace: &Namespace) -> String {
    let mut body = String::new();
    body += &batch("ip -batch -", &namespace.ip.join("\n"), "IP");
    body += &batch("nft -f -", namespace.nft.trim_end(), "NFT");
    for (path, value) in &namespace.sysctls {
        let _ = match path.strip_prefix('-') {
            Some(path) => {
                writeln!(body, "[ ! -e /proc/sys/{path} ] || echo {value} >/proc/sys/{path}")
            }
            None => writeln!(body, "echo {value} >/proc/sys/{path}"),
        };
    }
    body += &batch("tc -batch -", &namespace.tc.join("\n"), "TC");
    for (path, content) in &namespace.files {
        body += &batch(&format!("cat >{path}"), content.trim_end(), "FILE");
    }
    for command in &namespace.commands {
        let _ = writeln!(body, "{command}");
    }
    if namespace.name.is_empty() {
        return body;
    }
    batch(&format!("nsenter --net=/run/netns/{} sh -eu", namespace.name), body.trim_end(), "NETNS")
}

/// A command with `input` as its standard input, or nothing when there is no input.
fn batch(command: &str, input: &str, mark: &str) -> String {
    if input.is_empty() {
        return String::new();
    }
    format!("{command} <<'{mark}'\n{input}\n{mark}\n")
}
