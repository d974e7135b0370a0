//! The part of `ip -batch`'s language that plans use, spoken to the kernel over netlink: on an emulated
//! processor a process costs as much as hundreds of messages.

use std::fs::File;
use std::io::{self, Error};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::str::{FromStr, SplitWhitespace};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoData, InfoKind,
    InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;

use crate::netns;

/// The main routing table (RT_TABLE_MAIN).
const MAIN: u8 = 254;

/// More than any answer to a change: an error carries a copy of the request.
const ANSWER: usize = 8 << 10;

/// Does what `ip -batch` would do with these lines, in the network namespace of this thread.
///
/// # Errors
/// The first line that the kernel refused, or that is none of this language.
pub(crate) fn batch<'a>(lines: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    let ip = Ip::open()?;
    for line in lines {
        let done = ip.line(&mut Words(line.split_whitespace()));
        done.map_err(|why| Error::new(why.kind(), format!("ip {line}: {why}")))?;
    }
    Ok(())
}

/// What a request does when the thing is there, or is not.
#[derive(Clone, Copy)]
enum Verb {
    Add,
    Replace,
    Delete,
}

impl Verb {
    fn flags(self) -> u16 {
        match self {
            Self::Add => NLM_F_CREATE | NLM_F_EXCL,
            Self::Replace => NLM_F_CREATE | NLM_F_REPLACE,
            Self::Delete => 0,
        }
    }
}

impl FromStr for Verb {
    type Err = Error;
    fn from_str(word: &str) -> io::Result<Self> {
        match word {
            "add" => Ok(Self::Add),
            "replace" => Ok(Self::Replace),
            "del" => Ok(Self::Delete),
            _ => Err(strange(word)),
        }
    }
}

/// The words of a line.
struct Words<'a>(SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn more(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn word(&mut self) -> io::Result<&'a str> {
        self.0.next().ok_or_else(|| Error::other("a word is missing"))
    }

    fn value<T: FromStr>(&mut self) -> io::Result<T> {
        let word = self.word()?;
        word.parse().map_err(|_| strange(word))
    }

    fn device(&mut self) -> io::Result<u32> {
        index(self.word()?)
    }

    fn mac(&mut self) -> io::Result<Vec<u8>> {
        let word = self.word()?;
        let bytes: Result<Vec<u8>, _> =
            word.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
        bytes.map_err(|_| strange(word))
    }

    fn expect(&mut self, word: &str) -> io::Result<()> {
        let found = self.word()?;
        if found == word { Ok(()) } else { Err(strange(found)) }
    }
}

struct Ip {
    socket: Socket,
}

impl Ip {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    fn line(&self, words: &mut Words<'_>) -> io::Result<()> {
        let (object, verb) = (words.word()?, words.word()?);
        match (object, verb) {
            ("netns", "add") => netns::add(words.word()?),
            ("link", "add") => self.link_add(words),
            ("link", "set") => self.link_set(words),
            ("link", "del") => self.link_del(words),
            ("address", _) => self.address(verb.parse()?, words),
            ("route", _) => self.route(verb.parse()?, words),
            ("neigh", _) => self.neighbour(verb.parse()?, words),
            _ => Err(strange(object)),
        }
    }

    fn link_set(&self, words: &mut Words<'_>) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = words.device()?;
        let mut opened = Vec::new();
        while let Some(word) = words.more() {
            attribute(&mut link, word, words, &mut opened)?;
        }
        // The kernel would set the device up before it looks at how that makes addresses.
        let (before, attributes) = link
            .attributes
            .into_iter()
            .partition::<Vec<_>, _>(|one| matches!(one, LinkAttribute::AfSpecUnspec(_)));
        link.attributes = attributes;
        if !before.is_empty() {
            let mut first = LinkMessage::default();
            first.header.index = link.header.index;
            first.attributes = before;
            self.request(RouteNetlinkMessage::NewLink(first), 0)?;
        }
        self.request(RouteNetlinkMessage::NewLink(link), 0)
    }

