use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::{self, write_file};
use super::{Better, StoreError, check_format, check_name, check_number};

/// Figures that others have published: another testbed, another network, another way to measure. They are
/// shown beside ours, and never ranked or compared with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalSet {
    /// Version of the format, [`FORMAT`](super::FORMAT).
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
                if figure.value.is_some_and(|value| check_number(value).is_err())
                    || figure.ok > figure.of
                {
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
    let set: ExternalSet = file::parse(path)?;
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::import_thesis;
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
        let mut wrong = set;
        wrong.rows[0].figures.values_mut().next().unwrap().value = Some(1e300);
        assert!(save_external(&path, &wrong).unwrap_err().to_string().contains("is no figure"));
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
