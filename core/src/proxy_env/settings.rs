//! The variables, group by group.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::json;

use super::grammar::is_plaintext;
use super::{DEFAULT_LOG, Grammar, Inputs, Variables, duration};
use crate::assignment::Endpoint;

/// What pods get from Linkerd's injector, and what differs for a VM on purpose.
const FIXED: &[(&str, &str)] = &[
    // Without these a half-dead control stream is noticed by TCP only. Initial <= idle <= lifetime, or exit 64.
    ("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
    ("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", "5m"),
    ("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", "1h"),
    ("LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
    ("LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE", "10000ms"),
    ("LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT", "30s"),
    ("LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT", "30s"),
    // Interval and timeout: both or neither.
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL",
        "10s",
    ),
    (
        "LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT",
        "3s",
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL",
        "10s",
    ),
    (
        "LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT",
        "3s",
    ),
    ("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", "100ms"),
    // Also bounds connections to the control plane, TLS handshake included.
    ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "1000ms"),
    ("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", "90s"),
    ("LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "5s"),
    // Not as pods, which wait up to 60 s: it also paces the return to the control plane after an outage. Measured
    // after 30 s of absence: everything back in 1.3 s with 2 s, in up to a minute with 60 s. All three or none.
    ("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "100ms"),
    ("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MAX", "2s"),
    ("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_JITTER", "0.1"),
    ("LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS", "false"),
    ("LINKERD2_PROXY_CORES", "1"),
    // The harness reads levels from the plain format and writes the lines in the format of its own log.
    ("LINKERD2_PROXY_LOG_FORMAT", "plain"),
    // We stop it by signal; the endpoint would let every local process do so.
    ("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED", "false"),
];

/// Keeps request headers, and with them people's tokens, out of the log at debug level; as the injector does.
const WITHOUT_HEADERS: &str = ",[{headers}]=off,[{request}]=off";

pub(super) fn fixed(variables: &mut Variables) {
    for (name, value) in FIXED {
        variables.set(name, *value);
    }
}

/// Who the proxy is, and whom it trusts.
pub(super) fn identity(inputs: &Inputs<'_>, variables: &mut Variables) {
    let (workload, proxy) = (&inputs.assignment.workload, &inputs.assignment.proxy);
    let socket = format!("unix://{}", inputs.config.identity.spire_socket.display());
    // Proxies before v2.304 read only the second name; later ones warn about it only when the first is missing.
    variables.set(
        "LINKERD2_PROXY_IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
        socket.as_str(),
    );
    variables.set("LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET", socket);
    variables.set_checked(
        "LINKERD2_PROXY_IDENTITY_SERVER_ID",
        Grammar::SpiffeId,
        "identity",
        inputs.spiffe_id,
    );
    variables.set_checked(
        "LINKERD2_PROXY_IDENTITY_SERVER_NAME",
        Grammar::Name,
        "server name",
        &workload.server_name,
    );
    if !proxy
        .trust_anchors_pem
        .contains("-----BEGIN CERTIFICATE-----")
    {
        variables.problem("the trust anchors hold no certificate");
    }
    variables.set(
        "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS",
        proxy.trust_anchors_pem.as_str(),
    );
}

/// Where the control plane is, and what the proxy asks it for.
pub(super) fn control_plane(inputs: &Inputs<'_>, variables: &mut Variables) {
    let (workload, proxy) = (&inputs.assignment.workload, &inputs.assignment.proxy);
    service("DESTINATION", &proxy.destination, variables);
    service("POLICY", &proxy.policy, variables);
    // Without the `nodeName` that a pod has here: a VM is on no Kubernetes node. The destination controller would keep the
    // endpoints of each service once more for each name, and take a VM that is named like a node for one that is on it.
    variables.set(
        "LINKERD2_PROXY_DESTINATION_CONTEXT",
        json!({ "ns": workload.namespace }).to_string(),
    );
    // A mistake here is not retried by the proxy: the port would keep the default policy for good.
    variables.set(
        "LINKERD2_PROXY_POLICY_WORKLOAD",
        json!({ "ns": workload.namespace, "external_workload": workload.name }).to_string(),
    );
    let domain = proxy.cluster_domain.trim_end_matches('.');
    if !Grammar::Name.accepts(domain) {
        variables.problem(format!(
            "cluster domain `{domain}` is not {}",
            Grammar::Name
        ));
    }
    variables.set(
        "LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES",
        format!("svc.{domain}."),
    );
    let networks: BTreeSet<String> = proxy
        .cluster_networks
        .iter()
        .map(ToString::to_string)
        .collect();
    if networks.is_empty() {
        // With no profile networks the proxy looks no address up, and sends straight to it in plaintext.
        variables.problem(
            "the cluster networks are empty, so traffic to addresses would go without mTLS",
        );
    }
    let networks = join(networks);
    variables.set("LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", networks.as_str());
    variables.set("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", networks);
}

fn service(name: &str, endpoint: &Endpoint, variables: &mut Variables) {
    let address = endpoint.addr.to_string();
    if is_plaintext(&endpoint.addr) {
        variables.problem(format!(
            "control plane address `{address}` is this host, which the proxy would trust without TLS"
        ));
    }
    variables.set_checked(
        &format!("LINKERD2_PROXY_{name}_SVC_ADDR"),
        Grammar::Address,
        "control plane address",
        &address,
    );
    variables.set_checked(
        &format!("LINKERD2_PROXY_{name}_SVC_NAME"),
        Grammar::Name,
        "control plane identity",
        &endpoint.identity,
    );
}

/// What is let in, and how it is treated until the policy controller has answered.
pub(super) fn inbound(inputs: &Inputs<'_>, variables: &mut Variables) {
    let (workload, proxy) = (&inputs.assignment.workload, &inputs.assignment.proxy);
    // It serves the first connection of each unlisted port, so it is chosen as if it were the policy.
    variables.set_checked(
        "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY",
        Grammar::Policy,
        "default inbound policy",
        &proxy.default_inbound_policy,
    );
    let ports: BTreeSet<u16> = workload.ports.iter().map(|port| port.port).collect();
    variables.set("LINKERD2_PROXY_INBOUND_PORTS", join(ports));
    variables.set_checked(
        "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION",
        Grammar::Ports,
        "opaque ports",
        &proxy.opaque_ports,
    );
    let addresses = inbound_addresses(inputs);
    if addresses.is_empty() {
        variables.problem("neither this host nor the workload has an address");
    }
    variables.set("LINKERD2_PROXY_INBOUND_IPS", join(addresses));
}

/// Every address that a packet for this host can carry. A connection to any other is reset by the proxy.
///
/// Both the interfaces' and the workload's: behind a cloud's NAT the packets carry the private address while the mesh
/// knows the public one. Loopback never arrives through the redirection.
fn inbound_addresses(inputs: &Inputs<'_>) -> BTreeSet<IpAddr> {
    let advertised = &inputs.config.proxy.advertise;
    let all = inputs
        .host_addresses
        .iter()
        .chain(&inputs.assignment.workload.ips)
        .chain(advertised);
    all.map(IpAddr::to_canonical)
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast())
        .collect()
}

/// Where the proxy listens, what it logs, how it ends.
pub(super) fn process(inputs: &Inputs<'_>, variables: &mut Variables) {
    let (proxy, dns) = (&inputs.config.proxy, &inputs.config.dns);
    variables.set(
        "LINKERD2_PROXY_INBOUND_LISTEN_ADDR",
        proxy.inbound_listen.to_string(),
    );
    variables.set(
        "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS",
        join(&proxy.outbound_listen),
    );
    variables.set(
        "LINKERD2_PROXY_ADMIN_LISTEN_ADDR",
        proxy.admin_listen.to_string(),
    );
    variables.set(
        "LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD",
        duration(proxy.shutdown_grace),
    );
    variables.set("LINKERD2_PROXY_DNS_MIN_TTL", duration(dns.min_ttl));
    variables.set("LINKERD2_PROXY_DNS_MAX_TTL", duration(dns.max_ttl));
    // Names this host in traces.
    variables.set("HOSTNAME", inputs.hostname);
    variables.set("LINKERD2_PROXY_LOG", log(inputs));
}

/// A filter that the host's operator set wins over the mesh's.
fn log(inputs: &Inputs<'_>) -> String {
    let host = inputs.config.proxy.log_level.as_str();
    let mesh = inputs.assignment.proxy.extra_env.get("LINKERD2_PROXY_LOG");
    let filter = match mesh {
        Some(mesh) if host == DEFAULT_LOG && Grammar::Text.accepts(mesh) => mesh,
        _ => host,
    };
    format!(
        "{}{WITHOUT_HEADERS}",
        filter.trim_end_matches(WITHOUT_HEADERS)
    )
}

/// A list as the proxy reads it: commas, no blanks.
fn join<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(",")
}
