//! `linkerd-config`: the values of Linkerd's chart as they were installed. Keys that say nothing of a proxy are not
//! looked at; a key that is not there has the chart's default.

mod chart;

use std::collections::BTreeMap;

use ipnet::IpNet;
use linkerd_harness_core::names::DnsName;

use super::environment;
use super::golang::shown;
use super::proxy::{INBOUND_POLICY, OPAQUE_PORTS, Proxy, Side, Tracing, Workers};
use super::{overrides, ports};
use crate::manifests::FieldProblem;

const CLUSTER_DOMAIN: &str = "cluster.local";
const CLUSTER_NETWORKS: &str = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8";

/// What `linkerd-config` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// `clusterDomain`, without a dot at its end.
    pub cluster_domain: String,
    /// `identityTrustDomain`; the cluster's domain where it is empty.
    pub identity_trust_domain: String,
    /// `clusterNetworks`
    pub cluster_networks: Vec<IpNet>,
    /// `disableIPv6`
    pub disable_ipv6: bool,
    /// `proxy`
    pub proxy: Proxy,
    /// What is left to the chart's default, because no proxy on a VM could take it, and why.
    pub ignored: Vec<FieldProblem>,
}

/// Reads the text of the key `values`. Nothing of it counts when a name, a network, a policy or a type is wrong.
pub fn values(text: &str) -> Result<Values, Vec<FieldProblem>> {
    let document = serde_norway::Deserializer::from_str(text);
    let chart: Option<chart::Chart> =
        serde_path_to_error::deserialize(document).map_err(|error| {
            let field = match error.path().to_string() {
                path if path == "." => String::new(),
                path => path,
            };
            vec![FieldProblem {
                field,
                message: error.into_inner().to_string(),
            }]
        })?;
    let Some(chart) = chart else {
        return Err(vec![FieldProblem {
            field: String::new(),
            message: "is empty".to_owned(),
        }]);
    };
    let mut reader = Reader::default();
    let values = reader.values(chart);
    if reader.problems.is_empty() {
        Ok(Values {
            ignored: reader.ignored,
            ..values
        })
    } else {
        Err(reader.problems)
    }
}

#[derive(Default)]
struct Reader {
    problems: Vec<FieldProblem>,
    ignored: Vec<FieldProblem>,
}

// === impl Reader ===

impl Reader {
    fn values(&mut self, chart: chart::Chart) -> Values {
        let cluster_domain = self.domain("clusterDomain", chart.cluster_domain, CLUSTER_DOMAIN);
        Values {
            identity_trust_domain: self.domain(
                "identityTrustDomain",
                chart.identity_trust_domain,
                &cluster_domain,
            ),
            cluster_networks: self.networks(chart.cluster_networks),
            disable_ipv6: chart.disable_ipv6.unwrap_or(true),
            proxy: self.proxy(chart.proxy.unwrap_or_default()),
            cluster_domain,
            ignored: Vec::new(),
        }
    }

    fn problem(&mut self, field: &str, message: String) {
        self.problems.push(FieldProblem {
            field: field.to_owned(),
            message,
        });
    }

