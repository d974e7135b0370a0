use std::collections::BTreeMap;

use comfy_table::{Cell, Color, Table};

use super::draw::{Style, clean, lines, remarks, ruled};
use super::notes::{PRELIMINARY, alarms, legend, preliminary, problems, signs};
use super::units::factor;
use super::{Row, RowValue, humanise, humanise_interval};
use crate::report::Sign;
use crate::report::metric::{Lack, worst};
use crate::results::{Clock, INTERNAL, Impairment, LinkSetting, RunRecord, Unit, names};

/// Instructions in a second of virtual time.
const VIRTUAL_HZ: f64 = 1e9;

/// Bits a second that no stream reaches in virtual time.
const UNLIMITED: f64 = 1e9;

/// Draws the rows: a table per scenario, what failed below it, the signs explained at the end. Text
/// that came out of guests is stripped of control characters.
pub fn render(run: &RunRecord, rows: &[Row], style: Style) -> String {
    let mut out = vec![headline(run)];
    out.extend(busy(run));
    for group in rows.chunk_by(|a, b| a.scenario == b.scenario) {
        out.push(String::new());
        out.push(title(run, &group[0].scenario));
        out.push(lines(&table(group, style)));
        let problems = problems(group, style);
        if !problems.is_empty() {
            out.push(lines(&problems));
        }
        let alarms = alarms(group, style);
        if !alarms.is_empty() {
            out.push(lines(&alarms));
        }
        out.extend(instructions(run, group, style).map(|table| lines(&table)));
    }
    out.extend(legend(rows));
    let mut text = out.join("\n");
    text.push('\n');
    text
}

/// Whose time the figures are of: `virtual time of QEMU 10.0.13`, or the accelerator of real time. Every table names it.
pub fn time(run: &RunRecord) -> String {
    match run.clock {
        Clock::Virtual => format!("virtual time of {}", qemu(run)),
        Clock::Real => run.environment.accelerator.word().to_owned(),
    }
}

pub(in crate::report) fn headline(run: &RunRecord) -> String {
    let time = time(run);
    let blocks = if run.blocks == 1 { "block" } else { "blocks" };
    let quick = if run.quick { ", quick" } else { "" };
    format!("{} · {time} · {} {blocks}{quick} · seed {}", run.id, run.blocks, run.seed)
}

/// `QEMU 10.0.13`, from the line that it says of itself: it decides the figures.
fn qemu(run: &RunRecord) -> String {
    let said = &run.environment.qemu_version;
    let version = said.split_whitespace().skip_while(|word| *word != "version").nth(1);
    format!("QEMU {}", clean(version.unwrap_or("of an unknown version")))
}

/// The only word of the host's load that a run has so far.
fn busy(run: &RunRecord) -> Option<String> {
    let here = &run.environment;
    let load = here.load_average[0];
    let matters = run.clock.is_real() && load > f64::from(here.host_cores) / 2.0;
    matters.then(|| {
        let cores = here.host_cores;
        let sign = Sign::Doubtful;
        format!("{sign} the host was busy when it began: load {load:.1} on {cores} cores")
    })
}

/// Where no link slows it down a stream is as fast as the processor, which in virtual time is none that one could buy: what
/// such figures are is instructions a byte.
fn instructions(run: &RunRecord, rows: &[Row], style: Style) -> Option<Table> {
    let scenario = run.scenarios.iter().find(|known| known.name == rows[0].scenario)?;
    let clean = |link: &LinkSetting| {
        let Impairment { rate_bits_per_second, delay_ms, loss_percent, .. } = link.configured;
        rate_bits_per_second.is_none_or(|rate| rate >= UNLIMITED)
            && delay_ms.is_none_or(|delay| delay < 1.0)
            && loss_percent.is_none_or(|loss| loss == 0.0)
    };
    if run.clock.is_real() || !scenario.links.iter().all(clean) {
        return None;
    }
    let streams = rows.iter().filter_map(|row| {
        let value = row.value.as_ref()?;
        let named = names::GOODPUT_ALONE.contains(&value.metric.as_str());
        let goodput = named && value.unit == Unit::BitsPerSecond;
        (goodput && value.median > 0.0).then_some((row, value))
    });
    let mut told = BTreeMap::<_, Vec<String>>::new();
    for (row, value) in streams {
        let each = humanise(8.0 * VIRTUAL_HZ / value.median, Unit::InstructionsPerByte);
        let stream = format!("· {} {}", row.workload, value.metric);
        told.entry(stream).or_default().push(format!("{} {each}", row.module));
    }
    if told.is_empty() {
        return None;
    }
    let first = ["· the processor".to_owned(), OF_THE_PROCESSOR.to_owned()];
    let streams = told.into_iter().map(|(stream, modules)| [stream, modules.join(", ")]);
    Some(remarks(style, std::iter::once(first).chain(streams).map(|row| row.map(Cell::new))))
}

