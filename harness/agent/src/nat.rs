//! What the gateways in front of this machine do to UDP (RFC 4787), found out from behind them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use meshbench_protocol::{Dependence, NatProbe, NatSeen, UdpSeen};

use crate::ip;
use crate::nat_server::{Answer, Ask};

/// Linux looks for expired flows now and then, not all the time.
const EXPIRY: Duration = Duration::from_secs(2);

/// After so many attempts even a server that has answered before is given up.
const LAST_ATTEMPT: u32 = 20;

/// No answer is waited for longer than this, in ms.
const LONGEST_MS: u64 = 5_000;

/// Probes mapping first, since what follows needs it, then everything else at once.
pub(crate) fn probe(probe: &NatProbe) -> io::Result<NatSeen> {
    if probe.servers.len() < 5 {
        return Err(io::Error::other("a NAT probe needs servers on three addresses and two ports"));
    }
    let prober = Prober { probe, nonce: AtomicU32::new(1), slowest_ms: AtomicU64::new(0) };
    let udp = prober.udp()?;
    let [tcp_443, tcp_80] = thread::scope(|scope| {
        let tries = [443, 80].map(|port| {
            let at = SocketAddr::new(probe.servers[0].ip(), port);
            let prober = &prober;
            scope.spawn(move || prober.tcp(at))
        });
        tries.map(|running| running.join().unwrap_or(false))
    });
    Ok(NatSeen { udp, tcp_443, tcp_80 })
}

struct Prober<'a> {
    probe: &'a NatProbe,
    nonce: AtomicU32,
    /// The longest that an answer has taken so far, in ms: on a busy host patience must grow.
    slowest_ms: AtomicU64,
}

/// One question to one server.
struct Question {
    server: SocketAddr,
    ask: Ask,
}

/// Who answered a question, and as whom it saw the asker.
type Answers = BTreeMap<(u32, SocketAddr), SocketAddr>;

