//! What the kernel's connection tracking knows of one connection, over netlink. Needs `CAP_NET_ADMIN`.
//!
//! An entry is gone as soon as its connection is refused, so new entries are listened for from before the connection on;
//! an established one is asked for as well, since a busy host drops news that nobody has read. The question has a socket
//! of its own: where news fill a socket, the answer would be dropped too.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use linkerd_harness_core::redirect::proof::Tracked;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// `NF_NETLINK_CONNTRACK_NEW`: news of new entries.
const NEWS: u32 = 1;

/// Names our question in its answer; news have zero.
const QUESTION: u32 = 1;

/// Larger than any of these messages.
const MESSAGE: usize = 8192;

/// For the answer, which the kernel has at once, and for reading the news: on a busy host they do not end.
const PATIENCE: Duration = Duration::from_secs(3);

/// For the news of some ten thousand connections.
const NEWS_BYTES: usize = 8 << 20;

/// Between looks at the time while there is no answer.
const LOOK_MILLISECONDS: i64 = 200;

/// Why what was not among the news may have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum ListenError {
    #[error("this host has more new connections than connection tracking can tell of")]
    Lost,
    #[error("connection tracking does not tell of new connections: {0}")]
    Failed(Errno),
}

/// A connection as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// Listens from the moment it is made.
#[derive(Debug)]
pub(super) struct Conntrack {
    news: OwnedFd,
    questions: OwnedFd,
}

impl Conntrack {
    pub(super) fn listen() -> io::Result<Self> {
        let news = open(NEWS, SockFlag::SOCK_NONBLOCK)?;
        if let Err(error) = setsockopt(&news, sockopt::RcvBufForce, &NEWS_BYTES) {
            tracing::debug!(%error, "news of connection tracking have little room");
        }
        let questions = open(0, SockFlag::empty())?;
        let patience = TimeVal::milliseconds(LOOK_MILLISECONDS);
        setsockopt(&questions, sockopt::ReceiveTimeout, &patience)?;
        Ok(Self { news, questions })
    }

    /// What is known of a connection that was opened after [`Self::listen`]. `source` is enough to know it by.
    pub(super) fn find(&self, pair: Pair) -> Tracked {
        let answer = self.ask(pair);
        if let Ok(Some(entry)) = answer {
            return entry;
        }
        // All news of it are there by now: it was asked for later.
        let receive = |buffer: &mut [u8]| recv(self.news.as_raw_fd(), buffer, MsgFlags::empty());
        conclude(answer, search(receive, pair, Instant::now() + PATIENCE))
    }

    fn ask(&self, pair: Pair) -> io::Result<Option<Tracked>> {
        let socket = self.questions.as_raw_fd();
        send(socket, &question(pair), MsgFlags::empty())?;
        let mut buffer = vec![0; MESSAGE];
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let length = match recv(socket, &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                result => result?,
            };
            let Some(message) = parse(&buffer, length) else {
                continue;
            };
            if message.header.sequence_number != QUESTION {
                continue;
            }
            return match message.payload {
                NetlinkPayload::Error(error) => match error.to_io() {
                    error if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    error => Err(error),
                },
                payload => Ok(of(&payload, pair)),
            };
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "connection tracking does not answer",
        ))
    }
}

fn open(groups: u32, flags: SockFlag) -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | flags,
        SockProtocol::NetlinkNetFilter,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

/// Looks for a connection among the news, until there are no more.
fn search(
    mut receive: impl FnMut(&mut [u8]) -> nix::Result<usize>,
    pair: Pair,
    deadline: Instant,
) -> Result<Option<Tracked>, ListenError> {
    let mut buffer = vec![0; MESSAGE];
    let mut lost = false;
    while Instant::now() < deadline {
        match receive(&mut buffer) {
            Ok(length) => {
                let message = parse(&buffer, length);
                if let Some(entry) = message.and_then(|message| of(&message.payload, pair)) {
                    return Ok(Some(entry));
                }
            }
            // What is in the queue is older and still there.
            Err(Errno::ENOBUFS) => lost = true,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if lost => return Err(ListenError::Lost),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(ListenError::Failed(error)),
        }
    }
    Err(ListenError::Lost)
}

/// Never is said only of what both know nothing of.
fn conclude(
    answer: io::Result<Option<Tracked>>,
    news: Result<Option<Tracked>, ListenError>,
) -> Tracked {
    match (answer, news) {
        (Ok(Some(entry)), _) | (_, Ok(Some(entry))) => entry,
        (Err(error), _) => Tracked::Unknown(error.to_string()),
        (_, Err(error)) => Tracked::Unknown(error.to_string()),
        (Ok(None), Ok(None)) => Tracked::Never,
    }
}

fn parse(buffer: &[u8], length: usize) -> Option<NetlinkMessage<NetfilterMessage>> {
    NetlinkMessage::deserialize(buffer.get(..length)?).ok()
}

/// The entry of this connection.
fn of(payload: &NetlinkPayload<NetfilterMessage>, pair: Pair) -> Option<Tracked> {
    let (source, original, answers) = entry(payload)?;
    (source == pair.source).then_some(Tracked::Entry { original, answers })
}

