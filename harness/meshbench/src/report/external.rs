//! Figures of others, for themselves and beside ours; never in an order of merit.

use std::collections::BTreeSet;

use comfy_table::Cell;

use super::table::{Row, Style, clean, factor, lines, ruled};
use crate::results::{ExternalFigure, ExternalMetric, ExternalSet};

/// Draws the figures of others as they were published: a table per metric, a column a network.
pub fn render(set: &ExternalSet, style: Style) -> String {
    let mut out = about(set);
    for metric in &set.metrics {
        let networks: Vec<&str> = set.networks.iter().map(|it| it.name.as_str()).collect();
        let header = [&["module"][..], &networks].concat();
        let mut table = ruled(style, &header, 1..=networks.len());
        for module in set.modules() {
            let value =
                |network: &&str| Cell::new(shown(set.figure(module, network, &metric.name)));
            let cells = networks.iter().map(value);
            table.add_row(std::iter::once(Cell::new(module)).chain(cells));
        }
        out.extend([String::new(), format!("{} in {}", clean(&metric.name), clean(&metric.unit))]);
        out.push(lines(&table));
    }
    out.join("\n") + "\n"
}

/// Draws the ratios to the wire of a run of ours beside those of others, for what both have measured in
/// some way: a table a metric, ours by scenario, theirs by network, modules by name.
pub fn render_beside(rows: &[Row], set: &ExternalSet, style: Style) -> String {
    let mut out = vec![String::new(), "beside ours, and not to be ranked with it:".into()];
    out.extend(about(set));
    for metric in &set.metrics {
        let Some(ours) = &metric.ours else { continue };
        let own: Vec<&Row> = rows.iter().filter(|row| is(row, ours)).collect();
        if !own.is_empty() {
            out.extend([String::new(), title(metric, ours)]);
            out.push(table(&own, set, metric, style));
        }
    }
    out.join("\n") + "\n"
}

fn about(set: &ExternalSet) -> Vec<String> {
    let mut out = vec![format!("{} · {}", clean(&set.title), clean(&set.source))];
    let network = |it: &crate::results::ExternalNetwork| {
        format!(" {}: {}", clean(&it.name), clean(&it.about))
    };
    out.extend(set.networks.iter().map(network));
    out.extend(set.caveats.iter().map(|caveat| format!(" ! {}", clean(caveat))));
    out
}

fn title(metric: &ExternalMetric, [workload, name]: &[String; 2]) -> String {
    format!("{workload} {name} to the wire, and {} to no VPN there", clean(&metric.name))
}

fn is(row: &Row, [workload, metric]: &[String; 2]) -> bool {
    row.workload == *workload && row.value.as_ref().is_some_and(|value| value.metric == *metric)
}

fn table(own: &[&Row], set: &ExternalSet, metric: &ExternalMetric, style: Style) -> String {
    let mut seen = BTreeSet::new();
    let all = own.iter().map(|row| row.scenario.as_str());
    let scenarios: Vec<&str> = all.filter(|name| seen.insert(*name)).collect();
    let theirs: Vec<String> =
        set.networks.iter().map(|network| format!("[{}]", network.name)).collect();
    let header: Vec<&str> = std::iter::once("module")
        .chain(scenarios.iter().copied())
        .chain(theirs.iter().map(String::as_str))
        .collect();
    let mut table = ruled(style, &header, 1..header.len());
    for module in modules(own, set) {
        let ours = scenarios.iter().map(|scenario| Cell::new(our_ratio(own, scenario, module)));
        let theirs = set
            .networks
            .iter()
            .map(|network| Cell::new(their_ratio(set, module, &network.name, &metric.name)));
        table.add_row(std::iter::once(Cell::new(module)).chain(ours).chain(theirs));
    }
    lines(&table)
}

fn modules<'a>(own: &[&'a Row], set: &'a ExternalSet) -> Vec<&'a str> {
    let ours = own.iter().map(|row| row.module.as_str());
    let all: BTreeSet<&str> = ours.chain(set.modules()).collect();
    all.into_iter().filter(|module| *module != crate::results::INTERNAL).collect()
}

fn our_ratio(own: &[&Row], scenario: &str, module: &str) -> String {
    let row = own.iter().find(|row| row.scenario == scenario && row.module == module);
    let ratio = row.and_then(|row| row.value.as_ref()).and_then(|value| value.ratio);
    ratio.map(|ratio| format!("{}×", factor(ratio.median))).unwrap_or_default()
}

fn their_ratio(set: &ExternalSet, module: &str, network: &str, metric: &str) -> String {
    let figure = set.figure(module, network, metric);
    match (set.to_wire(module, network, metric), figure) {
        (Some(ratio), Some(figure)) => format!("{}×{}", factor(ratio), part(figure)),
        (None, Some(ExternalFigure { value: None, .. })) => "failed".into(),
        _ => String::new(),
    }
}

fn shown(figure: Option<&ExternalFigure>) -> String {
    match figure {
        None => String::new(),
        Some(ExternalFigure { value: None, .. }) => "failed".into(),
        Some(figure @ ExternalFigure { value: Some(value), .. }) => {
            format!("{}{}", factor(*value), part(figure))
        }
    }
}

/// ` (2 of 3)` where not all succeeded.
fn part(figure: &ExternalFigure) -> String {
    if figure.ok == figure.of {
        String::new()
    } else {
        format!(" ({} of {})", figure.ok, figure.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::aggregate;
    use crate::results::sample::{self, cell, metric};
    use crate::results::{Better, Unit, import_thesis};

    #[test]
    fn figures_of_others_stand_beside_ours_by_name_and_in_brackets() {
        let table = "vpn,profile,metric,unit,value
Internal,baseline,tcp_fwd_receiver,Mbit/s,934.0
Wireguard,baseline,tcp_fwd_receiver,Mbit/s,860.0
Wireguard,baseline,tcp_fwd_receiver_hosts_ok,count,2
Wireguard,baseline,tcp_fwd_receiver_hosts_total,count,3
Wireguard,low_impairment,tcp_fwd_receiver_hosts_ok,count,0
Wireguard,low_impairment,tcp_fwd_receiver_hosts_total,count,3
";
        let set = import_thesis(table).unwrap();
        let tcp = |module: &str, rate: f64| {
            let name = "goodput-forward";
            let metric = metric(name, Unit::BitsPerSecond, Better::Higher, rate);
            cell(1, "lan", module, "tcp", vec![metric])
        };
        let rows =
            aggregate(&sample::run(), &[tcp("internal", 50e6), tcp("wireguard", 45e6)], 0.01);
        let style = Style { color: false, width: 120 };
        let text = render_beside(&rows, &set, style);
        let line = text.lines().find(|line| line.contains(" wireguard ")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["wireguard", "0.90×", "0.92×", "(2", "of", "3)", "failed"]);
        assert!(text.contains("[baseline]") && text.contains("not to be ranked"), "{text}");
        assert!(render(&set, style).contains("860 (2 of 3)"), "{}", render(&set, style));
    }
}
