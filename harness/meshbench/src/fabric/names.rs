//! Names of the Internet: resolvers on the core, whose answers follow the addresses of sites with dynamic DNS, as late
//! as these say.

use std::net::IpAddr;

use meshbench_protocol::Namespace;

use super::address::{CORE, CORE_V4, CORE_V6};
use super::nat64::beyond;
use super::plan::{MachineState, Plan};
use super::sites::SiteState;

/// The top-level domain of all names, which is nobody's (RFC 6761).
const DOMAIN: &str = "test";

/// How long whoever asks may keep an answer, in seconds: what providers of dynamic DNS set.
const TTL: u16 = 60;

/// A server of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolver {
    /// What names stand for.
    Plain,
    /// The same, and for IPv4 the addresses of a translator (RFC 6147).
    Dns64,
}

impl Resolver {
    fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Dns64 => "dns64",
        }
    }

    /// Where it listens.
    fn addresses(self) -> Vec<IpAddr> {
        match self {
            Self::Plain => vec![CORE_V4[0].into(), CORE_V6[0].into()],
            Self::Dns64 => vec![CORE_V6[1].into()],
        }
    }

    /// The directory of its names, a file a site.
    fn directory(self) -> String {
        format!("/run/names-{}", self.word())
    }

    /// dnsmasq(8), with nobody else to ask. Packages are unpacked, not installed: it has no user of its own.
    fn start(self) -> String {
        let listen: String =
            self.addresses().iter().map(|own| format!(" --listen-address={own}")).collect();
        format!(
            "dnsmasq --conf-file=/dev/null --user=root --group=root --pid-file --bind-interfaces{listen} \
             --no-resolv --no-hosts --server=/#/ --hostsdir={directory} --local-ttl={TTL} --log-facility=/dev/null",
            directory = self.directory()
        )
    }

    /// A line a name and family, as hosts(5) has them.
    fn lines(self, names: &[(String, Vec<IpAddr>)]) -> String {
        let answers = |address: &IpAddr| match (self, address) {
            (Self::Dns64, IpAddr::V4(address)) => beyond(*address),
            _ => *address,
        };
        let all = names.iter().flat_map(|(name, addresses)| {
            // Nobody is sent round by the translator who has a straight way.
            let straight = self == Self::Dns64 && addresses.iter().any(IpAddr::is_ipv6);
            let told = addresses.iter().filter(move |it| !straight || it.is_ipv6());
            told.map(move |it| format!("{} {name}\n", answers(it)))
        });
        all.collect()
    }
}

/// The name of a machine, if the site that it is at home in has dynamic DNS.
fn name_of(machine: &MachineState, home: &SiteState) -> Option<String> {
    home.site.dynamic_dns.map(|_| format!("{}.{DOMAIN}", machine.name))
}

impl Plan {
    /// The name by which the Internet knows a machine, if it has one.
    pub(super) fn internet_name(&self, machine: &MachineState) -> Option<String> {
        name_of(machine, &self.sites[machine.home.0])
    }

    /// Whom a machine at this site asks for names; nobody where there are none.
    pub(super) fn resolvers_of(&self, site: &SiteState) -> Vec<IpAddr> {
        let resolver = match site.site.nat64 {
            true => Resolver::Dns64,
            false => Resolver::Plain,
        };
        let family = |own: &IpAddr| if own.is_ipv4() { site.site.ipv4 } else { site.site.ipv6 };
        match self.has_names() {
            true => resolver.addresses().into_iter().filter(family).collect(),
            false => Vec::new(),
        }
    }

    fn has_names(&self) -> bool {
        self.sites.iter().any(|state| state.site.dynamic_dns.is_some())
    }

    fn resolvers(&self) -> Vec<Resolver> {
        let translated = self.sites.iter().any(|state| state.site.nat64);
        match self.has_names() {
            true if translated => vec![Resolver::Plain, Resolver::Dns64],
            true => vec![Resolver::Plain],
            false => Vec::new(),
        }
    }

    /// What the machines of a site are called, and where they are.
    fn names_at(&self, index: usize) -> Vec<(String, Vec<IpAddr>)> {
        let home = &self.sites[index];
        let own = self.machines.iter().filter(|machine| machine.home.0 == index);
        let at_home = own.map(|machine| MachineState { at: index, ..machine.clone() });
        let named =
            at_home.filter_map(|machine| Some((name_of(&machine, home)?, self.public(&machine))));
        named.collect()
    }

    /// Starts the resolvers, where there are names.
    pub(super) fn name_servers(&self, core: &mut Namespace) {
        for resolver in self.resolvers() {
            let directory = resolver.directory();
            core.commands.push(format!("mkdir -p {directory}"));
            for index in 0..self.sites.len() {
                let lines = resolver.lines(&self.names_at(index));
                if !lines.is_empty() {
                    let site = &self.sites[index].site.name;
                    core.commands.push(format!("printf '%s' '{lines}' >{directory}/{site}"));
                }
            }
            core.commands.push(resolver.start());
        }
    }

