//! TCP segments in a pcap file, and what TLS shows of itself in them.

use std::net::Ipv4Addr;

/// Payloads of TCP segments, in the order of the wire.
#[derive(Clone, Debug)]
pub struct Wire {
    segments: Vec<Segment>,
}

/// One TCP segment that carries bytes.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Address and port it comes from.
    pub from: (Ipv4Addr, u16),
    /// Address and port it goes to.
    pub to: (Ipv4Addr, u16),
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// What the first message of a TLS client says for all to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// Address and port of the server.
    pub to: (Ipv4Addr, u16),
    /// Whom it wants to talk to (SNI).
    pub server_name: String,
}

impl Wire {
    /// What is in a pcap file of Ethernet frames; `None` when it is something else.
    pub fn read(file: &[u8]) -> Option<Self> {
        Some(Self {
            segments: segments(file)?,
        })
    }

    /// All segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Does `text` pass in the clear, in one segment?
    pub fn shows(&self, text: &str) -> bool {
        self.segments.iter().any(|segment| {
            segment
                .payload
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        })
    }

    /// The TLS clients' first messages.
    pub fn client_hellos(&self) -> Vec<ClientHello> {
        let hello = |segment: &Segment| {
            server_name(&segment.payload).map(|server_name| ClientHello {
                to: segment.to,
                server_name,
            })
        };
        self.segments.iter().filter_map(hello).collect()
    }
}

/// The TCP segments with bytes in a pcap file of Ethernet frames.
fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    const HEADER: usize = 24;
    const RECORD: usize = 16;
    let ethernet = file.get(20..24)? == 1_u32.to_le_bytes();
    let mut rest = file.get(HEADER..).filter(|_| ethernet)?;
    let mut found = Vec::new();
    while let Some(record) = rest.get(..RECORD) {
        let length =
            usize::try_from(u32::from_le_bytes(record.get(8..12)?.try_into().ok()?)).ok()?;
        let Some(frame) = rest.get(RECORD..RECORD + length) else {
            break;
        };
        found.extend(segment(frame));
        rest = rest.get(RECORD + length..)?;
    }
    Some(found)
}

/// The TCP segment in an Ethernet frame, unless it carries no bytes.
fn segment(frame: &[u8]) -> Option<Segment> {
    let packet = frame
        .get(14..)
        .filter(|_| frame.get(12..14) == Some(&[0x08, 0x00]))?;
    let tcp_at = usize::from(packet.first()? & 0x0f) * 4;
    // Frames are padded to 60 bytes: the packet's own length counts.
    let total = usize::from(short(packet, 2)?);
    // Large segments that the card would cut have a length of zero.
    let packet = if total == 0 {
        packet
    } else {
        packet.get(..total)?
    };
    let tcp = packet.get(tcp_at..).filter(|_| packet.get(9) == Some(&6))?;
    let payload = tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?;
    let address = |at: usize| {
        Some(Ipv4Addr::from(
            <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?,
        ))
    };
    (!payload.is_empty()).then_some(Segment {
        from: (address(12)?, short(tcp, 0)?),
        to: (address(16)?, short(tcp, 2)?),
        payload: payload.to_vec(),
    })
}

/// The server name in a TLS `ClientHello` (RFC 8446 section 4.1.2, RFC 6066 section 3), if `bytes` start with one.
fn server_name(bytes: &[u8]) -> Option<String> {
    // Record: handshake; message: ClientHello.
    if bytes.first()? != &0x16 || bytes.get(5)? != &0x01 {
        return None;
    }
    // Record header 5, message header 4, version 2, random 32.
    let mut rest = bytes.get(43..)?;
    rest = rest.get(1 + usize::from(*rest.first()?)..)?; // session id
    rest = rest.get(2 + usize::from(short(rest, 0)?)..)?; // cipher suites
    rest = rest.get(1 + usize::from(*rest.first()?)..)?; // compression methods
    rest = rest.get(2..)?;
    loop {
        let (kind, length) = (short(rest, 0)?, usize::from(short(rest, 2)?));
        // A large key share may go beyond this segment; the name comes from what is here.
        let body = rest.get(4..4 + length)?;
        if kind == 0 {
            return Some(String::from_utf8_lossy(body.get(5..)?).into_owned());
        }
        rest = rest.get(4 + length..)?;
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![0; 12];
        frame.extend([
            0x08, 0x00, 0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 6, 0, 0, 10, 77, 0, 4, 10, 77,
            0, 5,
        ]);
        frame.extend([
            0x9c, 0x40, 0x10, 0x2f, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0,
        ]);
        frame.extend(payload);
        frame.extend([0; 6]);
        frame
    }

    fn client_hello(name: &str) -> Vec<u8> {
        let name_length = u16::try_from(name.len()).unwrap();
        let mut extension = vec![0, 0];
        extension.extend((name_length + 5).to_be_bytes());
        extension.extend((name_length + 3).to_be_bytes());
        extension.push(0);
        extension.extend(name_length.to_be_bytes());
        extension.extend(name.as_bytes());
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend(u16::try_from(extension.len() + 4).unwrap().to_be_bytes());
        body.extend([0, 0x2b, 0, 0]);
        body.extend(extension);
        let mut record = vec![0x16, 3, 1, 0, 0, 0x01, 0, 0, 0];
        record.extend(body);
        record
    }

    fn wire(payloads: &[&[u8]]) -> Wire {
        let mut file = vec![0; 20];
        file.extend(1_u32.to_le_bytes());
        for payload in payloads {
            let frame = frame(payload);
            file.extend([0; 8]);
            file.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
            file.extend([0; 4]);
            file.extend(frame);
        }
        Wire {
            segments: segments(&file).unwrap(),
        }
    }

    #[test]
    fn plain_bytes_are_seen_with_their_addresses() {
        let wire = wire(&[b"GET /secret HTTP/1.1\r\n", b""]);
        assert!(wire.shows("/secret"));
        assert!(!wire.shows("/other"));
        assert_eq!(
            wire.segments().len(),
            1,
            "a segment without bytes is left out"
        );
        assert_eq!(wire.segments()[0].to, (Ipv4Addr::new(10, 77, 0, 5), 4143));
        assert!(wire.client_hellos().is_empty());
    }

    #[test]
    fn a_client_hello_names_its_server() {
        let wire = wire(&[
            &client_hello("training-vm.training.external"),
            b"\x17\x03\x03",
        ]);
        assert_eq!(wire.client_hellos().len(), 1);
        assert_eq!(
            wire.client_hellos()[0].server_name,
            "training-vm.training.external"
        );
    }
}
