//! From the document to [`Config`]: every key read once, then what cannot stand together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::keys as key;
use super::node::Node;
use super::problem::{Problem, Problems};
use super::reader::Reader;
use super::value::{self, Parsed};
use super::{
    Backoff, Config, Control, Dns, FailurePolicy, Health, Identity, LogFormat, Mode, Proxy,
    Redirect, structure,
};
use crate::labels::{self, Label};
use crate::names::GroupRef;

/// Longest `ShutdownGracePeriod`: the unit's `TimeoutStopSec` must stay above it.
const SHUTDOWN_GRACE_MAX: Duration = Duration::from_secs(300);

/// Most characters of all `Workload.Labels`, so that they fit into a message.
const LABELS_SIZE_MAX: usize = 8192;

pub(super) fn config(document: &Node) -> Result<Config, Problems> {
    let mut read = Reader::new(document, structure::problems(document));
    let config = whole(&mut read);
    match (Problems::some(read.into_problems()), config) {
        (None, Some(config)) => Ok(config),
        (Some(problems), _) => Err(problems),
        // A value is absent only where a problem was noted; this is for the day somebody breaks that.
        (None, None) => Err(Problem::new("file", None, "is incomplete", "report this").into()),
    }
}

fn whole(read: &mut Reader<'_>) -> Option<Config> {
    let group = group(read);
    let labels = labels(read);
    let control = control(read);
    let identity = identity(read);
    let redirect = redirect(read);
    let proxy = proxy(
        read,
        redirect.as_ref().is_some_and(|redirect| redirect.ipv6),
    );
    let admin_address = read.one(&key::ADMIN_ADDRESS, value::address);
    let allow_exec_probes = read.one(&key::ALLOW_EXEC_PROBES, value::boolean);
    let dns = dns(read);
    let log_level = read.one(&key::LOG_LEVEL, value::filter);
    let log_format = read.one(&key::LOG_FORMAT, log_format);
    if let (Some(proxy), Some(admin)) = (&proxy, admin_address) {
        distinct_ports(read, proxy, admin);
    }
    Some(Config {
        group: group?,
        labels: labels?,
        control: control?,
        identity: identity?,
        proxy: proxy?,
        redirect: redirect?,
        admin_address: admin_address?,
        health: Health {
            allow_exec_probes: allow_exec_probes?,
        },
        dns: dns?,
        log_level: log_level?,
        log_format: log_format?,
    })
}

fn group(read: &mut Reader<'_>) -> Option<GroupRef> {
    let name = read.one(&key::GROUP_NAME, value::group_name);
    let namespace = read.one(&key::GROUP_NAMESPACE, value::label);
    Some(GroupRef {
        namespace: namespace?,
        name: name?,
    })
}

/// A `Hello` that is too large would be refused whole.
fn labels(read: &mut Reader<'_>) -> Option<BTreeMap<String, String>> {
    let given = read.list(&key::WORKLOAD_LABELS, value::workload_label)?;
    let mut labels = BTreeMap::new();
    let mut size = 0;
    for Label { key, value } in &given {
        size += key.len() + value.len();
        if labels.insert(key.clone(), value.clone()).is_some() {
            read.note(&key::WORKLOAD_LABELS, format!("has `{key}` twice"));
        }
    }
    if labels.len() > labels::MOST {
        let wrong = format!("has {} labels; at most {}", labels.len(), labels::MOST);
        read.note(&key::WORKLOAD_LABELS, wrong);
    }
    if size > LABELS_SIZE_MAX {
        let wrong = format!("has {size} characters in all labels; at most {LABELS_SIZE_MAX}");
        read.note(&key::WORKLOAD_LABELS, wrong);
    }
    Some(labels)
}

fn control(read: &mut Reader<'_>) -> Option<Control> {
    let address = read.one(&key::CONTROL_ADDRESS, value::host_port);
    let server_id = read.one(&key::CONTROL_SERVER_ID, value::name);
    Some(Control {
        address: address?,
        server_id: server_id?,
    })
}

