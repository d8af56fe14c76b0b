//! Between the wire form of an assignment and the checked one.
//!
//! What the controller says becomes proxy settings, a server name and requests on this host, so nothing of it is taken
//! on trust: every problem is listed at once, and an assignment with a problem is refused whole.

mod probe;
mod proxy;

use std::net::IpAddr;
use std::time::Duration;

use linkerd_harness_api::v1;
use linkerd_harness_core::assignment::{Assignment, Timing, Workload, WorkloadPort};
use linkerd_harness_core::names::{DnsLabel, DnsName};

/// Used when the controller does not say.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);
const DEFAULT_RECONNECT_WINDOW: Duration = Duration::from_secs(5);
/// Beyond these a typing error is more likely than an intention.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(600);
const LONGEST_RECONNECT_WINDOW: Duration = Duration::from_secs(600);

/// Warnings that are kept, and characters of each.
const MOST_WARNINGS: usize = 8;
const LONGEST_WARNING: usize = 512;

/// The controller's assignment cannot be used. A fault of the controller or of the group, never of this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the assignment cannot be used: {}", problems.join("; "))]
pub struct Error {
    problems: Vec<String>,
}

/// Collects what is wrong, so that all of it is said at once.
#[derive(Debug, Default)]
struct Problems(Vec<String>);

/// Checks an assignment as it came over the wire.
pub fn from_wire(wire: v1::Assignment) -> Result<Assignment, Error> {
    let mut problems = Problems::default();
    let workload = problems
        .need("workload", wire.workload)
        .and_then(|workload| workload_from_wire(workload, &mut problems));
    let probes = wire
        .probes
        .into_iter()
        .enumerate()
        .map(|(index, probe)| probe::from_wire(index, probe, &mut problems))
        .collect::<Vec<_>>();
    let proxy = problems
        .need("proxy", wire.proxy)
        .and_then(|proxy| proxy::from_wire(proxy, &mut problems));
    let timing = timing_from_wire(&wire.timing.unwrap_or_default(), &mut problems);
    if wire.config_hash.is_empty() {
        problems.add("config_hash is empty");
    }
    if wire.group_generation < 0 {
        problems.add(format!(
            "group_generation {} is negative",
            wire.group_generation
        ));
    }
    // A part is missing only when a problem says why.
    let (Some(workload), Some(proxy), Some(probes), []) = (
        workload,
        proxy,
        probes.into_iter().collect::<Option<Vec<_>>>(),
        problems.0.as_slice(),
    ) else {
        return Err(Error {
            problems: problems.0,
        });
    };
    Ok(Assignment {
        workload,
        probes,
        proxy,
        group_generation: wire.group_generation,
        config_hash: hex::encode(&wire.config_hash),
        timing,
        controller: wire.controller,
        warnings: warnings_from_wire(&wire.warnings),
    })
}

/// They are shown on terminals, and say nothing that this VM depends on.
fn warnings_from_wire(wire: &[String]) -> Vec<String> {
    let shown = |text: &String| {
        let printable = text.chars().filter(|c| !c.is_control());
        printable.take(LONGEST_WARNING).collect()
    };
    wire.iter().take(MOST_WARNINGS).map(shown).collect()
}

/// The wire form of an assignment. What the checked form does not keep (trust domain, Linkerd's namespace,
/// capabilities) is left empty.
pub fn to_wire(assignment: &Assignment) -> v1::Assignment {
    let workload = &assignment.workload;
    v1::Assignment {
        workload: Some(v1::Workload {
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            uid: workload.uid.clone(),
            identity: workload.identity.clone(),
            server_name: workload.server_name.clone(),
            ips: workload.ips.iter().map(IpAddr::to_string).collect(),
            ports: workload.ports.iter().map(port_to_wire).collect(),
        }),
        probes: assignment.probes.iter().map(probe::to_wire).collect(),
        proxy: Some(proxy::to_wire(&assignment.proxy)),
        group_generation: assignment.group_generation,
        // A hash that is not hex was never made by `from_wire`; empty is refused by the reader.
        config_hash: hex::decode(&assignment.config_hash).unwrap_or_default(),
        timing: Some(v1::Timing {
            heartbeat: prost_types::Duration::try_from(assignment.timing.heartbeat).ok(),
            disconnect_grace: None,
            reconnect_window: prost_types::Duration::try_from(assignment.timing.reconnect_window)
                .ok(),
            config_jitter: None,
        }),
        controller: assignment.controller.clone(),
        capabilities: Vec::new(),
        warnings: assignment.warnings.clone(),
    }
}

