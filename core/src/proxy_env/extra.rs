//! Further settings of the mesh: what annotations may set on pods, and nothing more.
//!
//! The mesh may tune the proxy. It may not say who the proxy is, where it listens, which files it opens or when it
//! ends: those belong to the host.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::grammar::parse_duration;
use super::{DEFAULT_LOG, Grammar, Inputs};
use crate::names::HostPort;

use Grammar::{
    AccessLog, Address, AuthorityLabels, Bool, FrameSize, Name, Number, Positive, Ratio, Suffixes,
    Text, Window,
};

/// A setting of the mesh that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Name of the variable.
    pub name: String,
    /// Why it was not taken.
    pub why: Why,
}

/// Why a setting of the mesh was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The mesh may not set this variable.
    NotAllowed,
    /// The proxy cannot read the value, which should be this.
    NotReadable(Grammar),
    /// The host's configuration sets it.
    SetByHost,
    /// It does not go with its companions: stream timeouts out of order, or a collector without its name.
    Inconsistent,
}

const STREAM_INITIAL: &str = "LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT";
const STREAM_IDLE: &str = "LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT";
const STREAM_LIFETIME: &str = "LINKERD2_PROXY_CONTROL_STREAM_LIFETIME";
const COLLECTOR_ADDR: &str = "LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR";
const COLLECTOR_NAME: &str = "LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME";

/// What the mesh may set, and how the proxy reads it.
pub const ALLOWED: &[(&str, Grammar)] = &[
    ("LINKERD2_PROXY_ACCESS_LOG", AccessLog),
    (STREAM_IDLE, Grammar::Duration),
    (STREAM_INITIAL, Grammar::Duration),
    (STREAM_LIFETIME, Grammar::Duration),
    ("LINKERD2_PROXY_CORES", Positive),
    ("LINKERD2_PROXY_CORES_MAX", Positive),
    ("LINKERD2_PROXY_CORES_MAX_RATIO", Ratio),
    ("LINKERD2_PROXY_CORES_MIN", Positive),
    (
        "LINKERD2_PROXY_DESTINATION_PROFILE_INITIAL_TIMEOUT",
        Grammar::Duration,
    ),
    ("LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES", Suffixes),
    (
        "LINKERD2_PROXY_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE",
        Window,
    ),
    ("LINKERD2_PROXY_HTTP2_INITIAL_STREAM_WINDOW_SIZE", Window),
    ("LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE", Grammar::Duration),
    (
        "LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_INBOUND_CONNECT_KEEPALIVE",
        Grammar::Duration,
    ),
    ("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", Grammar::Duration),
    (
        "LINKERD2_PROXY_INBOUND_CONNECT_USER_TIMEOUT",
        Grammar::Duration,
    ),
    ("LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT", Grammar::Duration),
    (
        "LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_INBOUND_HTTP_FAILFAST_TIMEOUT",
        Grammar::Duration,
    ),
    ("LINKERD2_PROXY_INBOUND_HTTP_QUEUE_CAPACITY", Number),
    ("LINKERD2_PROXY_INBOUND_MAX_IN_FLIGHT", Number),
    (
        "LINKERD2_PROXY_INBOUND_METRICS_AUTHORITY_LABELS",
        AuthorityLabels,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL",
        Bool,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE",
        Window,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE",
        Window,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS",
        Positive,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_FRAME_SIZE",
        FrameSize,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE",
        Positive,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS",
        Number,
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_SEND_BUF_SIZE",
        Positive,
    ),
    ("LINKERD2_PROXY_INBOUND_TCP_LISTEN_BACKLOG", Window),
    ("LINKERD2_PROXY_LOG", Text),
    // Inbound, though its name does not say so.
    ("LINKERD2_PROXY_MAX_IDLE_CONNS_PER_ENDPOINT", Number),
    ("LINKERD2_PROXY_METRICS_RETAIN_IDLE", Grammar::Duration),
    (
        "LINKERD2_PROXY_OUTBOUND_ACCEPT_KEEPALIVE",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_ACCEPT_USER_TIMEOUT",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE",
        Grammar::Duration,
    ),
    ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", Grammar::Duration),
    (
        "LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT",
        Grammar::Duration,
    ),
    ("LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT", Grammar::Duration),
    (
        "LINKERD2_PROXY_OUTBOUND_DISABLE_INFORMATIONAL_HEADERS",
        Bool,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT",
        Grammar::Duration,
    ),
    ("LINKERD2_PROXY_OUTBOUND_HTTP_QUEUE_CAPACITY", Number),
    (
        "LINKERD2_PROXY_OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT",
        Number,
    ),
    ("LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT", Number),
    ("LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS", Bool),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL",
        Bool,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE",
        Window,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE",
        Window,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT",
        Grammar::Duration,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS",
        Positive,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_FRAME_SIZE",
        FrameSize,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE",
        Positive,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS",
        Number,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_SEND_BUF_SIZE",
        Positive,
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_TCP_FAILFAST_TIMEOUT",
        Grammar::Duration,
    ),
    ("LINKERD2_PROXY_OUTBOUND_TCP_LISTEN_BACKLOG", Window),
    ("LINKERD2_PROXY_OUTBOUND_TCP_QUEUE_CAPACITY", Number),
    (COLLECTOR_ADDR, Address),
    (COLLECTOR_NAME, Name),
    ("LINKERD2_PROXY_TRACE_EXTRA_ATTRIBUTES", Text),
    ("LINKERD2_PROXY_TRACE_SERVICE_NAME", Text),
    ("OTEL_RESOURCE_ATTRIBUTES", Text),
];