impl Prober<'_> {
    fn udp(&self) -> io::Result<Option<UdpSeen>> {
        let control = self.socket()?;
        let Some((mapping, mapped)) = self.mapping(&control)? else { return Ok(None) };
        let own = control.local_addr()?;
        let external = mapped[0].ip();
        let preserved = mapped.iter().all(|at| at.port() == own.port());
        let translated = external != own.ip();
        thread::scope(|scope| {
            let filtering = scope.spawn(|| self.filtering());
            let hairpin = scope.spawn(|| if translated { self.hairpin() } else { Ok(None) });
            let clash = scope.spawn(|| match mapping {
                Dependence::AddressAndPort => Ok(None),
                _ => self.clash(preserved.then_some(external)).map(Some),
            });
            let second = self.probe.second.as_deref().filter(|_| translated);
            let overload =
                scope.spawn(move || second.map(|second| self.overload(second)).transpose());
            let lifetime = scope.spawn(|| {
                self.probe
                    .lifetime_s
                    .map(|s| self.lifetime(Duration::from_secs(s.into())))
                    .transpose()
            });
            Ok(Some(UdpSeen {
                mapping,
                filtering: join(filtering)?,
                hairpin: join(hairpin)?,
                clash_held: join(clash)?,
                overloads: join(overload)?,
                lifetime: join(lifetime)?,
                mapped,
                own,
            }))
        })
    }

    /// One socket speaks to five endpoints, in order: do they see the same?
    fn mapping(&self, own: &UdpSocket) -> io::Result<Option<(Dependence, Vec<SocketAddr>)>> {
        let questions: Vec<_> =
            self.probe.servers[..5].iter().map(|server| self.question(*server)).collect();
        let answers = self.exchange(own, &questions, 0)?;
        let seen: Vec<SocketAddr> = questions
            .iter()
            .filter_map(|q| answers.get(&(q.ask.nonce, q.server)).copied())
            .collect();
        let [a1, b1, a2, b2, a3] = seen[..] else {
            if seen.is_empty() {
                return Ok(None);
            }
            let silent = "some servers answer and some do not";
            return Err(io::Error::other(format!("{silent}: {} of 5", seen.len())));
        };
        let mapping = if [b1, a2, b2, a3].iter().all(|at| *at == a1) {
            Dependence::Endpoint
        } else if a1 == b1 && a2 == b2 {
            Dependence::Address
        } else {
            Dependence::AddressAndPort
        };
        Ok(Some((mapping, seen)))
    }

    /// A fresh socket speaks to one endpoint: do others reach it?
    fn filtering(&self) -> io::Result<Dependence> {
        let own = self.socket()?;
        let [first, other_port, other_address] =
            [0, 1, 3].map(|index: usize| self.probe.servers[index]);
        let ask = |from| Question {
            ask: Ask { from: Some(from), ..self.question(first).ask },
            server: first,
        };
        let questions = [ask(other_port), ask(other_address)];
        let answers = self.exchange(&own, &questions, 2)?;
        let came = |q: &Question, from| answers.contains_key(&(q.ask.nonce, from));
        Ok(if came(&questions[1], other_address) {
            Dependence::Endpoint
        } else if came(&questions[0], other_port) {
            Dependence::Address
        } else {
            Dependence::AddressAndPort
        })
    }

    /// One socket speaks to the mapped endpoint of another, which has spoken to its, as peers do who punch holes; how does
    /// the other see it? A filter before the gateway that turns packets round lets nobody else in.
    fn hairpin(&self) -> io::Result<Option<bool>> {
        let (one, two) = (self.socket()?, self.socket()?);
        let (from, to) = (self.mapped(&one)?, self.mapped(&two)?);
        for _ in 0..self.probe.attempts {
            let _ = two.send_to(b"{}", from);
            let _ = one.send_to(b"{}", to);
            if let Some((_, source)) = self.receive(&two, self.patience())? {
                return Ok(Some(source == from));
            }
        }
        Ok(None)
    }

    /// A packet from outside comes before the mapping it is meant for: is the mapping still made?
    /// `preserving` is the external address where ports are preserved, so that the mapping is known
    /// before it exists; elsewhere it exists towards another port of the same server.
    fn clash(&self, preserving: Option<IpAddr>) -> io::Result<bool> {
        let (control, own) = (self.socket()?, self.socket()?);
        let expected = match preserving {
            Some(external) => SocketAddr::new(external, own.local_addr()?.port()),
            None => self.mapped(&own)?,
        };
        let early = self.probe.servers[1];
        let mut question = self.question(self.probe.servers[0]);
        question.ask.from = Some(early);
        question.ask.to = Some(expected);
        self.exchange(&control, &[question], 0)?;
        Ok(self.mapped_by(&own, early)? == expected)
    }

    /// Two machines use the same port at once: do they share a mapping?
    fn overload(&self, second: &str) -> io::Result<bool> {
        let address = second.split('/').next().and_then(|text| text.parse::<IpAddr>().ok());
        let address = address.ok_or_else(|| io::Error::other(format!("{second}: no address")))?;
        let device = device(self.probe.own)?;
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        let change = |verb: &str, more: &str| {
            ip::batch([format!("address {verb} {second} dev {device}{more}").as_str()])
        };
        change("add", nodad)?;
        let result = self.share(address);
        change("del", "")?;
        result
    }

    fn share(&self, second: IpAddr) -> io::Result<bool> {
        let one = self.socket()?;
        let two = UdpSocket::bind((second, one.local_addr()?.port()))?;
        let other = self.probe.servers[2];
        Ok(self.mapped(&one)? == self.mapped_by(&two, other)?)
    }

    /// Two silent sockets; a server speaks to one before and to the other after the lifetime.
    fn lifetime(&self, lifetime: Duration) -> io::Result<(bool, bool)> {
        let [control, early, late] = [self.socket()?, self.socket()?, self.socket()?];
        // In this order the one is no younger and the other hardly older than is reckoned from the start.
        let (to_late, to_early) = (self.mapped(&late)?, self.mapped(&early)?);
        let start = Instant::now();
        let alive = |own: &UdpSocket, to, after: Duration| {
            thread::sleep(after.saturating_sub(start.elapsed()));
            let server = self.probe.servers[0];
            let mut question = self.question(server);
            question.ask.from = Some(server);
            question.ask.to = Some(to);
            self.exchange(&control, &[question], 0)?;
            Ok::<_, io::Error>(self.receive(own, self.patience())?.is_some())
        };
        Ok((alive(&early, to_early, lifetime / 2)?, alive(&late, to_late, lifetime + EXPIRY)?))
    }

    /// The socket as the first server sees it.
    fn mapped(&self, own: &UdpSocket) -> io::Result<SocketAddr> {
        self.mapped_by(own, self.probe.servers[0])
    }

    fn mapped_by(&self, own: &UdpSocket, server: SocketAddr) -> io::Result<SocketAddr> {
        let question = self.question(server);
        let key = (question.ask.nonce, server);
        let answers = self.exchange(own, &[question], 0)?;
        let none = || io::Error::other(format!("{server} no longer answers"));
        answers.get(&key).copied().ok_or_else(none)
    }

    /// Asks until every question is answered by its server and `extra` others have answered as
    /// well. Without any answer the attempts are used up; once the way is known to be open, servers
    /// are asked again until they answer, and only the silence of the others is believed.
    fn exchange(
        &self,
        own: &UdpSocket,
        questions: &[Question],
        extra: usize,
    ) -> io::Result<Answers> {
        let mut answers = Answers::new();
        let mut attempts = 0;
        for _ in 0..LAST_ATTEMPT {
            let asked = Instant::now();
            for question in questions {
                let bytes = serde_json::to_vec(&question.ask)?;
                // A gateway that rejects is as silent as one that drops.
                let _ = own.send_to(&bytes, question.server);
            }
            let end = asked + self.patience();
            while let Some((answer, from)) =
                self.receive(own, end.saturating_duration_since(Instant::now()))?
            {
                // Not for what other sockets have asked, or for what was thrown at this one.
                if !questions.iter().any(|q| q.ask.nonce == answer.nonce) {
                    continue;
                }
                let after = asked.elapsed().as_millis().max(1) as u64;
                self.slowest_ms.fetch_max(after, Ordering::Relaxed);
                answers.insert((answer.nonce, from), answer.seen);
                if answers.len() == questions.len() + extra {
                    return Ok(answers);
                }
            }
            let answered = |q: &Question| answers.contains_key(&(q.ask.nonce, q.server));
            let open = self.slowest_ms.load(Ordering::Relaxed) > 0 || !answers.is_empty();
            if !open || questions.iter().all(answered) {
                attempts += 1;
            }
            if attempts >= self.probe.attempts {
                break;
            }
        }
        Ok(answers)
    }

    /// The next answer, within the given time.
    fn receive(
        &self,
        own: &UdpSocket,
        patience: Duration,
    ) -> io::Result<Option<(Answer, SocketAddr)>> {
        own.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let mut bytes = [0; 512];
        match own.recv_from(&mut bytes) {
            Ok((length, from)) => {
                let silent = Answer { nonce: 0, seen: from };
                Ok(Some((serde_json::from_slice(&bytes[..length]).unwrap_or(silent), from)))
            }
            // An ICMP error is no answer.
            Err(_) => Ok(None),
        }
    }

    fn question(&self, server: SocketAddr) -> Question {
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        Question { server, ask: Ask { nonce, from: None, to: None } }
    }

    fn socket(&self) -> io::Result<UdpSocket> {
        UdpSocket::bind((self.probe.own, 0))
    }

    fn patience(&self) -> Duration {
        let slowest = self.slowest_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.probe.patience_ms.max(slowest * 3).clamp(1, LONGEST_MS))
    }

    /// Nobody listens there: a refusal shows that the way is open.
    fn tcp(&self, at: SocketAddr) -> bool {
        let patience = self.patience() * self.probe.attempts;
        match TcpStream::connect_timeout(&at, patience) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        }
    }
}

/// The card that has this address.
fn device(own: IpAddr) -> io::Result<String> {
    for entry in nix::ifaddrs::getifaddrs()? {
        let address = entry.address.as_ref().and_then(|address| match own {
            IpAddr::V4(_) => address.as_sockaddr_in().map(|at| IpAddr::V4(at.ip())),
            IpAddr::V6(_) => address.as_sockaddr_in6().map(|at| IpAddr::V6(at.ip())),
        });
        if address == Some(own) {
            return Ok(entry.interface_name);
        }
    }
    Err(io::Error::other(format!("no card has the address {own}")))
}

fn join<T>(running: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    running.join().unwrap_or_else(|_| Err(io::Error::other("a part of the NAT probe panicked")))
}
