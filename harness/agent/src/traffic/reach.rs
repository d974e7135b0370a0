//! When each of many others can be reached first, and being reached by them meanwhile.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::json;

/// Asking, and answering.
const ASK: &[u8] = b"meshbench asks";
const ANSWER: &[u8] = b"meshbench answers";

/// Between two rounds to those who have not answered yet.
const INTERVAL: Duration = Duration::from_millis(250);

/// Asks all until each has answered or the time is up, and tells when each did, in milliseconds. Answers others for
/// as long as it runs.
pub(super) fn reach(port: u16, seconds: f64, others: &[&str]) -> io::Result<()> {
    let others = others.iter().map(|other| other.parse().map_err(io::Error::other));
    let others: Vec<IpAddr> = others.collect::<io::Result<_>>()?;
    let any = if others.iter().any(IpAddr::is_ipv6) { "::" } else { "0.0.0.0" };
    let socket = UdpSocket::bind((any, port))?;
    println!("listening");
    let start = Instant::now();
    let end = Duration::from_secs_f64(seconds);
    let mut seen: BTreeMap<IpAddr, f64> = BTreeMap::new();
    let mut told = false;
    for round in 1.. {
        if !told && (seen.len() == others.len() || start.elapsed() >= end) {
            told = true;
            let times: BTreeMap<String, f64> =
                seen.iter().map(|(other, ms)| (other.to_string(), *ms)).collect();
            println!("{}", json!({ "asked": others.len(), "answered_ms": times }));
            io::stdout().flush()?;
        }
        if !told {
            for other in others.iter().filter(|other| !seen.contains_key(other)) {
                // No route yet: the daemon is still starting.
                let _ = socket.send_to(ASK, SocketAddr::new(*other, port));
            }
        }
        let next = start + INTERVAL * round;
        listen(&socket, next, |other| {
            seen.entry(other).or_insert(start.elapsed().as_secs_f64() * 1e3);
        })?;
    }
    Ok(())
}

/// Answers, and hears answers, until then.
fn listen(socket: &UdpSocket, until: Instant, mut answered: impl FnMut(IpAddr)) -> io::Result<()> {
    let mut bytes = [0; 64];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        socket.set_read_timeout(Some(left))?;
        // Silence, or an error that an earlier packet has met.
        let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
        match &bytes[..length] {
            said if said == ASK => drop(socket.send_to(ANSWER, from)),
            said if said == ANSWER => answered(from.ip().to_canonical()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_answered_and_who_answers_is_heard() {
        let [one, two] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        one.send_to(ASK, two.local_addr().unwrap()).unwrap();
        listen(&two, Instant::now() + Duration::from_millis(50), |_| panic!("nobody answered"))
            .unwrap();
        let mut heard = Vec::new();
        let until = Instant::now() + Duration::from_millis(50);
        listen(&one, until, |other| heard.push(other)).unwrap();
        assert_eq!(heard, [two.local_addr().unwrap().ip()]);
    }
}