    fn link_add(&self, words: &mut Words<'_>) -> io::Result<()> {
        let mut link = LinkMessage::default();
        let mut opened = Vec::new();
        link.attributes.push(LinkAttribute::IfName(words.word()?.to_owned()));
        loop {
            match words.word()? {
                "type" => break,
                word => attribute(&mut link, word, words, &mut opened)?,
            }
        }
        let info = match words.word()? {
            "veth" => {
                words.expect("peer")?;
                let mut peer = LinkMessage::default();
                while let Some(word) = words.more() {
                    attribute(&mut peer, word, words, &mut opened)?;
                }
                (InfoKind::Veth, InfoData::Veth(InfoVeth::Peer(peer)))
            }
            "bridge" => (InfoKind::Bridge, InfoData::Bridge(bridge(words)?)),
            other => return Err(strange(other)),
        };
        let info = vec![LinkInfo::Kind(info.0), LinkInfo::Data(info.1)];
        link.attributes.push(LinkAttribute::LinkInfo(info));
        self.request(RouteNetlinkMessage::NewLink(link), Verb::Add.flags())
    }

    fn link_del(&self, words: &mut Words<'_>) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = words.device()?;
        self.request(RouteNetlinkMessage::DelLink(link), Verb::Delete.flags())
    }

    fn address(&self, verb: Verb, words: &mut Words<'_>) -> io::Result<()> {
        let (address, length) = prefix(words.word()?)?;
        words.expect("dev")?;
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = length;
        message.header.index = words.device()?;
        if let Some(word) = words.more() {
            if word != "nodad" {
                return Err(strange(word));
            }
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message.attributes =
            vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        let message = match verb {
            Verb::Delete => RouteNetlinkMessage::DelAddress(message),
            Verb::Add | Verb::Replace => RouteNetlinkMessage::NewAddress(message),
        };
        self.request(message, verb.flags())
    }

    fn route(&self, verb: Verb, words: &mut Words<'_>) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.table = MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.header.kind = RouteType::Unicast;
        message.header.scope = RouteScope::Universe;
        let mut to = words.word()?;
        if to == "blackhole" {
            message.header.kind = RouteType::BlackHole;
            to = words.word()?;
        }
        if to != "default" {
            let (network, length) = prefix(to)?;
            message.header.address_family = family(network);
            message.header.destination_prefix_length = length;
            message.attributes.push(RouteAttribute::Destination(RouteAddress::from(network)));
        }
        while let Some(word) = words.more() {
            message.attributes.push(match word {
                "via" => {
                    let gateway: IpAddr = words.value()?;
                    message.header.address_family = family(gateway);
                    RouteAttribute::Gateway(RouteAddress::from(gateway))
                }
                "dev" => RouteAttribute::Oif(words.device()?),
                "mtu" => RouteAttribute::Metrics(vec![RouteMetric::Mtu(words.value()?)]),
                other => return Err(strange(other)),
            });
        }
        let message = match verb {
            Verb::Delete => {
                // Whatever its scope is.
                message.header.scope = RouteScope::NoWhere;
                RouteNetlinkMessage::DelRoute(message)
            }
            Verb::Add | Verb::Replace => RouteNetlinkMessage::NewRoute(message),
        };
        self.request(message, verb.flags())
    }

    fn neighbour(&self, verb: Verb, words: &mut Words<'_>) -> io::Result<()> {
        let address: IpAddr = words.value()?;
        words.expect("lladdr")?;
        let mac = words.mac()?;
        words.expect("dev")?;
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = words.device()?;
        words.expect("nud")?;
        words.expect("permanent")?;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::from(address)),
            NeighbourAttribute::LinkLayerAddress(mac),
        ];
        let message = match verb {
            Verb::Delete => RouteNetlinkMessage::DelNeighbour(message),
            Verb::Add | Verb::Replace => RouteNetlinkMessage::NewNeighbour(message),
        };
        self.request(message, verb.flags())
    }

    /// Sends a request and waits until the kernel has done it.
    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Vec::with_capacity(ANSWER);
        self.socket.recv(&mut answer, 0)?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer);
        match answer.map_err(Error::other)?.payload {
            NetlinkPayload::Error(error) => match error.code {
                None => Ok(()),
                Some(code) => Err(Error::from_raw_os_error(-code.get())),
            },
            other => Err(Error::other(format!("the kernel answered {other:?}"))),
        }
    }
}