fn workload_from_wire(wire: v1::Workload, problems: &mut Problems) -> Option<Workload> {
    problems.check::<DnsLabel>("workload.namespace", &wire.namespace);
    problems.check::<DnsLabel>("workload.name", &wire.name);
    problems.check::<DnsName>("workload.server_name", &wire.server_name);
    if wire.uid.is_empty() {
        problems.add("workload.uid is empty");
    }
    // The proxy takes other identities for DNS names and its peers then refuse it.
    if !wire.identity.starts_with("spiffe://") {
        problems.add(format!(
            "workload.identity `{}` is not a SPIFFE ID",
            wire.identity
        ));
    }
    if wire.ips.is_empty() {
        problems.add("workload.ips is empty");
    }
    let ips = wire
        .ips
        .iter()
        .map(|ip| problems.parse("workload.ips", ip))
        .collect::<Option<Vec<IpAddr>>>();
    let ports = wire
        .ports
        .into_iter()
        .map(|port| port_from_wire(port, problems))
        .collect::<Option<Vec<_>>>();
    Some(Workload {
        namespace: wire.namespace,
        name: wire.name,
        uid: wire.uid,
        identity: wire.identity,
        server_name: wire.server_name,
        ips: ips?,
        ports: ports?,
    })
}

fn port_from_wire(wire: v1::Port, problems: &mut Problems) -> Option<WorkloadPort> {
    let port = problems.port("workload.ports", wire.port)?;
    // Only TCP goes through the proxy.
    if !matches!(wire.protocol.as_str(), "" | "TCP") {
        problems.add(format!(
            "workload.ports: port {port} has protocol `{}`, only TCP is known",
            wire.protocol
        ));
    }
    Some(WorkloadPort {
        name: wire.name,
        port,
    })
}

fn port_to_wire(port: &WorkloadPort) -> v1::Port {
    v1::Port {
        name: port.name.clone(),
        port: port.port.into(),
        protocol: "TCP".into(),
    }
}

fn timing_from_wire(wire: &v1::Timing, problems: &mut Problems) -> Timing {
    let heartbeat = problems
        .duration("timing.heartbeat", wire.heartbeat, LONGEST_HEARTBEAT)
        .unwrap_or(DEFAULT_HEARTBEAT);
    if heartbeat < Duration::from_secs(1) {
        problems.add(format!(
            "timing.heartbeat is {heartbeat:?}, it must be at least 1 s"
        ));
    }
    Timing {
        heartbeat,
        reconnect_window: problems
            .duration(
                "timing.reconnect_window",
                wire.reconnect_window,
                LONGEST_RECONNECT_WINDOW,
            )
            .unwrap_or(DEFAULT_RECONNECT_WINDOW),
    }
}

// === impl Error ===

impl Error {
    /// What is wrong, one problem each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

// === impl Problems ===

impl Problems {
    fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    fn need<T>(&mut self, what: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(format!("{what} is missing"));
        }
        value
    }

    fn parse<T>(&mut self, what: &str, text: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(format!("{what} `{text}`: {error}"));
                None
            }
        }
    }

    fn check<T>(&mut self, what: &str, text: &str)
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        drop(self.parse::<T>(what, text));
    }

    fn port(&mut self, what: &str, port: u32) -> Option<u16> {
        let valid = u16::try_from(port).ok().filter(|port| *port != 0);
        if valid.is_none() {
            self.add(format!("{what}: {port} is not a port (1 to 65535)"));
        }
        valid
    }

    /// `None` when it is not said, or is wrong and has been noted.
    fn duration(
        &mut self,
        what: &str,
        wire: Option<prost_types::Duration>,
        longest: Duration,
    ) -> Option<Duration> {
        let wire = wire?;
        match Duration::try_from(wire) {
            Ok(duration) if duration <= longest => Some(duration),
            Ok(duration) => {
                self.add(format!(
                    "{what} is {duration:?}, it must be at most {longest:?}"
                ));
                None
            }
            Err(_) => {
                self.add(format!("{what} is negative or out of range"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
