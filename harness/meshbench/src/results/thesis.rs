use std::collections::BTreeMap;

use super::{
    Better, ExternalFigure, ExternalMetric, ExternalNetwork, ExternalRow, ExternalSet, FORMAT,
    names,
};

/// Name, unit, which way is better, and what of ours is nearest.
type Known = (&'static str, &'static str, Better, Option<[&'static str; 2]>);

/// What is taken over. Left out: what their own analysis calls broken (connection and reboot times,
/// which contain the boot of other hosts; RIST's dropped frames and packets).
const METRICS: [Known; 17] = [
    ("tcp_fwd_sender", "Mbit/s", Better::Higher, None),
    ("tcp_fwd_receiver", "Mbit/s", Better::Higher, Some([names::TCP, names::GOODPUT_FORWARD])),
    ("tcp_rev_receiver", "Mbit/s", Better::Higher, Some([names::TCP, names::GOODPUT_REVERSE])),
    ("tcp_retransmits", "count", Better::Lower, Some([names::TCP, "retransmits-forward"])),
    ("tcp_parallel_sum_fwd", "Mbit/s", Better::Higher, None),
    ("udp_fwd_sender", "Mbit/s", Better::Neutral, None),
    ("udp_fwd_receiver", "Mbit/s", Better::Higher, None),
    ("udp_lost", "percent", Better::Lower, None),
    ("ping_rtt_avg", "ms", Better::Lower, Some([names::PING, names::RTT])),
    ("ping_rtt_max", "ms", Better::Lower, None),
    ("ping_loss", "percent", Better::Lower, Some([names::PING, "loss"])),
    ("quic", "Mbit/s", Better::Higher, Some([names::QUIC, names::GOODPUT])),
    ("quic_ttfb", "ms", Better::Lower, Some([names::QUIC, names::FIRST_BYTE])),
    ("nix_cache", "s", Better::Lower, Some([names::NIX_CACHE, names::TIME])),
    ("rist_quality", "percent", Better::Higher, None),
    ("rist_rtt", "ms", Better::Lower, None),
    ("rist_bitrate", "kbit/s", Better::Higher, None),
];

const NETWORKS: [(&str, &str); 4] = [
    ("baseline", "1 Gbit/s Ethernet, not impaired"),
    ("low_impairment", "each host: 2 ms ± 2 ms, 0.25 % lost, 0.5 % reordered"),
    ("medium_impairment", "each host: 4 ms ± 7 ms, 1 % lost, 2.5 % reordered"),
    ("high_impairment", "each host: 6 ms ± 15 ms, 2.5 % lost, 5 % reordered"),
];

const CAVEATS: [&str; 5] = [
    "three bare-metal hosts with public addresses, no NAT; one run a cell, so no interval",
    "a value is the mean of the hosts that succeeded, or the sum of the pairs that did: read it with ok and of",
    "impaired on the sender, where jitter reorders up to 30 % of small packets and large segments pass whole: \
     ratios above 1 are an artefact",
    "TCP in both directions at once, a stream each, 30 s; ping at 5 a second",
    "Headscale is tailscaled with a coordinator of its own; Mycelium went by public nodes",
];

/// Reads the results of the thesis behind vpn-bench: a table of vpn, profile, metric, unit, value.
///
/// # Errors
/// If it is none; names the line.
pub fn import_thesis(text: &str) -> Result<ExternalSet, String> {
    let mut rows: Vec<ExternalRow> = Vec::new();
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line.trim()) != Some("vpn,profile,metric,unit,value") {
        return Err("line 1: expected the columns vpn,profile,metric,unit,value".into());
    }
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        take(line, &mut rows).map_err(|reason| format!("line {}: {reason}", at + 1))?;
    }
    rows.sort_by_key(|row| (row.module.clone(), place(&row.network)));
    Ok(ExternalSet {
        format: FORMAT,
        name: "thesis-2026".into(),
        title: "A Reproducible Analysis of P2P VPN Implementation and Overhead (thesis, 2026)"
            .into(),
        source: "github.com/Qubasa/vpn-bench at 86415be, run 18.12.2025, recomputed from its \
                 per-host JSON"
            .into(),
        caveats: CAVEATS.map(String::from).to_vec(),
        networks: NETWORKS.map(network).to_vec(),
        metrics: METRICS.map(metric).to_vec(),
        rows,
    })
}

fn network((name, about): (&str, &str)) -> ExternalNetwork {
    ExternalNetwork { name: name.into(), about: about.into() }
}

fn metric((name, unit, better, ours): Known) -> ExternalMetric {
    let ours = ours.map(|names| names.map(String::from));
    ExternalMetric { name: name.into(), unit: unit.into(), better, ours }
}

fn place(network: &str) -> Option<usize> {
    NETWORKS.iter().position(|(name, _)| *name == network)
}

fn take(line: &str, rows: &mut Vec<ExternalRow>) -> Result<(), String> {
    let fields: Vec<&str> = line.trim().split(',').collect();
    let [called, network, metric, unit, value] = fields[..] else {
        return Err(format!("{} columns instead of 5", fields.len()));
    };
    place(network).ok_or_else(|| format!("unknown profile {network}"))?;
    let value: f64 = value.parse().map_err(|_| format!("{value} is no number"))?;
    let (name, part) = named(metric);
    let known = METRICS.iter().find(|known| known.0 == name);
    let Some(known) = known else { return Ok(()) };
    if matches!(part, Part::Value) && unit != known.1 {
        return Err(format!("{metric} in {unit} instead of {}", known.1));
    }
    let at = row(rows, called, network);
    let figures = &mut rows[at].figures;
    let figure = figures.entry(name.into()).or_insert(ExternalFigure { value: None, ok: 0, of: 0 });
    match part {
        Part::Value => figure.value = Some(value),
        Part::Ok => figure.ok = value as u32,
        Part::Of => figure.of = value as u32,
    }
    Ok(())
}

enum Part {
    Value,
    Ok,
    Of,
}

fn named(metric: &str) -> (&str, Part) {
    let counted = [("_hosts_ok", Part::Ok), ("_hosts_total", Part::Of)];
    match metric {
        "tcp_parallel_pairs_ok" => return ("tcp_parallel_sum_fwd", Part::Ok),
        "tcp_parallel_pairs_total" => return ("tcp_parallel_sum_fwd", Part::Of),
        _ => {}
    }
    for (end, part) in counted {
        if let Some(name) = metric.strip_suffix(end) {
            return (name, part);
        }
    }
    (metric, Part::Value)
}

fn row(rows: &mut Vec<ExternalRow>, called: &str, network: &str) -> usize {
    let found = rows.iter().position(|row| row.called == called && row.network == network);
    found.unwrap_or_else(|| {
        rows.push(ExternalRow {
            module: module(called),
            called: called.into(),
            network: network.into(),
            figures: BTreeMap::new(),
        });
        rows.len() - 1
    })
}

fn module(called: &str) -> String {
    let name = called.to_lowercase();
    if name == "headscale" { "tailscale".into() } else { name }
}
