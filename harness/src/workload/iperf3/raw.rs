//! What is read of iperf3's JSON; names are iperf3's.

use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Failure {
    pub(super) error: Option<String>,
    pub(super) start: Option<FailureStart>,
}

#[derive(Deserialize)]
pub(super) struct FailureStart {
    pub(super) test_start: Option<Protocol>,
}

#[derive(Deserialize)]
pub(super) struct Protocol {
    pub(super) protocol: String,
}

#[derive(Deserialize)]
pub(super) struct Report<End> {
    pub(super) start: Start,
    pub(super) intervals: Intervals,
    pub(super) end: End,
}

#[derive(Deserialize)]
pub(super) struct Start {
    pub(super) test_start: TestStart,
}

#[derive(Deserialize)]
pub(super) struct TestStart {
    pub(super) reverse: u8,
    #[serde(default)]
    pub(super) target_bitrate: f64,
    /// Seconds between reports.
    #[serde(default)]
    pub(super) interval: f64,
}

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Intervals(pub(super) Vec<Interval>);

#[derive(Deserialize)]
pub(super) struct Interval {
    pub(super) sum: IntervalSum,
}

#[derive(Deserialize)]
pub(super) struct IntervalSum {
    pub(super) seconds: f64,
    pub(super) bits_per_second: f64,
    pub(super) omitted: bool,
}

#[derive(Deserialize)]
pub(super) struct TcpEnd {
    pub(super) streams: Vec<TcpStream>,
    pub(super) sum_sent: Sum,
    pub(super) sum_received: Sum,
    pub(super) sender_tcp_congestion: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct TcpStream {
    pub(super) sender: TcpSender,
}

#[derive(Deserialize)]
pub(super) struct TcpSender {
    /// Microseconds; 0 when unknown.
    pub(super) mean_rtt: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct Sum {
    pub(super) seconds: f64,
    pub(super) bits_per_second: f64,
    pub(super) retransmits: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct UdpEnd {
    pub(super) streams: Vec<UdpStream>,
    pub(super) sum_sent: UdpSum,
    pub(super) sum_received: UdpSum,
}

#[derive(Deserialize)]
pub(super) struct UdpStream {
    pub(super) udp: UdpDetail,
}

#[derive(Deserialize)]
pub(super) struct UdpDetail {
    pub(super) out_of_order: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct UdpSum {
    pub(super) bits_per_second: f64,
    pub(super) packets: u64,
    pub(super) lost_packets: i64,
    pub(super) jitter_ms: f64,
}
