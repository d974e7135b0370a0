//! Packets on their way through the fabric, written down with one clock.

use std::fmt::Write;

use meshbench_protocol::{Exec, Request};

use super::Cluster;
use crate::fabric::Point;
use crate::machine::{Machine, MachineError, PROMPT, Running};

/// Where captures are kept in the fabric until they are taken out.
const DIR: &str = "/run/meshbench-capture";

/// Link type of Ethernet in pcap files.
const ETHERNET: u16 = 1;

/// How much of a capture is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The first bytes of each frame; 0 keeps all.
    pub frame_bytes: u32,
    /// Size in MB of the file at each point, 1 at least. When it is full, a second one is begun and
    /// then the first again, so that the last packets stay.
    pub megabytes: u32,
}

impl Bound {
    /// Headers, and the last megabyte or two of each point.
    pub const EVIDENCE: Self = Self { frame_bytes: 160, megabytes: 1 };
    /// Whole frames, as many as the fabric's memory has room for at a handful of points.
    pub const WHOLE: Self = Self { frame_bytes: 0, megabytes: 8 };
}

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    name: String,
    points: Vec<Point>,
    running: Vec<Running>,
}

/// A frame that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Index of the point where it was seen.
    pub point: usize,
    /// Nanoseconds since the Unix epoch, by the fabric's clock.
    pub time_ns: u64,
    /// Bytes of the whole frame.
    pub length: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// What was captured, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Where.
    pub points: Vec<Point>,
    /// What.
    pub packets: Vec<Packet>,
}

impl Cluster {
    /// Starts to write down what passes at these points of the fabric; `name` tells captures apart.
    /// Frames are seen as they leave a queue, and as they arrive.
    ///
    /// # Errors
    /// The fabric does not start it, such as for a point that is not there.
    pub async fn capture(
        &self,
        name: &str,
        points: &[Point],
        bound: Bound,
    ) -> Result<Capture, MachineError> {
        let mut running = Vec::new();
        for (index, point) in points.iter().enumerate() {
            running.push(start(self.fabric(), &script(name, index, point, bound)).await?);
        }
        Ok(Capture { name: name.to_owned(), points: points.to_vec(), running })
    }

    /// Every site's uplink at its gateway: what an observer on the Internet sees of it.
    pub fn uplinks(&self) -> Vec<Point> {
        let plan = self.plan();
        plan.site_names().map(|site| plan.uplink(site)).collect()
    }
}

impl Capture {
    /// Ends the capture and takes it out of the fabric.
    ///
    /// # Errors
    /// The fabric is gone, or what it holds is no capture.
    pub async fn stop(self, fabric: &Machine) -> Result<Captured, MachineError> {
        let name = &self.name;
        let end = format!("for f in {DIR}/{name}-*.pid; do kill -INT $(cat $f) || true; done");
        fabric.run(&["sh", "-c", &end]).await?;
        for running in self.running {
            // One that is gone already has said so in what it wrote.
            let _ = running.wait(PROMPT).await;
        }
        let mut packets = Vec::new();
        for point in 0..self.points.len() {
            let all = format!(
                "cd {DIR}; for f in {name}-{point}.pcap*; do [ -e $f ] || continue; wc -c <$f; cat $f; done"
            );
            let files = fabric.run(&["sh", "-c", &all]).await?.stdout;
            packets.extend(parse_files(&files, point).map_err(|reason| MachineError::Agent {
                machine: fabric.name().to_owned(),
                stage: format!("reading capture {name}-{point}"),
                reason: reason.to_owned(),
            })?);
        }
        fabric.run(&["sh", "-c", &format!("rm -f {DIR}/{name}-*")]).await?;
        packets.sort_by_key(|packet: &Packet| packet.time_ns);
        Ok(Captured { points: self.points, packets })
    }
}

impl Captured {
    /// The capture as a pcapng file with one interface for each point.
    pub fn pcapng(&self) -> Vec<u8> {
        let mut file = Vec::new();
        // Section header: byte-order magic, version 1.0, length unknown.
        let mut header = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        header.extend([1, 0, 0, 0]);
        header.extend([0xff; 8]);
        block(&mut file, 0x0a0d_0d0a, &header);
        for point in &self.points {
            let mut interface = ETHERNET.to_le_bytes().to_vec();
            interface.extend([0; 6]);
            let name = format!("{}:{}", point.namespace, point.device);
            option(&mut interface, 2, name.as_bytes());
            // Time stamps in units of 10^-9 s.
            option(&mut interface, 9, &[9]);
            option(&mut interface, 0, &[]);
            block(&mut file, 1, &interface);
        }
        for packet in &self.packets {
            let mut body = (packet.point as u32).to_le_bytes().to_vec();
            body.extend(((packet.time_ns >> 32) as u32).to_le_bytes());
            body.extend((packet.time_ns as u32).to_le_bytes());
            body.extend((packet.bytes.len() as u32).to_le_bytes());
            body.extend(packet.length.to_le_bytes());
            padded(&mut body, &packet.bytes);
            block(&mut file, 6, &body);
        }
        file
    }
}