const OF_THE_PROCESSOR: &str = "Nothing else limits a stream on these links: Mbit/s are those of a processor of \
                                10^9 instructions a second. A byte takes:";

pub(in crate::report) fn title(run: &RunRecord, scenario: &str) -> String {
    match run.scenarios.iter().find(|known| known.name == scenario) {
        Some(known) => format!("{scenario} · {}", clean(&known.title)),
        None => scenario.into(),
    }
}

fn table(rows: &[Row], style: Style) -> Table {
    let header = ["workload", "metric", "module", "median", "95 % interval", "to wire", "blocks"];
    let mut table = ruled(style, &header, 3..=6);
    let mut before: Option<&Row> = None;
    for row in rows {
        let workload = before.is_none_or(|before| before.workload != row.workload);
        let metric = workload || before.is_none_or(|before| name(before) != name(row));
        table.add_row(cells(row, workload, metric));
        before = Some(row);
    }
    table
}

fn name(row: &Row) -> &str {
    row.value.as_ref().map_or("", |value| value.metric.as_str())
}

/// A name that stands in the row above already is not said again.
fn cells(row: &Row, workload: bool, metric: bool) -> Vec<Cell> {
    let mut cells = vec![
        Cell::new(if workload { row.workload.as_str() } else { "" }),
        Cell::new(if metric { name(row) } else { "" }),
        Cell::new(&row.module),
    ];
    match &row.value {
        Some(value) => {
            cells.push(Cell::new(humanise(value.median, value.unit)));
            cells.push(Cell::new(interval(value)));
            cells.push(ratio(row, value));
        }
        None => {
            cells.push(missing(row));
            cells.extend([Cell::new(""), Cell::new("")]);
        }
    }
    cells.push(blocks(row));
    cells
}

fn interval(value: &RowValue) -> String {
    let text =
        |it: crate::stats::Interval| humanise_interval(it.low, it.high, value.median, value.unit);
    value.interval.map(text).unwrap_or_default()
}

/// `0.512× ▼`; without a ratio, the sign alone.
fn ratio(row: &Row, value: &RowValue) -> Cell {
    if row.module == INTERNAL {
        return Cell::new("");
    }
    let mut text =
        value.ratio.map(|ratio| format!("{}×", factor(ratio.median))).unwrap_or_default();
    for sign in signs(value) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(sign.text());
    }
    let cell = Cell::new(text);
    match signs(value).last() {
        Some(Sign::Doubtful) => cell.fg(Color::Yellow),
        Some(Sign::Worse) => cell.fg(Color::Red),
        Some(Sign::Better) => cell.fg(Color::Green),
        _ => cell,
    }
}

/// A cell that was measured in no block: the worst that happened to it.
fn missing(row: &Row) -> Cell {
    let worst = worst(row.problems.iter().map(|problem| &problem.outcome));
    let cell = Cell::new(worst.map(Lack::word).unwrap_or_default());
    if worst == Some(Lack::Failed) { cell.fg(Color::Red) } else { cell }
}

/// `7`, `3*` when preliminary, `5 of 7*` when blocks are missing.
fn blocks(row: &Row) -> Cell {
    let measured = row.value.as_ref().map_or(0, |value| value.blocks);
    let mark = if preliminary(row) { PRELIMINARY } else { "" };
    if measured == row.blocks {
        return Cell::new(format!("{measured}{mark}"));
    }
    Cell::new(format!("{measured} of {}{mark}", row.blocks))
}

#[cfg(test)]
mod tests {
    use super::super::aggregate;
    use super::*;
    use crate::results::sample::{self, cell, metric};
    use crate::results::{Better, CellRecord, Outcome, Unit};

    const PLAIN: Style = Style { color: false, width: 100 };

    fn blocks(count: u32) -> Vec<CellRecord> {
        let mut cells = Vec::new();
        for block in 1..=count {
            let drift = f64::from(block * 7 % 5) / 100.0;
            for (module, factor) in [("internal", 1.0), ("wireguard", 0.8)] {
                let rate = |name: &str, value: f64| {
                    metric(name, Unit::BitsPerSecond, Better::Higher, value * (1.0 + drift))
                };
                let rtt = |value: f64| metric("rtt", Unit::Milliseconds, Better::Lower, value);
                let loss = metric("loss", Unit::Percent, Better::Lower, 0.0);
                let tcp = vec![
                    rate("goodput-up", 48.7e6 * factor),
                    rate("goodput-down", 51e6 * (2.0 - factor)),
                    metric("retransmits", Unit::Count, Better::Neutral, 12.0),
                ];
                cells.push(cell(
                    block,
                    "lan",
                    module,
                    "ping",
                    vec![rtt(0.4 / factor + drift), loss],
                ));
                cells.push(cell(block, "lan", module, "tcp", tcp));
                cells.push(cell(block, "home-dsl", module, "ping", vec![rtt(31.2 + drift)]));
            }
        }
        cells
    }

