//! Every annotation by which Linkerd's injector sets a pod's proxy, from stable-2.14 to edge-26.8, and what it does for a
//! VM. `docs/annotations.md` shows this table; a test keeps the two equal.

/// Ports on which protocols are not detected.
pub const OPAQUE_PORTS: &str = crate::manifests::OPAQUE_PORTS;
/// Policy of a port for which nothing else is said.
pub const DEFAULT_INBOUND_POLICY: &str = crate::manifests::DEFAULT_INBOUND_POLICY;
/// Ports on which clients must have an identity.
pub const REQUIRE_IDENTITY: &str = "config.linkerd.io/proxy-require-identity-inbound-ports";
/// Further variables of the proxy, as JSON.
pub const ADDITIONAL_ENV: &str = "config.linkerd.io/proxy-additional-env";
/// Before the name of an attribute of traces.
pub const TRACE_ATTRIBUTE: &str = "resource.opentelemetry.io/";

/// Before the names of annotations that a namespace may hand down. Nothing else of a namespace is looked at.
pub const PREFIXES: [&str; 4] = [
    "config.linkerd.io/",
    "config.alpha.linkerd.io/",
    "config.beta.linkerd.io/",
    "linkerd.io/",
];

/// One annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Name, with its prefix.
    pub name: &'static str,
    /// Whether it counts on a namespace too. Linkerd's injector hands down a fixed list, which not all are on.
    pub inherited: bool,
    /// What it does for a VM.
    pub effect: Effect,
}

/// What an annotation does for a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Sets something.
    Sets(Setting),
    /// Nothing, and why.
    Nothing(&'static str),
}

/// What an annotation can set for a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Format of the access log.
    AccessLog,
    /// Any variable that the mesh may set.
    AdditionalEnv,
    /// Most threads.
    CpuLimit,
    /// Most threads, as a share of the machine's CPUs.
    CpuRatioLimit,
    /// Fewest threads.
    CpuRequest,
    /// Policy of a port for which nothing else is said.
    DefaultInboundPolicy,
    /// Whether profiles are asked for of names outside of the cluster.
    ExternalProfiles,
    /// Whether metrics have the hostname.
    HostnameLabels,
    /// How long a connection to the application may take.
    InboundConnectTimeout,
    /// Whether protocols of clients are waited for without an end.
    InboundDetectForever,
    /// How long unused policy is kept.
    InboundDiscoveryIdle,
    /// Filter of the log.
    LogLevel,
    /// Ports without detection of protocols.
    OpaquePorts,
    /// How long a connection to a peer may take.
    OutboundConnectTimeout,
    /// Whether protocols of the application are waited for without an end.
    OutboundDetectForever,
    /// How long an unused destination is kept.
    OutboundDiscoveryIdle,
    /// Ports on which clients must have an identity.
    RequireIdentity,
    /// An attribute of traces.
    TraceAttribute,
}

const PORTS: &str = "the host's configuration says where the proxy listens";
const RULES: &str = "what is not redirected is said on the host, which alone knows what runs there";
const CONTAINER: &str = "it is about a container, and a VM has none";
const PACKAGE: &str = "the proxy comes with the package of the VM";
const RESOURCES: &str = "systemd limits what the unit may use";
const JAEGER: &str =
    "it is read by the injector of linkerd-jaeger, which knows its collector; set proxy.tracing";

