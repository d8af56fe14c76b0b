//! Annotations over what `linkerd-config` says, by the rules of Linkerd's injector: a group's annotation hides the
//! namespace's of the same name, also one that cannot be taken; then what `linkerd-config` says stays.

use std::collections::BTreeMap;
use std::time::Duration;

use linkerd_harness_core::proxy_env::INBOUND_POLICIES;

use super::annotations::{self, ADDITIONAL_ENV, ALL, Effect, Setting, TRACE_ATTRIBUTE};
use super::environment::{self, EnvVar, Variables};
use super::golang::{self, shown};
use super::ports;
use super::proxy::{Proxy, Tracing};
use crate::manifests::{FieldProblem, Group};

/// Labels that name the service which traces are of, the first that is there.
const SERVICE_LABELS: [&str; 2] = ["app.kubernetes.io/instance", "app.kubernetes.io/name"];
const SERVICE_NAME: &str = "service.name";

type Annotations = BTreeMap<String, String>;

/// A group in its namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overrides<'a> {
    /// The namespace's annotations.
    pub(super) namespace: &'a Annotations,
    /// The group.
    pub(super) group: &'a Group,
}

/// The annotation that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) value: &'a str,
    name: &'a str,
    on_namespace: bool,
}

// === impl Overrides ===

impl<'a> Overrides<'a> {
    /// The annotation of this name that counts.
    pub(super) fn find(&self, annotation: &annotations::Annotation) -> Option<Found<'a>> {
        let found = |value: &'a String, on_namespace| Found {
            value,
            name: annotation.name,
            on_namespace,
        };
        let own = self.group.annotations.get(annotation.name);
        own.map(|value| found(value, false)).or_else(|| {
            let handed_down = self.namespace.get(annotation.name)?;
            annotation.inherited.then(|| found(handed_down, true))
        })
    }

    /// Puts them over `proxy`.
    pub(super) fn apply(&self, proxy: &mut Proxy, problems: &mut Vec<FieldProblem>) {
        for annotation in ALL {
            let Effect::Sets(setting) = annotation.effect else {
                continue;
            };
            if let Some(found) = self.find(annotation)
                && let Err(message) = set(setting, found.value, proxy, &self.group.ports)
            {
                problems.push(found.problem(message));
            }
        }
        for (annotations, on_namespace) in
            [(self.namespace, true), (&self.group.annotations, false)]
        {
            if let Some(text) = annotations.get(ADDITIONAL_ENV) {
                let found = Found {
                    value: text,
                    name: ADDITIONAL_ENV,
                    on_namespace,
                };
                proxy.additional_env.extend(found.variables(problems));
            }
        }
        if let Some(tracing) = &mut proxy.tracing {
            self.trace_attributes(tracing, problems);
        }
    }

    fn trace_attributes(&self, tracing: &mut Tracing, problems: &mut Vec<FieldProblem>) {
        let named = SERVICE_LABELS
            .iter()
            .find_map(|label| self.group.labels.get(*label));
        if let Some(name) = named {
            tracing
                .attributes
                .insert(SERVICE_NAME.to_owned(), name.clone());
        }
        for (name, value) in &self.group.annotations {
            let Some(attribute) = name.strip_prefix(TRACE_ATTRIBUTE) else {
                continue;
            };
            if value.contains('\n') {
                let found = Found {
                    value,
                    name,
                    on_namespace: false,
                };
                problems.push(found.problem("has more than one line".to_owned()));
            } else {
                tracing
                    .attributes
                    .insert(attribute.to_owned(), value.clone());
            }
        }
    }
}

// === impl Found ===

impl Found<'_> {
    /// Says what is wrong with it, and where it stands.
    pub(super) fn problem(&self, message: String) -> FieldProblem {
        FieldProblem {
            field: self.field(),
            message,
        }
    }

    fn field(&self) -> String {
        let object = if self.on_namespace {
            "namespace.metadata"
        } else {
            "spec.template.metadata"
        };
        format!("{object}.annotations[{}]", self.name)
    }

    fn variables(&self, problems: &mut Vec<FieldProblem>) -> Variables {
        if self.value.is_empty() {
            return Variables::new();
        }
        match serde_json::from_str::<Vec<EnvVar>>(self.value) {
            Ok(list) => environment::take(&list, &self.field(), problems),
            Err(error) => {
                problems.push(self.problem(format!(
                    "is not a list of variables as JSON, [{{\"name\": …, \"value\": …}}]: {error}"
                )));
                Variables::new()
            }
        }
    }
}

