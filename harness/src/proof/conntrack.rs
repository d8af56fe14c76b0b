//! What the kernel's connection tracking knows of one connection, over netlink. Needs `CAP_NET_ADMIN`.
//!
//! An entry is gone as soon as its connection is refused, so new entries are listened for from before the connection on;
//! an established one is asked for as well, since a busy host drops news that nobody has read.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

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

/// The kernel answers at once; this is for a kernel that does not.
const PATIENCE_SECONDS: i64 = 1;

/// A connection as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// Listens from the moment it is made.
#[derive(Debug)]
pub(super) struct Conntrack(OwnedFd);

impl Conntrack {
    pub(super) fn listen() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, NEWS))?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::seconds(PATIENCE_SECONDS),
        )?;
        Ok(Self(socket))
    }

    /// What is known of a connection that was opened after [`Self::listen`]. `source` is enough to know it by.
    pub(super) fn find(&self, pair: Pair) -> Tracked {
        self.ask(pair)
            .unwrap_or_else(|error| Tracked::Unknown(error.to_string()))
    }

    fn ask(&self, pair: Pair) -> io::Result<Tracked> {
        send(self.0.as_raw_fd(), &question(pair), MsgFlags::empty())?;
        let mut seen = Tracked::Never;
        let mut buffer = vec![0; MESSAGE];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // News were lost; what is in the queue is older and still there.
                Err(Errno::ENOBUFS | Errno::EINTR) => continue,
                result => result?,
            };
            let received = buffer.get(..length).unwrap_or_default();
            let Ok(message) = NetlinkMessage::<NetfilterMessage>::deserialize(received) else {
                continue;
            };
            if let Some((source, original, answers)) = entry(&message.payload)
                && source == pair.source
            {
                seen = Tracked::Entry { original, answers };
            }
            if message.header.sequence_number == QUESTION {
                return match message.payload {
                    NetlinkPayload::Error(error) => match error.to_io() {
                        error if error.kind() == io::ErrorKind::NotFound => Ok(seen),
                        error => Err(error),
                    },
                    _ => Ok(seen),
                };
            }
        }
    }
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
