//! The configuration: the environment of the real proxy, as far as it changes what a lab can see.

mod control;
mod identity;
mod parse;
mod reader;

pub(crate) use self::control::{Control, Limits};
pub(crate) use self::identity::Identity;
pub(crate) use self::parse::Addr;
pub(crate) use self::reader::Env;

use self::reader::{Reader, full};
use crate::backoff::Backoff;
use crate::policy::{ServerPolicy, defaults};
use ipnet::IpNet;
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Why a configuration was refused; each problem is one line of the log.
#[derive(Debug, thiserror::Error)]
#[error("{summary}")]
pub(crate) struct Invalid {
    summary: &'static str,
    pub(crate) problems: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) identity: Identity,
    pub(crate) admin: SocketAddr,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    pub(crate) destination: Control,
    pub(crate) policy: Control,
    /// Sent with every request to the destination API, as it is.
    pub(crate) context: String,
    /// Sent with every request to the policy API, as it is.
    pub(crate) workload: String,
    pub(crate) grace: Duration,
    pub(crate) shutdown_endpoint: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    pub(crate) listen: SocketAddr,
    /// Original destinations that are served; empty means all.
    pub(crate) ips: HashSet<IpAddr>,
    /// Ports whose policy is watched from the start and for ever.
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) opaque_ports: BTreeSet<u16>,
    pub(crate) default_policy: Arc<ServerPolicy>,
    pub(crate) detect_timeout: Duration,
    pub(crate) discovery_idle: Duration,
    /// Names whose profile is asked for when they come in a Host header.
    pub(crate) profile_suffixes: Vec<String>,
    /// How long a request waits for such a profile.
    pub(crate) profile_wait: Duration,
    pub(crate) connect: Connect,
    pub(crate) socket: Socket,
}

#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    pub(crate) listen: Vec<SocketAddr>,
    /// Addresses whose profile is asked for.
    pub(crate) profile_networks: Vec<IpNet>,
    pub(crate) detect_timeout: Duration,
    pub(crate) discovery_idle: Duration,
    /// How long a connection or request waits for an endpoint where no policy says otherwise.
    pub(crate) failfast: Duration,
    pub(crate) connect: Connect,
    pub(crate) socket: Socket,
}

/// How connections are opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect {
    pub(crate) timeout: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) socket: Socket,
}

/// What is set on sockets, and on the HTTP/2 servers over them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Socket {
    pub(crate) keepalive: Option<Duration>,
    pub(crate) user_timeout: Option<Duration>,
    /// Interval and timeout.
    pub(crate) http2_keepalive: Option<(Duration, Duration)>,
}

impl Config {
    /// Reads the environment; every problem is found before it gives up.
    pub(crate) fn from_env(env: &Env) -> Result<Self, Invalid> {
        let mut reader = Reader::new(env);
        let mut summary = "invalid environment variable";
        let config = read(&mut reader, &mut summary);
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(Invalid {
                summary,
                problems: reader.problems,
            }),
        }
    }
}

fn read(r: &mut Reader<'_>, summary: &mut &'static str) -> Option<Config> {
    const MS: fn(u64) -> Duration = Duration::from_millis;
    let identity = identity::read(r);
    let admin = r
        .get("ADMIN_LISTEN_ADDR", parse::socket_addr)
        .unwrap_or(([127, 0, 0, 1], 4191).into());
    let inbound_connect = connect(r, "INBOUND", MS(300), Duration::from_secs(10));
    let outbound_connect = connect(
        r,
        "OUTBOUND",
        Duration::from_secs(1),
        Duration::from_secs(60),
    );
    let inbound = inbound(r, admin, inbound_connect);
    let outbound = outbound(r, outbound_connect);
    let limits = control::limits(r);
    let destination = control::service(
        r,
        "DESTINATION_SVC",
        inbound_connect,
        outbound_connect,
        limits,
    );
    let policy = control::service(r, "POLICY_SVC", inbound_connect, outbound_connect, limits);
    let context = r
        .get("DESTINATION_CONTEXT", parse::text)
        .unwrap_or_default();
    let workload = r.get("POLICY_WORKLOAD", parse::text);
    let grace = r
        .get("SHUTDOWN_GRACE_PERIOD", parse::duration)
        .unwrap_or(Duration::from_secs(120));
    let shutdown_endpoint = r
        .get("SHUTDOWN_ENDPOINT_ENABLED", parse::boolean)
        .unwrap_or(false);
    unused_but_checked(r);
    if r.problems.is_empty() && destination.is_none() {
        *summary = "no destination service configured";
    } else if r.problems.is_empty() && policy.is_none() {
        *summary = "no policy service configured";
    }
    if policy.is_some() && workload.is_none() {
        r.problem(format!(
            "{} must be set with {}",
            full("POLICY_WORKLOAD"),
            full("POLICY_SVC_ADDR")
        ));
    }
    let (destination, policy, workload) = (destination?, policy?, workload?);
    let identity = identity?;
    Some(Config {
        identity,
        admin,
        inbound,
        outbound,
        destination,
        policy,
        context,
        workload,
        grace,
        shutdown_endpoint,
    })
}

