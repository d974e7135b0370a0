use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::store::write_file;
use super::{Better, FORMAT, StoreError, check_format, check_name, read};

/// Figures that others have published: another testbed, another network, another way to measure. They are
/// shown beside ours, and never ranked or compared with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalSet {
    /// Version of the format, [`FORMAT`].
    pub format: u32,
    /// Short name, usable as a file name.
    pub name: String,
    /// Shown to people.
    pub title: String,
    /// Where the figures are from.
    pub source: String,
    /// What a reader must know of them.
    pub caveats: Vec<String>,
    /// The networks they were measured on, in order.
    pub networks: Vec<ExternalNetwork>,
    /// What was measured.
    pub metrics: Vec<ExternalMetric>,
    /// The figures: a row a module and network.
    pub rows: Vec<ExternalRow>,
}

/// A network that others have measured on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalNetwork {
    /// Its name.
    pub name: String,
    /// What it does to packets.
    pub about: String,
}

/// A metric of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalMetric {
    /// Its name.
    pub name: String,
    /// Its unit, in the words of the source.
    pub unit: String,
    /// Which way it is better.
    pub better: Better,
    /// The workload and metric of ours that is nearest to it, where there is one.
    pub ours: Option<[String; 2]>,
}

/// The figures of a module on a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalRow {
    /// The module of ours that it is nearest to; `internal` is no VPN.
    pub module: String,
    /// As the source calls it.
    pub called: String,
    /// Name of the network.
    pub network: String,
    /// By name of the metric.
    pub figures: BTreeMap<String, ExternalFigure>,
}

/// A figure of others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalFigure {
    /// Absent where every attempt failed.
    pub value: Option<f64>,
    /// Hosts or pairs that succeeded.
    pub ok: u32,
    /// Hosts or pairs that tried.
    pub of: u32,
}

impl ExternalSet {
    /// The figure of a module on a network.
    pub fn figure(&self, module: &str, network: &str, metric: &str) -> Option<&ExternalFigure> {
        let row = self.rows.iter().find(|row| row.module == module && row.network == network)?;
        row.figures.get(metric)
    }

    /// As a multiple of what was measured there without a VPN.
    pub fn to_wire(&self, module: &str, network: &str, metric: &str) -> Option<f64> {
        let value = |module: &str| self.figure(module, network, metric)?.value;
        let wire = value(super::INTERNAL).filter(|wire| *wire > 0.0)?;
        Some(value(module)? / wire)
    }

    /// Modules in order, each once.
    pub fn modules(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.rows.iter().map(|row| row.module.as_str()).collect();
        names.sort_unstable_by_key(|name| (*name != super::INTERNAL, *name));
        names.dedup();
        names
    }

    fn check(&self) -> Result<(), String> {
        check_format(self.format)?;
        check_name(&self.name)?;
        for row in &self.rows {
            check_name(&row.module)?;
            if !self.networks.iter().any(|network| network.name == row.network) {
                return Err(format!("there is no network {}", row.network));
            }
            for (name, figure) in &row.figures {
                if !self.metrics.iter().any(|metric| metric.name == *name) {
                    return Err(format!("there is no metric {name}"));
                }
                if figure.value.is_some_and(|value| !value.is_finite()) || figure.ok > figure.of {
                    return Err(format!("{} {} {name} is no figure", row.module, row.network));
                }
            }
        }
        Ok(())
    }
}

/// Reads figures of others.
///
/// # Errors
/// If the file cannot be read or does not hold what it should; names file, line and reason.
pub fn load_external(path: &Path) -> Result<ExternalSet, StoreError> {
    let set: ExternalSet = read::parse(path)?;
    set.check().map_err(|reason| StoreError::Malformed {
        path: path.into(),
        line: None,
        reason,
    })?;
    Ok(set)
}

/// Writes figures of others, a row a line.
///
/// # Errors
/// If they are unsound or a file operation fails.
pub fn save_external(path: &Path, set: &ExternalSet) -> Result<(), StoreError> {
    let unsound = |reason| StoreError::Unsound { what: path.display().to_string(), reason };
    set.check().map_err(unsound)?;
    let text = text(set).map_err(|error| unsound(error.to_string()))?;
    write_file(path, text.as_bytes())
}

fn text(set: &ExternalSet) -> Result<String, serde_json::Error> {
    let head = ExternalSet { rows: Vec::new(), ..set.clone() };
    let head = serde_json::to_string_pretty(&head)?;
    let mut text = head.trim_end_matches("[]\n}").to_owned() + "[\n";
    for (at, row) in set.rows.iter().enumerate() {
        let comma = if at + 1 < set.rows.len() { "," } else { "" };
        let _ = writeln!(text, "    {}{comma}", serde_json::to_string(row)?);
    }
    Ok(text + "  ]\n}\n")
}

/// Reads the results of the thesis behind vpn-bench: a table of vpn, profile, metric, unit, value.
///
/// # Errors
/// If it is none; names the line.
pub fn import_thesis(text: &str) -> Result<ExternalSet, String> {
    thesis::read(text)
}

mod thesis {
    use super::*;