fn script(name: &str, index: usize, point: &Point, bound: Bound) -> String {
    let Point { namespace, device } = point;
    let Bound { frame_bytes, megabytes } = bound;
    let mut script = format!("mkdir -p {DIR}\necho $$ >{DIR}/{name}-{index}.pid\n");
    let _ = write!(
        script,
        "exec nsenter --net=/run/netns/{namespace} tcpdump -i {device} -n -U --immediate-mode -Z root \
         -s {frame_bytes} --time-stamp-precision=nano -C {} -W 2 -w {DIR}/{name}-{index}.pcap",
        megabytes.max(1)
    );
    script
}

/// Starts one and waits until it listens.
async fn start(fabric: &Machine, script: &str) -> Result<Running, MachineError> {
    let argv = ["sh", "-c", script].map(String::from).to_vec();
    let mut running = fabric.start(&Request::Exec(Exec { argv, ..Exec::default() })).await?;
    running.until_line("listening on", PROMPT).await?;
    Ok(running)
}

/// The packets of several files, each preceded by a line with its length.
fn parse_files(mut all: &[u8], point: usize) -> Result<Vec<Packet>, &'static str> {
    let mut packets = Vec::new();
    while !all.is_empty() {
        let end = all.iter().position(|byte| *byte == b'\n').ok_or("a length is missing")?;
        let length =
            std::str::from_utf8(&all[..end]).ok().and_then(|text| text.trim().parse().ok());
        let length: usize = length.ok_or("a length is no number")?;
        let rest = &all[end + 1..];
        let file = rest.get(..length).ok_or("a file is cut short")?;
        parse(file, point, &mut packets)?;
        all = &rest[length..];
    }
    Ok(packets)
}

/// The packets of one pcap file with nanoseconds, of a little-endian machine. The last one may be
/// cut short.
fn parse(file: &[u8], point: usize, packets: &mut Vec<Packet>) -> Result<(), &'static str> {
    if file.is_empty() {
        return Ok(());
    }
    if file.get(..4) != Some(&0xa1b2_3c4d_u32.to_le_bytes()) {
        return Err("it is no pcap file with nanoseconds");
    }
    let mut rest = file.get(24..).ok_or("its header is cut short")?;
    while let Some((head, body)) = rest.split_first_chunk::<16>() {
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let Some(bytes) = body.get(..word(8) as usize) else { break };
        let time_ns = u64::from(word(0)) * 1_000_000_000 + u64::from(word(4));
        packets.push(Packet { point, time_ns, length: word(12), bytes: bytes.to_vec() });
        rest = &body[bytes.len()..];
    }
    Ok(())
}

fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (body.len() as u32 + 12).to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(length);
    file.extend(body);
    file.extend(length);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    padded(body, value);
}

/// Appends the bytes, and zeros up to a multiple of four.
fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.extend(std::iter::repeat_n(0, bytes.len().wrapping_neg() % 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pcap(packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = 0xa1b2_3c4d_u32.to_le_bytes().to_vec();
        file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 160, 0, 0, 0, 1, 0, 0, 0]);
        for (seconds, nanoseconds, bytes) in packets {
            for word in [*seconds, *nanoseconds, bytes.len() as u32, 1514] {
                file.extend(word.to_le_bytes());
            }
            file.extend(*bytes);
        }
        file
    }

    fn files(all: &[Vec<u8>]) -> Vec<u8> {
        let with_length = |file: &Vec<u8>| [format!("{}\n", file.len()).into_bytes(), file.clone()];
        all.iter().flat_map(with_length).flatten().collect()
    }

    #[test]
    fn packets_of_a_ring_of_files_are_read_and_a_torn_one_is_left_out() {
        let mut torn = pcap(&[(2, 5, b"abc"), (3, 0, b"defg")]);
        torn.truncate(torn.len() - 2);
        let packets = parse_files(&files(&[pcap(&[(1, 7, b"x")]), torn]), 4).unwrap();
        let packet =
            |time_ns, bytes: &[u8]| Packet { point: 4, time_ns, length: 1514, bytes: bytes.into() };
        assert_eq!(packets, [packet(1_000_000_007, b"x"), packet(2_000_000_005, b"abc")]);
        assert!(parse_files(b"9\nno", 0).is_err());
        assert!(parse_files(&files(&[b"no pcap file".to_vec()]), 0).is_err());
    }

    #[test]
    fn a_pcapng_file_has_blocks_of_whole_words_that_begin_and_end_with_their_length() {
        let points = vec![Point { namespace: "alice".into(), device: "wan".into() }];
        let packet = Packet { point: 0, time_ns: 1 << 33, length: 1514, bytes: b"hello".to_vec() };
        let file = Captured { points, packets: vec![packet] }.pcapng();
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let length = word(at + 4) as usize;
            assert_eq!((length % 4, word(at + length - 4) as usize), (0, length));
            kinds.push(word(at));
            at += length;
        }
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 6]);
        let text = String::from_utf8_lossy(&file);
        assert!(text.contains("alice:wan") && text.contains("hello"));
    }
}