fn inbound(r: &mut Reader<'_>, admin: SocketAddr, connect: Connect) -> Inbound {
    let detect_timeout = r
        .get("INBOUND_DETECT_TIMEOUT", parse::duration)
        .unwrap_or(Duration::from_secs(10));
    let networks = r
        .get("POLICY_CLUSTER_NETWORKS", parse::networks)
        .unwrap_or_default();
    let default_policy =
        r.get("INBOUND_DEFAULT_POLICY", |name| defaults::named(name, &networks, detect_timeout)).unwrap_or_else(|| {
            if !r.is_set("INBOUND_DEFAULT_POLICY") {
                let name = full("INBOUND_DEFAULT_POLICY");
                warn!(target: "linkerd_app::env", "{name} was not set; using `all-unauthenticated`");
            }
            defaults::all_unauthenticated(detect_timeout)
        });
    let mut ports = r.get("INBOUND_PORTS", parse::port_set).unwrap_or_default();
    ports.insert(admin.port());
    let ips = r.get("INBOUND_IPS", parse::ip_set).unwrap_or_default();
    if ips.is_empty() && !r.is_set("INBOUND_IPS") {
        let name = full("INBOUND_IPS");
        info!(target: "linkerd_app::env", "`{name}` allowlist not configured, allowing all target addresses");
    }
    Inbound {
        listen: r
            .get("INBOUND_LISTEN_ADDR", parse::socket_addr)
            .unwrap_or(([0, 0, 0, 0], 4143).into()),
        ips,
        ports,
        opaque_ports: r
            .get("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", parse::port_set)
            .unwrap_or_default(),
        default_policy: Arc::new(default_policy),
        detect_timeout,
        discovery_idle: r
            .get("INBOUND_DISCOVERY_IDLE_TIMEOUT", parse::duration)
            .unwrap_or(Duration::from_secs(90)),
        profile_suffixes: r
            .get("DESTINATION_PROFILE_SUFFIXES", parse::dns_suffixes)
            .unwrap_or_else(|| vec!["svc.cluster.local".into()]),
        profile_wait: r
            .get("DESTINATION_PROFILE_INITIAL_TIMEOUT", parse::duration)
            .unwrap_or(Duration::from_millis(500)),
        connect,
        socket: accept_socket(r, "INBOUND"),
    }
}

fn outbound(r: &mut Reader<'_>, connect: Connect) -> Outbound {
    let one = r
        .get("OUTBOUND_LISTEN_ADDR", parse::socket_addr)
        .unwrap_or(([127, 0, 0, 1], 4140).into());
    Outbound {
        listen: r
            .get("OUTBOUND_LISTEN_ADDRS", parse::socket_addrs)
            .unwrap_or_else(|| vec![one]),
        profile_networks: r
            .get("DESTINATION_PROFILE_NETWORKS", parse::networks)
            .unwrap_or_default(),
        detect_timeout: r
            .get("OUTBOUND_DETECT_TIMEOUT", parse::duration)
            .unwrap_or(Duration::from_secs(10)),
        discovery_idle: r
            .get("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", parse::duration)
            .unwrap_or(Duration::from_secs(5)),
        failfast: r
            .get("OUTBOUND_TCP_QUEUE_FAILFAST_TIMEOUT", parse::duration)
            .unwrap_or(Duration::from_secs(3)),
        connect,
        socket: accept_socket(r, "OUTBOUND"),
    }
}