/// Sets one thing, or says why not. What is not taken leaves `proxy` as it was, except for the good items of a list.
fn set(
    setting: Setting,
    value: &str,
    proxy: &mut Proxy,
    named: &[(String, u16)],
) -> Result<(), String> {
    match setting {
        Setting::AccessLog => {
            proxy.access_log = checked("LINKERD2_PROXY_ACCESS_LOG", value)?;
        }
        Setting::CpuLimit => proxy.workers.maximum = Some(golang::cores(value)?),
        Setting::CpuRatioLimit => proxy.workers.maximum_ratio = Some(ratio(value)?),
        Setting::CpuRequest => proxy.workers.minimum = Some(golang::cores(value)?),
        Setting::DefaultInboundPolicy => proxy.default_inbound_policy = policy(value)?,
        Setting::ExternalProfiles => proxy.external_profiles = golang::truth(value)?,
        Setting::HostnameLabels => proxy.hostname_labels = Some(golang::truth(value)?),
        Setting::InboundConnectTimeout => {
            proxy.inbound.connect_timeout = Some(connect_timeout(value)?);
        }
        Setting::InboundDetectForever => proxy.inbound.detect_forever = golang::truth(value)?,
        Setting::InboundDiscoveryIdle => {
            proxy.inbound.discovery_idle_timeout = Some(whole_seconds(value)?);
        }
        Setting::LogLevel => proxy.log_level = checked("LINKERD2_PROXY_LOG", value)?,
        Setting::OpaquePorts => {
            let (ranges, problem) = ports::read(value, named);
            proxy.opaque_ports = ports::text(&ranges);
            problem?;
        }
        Setting::OutboundConnectTimeout => {
            proxy.outbound.connect_timeout = Some(connect_timeout(value)?);
        }
        Setting::OutboundDetectForever => proxy.outbound.detect_forever = golang::truth(value)?,
        Setting::OutboundDiscoveryIdle => {
            proxy.outbound.discovery_idle_timeout = Some(whole_seconds(value)?);
        }
        // The proxy does not read it; Linkerd's policy controller does, from the ExternalWorkload.
        Setting::RequireIdentity => ports::read(value, named).1?,
        // Of both levels, and by prefix: not here.
        Setting::AdditionalEnv | Setting::TraceAttribute => {}
    }
    Ok(())
}

/// A value for this variable; empty text takes it back.
fn checked(name: &str, value: &str) -> Result<Option<String>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    environment::check(name, value)?;
    Ok(Some(value.to_owned()))
}

/// A policy that the proxy knows.
pub(super) fn policy(value: &str) -> Result<String, String> {
    if INBOUND_POLICIES.contains(&value) {
        Ok(value.to_owned())
    } else {
        Err(format!(
            "`{}` is not known; write one of {}",
            shown(value),
            INBOUND_POLICIES.join(", ")
        ))
    }
}

/// Milliseconds, as the injector writes them. Unlike there, not zero: no connection could be made, not even the one over
/// which the setting would be mended.
fn connect_timeout(value: &str) -> Result<String, String> {
    let duration = golang::duration(value)?;
    if duration < Duration::from_millis(1) {
        return Err(format!(
            "`{}` would let no connection through; at least 1ms",
            shown(value)
        ));
    }
    Ok(format!("{}ms", duration.as_millis()))
}

/// Whole seconds, as the injector writes them.
fn whole_seconds(value: &str) -> Result<String, String> {
    Ok(format!("{}s", golang::duration(value)?.as_secs()))
}

/// The injector takes what is strictly between 0 and 1.
fn ratio(value: &str) -> Result<String, String> {
    let good = value
        .parse::<f64>()
        .is_ok_and(|ratio| ratio > 0.0 && ratio < 1.0);
    if good {
        Ok(value.to_owned())
    } else {
        Err(format!("`{}` is not between 0.0 and 1.0", shown(value)))
    }
}
