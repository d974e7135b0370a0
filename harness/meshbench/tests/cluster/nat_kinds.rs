//! Every kind of gateway, built in a fabric and probed from a machine behind it.

use std::sync::Arc;
use std::time::Instant;

use meshbench::cluster::proof::{Probed, Probing};
use meshbench::cluster::{Blueprint, Cluster, member_preparation};
use meshbench::fabric::Behaviour;
use meshbench::fabric::Plan;
use meshbench::fabric::Scenario;
use meshbench::fabric::{KINDS, Kind};
use meshbench::guest::debian::{Debian, ModuleSoftware};
use meshbench::lab::fabric_software;

use crate::common::{cache, lab, machine, network, sh, turn};

/// Gateways that no kind names, with lifetimes short enough to be waited for.
const CUSTOM: &str = r#"
[[site]]
name = "adm-eif"
nat = { mapping = "address-dependent", filtering = "endpoint-independent", ports = "hash", lifetime = 3 }
[[site]]
name = "apdm-adf"
nat = { mapping = "address-and-port-dependent", filtering = "address-dependent", ports = "hash", lifetime = 3 }
[[site]]
name = "eim-hairpin"
nat = { mapping = "endpoint-independent", filtering = "address-and-port-dependent", ports = "hash", hairpin = true, lifetime = 3 }
"#;

/// Asks a gateway for UDP port 40000 by NAT-PMP (RFC 6886), and prints the answer in hexadecimal.
const ASK_FOR_PORT: &str = r"exec 3<>/dev/udp/$(ip -json route get 5.255.0.1 | jq -r '.[0].gateway')/5351
printf '\x00\x01\x00\x00\x9c\x40\x9c\x40\x00\x00\x0e\x10' >&3
timeout 5 head -c 16 <&3 | od -An -tx1 | tr -d ' \n'";

#[tokio::test]
async fn every_kind_of_gateway_is_found_to_be_what_it_is_called() {
    let _turn = turn();
    let site = |kind: &Kind| {
        format!("[[site]]\nname = \"{}\"\nnat = \"{}\"\n", short(kind.name), kind.name)
    };
    let sites: String = KINDS.iter().map(site).collect();
    let cluster = with_coturn(&network(&(sites + CUSTOM))).await;
    let probed = probed(&cluster).await;
    assert_eq!(probed.len(), KINDS.len() + 3);
    a_port_forward_is_granted_by_the_gateway_that_offers_it(&cluster).await;
    another_implementation_sees_the_same(&cluster, &probed).await;
    cluster.down().await;
}

/// A cluster whose fabric and machines have coturn, which no module needs.
async fn with_coturn(scenario: &Scenario) -> Arc<Cluster> {
    let lab = lab(true);
    let provider = Debian::new(&cache(), meshbench::AGENT);
    let name = "coturn".to_owned();
    let coturn = ModuleSoftware { apt: vec![name.clone()], name, ..ModuleSoftware::default() };
    let image = |software: &[ModuleSoftware]| {
        Arc::new(provider.image(software).unwrap_or_else(|error| panic!("{error}")))
    };
    let blueprint = Blueprint {
        plan: Plan::new(scenario, 1),
        fabric_image: image(&[fabric_software(), coturn.clone()]),
        member_image: image(&[coturn]),
        preparation: member_preparation(&[]),
    };
    let mut templates = lab.templates().await.unwrap_or_else(|error| panic!("{error}"));
    blueprint.warm(&mut templates).await.unwrap_or_else(|error| panic!("{error}"));
    let start = Instant::now();
    let cluster = Cluster::up(&blueprint, &templates).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    println!(
        "{} machines up in {:.1} s",
        cluster.members().len() + 1,
        start.elapsed().as_secs_f64()
    );
    cluster
}

/// Interface names have at most 15 bytes, and sites are called like interfaces.
fn short(kind: &str) -> String {
    let shorter =
        [("symmetric", "symm"), ("restricted", "restr"), ("ependent", "ep"), ("ictable", "ict")];
    shorter.iter().fold(kind.to_owned(), |name, (long, short)| name.replace(long, short))
}

async fn probed(cluster: &Cluster) -> Vec<Probed> {
    let start = Instant::now();
    let reach = Probing { plain: true, lifetime_s: 10 };
    let (probed, verdict) = cluster.prove_gateways(reach).await;
    println!("probed {} gateways in {:.1} s", probed.len(), start.elapsed().as_secs_f64());
    for gateway in &probed {
        println!("{:<22} asked {}", gateway.kind, gateway.asked);
        println!("{:<22} seen  {}{}", "", gateway.seen, lifetime(gateway));
    }
    verdict.unwrap_or_else(|error| panic!("{error}"));
    probed
}

