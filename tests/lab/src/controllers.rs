//! Linkerd's own destination and policy controllers beside an API server, where `LINKERD2_DESTINATION_BIN` and
//! `LINKERD2_POLICY_BIN` name local binaries of them. Elsewhere `tests/stand-in-controllers` takes their place.
//!
//! They serve plaintext, as they do behind their sidecar.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apiserver::process::Process;
use crate::poll;

/// A busy machine needs its time until all of Linkerd's watches are there.
const UP: Duration = Duration::from_secs(60);
/// What Linkerd's chart sets.
const OPAQUE_PORTS: &str = "25,587,3306,4444,5432,6379,9300,11211";
/// Kinds that the controllers insist on: group, version, kind, plural.
const KINDS: [[&str; 4]; 8] = [
    [
        "linkerd.io",
        "v1alpha2",
        "ServiceProfile",
        "serviceprofiles",
    ],
    ["policy.linkerd.io", "v1beta3", "Server", "servers"],
    [
        "policy.linkerd.io",
        "v1beta1",
        "ServerAuthorization",
        "serverauthorizations",
    ],
    [
        "policy.linkerd.io",
        "v1alpha1",
        "AuthorizationPolicy",
        "authorizationpolicies",
    ],
    [
        "policy.linkerd.io",
        "v1alpha1",
        "MeshTLSAuthentication",
        "meshtlsauthentications",
    ],
    [
        "policy.linkerd.io",
        "v1alpha1",
        "NetworkAuthentication",
        "networkauthentications",
    ],
    [
        "policy.linkerd.io",
        "v1alpha1",
        "HTTPLocalRateLimitPolicy",
        "httplocalratelimitpolicies",
    ],
    [
        "policy.linkerd.io",
        "v1alpha1",
        "EgressNetwork",
        "egressnetworks",
    ],
];

/// Which programs are the controllers.
#[derive(Clone, Debug)]
pub struct Controllers {
    /// Linkerd's own `destination`; `None` for the stand-in.
    pub destination: Option<PathBuf>,
    /// Linkerd's own policy controller; `None` for the stand-in.
    pub policy: Option<PathBuf>,
}

/// Where they listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The destination API, plaintext.
    pub destination: SocketAddr,
    /// The policy API, plaintext.
    pub policy: SocketAddr,
}

/// Linkerd's own that run; they end with the value.
#[derive(Debug)]
pub struct Running {
    /// `None` where the stand-in is.
    destination: Option<Process>,
    /// `None` where the stand-in is.
    policy: Option<Process>,
    addresses: Addresses,
    _dir: TempDir,
}

// === impl Addresses ===

impl Addresses {
    /// On `ip`, where nobody else listens.
    pub fn on(ip: IpAddr) -> Self {
        let at = |port| SocketAddr::new(ip, port);
        Self {
            destination: at(8086),
            policy: at(8090),
        }
    }
}

// === impl Controllers ===

impl Controllers {
    /// Those that the environment names.
    pub fn find() -> Result<Self> {
        Ok(Self {
            destination: named("LINKERD2_DESTINATION_BIN")?,
            policy: named("LINKERD2_POLICY_BIN")?,
        })
    }

    /// Says plainly which ones they are.
    pub fn describe(&self) -> String {
        let of = |api: &str, variable: &str, own: Option<&PathBuf>| match own {
            Some(path) => format!("{api}: Linkerd's own, from {variable} ({})", path.display()),
            None => format!(
                "{api}: a STAND-IN of this source tree (tests/stand-in-controllers), not Linkerd's own; \
                 set {variable} to run with the real one"
            ),
        };
        let (destination, policy) = (self.destination.as_ref(), self.policy.as_ref());
        [
            of("destination", "LINKERD2_DESTINATION_BIN", destination),
            of("policy", "LINKERD2_POLICY_BIN", policy),
        ]
        .join("\n")
    }

