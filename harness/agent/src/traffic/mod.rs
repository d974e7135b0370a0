//! Traffic that no packaged tool makes: `meshbench-agent traffic …` in a member, as a program of its own. Each prints
//! one JSON object, but for those that make what is handed out.

mod call;
mod content;
mod inject;
mod quic;
mod reach;
mod rpc;
mod timed;
mod ts;

use std::io;

const USAGE: &str = "usage: traffic rpc serve ADDRESS | rpc ask ADDRESS BYTES AT_ONCE SECONDS RATE SCHEDULED_SECONDS | \
     call answer|dial ADDRESS SECONDS TAIL | inject NAMESPACE DEVICE | reach PORT SECONDS ADDRESS… | \
     quic serve ADDRESS CERTIFICATE KEY | quic ask ADDRESS CERTIFICATE CONNECTIONS SECONDS | \
     files FOLDER COUNT BYTES,… | closure ARCHIVE COUNT BYTES,… | \
     ts send|receive ADDRESS BITS_A_SECOND SECONDS | timed PROGRAM ARGUMENT…";

/// Carries out what the words ask for.
pub(crate) fn run(words: &[&str]) -> io::Result<()> {
    match words {
        ["rpc", "serve", address] => rpc::serve(address),
        ["rpc", "ask", address, size, at_once, seconds, rate, scheduled] => {
            let load = rpc::Load { size: number(size)?, at_once: number(at_once)? };
            let schedule = rpc::Schedule { rate: number(rate)?, seconds: number(scheduled)? };
            rpc::ask(address, load, number(seconds)?, schedule)
        }
        ["call", "answer", address, speech, tail] => {
            call::answer(address, call::Length { speech: number(speech)?, tail: number(tail)? })
        }
        ["call", "dial", address, speech, tail] => {
            call::dial(address, call::Length { speech: number(speech)?, tail: number(tail)? })
        }
        ["inject", namespace, device] => inject::inject(namespace, device),
        ["reach", port, seconds, others @ ..] => {
            reach::reach(number(port)?, number(seconds)?, others)
        }
        ["quic", "serve", address, certificate, key] => quic::serve(address, certificate, key),
        ["quic", "ask", address, certificate, connections, seconds] => {
            quic::ask(address, certificate, number(connections)?, number(seconds)?)
        }
        ["files", folder, count, sizes] => content::files(folder, number(count)?, &numbers(sizes)?),
        ["closure", archive, count, sizes] => {
            content::closure(archive, number(count)?, &numbers(sizes)?)
        }
        ["ts", "send", address, rate, seconds] => {
            ts::send(address, number(rate)?, number(seconds)?)
        }
        ["ts", "receive", address, rate, seconds] => {
            ts::receive(address, number(rate)?, number(seconds)?)
        }
        ["timed", argv @ ..] => timed::run(argv),
        _ => Err(io::Error::other(USAGE)),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::other(format!("{text:?} is no number")))
}

fn numbers<T: std::str::FromStr>(text: &str) -> io::Result<Vec<T>> {
    text.split(',').map(number).collect()
}