fn connect(r: &mut Reader<'_>, side: &str, timeout: Duration, max: Duration) -> Connect {
    let default = Backoff {
        min: Duration::from_millis(100),
        max,
        jitter: 0.1,
    };
    Connect {
        timeout: r
            .get(&format!("{side}_CONNECT_TIMEOUT"), parse::duration)
            .unwrap_or(timeout),
        backoff: backoff(r, &format!("{side}_CONNECT"), default),
        socket: Socket {
            keepalive: r.get(&format!("{side}_CONNECT_KEEPALIVE"), parse::duration),
            user_timeout: r.get(&format!("{side}_CONNECT_USER_TIMEOUT"), parse::duration),
            http2_keepalive: None,
        },
    }
}

fn accept_socket(r: &mut Reader<'_>, side: &str) -> Socket {
    let interval = r.get(
        &format!("{side}_SERVER_HTTP2_KEEP_ALIVE_INTERVAL"),
        parse::duration,
    );
    let timeout = r.get(
        &format!("{side}_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT"),
        parse::duration,
    );
    Socket {
        keepalive: r.get(&format!("{side}_ACCEPT_KEEPALIVE"), parse::duration),
        user_timeout: r.get(&format!("{side}_ACCEPT_USER_TIMEOUT"), parse::duration),
        http2_keepalive: interval.zip(timeout),
    }
}

/// All of minimum, maximum and jitter, or none; jitter alone may be left out.
fn backoff(r: &mut Reader<'_>, base: &str, default: Backoff) -> Backoff {
    let names = ["MIN", "MAX", "JITTER"].map(|part| format!("{base}_EXP_BACKOFF_{part}"));
    let min = r.get(&names[0], parse::duration);
    let max = r.get(&names[1], parse::duration);
    let jitter = r.get(&names[2], parse::number::<f64>);
    match (min, max, jitter) {
        (None, None, None) => default,
        (Some(min), Some(max), jitter) if min <= max && !max.is_zero() => {
            let jitter = jitter.unwrap_or_default();
            if !(0.0..=100.0).contains(&jitter) {
                r.problem(format!(
                    "Invalid backoff: {}={jitter} is not a ratio",
                    full(&names[2])
                ));
            }
            Backoff {
                min,
                max,
                jitter: jitter.clamp(0.0, 100.0),
            }
        }
        (Some(min), Some(max), _) => {
            r.problem(format!(
                "Invalid backoff: {}={min:?} is above {}={max:?}",
                full(&names[0]),
                full(&names[1])
            ));
            default
        }
        _ => {
            let all = names.map(|name| full(&name)).join(" ");
            r.problem(format!(
                "You need to specify either all of {all} or none of them to use the default backoff"
            ));
            default
        }
    }
}

/// Variables that change nothing here but that the real proxy refuses when they are wrong.
fn unused_but_checked(r: &mut Reader<'_>) {
    for name in [
        "METRICS_RETAIN_IDLE",
        "INBOUND_HTTP_FAILFAST_TIMEOUT",
        "OUTBOUND_HTTP_QUEUE_FAILFAST_TIMEOUT",
        "INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT",
        "OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT",
        "DNS_MIN_TTL",
        "DNS_MAX_TTL",
    ] {
        r.get(name, parse::duration);
    }
    for name in [
        "INGRESS_MODE",
        "OUTBOUND_DISABLE_INFORMATIONAL_HEADERS",
        "OUTBOUND_METRICS_HOSTNAME_LABELS",
    ] {
        r.get(name, parse::boolean);
    }
    r.get("INBOUND_GATEWAY_SUFFIXES", parse::dns_suffixes);
    r.get("CONTROL_LISTEN_ADDR", parse::socket_addr);
}

#[cfg(test)]
mod tests;
