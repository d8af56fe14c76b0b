//! Checks on the application, as Kubernetes writes them.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{limits, schema};

/// A check on the application, made on the VM, of exactly one kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::probe_rules()))]
pub struct Probe {
    /// An HTTP request that must be answered with 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// A port that must take a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    /// A call of `grpc.health.v1.Health/Check` that must say SERVING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Grpc>,
    /// A program on the VM that must end with 0. The VM's operator must have allowed it: `Health.AllowExecProbes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// Seconds before the first attempt.
    #[serde(default = "defaults::initial_delay_seconds")]
    #[schemars(range(min = 0))]
    pub initial_delay_seconds: i32,
    /// Seconds between attempts.
    #[serde(default = "defaults::period_seconds")]
    #[schemars(range(min = 1))]
    pub period_seconds: i32,
    /// Seconds that an attempt may take.
    #[serde(default = "defaults::timeout_seconds")]
    #[schemars(range(min = 1))]
    pub timeout_seconds: i32,
    /// Successes in a row until a workload that was not ready is ready.
    #[serde(default = "defaults::success_threshold")]
    #[schemars(range(min = 1))]
    pub success_threshold: i32,
    /// Failures in a row until a ready workload is not ready any more.
    #[serde(default = "defaults::failure_threshold")]
    #[schemars(range(min = 1))]
    pub failure_threshold: i32,
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpGet {
    /// Whom the VM asks: a name or an address; 127.0.0.1 when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::HOST_NAME), regex(pattern = "^[^\\s/]*$"))]
    pub host: Option<String>,
    /// Number of the port, or the name of a port of the template.
    #[schemars(schema_with = "schema::port_or_name")]
    pub port: IntOrString,
    /// Path, beginning with a slash.
    #[serde(default = "defaults::path")]
    #[schemars(length(max = 1024), regex(pattern = "^/[^\\s#]*$"))]
    pub path: String,
    /// HTTP or HTTPS. A certificate is not verified.
    #[serde(default)]
    pub scheme: Scheme,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::HEADERS), extend("x-kubernetes-list-type" = "atomic"))]
    pub http_headers: Vec<Header>,
}

/// Scheme of an HTTP request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum Scheme {
    /// In clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

/// A header of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Name.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
    )]
    pub name: String,
    /// Value.
    #[serde(default)]
    #[schemars(
        length(max = 4096),
        regex(pattern = "^[\\t\\x20-\\x7e\\x{80}-\\x{10ffff}]*$")
    )]
    pub value: String,
}

/// A port that must take a connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpSocket {
    /// Whom the VM asks: a name or an address; 127.0.0.1 when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::HOST_NAME), regex(pattern = "^[^\\s/]*$"))]
    pub host: Option<String>,
    /// Number of the port, or the name of a port of the template.
    #[schemars(schema_with = "schema::port_or_name")]
    pub port: IntOrString,
}

/// A gRPC server with Kubernetes' health service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grpc {
    /// Number of the port, on 127.0.0.1.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Service that is asked for; the server as a whole when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::HOST_NAME))]
    pub service: Option<String>,
}

/// A program on the VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// Absolute path, and arguments, together at most 4096 characters. No shell is involved.
    #[schemars(
        length(min = 1, max = limits::COMMAND_WORDS),
        inner(length(max = limits::COMMAND_CHARS), regex(pattern = "^[^\\x00]*$")),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = schema::command_rules())
    )]
    pub command: Vec<String>,
}

/// The schema's types have a sign, as Kubernetes' own have; the numbers have none.
mod defaults {
    use super::limits;

    pub(super) fn initial_delay_seconds() -> i32 {
        limits::INITIAL_DELAY_SECONDS.cast_signed()
    }

    pub(super) fn period_seconds() -> i32 {
        limits::PERIOD_SECONDS.cast_signed()
    }

    pub(super) fn timeout_seconds() -> i32 {
        limits::TIMEOUT_SECONDS.cast_signed()
    }

    pub(super) fn success_threshold() -> i32 {
        limits::SUCCESS_THRESHOLD.cast_signed()
    }

    pub(super) fn failure_threshold() -> i32 {
        limits::FAILURE_THRESHOLD.cast_signed()
    }

    pub(super) fn path() -> String {
        limits::PATH.to_owned()
    }
}