fn identity(read: &mut Reader<'_>) -> Option<Identity> {
    let spire_socket = read.one(&key::SPIRE_SOCKET, value::socket);
    let spiffe_id = read.one(&key::SPIFFE_ID, value::spiffe_id);
    let trust_anchors = read.one(&key::TRUST_ANCHORS, value::path);
    let backoff = backoff(read);
    Some(Identity {
        spire_socket: spire_socket?,
        spiffe_id,
        trust_anchors,
        backoff: backoff?,
    })
}

fn backoff(read: &mut Reader<'_>) -> Option<Backoff> {
    let min = read.one(&key::BACKOFF_MIN, value::duration);
    let max = read.one(&key::BACKOFF_MAX, value::duration);
    let jitter_percent = read.one(&key::BACKOFF_JITTER, value::percent);
    if min == Some(Duration::ZERO) {
        read.note(
            &key::BACKOFF_MIN,
            "would ask the SPIRE agent without a pause",
        );
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let wrong = format!("is more than Identity.Backoff.Max, {max:?}");
        read.note(&key::BACKOFF_MIN, wrong);
    }
    Some(Backoff {
        min: min?,
        max: max?,
        jitter_percent: jitter_percent?,
    })
}

fn redirect(read: &mut Reader<'_>) -> Option<Redirect> {
    let inbound_ports = read.list(&key::INBOUND_PORTS, value::port);
    let inbound_ignore = read.list(&key::INBOUND_IGNORE, value::port);
    let outbound_ignore = read.list(&key::OUTBOUND_IGNORE, value::port);
    let subnets_ignore = read.list(&key::SUBNETS_IGNORE, value::subnet);
    let subnets_redirect = read.list(&key::SUBNETS_REDIRECT, value::subnet);
    let ipv6 = read.one(&key::IPV6, value::boolean);
    let mode = read.one(&key::IPTABLES_MODE, mode);
    let failure_policy = read.one(&key::FAILURE_POLICY, failure_policy);
    Some(Redirect {
        inbound_ports: inbound_ports?,
        inbound_ignore: inbound_ignore?,
        outbound_ignore: outbound_ignore?,
        subnets_ignore: subnets_ignore?,
        subnets_redirect: subnets_redirect?,
        ipv6: ipv6?,
        mode: mode?,
        failure_policy: failure_policy?,
    })
}

fn proxy(read: &mut Reader<'_>, ipv6: bool) -> Option<Proxy> {
    let path = read.one(&key::PROXY_PATH, value::path);
    let user_id = read.one(&key::PROXY_USER_ID, value::user_id);
    let inbound_listen = read.one(&key::INBOUND_LISTEN, value::address);
    let outbound_listen = read.list(&key::OUTBOUND_LISTEN, value::address);
    let admin_listen = read.one(&key::PROXY_ADMIN, value::address);
    let log_level = read.one(&key::PROXY_LOG_LEVEL, value::filter);
    let shutdown_grace = read.one(&key::SHUTDOWN_GRACE, value::duration);
    let advertise = read.list(&key::ADVERTISE, value::ip);
    if let Some(inbound) = inbound_listen {
        inbound_family(read, inbound, ipv6);
    }
    if let Some(outbound) = &outbound_listen {
        outbound_families(read, outbound, ipv6);
    }
    if shutdown_grace.is_some_and(|grace| grace > SHUTDOWN_GRACE_MAX) {
        read.note(
            &key::SHUTDOWN_GRACE,
            "is more than 5m, after which systemd stops waiting",
        );
    }
    Some(Proxy {
        path: path?,
        user_id,
        inbound_listen: inbound_listen?,
        outbound_listen: outbound_listen?,
        admin_listen: admin_listen?,
        log_level: log_level?,
        shutdown_grace: shutdown_grace?,
        advertise: advertise?,
    })
}

/// What is redirected over a family needs a listener of that family. `[::]` takes IPv4 too.
fn inbound_family(read: &mut Reader<'_>, inbound: SocketAddr, ipv6: bool) {
    match (inbound.is_ipv6(), ipv6) {
        (true, false) => read.note(&key::INBOUND_LISTEN, NOT_IPV6),
        (false, true) => {
            let wrong = "takes IPv4 only, but IPv6 is true; [::] takes both";
            read.note(&key::INBOUND_LISTEN, wrong);
        }
        (true, true) | (false, false) => {}
    }
}

