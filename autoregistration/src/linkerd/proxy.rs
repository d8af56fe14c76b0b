//! How a proxy is set: what `linkerd-config` says under `proxy`, over which annotations go; and the variables that come
//! of it, as Linkerd's chart makes them for pods.

use std::collections::BTreeMap;

use linkerd_harness_core::proxy_env::DEFAULT_LOG;

use super::environment::Variables;

/// The chart's: server-speaks-first protocols.
pub(super) const OPAQUE_PORTS: &str = "25,587,3306,4444,5432,6379,9300,11211";
/// The chart's.
pub(super) const INBOUND_POLICY: &str = "all-unauthenticated";
/// What the chart writes for a protocol detection that never ends.
const FOR_EVER: &str = "365d";

/// How a proxy is set. What is `None` or absent is left to the harness, whose values are the chart's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Policy of a port for which nothing else is said.
    pub default_inbound_policy: String,
    /// Ports without detection of protocols.
    pub opaque_ports: String,
    /// Connections from peers to the application.
    pub inbound: Side,
    /// Connections from the application to peers.
    pub outbound: Side,
    /// Threads.
    pub workers: Workers,
    /// Format of the access log.
    pub access_log: Option<String>,
    /// Filter of the log.
    pub log_level: Option<String>,
    /// Whether metrics have the hostname.
    pub hostname_labels: Option<bool>,
    /// Whether profiles are asked for of every name.
    pub external_profiles: bool,
    /// Where traces go.
    pub tracing: Option<Tracing>,
    /// Variables that are named in full, such as limits of control streams and of HTTP/2.
    pub named: BTreeMap<String, String>,
    /// `additionalEnv`: over everything above.
    pub additional_env: BTreeMap<String, String>,
    /// `experimentalEnv`: over everything.
    pub experimental_env: BTreeMap<String, String>,
}

/// One side of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// How long a connection may take.
    pub connect_timeout: Option<String>,
    /// How long an unused answer of the control plane is kept.
    pub discovery_idle_timeout: Option<String>,
    /// Whether a protocol is waited for without an end.
    pub detect_forever: bool,
}

/// Threads of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// The setting of old charts, which overrules the others.
    pub cores: Option<u32>,
    /// At least.
    pub minimum: Option<u32>,
    /// At most.
    pub maximum: Option<u32>,
    /// At most, as a share of the machine's CPUs.
    pub maximum_ratio: Option<String>,
}

/// Where traces go, and what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracing {
    /// Name of the service that traces are of.
    pub service_name: Option<String>,
    /// Address of the collector.
    pub collector: String,
    /// Service account of the collector.
    pub account: String,
    /// Namespace of that account.
    pub account_namespace: String,
    /// Attributes of every trace.
    pub attributes: BTreeMap<String, String>,
}

// === impl Proxy ===

impl Proxy {
    /// Nothing is said but what a proxy cannot be without.
    pub(super) fn new(default_inbound_policy: String) -> Self {
        Self {
            default_inbound_policy,
            opaque_ports: OPAQUE_PORTS.to_owned(),
            inbound: Side::default(),
            outbound: Side::default(),
            workers: Workers::default(),
            access_log: None,
            log_level: None,
            hostname_labels: None,
            external_profiles: false,
            tracing: None,
            named: BTreeMap::new(),
            additional_env: BTreeMap::new(),
            experimental_env: BTreeMap::new(),
        }
    }

    /// The variables for which an assignment has no field of its own. `identity` makes the name of a service account.
    pub(super) fn variables(&self, identity: impl Fn(&str, &str) -> String) -> Variables {
        let mut variables = self.named.clone();
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                variables.insert(format!("LINKERD2_PROXY_{name}"), value);
            }
        };
        for (side, name) in [(&self.inbound, "INBOUND"), (&self.outbound, "OUTBOUND")] {
            set(
                &format!("{name}_CONNECT_TIMEOUT"),
                side.connect_timeout.clone(),
            );
            set(
                &format!("{name}_DISCOVERY_IDLE_TIMEOUT"),
                side.discovery_idle_timeout.clone(),
            );
            set(
                &format!("{name}_DETECT_TIMEOUT"),
                side.detect_forever.then(|| FOR_EVER.to_owned()),
            );
        }
        for (name, value) in self.workers.variables() {
            set(name, value);
        }
        set("ACCESS_LOG", self.access_log.clone());
        // What everybody has by default is no wish of the mesh's: a host with a filter of its own would be told at each
        // start of its proxy that the mesh wants another.
        let log = self.log_level.clone().filter(|log| log != DEFAULT_LOG);
        set("LOG", log);
        let labels = self.hostname_labels.map(|on| on.to_string());
        set("OUTBOUND_METRICS_HOSTNAME_LABELS", labels);
        // The harness makes that of the cluster's domain itself.
        let every_name = self.external_profiles.then(|| ".".to_owned());
        set("DESTINATION_PROFILE_SUFFIXES", every_name);
        if let Some(tracing) = &self.tracing {
            let name = identity(&tracing.account, &tracing.account_namespace);
            set("TRACE_COLLECTOR_SVC_ADDR", Some(tracing.collector.clone()));
            set("TRACE_COLLECTOR_SVC_NAME", Some(name));
            set("TRACE_SERVICE_NAME", tracing.service_name.clone());
            set("TRACE_EXTRA_ATTRIBUTES", tracing.attributes());
        }
        variables.extend(self.additional_env.clone());
        variables.extend(self.experimental_env.clone());
        variables
    }
}

// === impl Workers ===

impl Workers {
    fn variables(&self) -> [(&'static str, Option<String>); 4] {
        let text = |number: Option<u32>| number.filter(|n| *n > 0).map(|n| n.to_string());
        let fixed = text(self.cores);
        if fixed.is_some() {
            return [
                ("CORES", fixed.clone()),
                ("CORES_MIN", fixed),
                ("CORES_MAX", None),
                ("CORES_MAX_RATIO", None),
            ];
        }
        let said = *self != Self::default();
        let minimum = said.then(|| text(self.minimum).unwrap_or_else(|| "1".to_owned()));
        [
            ("CORES", minimum.clone()),
            ("CORES_MIN", minimum),
            ("CORES_MAX", text(self.maximum)),
            ("CORES_MAX_RATIO", self.maximum_ratio.clone()),
        ]
    }
}

// === impl Tracing ===

impl Tracing {
    /// One a line, as the proxy reads them.
    fn attributes(&self) -> Option<String> {
        let lines = self
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        Some(lines.collect::<String>()).filter(|text| !text.is_empty())
    }
}