/// Puts the mesh's settings over ours, and returns those that were not taken.
pub(super) fn merge(inputs: &Inputs<'_>, variables: &mut BTreeMap<String, String>) -> Vec<Ignored> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    let mut ignored = Vec::new();
    let mut ignore = |name: &str, why| {
        ignored.push(Ignored {
            name: name.to_owned(),
            why,
        });
    };
    for (name, value) in &inputs.assignment.proxy.extra_env {
        let grammar = ALLOWED
            .iter()
            .find(|(allowed, _)| allowed == name)
            .map(|(_, grammar)| *grammar);
        match grammar {
            None => ignore(name, Why::NotAllowed),
            Some(grammar) if !grammar.accepts(value) => ignore(name, Why::NotReadable(grammar)),
            // Merged where the log filter is made, because header suppression is appended to it.
            Some(_) if name == "LINKERD2_PROXY_LOG" => {
                if inputs.config.proxy.log_level != DEFAULT_LOG {
                    ignore(name, Why::SetByHost);
                }
            }
            Some(_) => {
                taken.insert(name, value);
            }
        }
    }
    let with = |name: &str| {
        taken
            .get(name)
            .copied()
            .or(variables.get(name).map(String::as_str))
    };
    let mut inconsistent = Vec::new();
    if !streams_in_order(
        with(STREAM_INITIAL),
        with(STREAM_IDLE),
        with(STREAM_LIFETIME),
    ) {
        inconsistent.extend([STREAM_INITIAL, STREAM_IDLE, STREAM_LIFETIME]);
    }
    if !collector_complete(with(COLLECTOR_ADDR), with(COLLECTOR_NAME)) {
        inconsistent.extend([COLLECTOR_ADDR, COLLECTOR_NAME]);
    }
    for name in inconsistent {
        if taken.remove(name).is_some() {
            ignore(name, Why::Inconsistent);
        }
    }
    for (name, value) in taken {
        variables.insert(name.to_owned(), value.to_owned());
    }
    ignored
}

/// The proxy wants initial <= idle <= lifetime.
fn streams_in_order(initial: Option<&str>, idle: Option<&str>, lifetime: Option<&str>) -> bool {
    let read = |value: Option<&str>| value.and_then(parse_duration).unwrap_or(Duration::ZERO);
    read(initial) <= read(idle) && read(idle) <= read(lifetime)
}

/// Address and name come together, except that a collector on this host needs no name.
fn collector_complete(address: Option<&str>, name: Option<&str>) -> bool {
    let local = |address: &str| {
        address
            .parse::<HostPort>()
            .is_ok_and(|a| super::grammar::is_plaintext(&a))
    };
    match (address, name) {
        (None, None) | (Some(_), Some(_)) => true,
        (Some(address), None) => local(address),
        (None, Some(_)) => false,
    }
}

// === impl Why ===

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("the mesh may not set it on a VM"),
            Self::NotReadable(grammar) => write!(f, "the value is not {grammar}"),
            Self::SetByHost => f.write_str("this host's configuration sets it"),
            Self::Inconsistent => f.write_str("it does not go with its companions"),
        }
    }
}