/// One property of a link. Namespaces stay open in `opened` until the request is made.
fn attribute(
    link: &mut LinkMessage,
    word: &str,
    words: &mut Words<'_>,
    opened: &mut Vec<File>,
) -> io::Result<()> {
    link.attributes.push(match word {
        "up" | "down" => {
            link.header.change_mask |= LinkFlags::Up;
            link.header.flags.set(LinkFlags::Up, word == "up");
            return Ok(());
        }
        "netns" => {
            let namespace = netns::open(words.word()?)?;
            let attribute = LinkAttribute::NetNsFd(namespace.as_raw_fd());
            opened.push(namespace);
            attribute
        }
        "addrgenmode" => {
            words.expect("none")?;
            let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])
        }
        "name" => LinkAttribute::IfName(words.word()?.to_owned()),
        "address" => LinkAttribute::Address(words.mac()?),
        "mtu" => LinkAttribute::Mtu(words.value()?),
        "master" => LinkAttribute::Controller(words.device()?),
        "gso_max_segs" => LinkAttribute::GsoMaxSegs(words.value()?),
        "gro_max_size" => LinkAttribute::GroMaxSize(words.value()?),
        other => return Err(strange(other)),
    });
    Ok(())
}

fn bridge(words: &mut Words<'_>) -> io::Result<Vec<InfoBridge>> {
    let mut options = Vec::new();
    while let Some(word) = words.more() {
        words.expect("0")?;
        options.push(match word {
            "stp_state" => InfoBridge::StpState(BridgeStpState::Disabled),
            "mcast_snooping" => InfoBridge::MulticastSnooping(false),
            other => return Err(strange(other)),
        });
    }
    Ok(options)
}