    fn fail(cell: &mut CellRecord, reason: &str) {
        cell.metrics.clear();
        cell.outcome = Outcome::Failed {
            stage: "connect".into(),
            machine: Some("bob".into()),
            reason: reason.into(),
            evidence: vec![],
        };
    }

    fn draw(cells: &[CellRecord], style: Style) -> String {
        let run = sample::run();
        render(&run, &aggregate(&run, cells, 0.01), style)
    }

    #[test]
    fn seven_blocks() {
        insta::assert_snapshot!(draw(&blocks(7), PLAIN), @"
        2026-11-23-a · TCG · 7 blocks · seed 42

        lan · Public sites, no impairment
         workload   metric         module           median        95 % interval     to wire   blocks
        ─────────────────────────────────────────────────────────────────────────────────────────────
         ping       rtt            internal       0.420 ms     0.407 – 0.440 ms                    7
                                   wireguard      0.520 ms     0.507 – 0.540 ms     1.24× ▼        7
                    loss           internal            0 %              0 – 0 %                    7
                                   wireguard           0 %              0 – 0 %           ≈        7
         tcp        goodput-up     internal    49.7 Mbit/s   49.1 – 50.6 Mbit/s                    7
                                   wireguard   39.7 Mbit/s   39.2 – 40.5 Mbit/s     0.80× ▼        7
                    goodput-down   internal    52.0 Mbit/s   51.4 – 53.0 Mbit/s                    7
                                   wireguard   62.4 Mbit/s   61.6 – 63.6 Mbit/s   1.20× ▲ !        7
                    retransmits    internal             12              12 – 12                    7
                                   wireguard            12              12 – 12     1.00× ≈        7
         ! tcp wireguard  goodput-down 1.20× the wire (1.20 – 1.20)
                          No VPN beats the wire: suspect the measurement first (losses that come by
                          packets, a host that was the bottleneck, too few blocks).

        home-dsl · Two homes on DSL
         workload   metric   module       median    95 % interval   to wire   blocks
        ─────────────────────────────────────────────────────────────────────────────
         ping       rtt      internal    31.2 ms   31.2 – 31.2 ms                  7
                             wireguard   31.2 ms   31.2 – 31.2 ms   1.00× ≈        7

         ▲ better than the wire
         ▼ worse than the wire
         ≈ like the wire: the interval lies within 5 % of it
         ! not to be believed: the reason is below the table
           signs are per line, not corrected for their number
        ");
    }

    #[test]
    fn three_blocks_with_failures() {
        let mut cells = blocks(3);
        for cell in &mut cells {
            let key = (cell.key.scenario.as_str(), cell.key.workload.as_str(), cell.key.block);
            match (cell.key.module.as_str(), key) {
                ("wireguard", ("home-dsl", ..)) => fail(
                    cell,
                    "no overlay packet was answered within 60 s; the last handshake of the peer \
                     was never;\n\u{1b}[2J the unit vpn.service is active",
                ),
                ("wireguard", ("lan", "tcp", 2)) => fail(cell, "iperf3: the server has terminated"),
                _ => {}
            }
        }
        insta::assert_snapshot!(draw(&cells, PLAIN), @"
        2026-11-23-a · TCG · 7 blocks · seed 42

        lan · Public sites, no impairment
         workload   metric         module           median        95 % interval     to wire    blocks
        ──────────────────────────────────────────────────────────────────────────────────────────────
         ping       rtt            internal       0.420 ms     0.387 – 0.463 ms                    3*
                                   wireguard      0.520 ms     0.487 – 0.562 ms     1.24× ?        3*
                    loss           internal            0 %              0 – 0 %                    3*
                                   wireguard           0 %              0 – 0 %           ≈        3*
         tcp        goodput-up     internal    49.7 Mbit/s   48.0 – 51.7 Mbit/s                    3*
                                   wireguard   39.5 Mbit/s                          0.80× ?   2 of 3*
                    goodput-down   internal    52.0 Mbit/s   50.3 – 54.2 Mbit/s                    3*
                                   wireguard   62.1 Mbit/s                        1.20× ? !   2 of 3*
                    retransmits    internal             12              12 – 12                    3*
                                   wireguard            12                          1.00× ?   2 of 3*
         ✗ tcp wireguard  failed in connect on bob: iperf3: the server has terminated (block 2)
         ! tcp wireguard  goodput-down 1.20× the wire, 2 blocks
                          No VPN beats the wire: suspect the measurement first (losses that come by
                          packets, a host that was the bottleneck, too few blocks).

        home-dsl · Two homes on DSL
         workload   metric   module       median    95 % interval   to wire   blocks
        ─────────────────────────────────────────────────────────────────────────────
         ping       rtt      internal    31.2 ms   31.2 – 31.3 ms                 3*
                             wireguard    failed                              0 of 3
         ✗ ping wireguard  failed in connect on bob: no overlay packet was answered within 60 s; the last
                           handshake of the peer was never; [2J the unit vpn.service is active (blocks 1,
                           2, 3)

         ≈ like the wire: the interval lies within 5 % of it
         ? undecided: more blocks would tell
         ! not to be believed: the reason is below the table
           signs are per line, not corrected for their number
         * preliminary: fewer than 7 blocks
        ");
    }

    #[test]
    fn one_block_has_neither_interval_nor_verdict() {
        insta::assert_snapshot!(draw(&blocks(1), PLAIN), @"
        2026-11-23-a · TCG · 7 blocks · seed 42

        lan · Public sites, no impairment
         workload   metric         module           median   95 % interval     to wire   blocks
        ────────────────────────────────────────────────────────────────────────────────────────
         ping       rtt            internal       0.420 ms                                   1*
                                   wireguard      0.520 ms                     1.24× ?       1*
                    loss           internal            0 %                                   1*
                                   wireguard           0 %                           ?       1*
         tcp        goodput-up     internal    49.7 Mbit/s                                   1*
                                   wireguard   39.7 Mbit/s                     0.80× ?       1*
                    goodput-down   internal    52.0 Mbit/s                                   1*
                                   wireguard   62.4 Mbit/s                   1.20× ? !       1*
                    retransmits    internal             12                                   1*
                                   wireguard            12                     1.00× ?       1*
         ! tcp wireguard  goodput-down 1.20× the wire, 1 block
                          No VPN beats the wire: suspect the measurement first (losses that come by
                          packets, a host that was the bottleneck, too few blocks).

        home-dsl · Two homes on DSL
         workload   metric   module       median   95 % interval   to wire   blocks
        ────────────────────────────────────────────────────────────────────────────
         ping       rtt      internal    31.2 ms                                 1*
                             wireguard   31.2 ms                   1.00× ?       1*

         ? undecided: more blocks would tell
         ! not to be believed: the reason is below the table
         * preliminary: fewer than 7 blocks
        ");
    }

    #[test]
    fn in_virtual_time_a_stream_that_only_the_processor_limits_is_told_in_instructions() {
        let mut run = sample::run();
        run.clock = Clock::Virtual;
        run.scenarios.iter_mut().for_each(|scenario| scenario.links.clear());
        let mut cells = blocks(7);
        for metric in cells.iter_mut().flat_map(|cell| &mut cell.metrics) {
            metric.name = metric.name.replace("goodput-up", names::GOODPUT_FORWARD);
        }
        let text = render(&run, &aggregate(&run, &cells, 0.01), PLAIN);
        assert!(text.contains("virtual time of QEMU"), "{text}");
        // 8 × 10^9 / 39.7 × 10^6, of a median with more digits
        let line = text.lines().find(|line| line.contains("· tcp goodput-forward")).unwrap();
        assert!(line.contains("wireguard 201 instr/B"), "{line}");
        run.clock = Clock::Real;
        let text = render(&run, &aggregate(&run, &cells, 0.01), PLAIN);
        assert!(!text.contains("instr/B"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_asked() {
        let mut cells = blocks(7);
        fail(&mut cells[3], &"reason ".repeat(90));
        for width in [60, 80, 100, 140] {
            let text = draw(&cells, Style { color: false, width });
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= usize::from(width), "{widest} of {width}:\n{text}");
        }
    }

    #[test]
    fn colour_is_only_there_when_asked_for_and_changes_no_text() {
        let cells = blocks(7);
        let plain = draw(&cells, PLAIN);
        let colored = draw(&cells, Style { color: true, ..PLAIN });
        assert!(!plain.contains('\u{1b}') && colored.contains("\u{1b}["));
        let mut stripped = String::new();
        let mut escape = false;
        for c in colored.chars() {
            match c {
                '\u{1b}' => escape = true,
                'm' if escape => escape = false,
                _ if escape => {}
                _ => stripped.push(c),
            }
        }
        let trimmed: Vec<&str> = stripped.lines().map(str::trim_end).collect();
        assert_eq!(trimmed.join("\n") + "\n", plain);
    }
}