fn question(pair: Pair) -> Vec<u8> {
    let family = match pair.destination {
        SocketAddr::V4(_) => NetfilterProtoFamily::IPv4,
        SocketAddr::V6(_) => NetfilterProtoFamily::IPv6,
    };
    let tuple = ConntrackAttribute::CtaTupleOrig(vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(pair.source.ip()),
            IPTuple::DestinationAddress(pair.destination.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Protocol::Tcp),
            ProtoTuple::SourcePort(pair.source.port()),
            ProtoTuple::DestinationPort(pair.destination.port()),
        ]),
    ]);
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    header.sequence_number = QUESTION;
    let mut message = NetlinkMessage::new(
        header,
        NetlinkPayload::from(NetfilterMessage::new(
            NetfilterHeader::new(family, 0, 0),
            ConntrackMessage::Get(vec![tuple]),
        )),
    );
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Client, original destination, and who answers it.
fn entry(
    payload: &NetlinkPayload<NetfilterMessage>,
) -> Option<(SocketAddr, SocketAddr, SocketAddr)> {
    let NetlinkPayload::InnerMessage(message) = payload else {
        return None;
    };
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = &message.inner else {
        return None;
    };
    let tuple = |wanted: fn(&ConntrackAttribute) -> Option<&Vec<Tuple>>| {
        ends(attributes.iter().find_map(wanted)?)
    };
    let (source, original) = tuple(|attribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(tuple) => Some(tuple),
        _ => None,
    })?;
    let (answers, _) = tuple(|attribute| match attribute {
        ConntrackAttribute::CtaTupleReply(tuple) => Some(tuple),
        _ => None,
    })?;
    Some((source, original, answers))
}

/// Source and destination of a tuple of TCP.
fn ends(tuple: &[Tuple]) -> Option<(SocketAddr, SocketAddr)> {
    let addresses = tuple.iter().find_map(|part| match part {
        Tuple::Ip(addresses) => Some(addresses),
        _ => None,
    })?;
    let ports = tuple.iter().find_map(|part| match part {
        Tuple::Proto(ports) => Some(ports),
        _ => None,
    })?;
    let address = |wanted: fn(&IPTuple) -> Option<IpAddr>| addresses.iter().find_map(wanted);
    let port = |wanted: fn(&ProtoTuple) -> Option<u16>| ports.iter().find_map(wanted);
    let source = address(|part| match part {
        IPTuple::SourceAddress(ip) => Some(*ip),
        _ => None,
    })?;
    let destination = address(|part| match part {
        IPTuple::DestinationAddress(ip) => Some(*ip),
        _ => None,
    })?;
    let source_port = port(|part| match part {
        ProtoTuple::SourcePort(port) => Some(*port),
        _ => None,
    })?;
    let destination_port = port(|part| match part {
        ProtoTuple::DestinationPort(port) => Some(*port),
        _ => None,
    })?;
    ports
        .contains(&ProtoTuple::Protocol(Protocol::Tcp))
        .then_some((
            SocketAddr::new(source, source_port),
            SocketAddr::new(destination, destination_port),
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_pair() -> Pair {
        Pair {
            source: "192.0.2.1:40000".parse().unwrap(),
            destination: "192.0.2.2:80".parse().unwrap(),
        }
    }

    /// News of a connection, as bytes.
    fn mk_news(source_port: u16) -> Vec<u8> {
        let tuple = |from: &str, from_port, to: &str, to_port| {
            vec![
                Tuple::Ip(vec![
                    IPTuple::SourceAddress(from.parse().unwrap()),
                    IPTuple::DestinationAddress(to.parse().unwrap()),
                ]),
                Tuple::Proto(vec![
                    ProtoTuple::Protocol(Protocol::Tcp),
                    ProtoTuple::SourcePort(from_port),
                    ProtoTuple::DestinationPort(to_port),
                ]),
            ]
        };
        let attributes = vec![
            ConntrackAttribute::CtaTupleOrig(tuple("192.0.2.1", source_port, "192.0.2.2", 80)),
            ConntrackAttribute::CtaTupleReply(tuple("127.0.0.1", 4140, "192.0.2.1", source_port)),
        ];
        let mut message = NetlinkMessage::new(
            NetlinkHeader::default(),
            NetlinkPayload::from(NetfilterMessage::new(
                NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0),
                ConntrackMessage::New(attributes),
            )),
        );
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn found(news: Vec<nix::Result<Vec<u8>>>) -> Result<Option<Tracked>, ListenError> {
        let mut news = news.into_iter();
        let receive = |buffer: &mut [u8]| {
            let bytes = news.next().unwrap_or(Err(Errno::EAGAIN))?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        };
        search(receive, mk_pair(), Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn lost_news_are_no_sign_that_a_connection_was_never_tracked() {
        let entry = Tracked::Entry {
            original: "192.0.2.2:80".parse().unwrap(),
            answers: "127.0.0.1:4140".parse().unwrap(),
        };
        let (own, other) = (mk_news(40000), mk_news(40001));
        assert_eq!(found(vec![Ok(other.clone())]), Ok(None));
        assert_eq!(
            found(vec![Ok(other.clone()), Err(Errno::EINTR), Ok(own.clone())]),
            Ok(Some(entry.clone()))
        );
        let lost = found(vec![Err(Errno::ENOBUFS), Ok(other)]);
        assert_eq!(lost, Err(ListenError::Lost));
        let still_there = found(vec![Err(Errno::ENOBUFS), Ok(own)]);
        assert_eq!(still_there, Ok(Some(entry.clone())));
        assert_eq!(conclude(Ok(None), Ok(None)), Tracked::Never);
        assert!(matches!(conclude(Ok(None), lost), Tracked::Unknown(_)));
        let silent = || Err(io::Error::from(io::ErrorKind::TimedOut));
        assert!(matches!(conclude(silent(), Ok(None)), Tracked::Unknown(_)));
        assert_eq!(conclude(silent(), Ok(Some(entry.clone()))), entry);
    }

    #[test]
    fn news_of_others_without_end_are_not_read_for_ever() {
        let other = mk_news(40001);
        let receive = |buffer: &mut [u8]| {
            buffer[..other.len()].copy_from_slice(&other);
            Ok(other.len())
        };
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(search(receive, mk_pair(), deadline), Err(ListenError::Lost));
    }
}