/// All of them, in the order of their names.
pub const ALL: &[Annotation] = &[
    nothing(
        "config.alpha.linkerd.io/proxy-enable-native-sidecar",
        CONTAINER,
    ),
    nothing(
        "config.alpha.linkerd.io/proxy-wait-before-exit-seconds",
        "the harness waits until peers have taken the VM out",
    ),
    nothing(
        "config.alpha.linkerd.io/trace-collector-service-account",
        JAEGER,
    ),
    nothing(
        "config.beta.linkerd.io/proxy-enable-native-sidecar",
        CONTAINER,
    ),
    inherited("config.linkerd.io/access-log", Setting::AccessLog),
    nothing("config.linkerd.io/admin-port", PORTS),
    nothing(
        "config.linkerd.io/close-wait-timeout",
        "connection tracking is the host's, for all that runs there",
    ),
    nothing(
        "config.linkerd.io/control-port",
        "a VM's proxy has no tap, and so no port for it",
    ),
    nothing("config.linkerd.io/debug-image", CONTAINER),
    nothing("config.linkerd.io/debug-image-pull-policy", CONTAINER),
    nothing("config.linkerd.io/debug-image-version", CONTAINER),
    inherited(DEFAULT_INBOUND_POLICY, Setting::DefaultInboundPolicy),
    nothing("config.linkerd.io/enable-debug-sidecar", CONTAINER),
    inherited(
        "config.linkerd.io/enable-external-profiles",
        Setting::ExternalProfiles,
    ),
    nothing(
        "config.linkerd.io/enable-gateway",
        "it would forward what others send, under the identity of the VM",
    ),
    nothing("config.linkerd.io/image-pull-policy", CONTAINER),
    nothing("config.linkerd.io/inbound-port", PORTS),
    nothing("config.linkerd.io/init-image", CONTAINER),
    nothing("config.linkerd.io/init-image-version", CONTAINER),
    inherited(OPAQUE_PORTS, Setting::OpaquePorts),
    nothing("config.linkerd.io/outbound-port", PORTS),
    nothing(
        "config.linkerd.io/pod-inbound-ports",
        "the ports of the group's template are meant",
    ),
    inherited(ADDITIONAL_ENV, Setting::AdditionalEnv),
    nothing(
        "config.linkerd.io/proxy-admin-shutdown",
        "the harness ends the proxy; every user of the host could use that endpoint",
    ),
    nothing(
        "config.linkerd.io/proxy-await",
        "units wait with `harnessctl wait --for=meshed`",
    ),
    inherited("config.linkerd.io/proxy-cpu-limit", Setting::CpuLimit),
    own(
        "config.linkerd.io/proxy-cpu-ratio-limit",
        Setting::CpuRatioLimit,
    ),
    inherited("config.linkerd.io/proxy-cpu-request", Setting::CpuRequest),
    inherited(
        "config.linkerd.io/proxy-disable-inbound-protocol-detect-timeout",
        Setting::InboundDetectForever,
    ),
    inherited(
        "config.linkerd.io/proxy-disable-outbound-protocol-detect-timeout",
        Setting::OutboundDetectForever,
    ),
    nothing("config.linkerd.io/proxy-enable-native-sidecar", CONTAINER),
    nothing("config.linkerd.io/proxy-ephemeral-storage-limit", RESOURCES),
    nothing(
        "config.linkerd.io/proxy-ephemeral-storage-request",
        RESOURCES,
    ),
    nothing(
        "config.linkerd.io/proxy-gid",
        "the unit says who the proxy runs as",
    ),
    nothing("config.linkerd.io/proxy-image", PACKAGE),
    inherited(
        "config.linkerd.io/proxy-inbound-connect-timeout",
        Setting::InboundConnectTimeout,
    ),
    inherited(
        "config.linkerd.io/proxy-inbound-discovery-cache-unused-timeout",
        Setting::InboundDiscoveryIdle,
    ),
    nothing(
        "config.linkerd.io/proxy-log-format",
        "the harness reads the proxy's log and writes it in the format of its own",
    ),
    nothing(
        "config.linkerd.io/proxy-log-http-headers",
        "headers hold people's tokens, and are never in the log of a VM",
    ),
    inherited("config.linkerd.io/proxy-log-level", Setting::LogLevel),
    nothing("config.linkerd.io/proxy-memory-limit", RESOURCES),
    nothing("config.linkerd.io/proxy-memory-request", RESOURCES),
    inherited(
        "config.linkerd.io/proxy-metrics-hostname-labels",
        Setting::HostnameLabels,
    ),
    inherited(
        "config.linkerd.io/proxy-outbound-connect-timeout",
        Setting::OutboundConnectTimeout,
    ),
    inherited(
        "config.linkerd.io/proxy-outbound-discovery-cache-unused-timeout",
        Setting::OutboundDiscoveryIdle,
    ),
    inherited(REQUIRE_IDENTITY, Setting::RequireIdentity),
    nothing(
        "config.linkerd.io/proxy-uid",
        "the unit says who the proxy runs as",
    ),
    nothing("config.linkerd.io/proxy-version", PACKAGE),
    nothing(
        "config.linkerd.io/shutdown-grace-period",
        "it has to fit what systemd grants, so the host's configuration says it",
    ),
    nothing("config.linkerd.io/skip-inbound-ports", RULES),
    nothing("config.linkerd.io/skip-outbound-ports", RULES),
    nothing("config.linkerd.io/skip-subnets", RULES),
    nothing("config.linkerd.io/trace-collector", JAEGER),
    nothing(
        "linkerd.io/inject",
        "a VM is in the mesh by registering; ingress mode is for ingress controllers",
    ),
    own("resource.opentelemetry.io/*", Setting::TraceAttribute),
];

