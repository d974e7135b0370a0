//! Traffic that no packaged tool makes: `meshbench-agent traffic …` in a member, as a program of its own. Each prints
//! one JSON object.

mod call;
mod inject;
mod reach;
mod rpc;

use std::io;

/// Carries out what the words ask for.
pub(crate) fn run(words: &[&str]) -> io::Result<()> {
    match words {
        ["rpc", "serve", address] => rpc::serve(address),
        ["rpc", "ask", address, size, at_once, seconds] => {
            let (size, at_once) = (number(size)?, number(at_once)?);
            rpc::ask(address, size, at_once, number(seconds)?)
        }
        ["call", "answer", address, seconds] => call::answer(address, number(seconds)?),
        ["call", "dial", address, seconds] => call::dial(address, number(seconds)?),
        ["inject", namespace, device] => inject::inject(namespace, device),
        ["reach", port, seconds, others @ ..] => {
            reach::reach(number(port)?, number(seconds)?, others)
        }
        _ => Err(io::Error::other(
            "usage: traffic rpc serve ADDRESS | rpc ask ADDRESS BYTES AT_ONCE SECONDS | call answer|dial ADDRESS SECONDS | inject NAMESPACE DEVICE | reach PORT SECONDS ADDRESS…",
        )),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::other(format!("{text:?} is no number")))
}