fn lifetime(gateway: &Probed) -> String {
    gateway.lifetime.map_or_else(String::new, |(half, whole)| {
        let alive = |alive| if alive { "alive" } else { "gone" };
        format!("; after half its lifetime {}, after all {}", alive(half), alive(whole))
    })
}

async fn a_port_forward_is_granted_by_the_gateway_that_offers_it(cluster: &Cluster) {
    for (name, answers) in [("port-mapping", true), ("home", false)] {
        let answer = sh(machine(cluster, name), ASK_FOR_PORT).await;
        // Version 0, a mapping of UDP (129), success.
        assert_eq!(answer.starts_with("00810000"), answers, "{name}: {answer}");
    }
    let member = cluster.member("port-mapping").expect("it is in the scenario");
    let public = member.net.public[0];
    let listen = "timeout 20 tcpdump -c 1 -ni eth0 udp dst port 40000 2>/dev/null | wc -l";
    let knock = format!(
        "for i in $(seq 40); do nsenter --net=/run/netns/internet bash -c 'echo x >/dev/udp/{public}/40000'; \
         sleep 0.2; done"
    );
    let (heard, _) = tokio::join!(sh(&member.machine, listen), sh(cluster.fabric(), &knock));
    assert_eq!(heard.trim(), "1", "the port is forwarded");
}

/// coturn's server and client speak RFC 5780, and know nothing of this project's probe.
async fn another_implementation_sees_the_same(cluster: &Cluster, probed: &[Probed]) {
    let serve = "nsenter --net=/run/netns/internet turnserver -n --listening-ip=5.255.0.1 \
                 --listening-ip=5.255.0.2 --no-tls --no-dtls --no-auth --no-cli --realm=x \
                 --log-file=/run/turnserver.log --pidfile=/run/turnserver.pid \
                 >/run/turnserver.out 2>&1 & \
                 for i in $(seq 100); do \
                 nsenter --net=/run/netns/internet ss -lun | grep -q 5.255.0.2:3479 && exit; sleep 0.2; \
                 done; cat /run/turnserver.out; exit 1";
    sh(cluster.fabric(), serve).await;
    let start = Instant::now();
    let mut left: Vec<&Probed> =
        probed.iter().filter(|gateway| gateway.seen.udp.is_some()).collect();
    assert_eq!(left.len(), KINDS.len() + 1, "all but those that let no UDP out");
    // It asks once and waits three seconds, which are not enough on a host that is busy.
    for _ in 0..3 {
        let asked = left.iter().map(|gateway| coturn(cluster, gateway));
        let answers = futures_util::future::join_all(asked).await;
        let mut differing = Vec::new();
        for (gateway, answer) in left.into_iter().zip(answers) {
            let [mapping, filtering] = &answer;
            println!("{:<22} coturn: mapping {mapping}, filtering {filtering}", gateway.kind);
            let seen = gateway.seen.udp.expect("UDP passes");
            if answer != [words(seen.mapping), words(seen.filtering)] {
                differing.push(gateway);
            }
        }
        left = differing;
    }
    println!("coturn took {:.1} s", start.elapsed().as_secs_f64());
    let left: Vec<&str> = left.iter().map(|gateway| gateway.kind.as_str()).collect();
    assert!(left.is_empty(), "coturn sees other gateways: {left:?}");
}

/// What coturn's client says of a gateway's mapping and filtering; a test that it could not finish is silent.
async fn coturn(cluster: &Cluster, gateway: &Probed) -> [String; 2] {
    let own = gateway.raw.udp.as_ref().expect("UDP passes").own.ip();
    // Each test with a socket of its own: the first one opens the filter that the second one tests.
    let ask = format!(
        "for test in -m -f; do timeout 25 turnutils_natdiscovery $test -L {own} 5.255.0.1 2>&1; done; true"
    );
    let said = sh(machine(cluster, &gateway.site), &ask).await;
    ["Mapping!", "Filtering!"].map(|what| {
        let verdicts = said.lines().filter_map(|line| line.strip_prefix("NAT with "));
        let last = verdicts.filter_map(|verdict| verdict.strip_suffix(what)).next_back();
        last.unwrap_or_default().trim().to_owned()
    })
}

/// As coturn's client calls it.
fn words(behaviour: Behaviour) -> String {
    match behaviour {
        Behaviour::EndpointIndependent => "Endpoint Independent",
        Behaviour::AddressDependent => "Address Dependent",
        Behaviour::AddressAndPortDependent => "Address and Port Dependent",
        other => panic!("coturn has no words for {other:?}"),
    }
    .to_owned()
}