const fn inherited(name: &'static str, setting: Setting) -> Annotation {
    Annotation {
        name,
        inherited: true,
        effect: Effect::Sets(setting),
    }
}

const fn own(name: &'static str, setting: Setting) -> Annotation {
    Annotation {
        name,
        inherited: false,
        effect: Effect::Sets(setting),
    }
}

const fn nothing(name: &'static str, why: &'static str) -> Annotation {
    Annotation {
        name,
        inherited: false,
        effect: Effect::Nothing(why),
    }
}

// === impl Annotation ===

impl Annotation {
    /// What of the proxy it sets: variables, or fields of the assignment.
    pub fn of_proxy(&self) -> &'static [&'static str] {
        match self.effect {
            Effect::Sets(setting) => setting.of_proxy(),
            Effect::Nothing(_) => &[],
        }
    }

    /// Whether it stands on the `ExternalWorkload` for Linkerd's controllers to read.
    pub fn of_workload(&self) -> bool {
        matches!(
            self.effect,
            Effect::Sets(
                Setting::DefaultInboundPolicy | Setting::OpaquePorts | Setting::RequireIdentity
            )
        )
    }
}

// === impl Setting ===

impl Setting {
    fn of_proxy(self) -> &'static [&'static str] {
        match self {
            Self::AccessLog => &["LINKERD2_PROXY_ACCESS_LOG"],
            Self::AdditionalEnv | Self::RequireIdentity => &[],
            Self::CpuLimit => &["LINKERD2_PROXY_CORES_MAX"],
            Self::CpuRatioLimit => &["LINKERD2_PROXY_CORES_MAX_RATIO"],
            Self::CpuRequest => &["LINKERD2_PROXY_CORES", "LINKERD2_PROXY_CORES_MIN"],
            Self::DefaultInboundPolicy => &["LINKERD2_PROXY_INBOUND_DEFAULT_POLICY"],
            Self::ExternalProfiles => &["LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES"],
            Self::HostnameLabels => &["LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS"],
            Self::InboundConnectTimeout => &["LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT"],
            Self::InboundDetectForever => &["LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT"],
            Self::InboundDiscoveryIdle => &["LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT"],
            Self::LogLevel => &["LINKERD2_PROXY_LOG"],
            Self::OpaquePorts => &["LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"],
            Self::OutboundConnectTimeout => &["LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT"],
            Self::OutboundDetectForever => &["LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT"],
            Self::OutboundDiscoveryIdle => &["LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT"],
            Self::TraceAttribute => &["LINKERD2_PROXY_TRACE_EXTRA_ATTRIBUTES"],
        }
    }
}

#[cfg(test)]
mod tests;
