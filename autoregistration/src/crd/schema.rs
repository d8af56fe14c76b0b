//! What the types alone cannot say of a valid `ExternalGroup`. Rules are in Kubernetes' CEL; every list and text that
//! one looks at has a limit, without which an API server refuses the rule as too expensive.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use linkerd_harness_core::proxy_env::INBOUND_POLICIES;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::limits;
use crate::kubernetes::workload::PROXY_PORT;
use crate::manifests::{DEFAULT_INBOUND_POLICY, OPAQUE_PORTS};

/// Of the name, which only the whole object has.
pub(super) fn name_rule() -> ValidationRule {
    ValidationRule {
        rule: format!(
            "size(self.metadata.name) <= {} && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            limits::NAME
        ),
        message: Some(format!(
            "metadata.name must be a DNS label of at most {} characters, so that the names of workloads stay DNS labels",
            limits::NAME
        )),
        ..ValidationRule::default()
    }
}

fn rule(rule: impl Into<String>, message: impl Into<String>) -> Value {
    json!({ "rule": rule.into(), "message": message.into() })
}

pub(super) fn group_rules() -> Value {
    let known = |probes: &str, kind: &str| {
        rule(
            format!(
                "!has({probes}) || {probes}.all(p, !has(p.{kind}) || type(p.{kind}.port) == int || \
                 (has(self.template.ports) && self.template.ports.exists(q, has(q.name) && q.name == p.{kind}.port)))"
            ),
            "a probe's port must be a number, or the name of a port of spec.template.ports",
        )
    };
    json!([
        rule(
            "!(has(self.probes) && has(self.template.probes))",
            "probes are given at spec.probes and at spec.template.probes; keep one of the two",
        ),
        known("self.probes", "httpGet"),
        known("self.probes", "tcpSocket"),
        known("self.template.probes", "httpGet"),
        known("self.template.probes", "tcpSocket"),
    ])
}

pub(super) fn probe_rules() -> Value {
    json!([rule(
        "[has(self.httpGet), has(self.tcpSocket), has(self.grpc), has(self.exec)].filter(x, x).size() == 1",
        "a probe needs exactly one of httpGet, tcpSocket, grpc and exec",
    )])
}

pub(super) fn command_rules() -> Value {
    json!([
        rule(
            "size(self) == 0 || self[0].startsWith('/')",
            "a command begins with the absolute path of a program",
        ),
        rule(
            format!(
                "self.map(word, size(word)).sum() <= {}",
                limits::COMMAND_CHARS
            ),
            format!(
                "a command has at most {} characters in all its words",
                limits::COMMAND_CHARS
            ),
        ),
    ])
}

pub(super) fn ports_rules() -> Value {
    json!([rule(
        "self.all(p, !has(p.name) || p.name == '' || self.exists_one(q, has(q.name) && q.name == p.name))",
        "two ports have the same name; rename one",
    )])
}

pub(super) fn port_name_rules() -> Value {
    json!([
        rule(
            "!self.startsWith('-') && !self.endsWith('-')",
            "a port name must begin and end with a letter or a digit",
        ),
        rule(
            format!("self != '{PROXY_PORT}'"),
            format!(
                "{PROXY_PORT} is what Linkerd calls the proxy's own port; give it another name"
            ),
        ),
    ])
}

/// A field whose name is misspelled is dropped before it is looked at. What is left must not mean "everybody".
pub(super) fn access_rules() -> Value {
    json!([rule(
        "has(self.identities) || has(self.networks) || has(self.allowedLabels) || has(self.maxWorkloads)",
        "access says nothing; give identities, networks, allowedLabels or maxWorkloads",
    )])
}

/// A number, or the name of a port.
pub(super) fn port_or_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "maxLength": 15,
        "x-kubernetes-validations": [rule(
            "type(self) == int ? self >= 1 && self <= 65535 : size(self) > 0",
            "a port is a number from 1 to 65535, or the name of a port of spec.template.ports",
        )],
    })
}

const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$";

const LABEL_PREFIX: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[*]$";

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": limits::LABELS,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        },
        "x-kubernetes-validations": [rule(
            format!("self.all(key, size(key) <= 317 && key.matches('{LABEL_KEY}'))"),
            "a key of a label is not valid; write name or prefix/name, of a-z, A-Z, 0-9, -, _ and .",
        )],
    })
}

pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    let policies = INBOUND_POLICIES
        .map(|policy| format!("'{policy}'"))
        .join(", ");
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string" },
        "x-kubernetes-validations": [
            rule(
                format!("!('{DEFAULT_INBOUND_POLICY}' in self) || self['{DEFAULT_INBOUND_POLICY}'] in [{policies}]"),
                format!("{DEFAULT_INBOUND_POLICY} must be one of {}", INBOUND_POLICIES.join(", ")),
            ),
            rule(
                format!(
                    "!('{OPAQUE_PORTS}' in self) || \
                     self['{OPAQUE_PORTS}'].matches('^ *([0-9]{{1,5}}(-[0-9]{{1,5}})?)? *(, *([0-9]{{1,5}}(-[0-9]{{1,5}})?)? *)*$')"
                ),
                format!("{OPAQUE_PORTS} must be ports and ranges, e.g. \"25,587,4000-4100\""),
            ),
        ],
    })
}

/// An exact SPIFFE ID of a workload, or one with `/*` at the end.
pub(super) fn identities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "nullable": true,
        "maxItems": limits::ACCESS,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 2048,
            "pattern": "^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*/([A-Za-z0-9._-]+|[*])$",
        },
    })
}

pub(super) fn networks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "nullable": true,
        "maxItems": limits::ACCESS,
        "x-kubernetes-list-type": "set",
        "items": { "type": "string", "format": "cidr", "maxLength": 43 },
    })
}

/// Keys, or `prefix/*`. Whoever decides who may join must not hand out what Kubernetes, Linkerd and we go by.
pub(super) fn label_keys(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": limits::LABELS,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 317,
            "pattern": format!("{LABEL_KEY}|{LABEL_PREFIX}"),
            "x-kubernetes-validations": [rule(
                "!self.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|linkerd[.]io|meshexpansion[.]io)/')",
                "labels of kubernetes.io, k8s.io, linkerd.io and meshexpansion.io are reserved",
            )],
        },
    })
}