    /// Starts Linkerd's own and waits until they answer. The namespace `linkerd` and all of [`definitions`] have to be
    /// there. `entrance` is what goes before a command so that it runs on that host.
    pub fn start(
        &self,
        kubeconfig: &Path,
        addresses: Addresses,
        entrance: &[String],
    ) -> Result<Running> {
        let dir = tempfile::Builder::new()
            .prefix("controllers-")
            .tempdir()
            .context("make a directory for the controllers")?;
        let command = |program: &Path| {
            // Both name the holder of their lease after it.
            let named = ["env", "HOSTNAME=linkerd-destination-0"].map(str::to_owned);
            let mut words = entrance.iter().cloned().chain(named);
            let mut command = Command::new(words.next().unwrap_or_default());
            command.args(words).arg(program);
            command
        };
        let beside = |addr: SocketAddr, port| SocketAddr::new(addr.ip(), port);
        let destination = self.destination.as_deref().map(|own| {
            let mut command = command(own);
            command
                .args(["destination", "-controller-namespace=linkerd"])
                .arg(format!("-addr={}", addresses.destination))
                .arg(format!(
                    "-metrics-addr={}",
                    beside(addresses.destination, 9996)
                ))
                .args(["-outbound-transport-mode=transport-header"])
                .args(["-cluster-domain=cluster.local"])
                .args(["-identity-trust-domain=cluster.local"])
                .arg(format!("-default-opaque-ports={OPAQUE_PORTS}"))
                .args(["-enable-ipv6=false", "-log-level=info", "-kubeconfig"])
                .arg(kubeconfig);
            Process::start(&command, dir.path(), "destination.log")
        });
        let policy = self.policy.as_deref().map(|own| {
            let mut command = command(own);
            command
                .args(["--admission-controller-disabled", "--log-level=info"])
                // Not its own 9990, which is that of autoregistration on the same host.
                .arg(format!("--admin-addr={}", beside(addresses.policy, 9991)))
                .arg(format!("--grpc-addr={}", addresses.policy))
                .arg(format!("--default-opaque-ports={OPAQUE_PORTS}"))
                .arg("--kubeconfig")
                .arg(kubeconfig);
            Process::start(&command, dir.path(), "policy.log")
        });
        let running = Running {
            destination: destination.transpose()?,
            policy: policy.transpose()?,
            addresses,
            _dir: dir,
        };
        if entrance.is_empty() {
            running.wait()?;
        }
        Ok(running)
    }
}

fn named(variable: &str) -> Result<Option<PathBuf>> {
    let Some(named) = std::env::var_os(variable) else {
        return Ok(None);
    };
    let found = fs::canonicalize(&named);
    found
        .map(Some)
        .with_context(|| format!("{variable} names `{}`", PathBuf::from(&named).display()))
}

// === impl Running ===

impl Running {
    fn wait(&self) -> Result<()> {
        let controllers = [
            (&self.destination, self.addresses.destination),
            (&self.policy, self.addresses.policy),
        ];
        let up = poll::until("Linkerd's controllers", UP, || {
            for (process, addr) in controllers {
                let Some(process) = process else { continue };
                if process.has_ended() {
                    return Ok(false);
                }
                let connected = TcpStream::connect_timeout(&addr, Duration::from_secs(1));
                drop(connected.with_context(|| format!("connect to {addr}"))?);
            }
            Ok(true)
        });
        match up {
            Ok(true) => Ok(()),
            Ok(false) => bail!("a controller has ended:\n{}", self.last_words()),
            Err(error) => Err(error.context(self.last_words())),
        }
    }

    /// The ends of their logs.
    pub fn last_words(&self) -> String {
        let processes = self.destination.iter().chain(&self.policy);
        processes
            .map(Process::last_words)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// What Linkerd's destination controller has said; nothing where the stand-in is.
    pub fn destination_log(&self) -> String {
        self.destination
            .as_ref()
            .map(Process::log)
            .unwrap_or_default()
    }

    /// What Linkerd's policy controller has said; nothing where the stand-in is.
    pub fn policy_log(&self) -> String {
        self.policy.as_ref().map(Process::log).unwrap_or_default()
    }
}

/// Definitions of the kinds that the controllers insist on, by name and with no schema: none of ours is among them.
pub fn definitions() -> Vec<Value> {
    let definition = |[group, version, kind, plural]: [&str; 4]| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
                "versions": [{
                    "name": version,
                    "served": true,
                    "storage": true,
                    "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": true,
                    } },
                }],
            },
        })
    };
    KINDS.map(definition).to_vec()
}