fn outbound_families(read: &mut Reader<'_>, outbound: &[SocketAddr], ipv6: bool) {
    let of_ipv6 = outbound.iter().filter(|address| address.is_ipv6()).count();
    let of_ipv4 = outbound.len() - of_ipv6;
    if of_ipv4 > 1 || of_ipv6 > 1 {
        read.note(&key::OUTBOUND_LISTEN, "has two addresses of one family");
    }
    if of_ipv6 > 0 && !ipv6 {
        read.note(&key::OUTBOUND_LISTEN, NOT_IPV6);
    }
    if of_ipv4 > 0 && of_ipv6 == 0 && ipv6 {
        let wrong = "has no IPv6 address, but IPv6 is true; add one, for example [::1]:4140";
        read.note(&key::OUTBOUND_LISTEN, wrong);
    }
    if of_ipv4 == 0 && of_ipv6 > 0 {
        let wrong = "has no IPv4 address; add one, for example 127.0.0.1:4140";
        read.note(&key::OUTBOUND_LISTEN, wrong);
    }
    if outbound.is_empty() {
        let wrong = "is an empty list; remove it for the default, or name an address";
        read.note(&key::OUTBOUND_LISTEN, wrong);
    }
}

const NOT_IPV6: &str = "holds an IPv6 address, but IPv6 is false";

/// Ports are what redirection tells listeners apart by, so addresses of their own do not help.
fn distinct_ports(read: &mut Reader<'_>, proxy: &Proxy, admin: SocketAddr) {
    let mut taken: Vec<(u16, &super::Key)> =
        vec![(proxy.inbound_listen.port(), &key::INBOUND_LISTEN)];
    let outbound = proxy.outbound_listen.iter().map(SocketAddr::port);
    let rest = outbound
        .map(|port| (port, &key::OUTBOUND_LISTEN))
        .chain([(proxy.admin_listen.port(), &key::PROXY_ADMIN)])
        .chain([(admin.port(), &key::ADMIN_ADDRESS)]);
    for (port, owner) in rest {
        let other = taken
            .iter()
            .find(|(used, other)| *used == port && *other != owner)
            .map(|(_, other)| other.path);
        if let Some(other) = other {
            read.note(owner, format!("uses port {port}, as {other} does"));
        }
        taken.push((port, owner));
    }
}

fn dns(read: &mut Reader<'_>) -> Option<Dns> {
    let min_ttl = read.one(&key::DNS_MIN_TTL, value::duration);
    let max_ttl = read.one(&key::DNS_MAX_TTL, value::duration);
    if let (Some(min), Some(max)) = (min_ttl, max_ttl)
        && min > max
    {
        read.note(
            &key::DNS_MIN_TTL,
            format!("is more than Dns.MaxTTL, {max:?}"),
        );
    }
    read.one(&key::RESOLV_CONF, resolv_conf);
    Some(Dns {
        min_ttl: min_ttl?,
        max_ttl: max_ttl?,
    })
}

fn resolv_conf(text: &str) -> Parsed<()> {
    if text == "/etc/resolv.conf" {
        return Ok(());
    }
    Err("cannot be followed: the proxy reads /etc/resolv.conf and nothing else".to_owned())
}

fn mode(text: &str) -> Parsed<Mode> {
    match text {
        "auto" => Ok(Mode::Auto),
        "nft" => Ok(Mode::Nft),
        "legacy" => Ok(Mode::Legacy),
        "nftables" => Ok(Mode::Nftables),
        _ => Err("is not auto, nft, legacy or nftables".to_owned()),
    }
}

fn failure_policy(text: &str) -> Parsed<FailurePolicy> {
    match text {
        "open" => Ok(FailurePolicy::Open),
        "closed" => Ok(FailurePolicy::Closed),
        _ => Err("is not open or closed".to_owned()),
    }
}

fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "plain" => Ok(LogFormat::Plain),
        "json" => Ok(LogFormat::Json),
        _ => Err("is not plain or json".to_owned()),
    }
}
