//! What a server of iperf3 prints of each second of a UDP test.

use std::ops::Range;

/// What begins or ends so little, in seconds, outside of some seconds is still of them: they are told to a hundredth.
const ROUNDED: f64 = 0.06;

/// Datagrams that came in each of these seconds of the test, in the mean: what the receiver had, and not what was sent
/// and may lie in a queue. Nothing where the server told of none of these seconds.
pub(in crate::workload) fn datagrams_per_second(said: &str, seconds: Range<f64>) -> Option<f64> {
    let (mut came, mut during) = (0.0, 0.0);
    // Behind the line is the sum of all.
    for line in said.lines().take_while(|line| !line.starts_with("- - -")) {
        let Some((from, to, datagrams)) = interval(line) else { continue };
        if from >= seconds.start - ROUNDED && to <= seconds.end + ROUNDED {
            came += datagrams;
            during += to - from;
        }
    }
    (during > 0.0).then(|| came / during)
}

/// `[  5]   1.00-2.00   sec   317 KBytes  2.59 Mbits/sec  0.009 ms  3/295 (1%)`: its seconds, and what came.
fn interval(line: &str) -> Option<(f64, f64, f64)> {
    let (_, rest) = line.split_once(']')?;
    let mut words = rest.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let (lost, sent) = words.skip_while(|word| *word != "ms").nth(1)?.split_once('/')?;
    let (lost, sent): (f64, f64) = (lost.parse().ok()?, sent.parse().ok()?);
    // Late copies make iperf3's count of the lost negative.
    Some((from.parse().ok()?, to.parse().ok()?, sent - lost.max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As iperf3 3.12 printed it, `-u -b 2.6M -l 1100 -t 4`.
    const SAID: &str = include_str!("../fixtures/iperf3-udp-server.txt");

    #[test]
    fn what_came_in_some_seconds_of_a_test_is_told_by_its_receiver() {
        assert_eq!(datagrams_per_second(SAID, 0.0..4.0), Some(1182.0 / 4.0));
        assert_eq!(datagrams_per_second(SAID, 1.0..3.0), Some((295.0 + 296.0) / 2.0));
        let lossy = SAID.replacen("0/295 (0%)", "95/295 (32%)", 1);
        assert_eq!(datagrams_per_second(&lossy, 1.0..3.0), Some((200.0 + 296.0) / 2.0));
        let copies = SAID.replacen("0/295 (0%)", "-2/295 (-0.7%)", 1);
        assert_eq!(datagrams_per_second(&copies, 1.0..2.0), Some(295.0));
    }

    #[test]
    fn seconds_of_which_nothing_is_told_have_no_rate() {
        assert_eq!(datagrams_per_second(SAID, 4.0..9.0), None);
        assert_eq!(datagrams_per_second("", 0.0..9.0), None);
        assert_eq!(
            datagrams_per_second("iperf3: interrupt - the server has terminated", 0.0..9.0),
            None
        );
        let silent = "[  5]   0.00-1.00   sec  0.00 Bytes  0.00 bits/sec  0.000 ms  0/0 (0%)\n";
        assert_eq!(datagrams_per_second(silent, 0.0..1.0), Some(0.0));
    }
}