fn strange(word: &str) -> Error {
    Error::other(format!("{word:?} is not understood here"))
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// An address and the length of its prefix; a whole address when none is given.
fn prefix(word: &str) -> io::Result<(IpAddr, u8)> {
    let (address, length) = word.split_once('/').unwrap_or((word, ""));
    let address: IpAddr = address.parse().map_err(|_| strange(word))?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length =
        if length.is_empty() { whole } else { length.parse().map_err(|_| strange(word))? };
    if length > whole { Err(strange(word)) } else { Ok((address, length)) }
}

fn index(device: &str) -> io::Result<u32> {
    if_nametoindex(device)
        .map_err(|why| Error::new(Error::from(why).kind(), format!("no device {device}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_that_is_not_understood_is_told_with_its_word() {
        let told = |line| batch([line]).unwrap_err().to_string();
        assert_eq!(told("tunnel add x"), "ip tunnel add x: \"tunnel\" is not understood here");
        assert!(told("link set lo qlen 3").contains("\"qlen\""));
        assert!(told("link set no-such-device up").contains("no device no-such-device"));
        assert!(told("address add 1.2.3.4/33 dev lo").contains("\"1.2.3.4/33\""));
        assert!(told("route add").contains("a word is missing"));
    }

    /// What two namespaces look like after the same lines, by `ip` itself and by this module.
    #[test]
    fn the_kernel_is_told_the_same_as_by_ip() {
        const LINES: &[&str] = &[
            "link set lo up",
            "link add row address 02:00:00:00:01:01 gso_max_segs 1 type veth peer name wan address 02:00:00:00:01:02 gso_max_segs 1",
            "link add lan address 02:00:00:00:01:03 type bridge stp_state 0 mcast_snooping 0",
            "link set lan addrgenmode none up",
            "link set wan addrgenmode none gro_max_size 1 gso_max_segs 1 master lan up",
            "link set row addrgenmode none mtu 1400 up",
            "address add 5.1.0.1/24 dev row",
            "address add 2a0e::1/64 dev row nodad",
            "address add 5.255.0.1/32 dev lo",
            "neigh add 5.1.0.2 lladdr 02:00:00:00:01:02 dev row nud permanent",
            "neigh replace 2a0e::2 lladdr 02:00:00:00:01:02 dev row nud permanent",
            "route add blackhole 10.0.0.0/8",
            "route add blackhole fc00::/7",
            "route add 5.1.1.0/24 via 5.1.0.2",
            "route add default via 5.1.0.3",
            "route replace default via 5.1.0.2",
            "route add default via 2a0e::2 dev row",
            "address add 5.1.9.1/24 dev row",
            "address del 5.1.9.1/24 dev row",
            "route add 5.1.2.0/24 via 5.1.0.2",
            "route del 5.1.2.0/24 via 5.1.0.2",
            "route add 5.1.3.0/24 via 5.1.0.2 mtu 1460",
            "route add 5.1.4.0/24 via 5.1.0.2 mtu 1460",
            "route del 5.1.4.0/24 via 5.1.0.2 mtu 1460",
            "link add short type veth peer name lived",
            "link del lived",
        ];
        let by_ip = in_new_namespace(|| {
            for line in LINES {
                let words: Vec<&str> = line.split(' ').collect();
                assert!(Command::new("ip").args(&words).status().unwrap().success(), "{line}");
            }
        });
        let here = in_new_namespace(|| batch(LINES.iter().copied()).unwrap());
        match (by_ip, here) {
            (Some(by_ip), Some(here)) => {
                assert!(by_ip.contains("blackhole 10.0.0.0/8"), "{by_ip}");
                let both = by_ip.split(' ').zip(here.split(' '));
                let first = both.clone().position(|(one, other)| one != other);
                let around: Vec<_> =
                    both.skip(first.unwrap_or(0).saturating_sub(9)).take(12).collect();
                assert_eq!(by_ip, here, "they part at {around:?}");
            }
            // Not by eprintln, which a passing test keeps to itself.
            _ => drop(writeln!(
                io::stderr(),
                "skipped: this machine grants no network namespace, or has no `ip`"
            )),
        }
    }

    /// The words, without the state of timers.
    fn steady(text: &str) -> String {
        let mut words = text.split_whitespace();
        let mut kept = Vec::new();
        while let Some(word) = words.next() {
            match word.ends_with("_timer") {
                true => drop(words.next()),
                false => kept.push(word),
            }
        }
        kept.join(" ")
    }

    /// Does something in a network namespace of its own; what `ip` then sees in it.
    fn in_new_namespace(work: impl FnOnce() + Send + 'static) -> Option<String> {
        let there = thread::spawn(move || {
            let flags = nix::sched::CloneFlags::CLONE_NEWNET;
            Command::new("ip").arg("-V").output().ok()?;
            nix::sched::unshare(flags).ok()?;
            work();
            let ip = |what: &[&str]| {
                let output = Command::new("ip").args(what).output().unwrap();
                String::from_utf8(output.stdout).unwrap()
            };
            // The kernel's link watch tells the carrier of row, wan and lan up to a second later.
            let up =
                || ip(&["-br", "link"]).split_whitespace().filter(|word| *word == "UP").count();
            let tries = (0..500).take_while(|_| up() < 3);
            tries.for_each(|_| thread::sleep(Duration::from_millis(10)));
            let show = |what: &[&str]| steady(&ip(what));
            let neighbours = ["-d", "neigh", "show", "nud", "permanent"];
            let views: [&[&str]; 5] = [
                &["-d", "link"],
                &["-d", "address"],
                &["-d", "route"],
                &["-d", "-6", "route"],
                &neighbours,
            ];
            Some(views.map(show).join("\n"))
        });
        there.join().unwrap()
    }
}