    fn domain(&mut self, field: &str, text: Option<String>, default: &str) -> String {
        let text = text
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| default.to_owned());
        match text.parse::<DnsName>() {
            Ok(name) => name.without_dot().to_owned(),
            Err(error) => {
                self.problem(field, format!("`{}` {error}", shown(&text)));
                text
            }
        }
    }

    /// None at all is a problem too: proxies would send to addresses of the cluster without looking them up.
    fn networks(&mut self, text: Option<String>) -> Vec<IpNet> {
        const FIELD: &str = "clusterNetworks";
        let text = text.unwrap_or_else(|| CLUSTER_NETWORKS.to_owned());
        let mut networks = Vec::new();
        for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            match item.parse() {
                Ok(network) => networks.push(network),
                Err(_invalid) => self.problem(
                    FIELD,
                    format!(
                        "`{}` is not a network (for example 10.0.0.0/8)",
                        shown(item)
                    ),
                ),
            }
        }
        if networks.is_empty() && self.problems.is_empty() {
            self.problem(FIELD, "names no network".to_owned());
        }
        networks
    }

    fn proxy(&mut self, proxy: chart::Proxy) -> Proxy {
        let named = self.named(&proxy);
        let default_inbound_policy = self.policy(proxy.default_inbound_policy);
        let opaque_ports = self.opaque_ports(proxy.opaque_ports);
        let mut variable = |field: &str, name: &str, value| {
            let name = format!("LINKERD2_PROXY_{name}");
            self.variable(&format!("proxy.{field}"), &name, value)
        };
        let inbound = Side {
            connect_timeout: variable(
                "inboundConnectTimeout",
                "INBOUND_CONNECT_TIMEOUT",
                proxy.inbound_connect_timeout,
            ),
            discovery_idle_timeout: variable(
                "inboundDiscoveryCacheUnusedTimeout",
                "INBOUND_DISCOVERY_IDLE_TIMEOUT",
                proxy.inbound_discovery_cache_unused_timeout,
            ),
            detect_forever: proxy
                .disable_inbound_protocol_detect_timeout
                .unwrap_or_default(),
        };
        let outbound = Side {
            connect_timeout: variable(
                "outboundConnectTimeout",
                "OUTBOUND_CONNECT_TIMEOUT",
                proxy.outbound_connect_timeout,
            ),
            discovery_idle_timeout: variable(
                "outboundDiscoveryCacheUnusedTimeout",
                "OUTBOUND_DISCOVERY_IDLE_TIMEOUT",
                proxy.outbound_discovery_cache_unused_timeout,
            ),
            detect_forever: proxy
                .disable_outbound_protocol_detect_timeout
                .unwrap_or_default(),
        };
        let access_log = variable("accessLog", "ACCESS_LOG", proxy.access_log);
        let log_level = variable("logLevel", "LOG", proxy.log_level);
        let workers = proxy
            .runtime
            .unwrap_or_default()
            .workers
            .unwrap_or_default();
        let maximum_ratio = variable(
            "runtime.workers.maximumCPURatio",
            "CORES_MAX_RATIO",
            workers.maximum_cpu_ratio.map(|ratio| ratio.to_string()),
        );
        let mut environment = |field: &str, list: Option<Vec<environment::EnvVar>>| {
            environment::take(&list.unwrap_or_default(), field, &mut self.ignored)
        };
        Proxy {
            default_inbound_policy,
            opaque_ports,
            inbound,
            outbound,
            workers: Workers {
                cores: proxy.cores,
                minimum: workers.minimum,
                maximum: workers.maximum,
                maximum_ratio,
            },
            access_log,
            log_level,
            hostname_labels: proxy.metrics.unwrap_or_default().hostname_labels,
            external_profiles: proxy.enable_external_profiles.unwrap_or_default(),
            named,
            additional_env: environment("proxy.additionalEnv", proxy.additional_env),
            experimental_env: environment("proxy.experimentalEnv", proxy.experimental_env),
            tracing: self.tracing(proxy.tracing.unwrap_or_default()),
        }
    }

    /// Limits of control streams, and parameters of servers.
    fn named(&mut self, proxy: &chart::Proxy) -> BTreeMap<String, String> {
        let mut named = BTreeMap::new();
        for (key, variable, value) in proxy.streams() {
            let field = format!("proxy.control.streams.{key}");
            if let Some(value) = self.variable(&field, variable, value) {
                named.insert(variable.to_owned(), value);
            }
        }
        for (field, variable, value) in proxy.parameters() {
            if let Some(value) = self.variable(&field, &variable, Some(value)) {
                named.insert(variable, value);
            }
        }
        named
    }

    fn policy(&mut self, text: Option<String>) -> String {
        let text = text.filter(|text| !text.is_empty());
        let Some(text) = text else {
            return INBOUND_POLICY.to_owned();
        };
        overrides::policy(&text).unwrap_or_else(|message| {
            self.problem("proxy.defaultInboundPolicy", message);
            text
        })
    }

    fn opaque_ports(&mut self, text: Option<String>) -> String {
        let text = text.unwrap_or_else(|| OPAQUE_PORTS.to_owned());
        let (ranges, problem) = ports::read(&text, &[]);
        if let Err(message) = problem {
            self.problem("proxy.opaquePorts", message);
        }
        ports::text(&ranges)
    }

    /// What is empty is left to the harness, as is what the proxy could not read.
    fn variable(&mut self, field: &str, name: &str, value: Option<String>) -> Option<String> {
        let value = value.filter(|value| !value.is_empty())?;
        match environment::check(name, &value) {
            Ok(()) => Some(value),
            Err(message) => {
                self.ignored.push(FieldProblem {
                    field: field.to_owned(),
                    message,
                });
                None
            }
        }
    }

    fn tracing(&mut self, tracing: chart::Tracing) -> Option<Tracing> {
        if !tracing.enabled.unwrap_or_default() {
            return None;
        }
        let collector = tracing.collector.unwrap_or_default();
        let identity = collector.mesh_identity.unwrap_or_default();
        let account = identity.service_account_name.filter(|name| is_label(name));
        let account_namespace = identity.namespace.filter(|name| is_label(name));
        let address = self.variable(
            "proxy.tracing.collector.endpoint",
            "LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR",
            collector.endpoint,
        );
        let (Some(collector), Some(account), Some(account_namespace)) =
            (address, account, account_namespace)
        else {
            self.ignored.push(FieldProblem {
                field: "proxy.tracing".to_owned(),
                message: "does not say where the collector is and who it is".to_owned(),
            });
            return None;
        };
        let attributes = tracing.labels.unwrap_or_default();
        Some(Tracing {
            service_name: tracing.trace_service_name,
            collector,
            account,
            account_namespace,
            // The chart's own refer to variables of a pod.
            attributes: attributes
                .into_iter()
                .filter(|(_, value)| !value.contains("$(") && !value.contains('\n'))
                .collect(),
        })
    }
}

fn is_label(name: &str) -> bool {
    name.parse::<DnsName>().is_ok()
}

#[cfg(test)]
mod tests;