    /// Ours, theirs, unit, and what of ours is nearest.
    type Known = (&'static str, &'static str, Better, Option<[&'static str; 2]>);

    /// What is taken over. Left out: what their own analysis calls broken (connection and reboot times,
    /// which contain the boot of other hosts; RIST's dropped frames and packets).
    const METRICS: [Known; 17] = [
        ("tcp_fwd_sender", "Mbit/s", Better::Higher, None),
        ("tcp_fwd_receiver", "Mbit/s", Better::Higher, Some(["tcp", "goodput-forward"])),
        ("tcp_rev_receiver", "Mbit/s", Better::Higher, Some(["tcp", "goodput-reverse"])),
        ("tcp_retransmits", "count", Better::Lower, Some(["tcp", "retransmits-forward"])),
        ("tcp_parallel_sum_fwd", "Mbit/s", Better::Higher, None),
        ("udp_fwd_sender", "Mbit/s", Better::Neutral, None),
        ("udp_fwd_receiver", "Mbit/s", Better::Higher, None),
        ("udp_lost", "percent", Better::Lower, None),
        ("ping_rtt_avg", "ms", Better::Lower, Some(["ping", "rtt"])),
        ("ping_rtt_max", "ms", Better::Lower, None),
        ("ping_loss", "percent", Better::Lower, Some(["ping", "loss"])),
        ("quic", "Mbit/s", Better::Higher, None),
        ("quic_ttfb", "ms", Better::Lower, None),
        ("nix_cache", "s", Better::Lower, None),
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

    pub(super) fn read(text: &str) -> Result<ExternalSet, String> {
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
        let Some((name, part)) = named(metric) else { return Ok(()) };
        let known = METRICS.iter().find(|known| known.0 == name);
        let Some(known) = known else { return Ok(()) };
        if matches!(part, Part::Value) && unit != known.1 {
            return Err(format!("{metric} in {unit} instead of {}", known.1));
        }
        let at = row(rows, called, network);
        let figures = &mut rows[at].figures;
        let figure =
            figures.entry(name.into()).or_insert(ExternalFigure { value: None, ok: 0, of: 0 });
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

    fn named(metric: &str) -> Option<(&str, Part)> {
        let counted = [("_hosts_ok", Part::Ok), ("_hosts_total", Part::Of)];
        match metric {
            "tcp_parallel_pairs_ok" => return Some(("tcp_parallel_sum_fwd", Part::Ok)),
            "tcp_parallel_pairs_total" => return Some(("tcp_parallel_sum_fwd", Part::Of)),
            _ => {}
        }
        for (end, part) in counted {
            if let Some(name) = metric.strip_suffix(end) {
                return Some((name, part));
            }
        }
        Some((metric, Part::Value))
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
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TABLE: &str = "vpn,profile,metric,unit,value
Internal,baseline,tcp_fwd_receiver,Mbit/s,934.0
Internal,baseline,tcp_fwd_receiver_hosts_ok,count,3
Internal,baseline,tcp_fwd_receiver_hosts_total,count,3
Headscale,baseline,tcp_fwd_receiver,Mbit/s,467.0
Headscale,baseline,tcp_fwd_receiver_hosts_ok,count,2
Headscale,baseline,tcp_fwd_receiver_hosts_total,count,3
Headscale,low_impairment,quic_hosts_ok,count,0
Headscale,low_impairment,quic_hosts_total,count,3
Headscale,baseline,connect_site_value,s,2.0
";

    #[test]
    fn figures_come_with_how_many_hosts_they_rest_on() {
        let set = import_thesis(TABLE).unwrap();
        assert_eq!(set.modules(), ["internal", "tailscale"]);
        let figure = set.figure("tailscale", "baseline", "tcp_fwd_receiver").unwrap();
        assert_eq!((figure.value, figure.ok, figure.of), (Some(467.0), 2, 3));
        assert_eq!(set.to_wire("tailscale", "baseline", "tcp_fwd_receiver"), Some(0.5));
        let none = set.figure("tailscale", "low_impairment", "quic").unwrap();
        assert_eq!((none.value, none.of), (None, 3));
        assert!(!set.metrics.iter().any(|metric| metric.name.starts_with("connect")));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thesis.json");
        let set = import_thesis(TABLE).unwrap();
        save_external(&path, &set).unwrap();
        assert_eq!(load_external(&path).unwrap(), set);
        std::fs::write(&path, "{\n\"format\": 1}").unwrap();
        assert!(load_external(&path).unwrap_err().to_string().contains("thesis.json:2"));
    }

    #[rstest]
    #[case("vpn,value\n", "line 1")]
    #[case("vpn,profile,metric,unit,value\na,b\n", "line 2: 2 columns")]
    #[case("vpn,profile,metric,unit,value\nx,baseline,quic,Mbit/s,fast\n", "line 2: fast")]
    #[case("vpn,profile,metric,unit,value\nx,baseline,quic,Gbit/s,1\n", "in Gbit/s")]
    #[case("vpn,profile,metric,unit,value\nx,moon,quic,Mbit/s,1\n", "unknown profile moon")]
    fn what_is_no_such_table_is_refused(#[case] table: &str, #[case] says: &str) {
        let error = import_thesis(table).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}
