//! The keys of Linkerd's chart that say something of a proxy, in their types.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_norway::Value;

use super::environment::EnvVar;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chart {
    pub(super) cluster_domain: Option<String>,
    pub(super) cluster_networks: Option<String>,
    pub(super) identity_trust_domain: Option<String>,
    #[serde(rename = "disableIPv6")]
    pub(super) disable_ipv6: Option<bool>,
    pub(super) proxy: Option<Proxy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proxy {
    pub(super) access_log: Option<String>,
    pub(super) additional_env: Option<Vec<EnvVar>>,
    pub(super) control: Option<Control>,
    pub(super) cores: Option<u32>,
    pub(super) default_inbound_policy: Option<String>,
    pub(super) disable_inbound_protocol_detect_timeout: Option<bool>,
    pub(super) disable_outbound_protocol_detect_timeout: Option<bool>,
    pub(super) enable_external_profiles: Option<bool>,
    pub(super) experimental_env: Option<Vec<EnvVar>>,
    pub(super) inbound: Option<Parameters>,
    pub(super) inbound_connect_timeout: Option<String>,
    pub(super) inbound_discovery_cache_unused_timeout: Option<String>,
    pub(super) log_level: Option<String>,
    pub(super) metrics: Option<Metrics>,
    pub(super) opaque_ports: Option<String>,
    pub(super) outbound: Option<Parameters>,
    pub(super) outbound_connect_timeout: Option<String>,
    pub(super) outbound_discovery_cache_unused_timeout: Option<String>,
    pub(super) runtime: Option<Runtime>,
    pub(super) tracing: Option<Tracing>,
}

/// Scope, protocol, parameter: `server.http2.keepAliveInterval`.
type Parameters = BTreeMap<String, Option<BTreeMap<String, Option<BTreeMap<String, Value>>>>>;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Control {
    streams: Option<Streams>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Streams {
    initial_timeout: Option<String>,
    idle_timeout: Option<String>,
    lifetime: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metrics {
    pub(super) hostname_labels: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Runtime {
    pub(super) workers: Option<Workers>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Workers {
    pub(super) minimum: Option<u32>,
    pub(super) maximum: Option<u32>,
    #[serde(rename = "maximumCPURatio")]
    pub(super) maximum_cpu_ratio: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tracing {
    pub(super) enabled: Option<bool>,
    pub(super) trace_service_name: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) collector: Option<Collector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Collector {
    pub(super) endpoint: Option<String>,
    pub(super) mesh_identity: Option<MeshIdentity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MeshIdentity {
    pub(super) service_account_name: Option<String>,
    pub(super) namespace: Option<String>,
}

// === impl Proxy ===

impl Proxy {
    /// Limits of control streams: key, variable, value.
    pub(super) fn streams(&self) -> [(&'static str, &'static str, Option<String>); 3] {
        let streams = self.control.as_ref().and_then(|c| c.streams.as_ref());
        let value = |of: fn(&Streams) -> &Option<String>| streams.and_then(|s| of(s).clone());
        [
            (
                "initialTimeout",
                "LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT",
                value(|streams| &streams.initial_timeout),
            ),
            (
                "idleTimeout",
                "LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT",
                value(|streams| &streams.idle_timeout),
            ),
            (
                "lifetime",
                "LINKERD2_PROXY_CONTROL_STREAM_LIFETIME",
                value(|streams| &streams.lifetime),
            ),
        ]
    }

    /// Parameters of servers, as the chart makes variables of them: path, variable, value.
    pub(super) fn parameters(&self) -> Vec<(String, String, String)> {
        let mut parameters = Vec::new();
        for (side, scopes) in [("inbound", &self.inbound), ("outbound", &self.outbound)] {
            for (scope, protocols) in scopes.iter().flatten() {
                for (protocol, values) in protocols.iter().flatten() {
                    for (name, value) in values.iter().flatten() {
                        let path = [side, scope, protocol, name];
                        let variable = path.map(snake_case).join("_");
                        parameters.push((
                            format!("proxy.{}", path.join(".")),
                            format!("LINKERD2_PROXY_{variable}"),
                            text(value),
                        ));
                    }
                }
            }
        }
        parameters
    }
}

/// `keepAliveInterval` is `KEEP_ALIVE_INTERVAL`, `http2` is `HTTP2`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_uppercase());
    }
    snake
}

/// A scalar as the chart quotes it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(on) => on.to_string(),
        _ => String::new(),
    }
}