    /// Has names follow the addresses of sites that have others than before, each as late as its site says.
    pub(super) fn renamed(&self, before: &Self) -> Option<Namespace> {
        let mut core = Namespace::new(CORE);
        for (index, state) in self.sites.iter().enumerate() {
            let Some(seconds) = state.site.dynamic_dns else { continue };
            let names = self.names_at(index);
            if names == before.names_at(index) {
                continue;
            }
            for resolver in self.resolvers() {
                let (directory, site) = (resolver.directory(), &state.site.name);
                let lines = resolver.lines(&names);
                // The server hears of changed files by itself.
                core.commands.push(format!(
                    "{{ sleep {seconds}; printf '%s' '{lines}' >{directory}/{site}; }} </dev/null >/dev/null 2>&1 &"
                ));
            }
        }
        (!core.commands.is_empty()).then_some(core)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::super::event::Action;
    use super::super::sample::{read, said};
    use super::super::wire_lab::Lab;
    use super::*;

    fn lab(sites: &str) -> Option<Lab> {
        for program in ["dnsmasq", "tayga"] {
            if Command::new(program).arg("--version").output().is_err() {
                // Past the capture of test output, so that skips are seen and counted.
                let _ = writeln!(std::io::stderr(), "skipped: needs {program}");
                return None;
            }
        }
        Lab::new(sites)
    }

    /// What the C library of a machine there makes of a name.
    fn asked(lab: &Lab, machine: &str, name: &str) -> Vec<String> {
        let net = lab.plan.machines().into_iter().find(|net| net.name == machine).unwrap();
        let servers: String =
            net.resolvers.iter().map(|own| format!("nameserver {own}\n")).collect();
        let answers = lab.sh(&format!(
            "nsenter --net=/run/netns/m-{machine} unshare -m sh -eu <<'X'
             printf '%s' '{servers}' >/run/resolv-{machine}
             mount --bind /run/resolv-{machine} /etc/resolv.conf
             getent ahosts {name} | sed -n 's/ *STREAM.*//p'\nX\n"
        ));
        answers.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_name_stands_for_the_old_address_until_its_site_has_told_of_the_new_one() {
        let sites =
            "[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\"\nnat = \"home\"\ndynamic-dns = 3";
        let Some(mut lab) = lab(sites) else { return };
        assert_eq!(asked(&lab, "alice", "bob.test"), ["5.2.0.2"]);
        let begun = Instant::now();
        assert_eq!(asked(&lab, "alice", "alice.test"), [""; 0], "she has none");
        assert!(begun.elapsed() < Duration::from_secs(2), "and is told so at once");
        lab.change(&Action::Readdress { site: "bob".into() });
        let late = asked(&lab, "alice", "bob.test");
        if begun.elapsed() < Duration::from_secs(3) {
            assert_eq!(late, ["5.2.0.2"]);
        }
        let deadline = begun + Duration::from_secs(20);
        while asked(&lab, "alice", "bob.test") != ["5.2.0.3"] {
            assert!(Instant::now() < deadline, "the name has not followed");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(begun.elapsed() >= Duration::from_secs(3), "it followed at once");
    }

    #[test]
    fn who_has_ipv6_alone_is_told_the_address_of_a_translator() {
        let sites = "[[site]]\nname = \"alice\"\nnat = \"firewall\"\nipv4 = false\nipv6 = true\nnat64 = true\n\
                     [[site]]\nname = \"bob\"\ndynamic-dns = 0\n[[site]]\nname = \"hub\"\nipv6 = true\ndynamic-dns = 0";
        let Some(lab) = lab(sites) else { return };
        assert_eq!(asked(&lab, "alice", "bob.test"), ["64:ff9b::502:10a"]);
        assert_eq!(asked(&lab, "alice", "hub.test"), ["2a0e:3:1::10"], "a straight way is none");
        assert_eq!(asked(&lab, "bob", "hub.test"), ["5.3.1.10", "2a0e:3:1::10"]);
    }

    #[test]
    fn a_machine_is_called_by_its_home_wherever_it_is_and_a_delay_has_an_end() {
        let sites = "[[site]]\nname = \"alice\"\nnat = \"home\"\ndynamic-dns = 5\n\
                     [[site]]\nname = \"bob\"\n[[site]]\nname = \"away\"\nmachines = []";
        let mut plan = Plan::new(&read(sites), 1);
        let name = |plan: &Plan| plan.members()[0].internet_name.clone().unwrap();
        assert_eq!(name(&plan), "alice.test");
        let roam = Action::Roam { machine: "alice".into(), to: "away".into() };
        let change = plan.change(&roam).unwrap();
        let told: Vec<_> = change.namespaces.iter().flat_map(|it| &it.commands).collect();
        assert!(!told.iter().any(|command| command.contains("names")), "{told:?}");
        assert_eq!(change.readdressed[0].resolvers, [IpAddr::from(CORE_V4[0])]);
        let none = Plan::new(&read("[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\""), 1);
        assert!(none.machines()[0].resolvers.is_empty(), "nobody to ask where there are none");
        let late = "[[site]]\nname = \"alice\"\ndynamic-dns = 86401\n[[site]]\nname = \"bob\"";
        assert!(said(late).contains("0 to 86400 seconds"), "{}", said(late));
    }
}
