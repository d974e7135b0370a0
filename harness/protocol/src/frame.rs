//! Length-prefixed frames.

use std::io::{self, Read, Write};

/// Largest payload that either side may send, in bytes. More means a broken peer.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Payload size at which streams are cut, in bytes: small enough that one bulk transfer
/// does not delay the answers of other channels.
pub const CHUNK: usize = 64 << 10;

const HEADER: usize = 9;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Agent → harness on channel 0 when it starts: JSON [`crate::Hello`].
    Hello = 0,
    /// Harness → agent: JSON [`crate::Request`], opens the channel.
    Request = 1,
    /// Agent → harness: JSON [`crate::Reply`], closes the channel.
    Reply = 2,
    /// Harness → agent: bytes for a command's standard input or for a file.
    Input = 3,
    /// Harness → agent: no more input.
    InputEnd = 4,
    /// Agent → harness: a command's standard output, or a file's bytes.
    Output = 5,
    /// Agent → harness: a command's standard error.
    ErrorOutput = 6,
    /// Harness → agent: stop what this channel does; a reply still follows.
    Cancel = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Hello,
            1 => Self::Request,
            2 => Self::Reply,
            3 => Self::Input,
            4 => Self::InputEnd,
            5 => Self::Output,
            6 => Self::ErrorOutput,
            7 => Self::Cancel,
            _ => return None,
        })
    }
}

/// One frame: `length u32 LE, channel u32 LE, kind u8, payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The conversation it belongs to; 0 is the agent's own.
    pub channel: u32,
    /// What the payload is.
    pub kind: Kind,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The announced length exceeds [`MAX_PAYLOAD`].
    #[error("a frame announces {0} bytes, more than the {MAX_PAYLOAD} allowed")]
    TooLong(usize),
    /// The kind byte is unknown: another protocol version, or noise on the port.
    #[error("a frame has the unknown kind {0}")]
    UnknownKind(u8),
}

impl Frame {
    /// A frame with a JSON payload.
    pub fn json<T: serde::Serialize>(
        channel: u32,
        kind: Kind,
        value: &T,
    ) -> serde_json::Result<Self> {
        Ok(Self { channel, kind, payload: serde_json::to_vec(value)? })
    }

    /// The bytes that go over the port.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.channel.to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Takes one whole frame off the front of `buffer`; `None` while it is incomplete.
    pub fn take(buffer: &mut Vec<u8>) -> Result<Option<Self>, FrameError> {
        let Some(header) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let (length, channel, kind) = parse_header(header)?;
        if buffer.len() < HEADER + length {
            return Ok(None);
        }
        let payload = buffer[HEADER..HEADER + length].to_vec();
        buffer.drain(..HEADER + length);
        Ok(Some(Self { channel, kind, payload }))
    }

    /// Reads one frame from a blocking stream.
    pub fn read(stream: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header)?;
        let (length, channel, kind) = parse_header(&header).map_err(io::Error::other)?;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        Ok(Self { channel, kind, payload })
    }

    /// Writes the frame to a blocking stream in one call.
    pub fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        stream.write_all(&self.encode())
    }
}

fn parse_header(header: &[u8; HEADER]) -> Result<(usize, u32, Kind), FrameError> {
    let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLong(length));
    }
    let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
    Ok((length, u32::from_le_bytes([c0, c1, c2, c3]), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_being_cut_anywhere() {
        let frame = Frame { channel: 7, kind: Kind::Output, payload: b"hello".to_vec() };
        let bytes = frame.encode();
        for cut in 0..bytes.len() {
            let mut buffer = bytes[..cut].to_vec();
            assert_eq!(Frame::take(&mut buffer), Ok(None));
            buffer.extend_from_slice(&bytes[cut..]);
            assert_eq!(Frame::take(&mut buffer), Ok(Some(frame.clone())));
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_frame_longer_than_allowed_is_refused_before_it_is_read() {
        let mut buffer = vec![0xff; HEADER];
        assert_eq!(Frame::take(&mut buffer), Err(FrameError::TooLong(u32::MAX as usize)));
    }

    #[test]
    fn noise_is_refused_by_its_kind() {
        let mut buffer = vec![0, 0, 0, 0, 0, 0, 0, 0, 99];
        assert_eq!(Frame::take(&mut buffer), Err(FrameError::UnknownKind(99)));
    }
}
