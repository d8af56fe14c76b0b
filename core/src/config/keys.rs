//! The table of all keys.

use super::key::{Fallback, Key, Kind};

use Fallback::{ByFamily, Computed, Required, Value};

macro_rules! keys {
    ($($(#[doc = $doc:literal])* $name:ident = $key:expr;)*) => {
        $($(#[doc = $doc])* pub(super) static $name: Key = $key;)*

        /// Every key, in the order of help and documents.
        pub static KEYS: &[&Key] = &[$(&$name),*];
    };
}

keys! {
    GROUP_NAME = Key::new("WorkloadGroup.Name", "workload-group-name", Kind::Label, Required,
        "ExternalGroup that this machine joins");
    GROUP_NAMESPACE = Key::new("WorkloadGroup.Namespace", "workload-group-namespace", Kind::Label, Required,
        "Kubernetes namespace of the ExternalGroup");
    WORKLOAD_LABELS = Key::new("Workload.Labels", "workload-labels", Kind::Pair, Value(""),
        "Labels that this machine asks for; the group must allow their keys, but for topology.kubernetes.io/zone")
        .list();
    CONTROL_ADDRESS = Key::new("Control.Address", "control-plane-address", Kind::HostPort, Required,
        "Where autoregistration is reached");
    CONTROL_SERVER_ID = Key::new("Control.ServerId", "control-plane-identity", Kind::Name, Required,
        "Name that autoregistration's certificate must carry");
    SPIRE_SOCKET = Key::new("Identity.SpireSocketAddress", "identity-spire-socket-address", Kind::Path,
        Value("/tmp/spire-agent/public/api.sock"),
        "Workload API socket of the SPIRE agent, a path or unix:///path");
    SPIFFE_ID = Key::new("Identity.SpiffeId", "identity-spiffe-id", Kind::SpiffeId,
        Computed("the first that SPIRE gives"), "Which identity to use when SPIRE gives several");
    TRUST_ANCHORS = Key::new("Identity.TrustAnchors", "identity-trust-anchors", Kind::Path,
        Computed("SPIRE's bundle"), "PEM file with the certificates that sign the control plane");
    BACKOFF_MIN = Key::new("Identity.Backoff.Min", "identity-backoff-min", Kind::Duration, Value("100ms"),
        "First wait before asking the SPIRE agent again");
    BACKOFF_MAX = Key::new("Identity.Backoff.Max", "identity-backoff-max", Kind::Duration, Value("1s"),
        "Longest wait before asking the SPIRE agent again");
    BACKOFF_JITTER = Key::new("Identity.Backoff.Jitter", "identity-backoff-jitter", Kind::Fraction, Value("0.1"),
        "Share of each wait that is random");
    PROXY_PATH = Key::new("ProxyPath", "proxy-path", Kind::Path, Value("/var/lib/linkerd/bin/linkerd2-proxy"),
        "Linkerd's proxy, the program");
    PROXY_USER_ID = Key::new("ProxyUserID", "proxy-user-id", Kind::UserId,
        Computed("uid of the user proxyharness"), "User of the proxy; what it sends is not redirected");
    INBOUND_LISTEN = Key::new("InboundListenAddress", "inbound-listen-address", Kind::Address,
        ByFamily { ipv4: "0.0.0.0:4143", both: "[::]:4143" }, "Where the proxy takes inbound connections");
    OUTBOUND_LISTEN = Key::new("OutboundListenAddresses", "outbound-listen-addresses", Kind::Address,
        ByFamily { ipv4: "127.0.0.1:4140", both: "127.0.0.1:4140,[::1]:4140" },
        "Where the proxy takes outbound connections, at most one address a family")
        .list().once_named("OutboundListenAddress");
    PROXY_ADMIN = Key::new("ProxyAdminAddress", "proxy-admin-address", Kind::Address, Value("127.0.0.1:4191"),
        "Where the proxy serves its metrics and readiness");
    PROXY_LOG_LEVEL = Key::new("ProxyLogLevel", "proxy-log-level", Kind::Filter,
        Value("warn,linkerd=info,hickory=error"), "Log filter of the proxy");
    SHUTDOWN_GRACE = Key::new("ShutdownGracePeriod", "shutdown-grace-period", Kind::Duration, Value("30s"),
        "How long open connections may finish when the proxy stops, at most 5m");
    ADVERTISE = Key::new("AdvertiseAddresses", "advertise-addresses", Kind::Ip,
        Computed("that of the route to the control plane"), "Addresses under which the mesh reaches this machine")
        .list();
    INBOUND_PORTS = Key::new("PortsToRedirect", "ports-to-redirect", Kind::Port, Value(""),
        "Inbound ports that go through the proxy; none means all").list();
    INBOUND_IGNORE = Key::new("InboundPortsToIgnore", "inbound-ports-to-ignore", Kind::Port, Value("4567,4568"),
        "Inbound ports that never go through the proxy; wins over PortsToRedirect").list();
    OUTBOUND_IGNORE = Key::new("OutboundPortsToIgnore", "outbound-ports-to-ignore", Kind::Port,
        Value("4567,4568"), "Outbound ports that never go through the proxy").list();
    SUBNETS_IGNORE = Key::new("SubnetsToIgnore", "subnets-to-ignore", Kind::Subnet, Value(""),
        "Networks left alone: inbound by source, outbound by destination; wins over SubnetsToRedirect").list();
    SUBNETS_REDIRECT = Key::new("SubnetsToRedirect", "subnets-to-redirect", Kind::Subnet, Value(""),
        "Outbound destinations that go through the proxy; none means all").list();
    IPV6 = Key::new("IPv6", "ipv6", Kind::Bool, Value("false"), "Redirect IPv6 too");
    IPTABLES_MODE = Key::new("IPTablesMode", "iptables-mode", Kind::Choice(&["auto", "nft", "legacy", "nftables"]),
        Value("auto"), "Firewall backend; auto is the one that the host already uses");
    FAILURE_POLICY = Key::new("FailurePolicy", "failure-policy", Kind::Choice(&["open", "closed"]),
        Value("open"), "While the proxy cannot serve: open lets traffic pass un-meshed, closed refuses new connections");
    ADMIN_ADDRESS = Key::new("AdminAddress", "admin-address", Kind::Address, Value("127.0.0.1:4192"),
        "Where the harness serves /live, /ready, /metrics and /status");
    ALLOW_EXEC_PROBES = Key::new("Health.AllowExecProbes", "health-allow-exec-probes", Kind::Bool, Value("false"),
        "Whether the group's exec probes may run programs here; whoever edits the group then acts as the proxy's user");
    DNS_MIN_TTL = Key::new("Dns.MinTTL", "dns-min-ttl", Kind::Duration, Value("10s"),
        "Least time for which the proxy keeps a DNS answer");
    DNS_MAX_TTL = Key::new("Dns.MaxTTL", "dns-max-ttl", Kind::Duration, Value("10m"),
        "Most time for which the proxy keeps a DNS answer");
    RESOLV_CONF = Key::new("Dns.ResolvConfPath", "dns-resolv-conf-path", Kind::Choice(&["/etc/resolv.conf"]), Value("/etc/resolv.conf"),
        "Accepted for files of the commercial harness; the proxy reads /etc/resolv.conf only");
    LOG_LEVEL = Key::new("LogLevel", "log-level", Kind::Filter, Value("info"),
        "Log filter of the harness, for example info,identity=debug");
    LOG_FORMAT = Key::new("LogFormat", "log-format", Kind::Choice(&["plain", "json"]), Value("plain"),
        "Log lines as text or as JSON");
}
