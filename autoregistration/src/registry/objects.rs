//! The state as others see it: the view that the mesh APIs answer from, and the objects that the admin port shows.

use std::sync::Arc;
use std::time::Duration;

use super::Registry;
use super::health::{Condition, Status};
use super::name::Fingerprint;
use super::session::{Session, Stage};
use crate::manifests::Manifests;
use crate::view::{Service, View};

/// What the admin port shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// What the mesh APIs answer from.
    pub view: View,
    /// The desired state.
    pub manifests: Arc<Manifests>,
    /// What the view does not tell of its members, in the same order.
    pub workloads: Vec<WorkloadStatus>,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Workloads by readiness: true, false, unknown.
    pub workloads: [usize; 3],
    /// Open streams that are a workload.
    pub sessions_joined: usize,
    /// Open streams that wait.
    pub sessions_waiting: usize,
    /// Whether the VMs had time to come back after a start.
    pub restored: bool,
    /// Whether nobody is called unreachable because too many are.
    pub mass_loss: bool,
}

/// What the view does not tell of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadStatus {
    /// uid.
    pub uid: String,
    /// What it is recognised by, in hex.
    pub fingerprint: String,
    /// Name of the machine, may be empty.
    pub hostname: String,
    /// When it was made, since our start.
    pub created: Duration,
    /// Whether its harness has a stream.
    pub connected: bool,
    /// Whether it may receive traffic, and why.
    pub condition: Condition,
}

// === impl Registry ===

impl Registry {
    /// The mesh at this moment.
    pub fn view(&self) -> View {
        View {
            restored: self.restored,
            settings: crate::view::Settings {
                cluster_domain: self.settings.cluster_domain.clone(),
                cluster_networks: self.settings.cluster_networks.clone(),
                default_inbound_policy: self.settings.proxy.default_inbound_policy.clone(),
            },
            members: self
                .workloads
                .iter()
                .map(|(key, workload)| (key.clone(), workload.member()))
                .collect(),
            services: self
                .manifests
                .services
                .iter()
                .map(|(key, service)| {
                    let service = Service {
                        namespace: service.namespace.clone(),
                        name: service.name.clone(),
                        cluster_ips: self.cluster_ips.get(key).cloned().unwrap_or_default(),
                        ports: service.ports.clone(),
                        selector: service.selector.clone(),
                    };
                    (key.clone(), service)
                })
                .collect(),
        }
    }

    /// Everything that the admin port shows.
    pub fn objects(&self) -> Objects {
        Objects {
            view: self.view(),
            manifests: Arc::clone(&self.manifests),
            workloads: self
                .workloads
                .values()
                .map(|workload| WorkloadStatus {
                    uid: workload
                        .there
                        .as_ref()
                        .map_or_else(String::new, |there| there.uid.clone()),
                    fingerprint: workload.fingerprint.to_hex(),
                    hostname: workload.spec.hostname.clone(),
                    created: workload.created,
                    connected: workload.stream().is_some(),
                    condition: workload.condition.clone(),
                })
                .collect(),
        }
    }

    /// How much there is of everything.
    pub fn totals(&self) -> Totals {
        let mut workloads = [0; 3];
        for workload in self.workloads.values() {
            let [ready, unready, unknown] = &mut workloads;
            *match workload.condition.ready.status {
                Status::True => ready,
                Status::False => unready,
                Status::Unknown => unknown,
            } += 1;
        }
        let joined = |session: &&Session| matches!(session.stage, Stage::Joined(_));
        let sessions_joined = self.sessions.values().filter(joined).count();
        Totals {
            workloads,
            sessions_joined,
            sessions_waiting: self.sessions.len() - sessions_joined,
            restored: self.restored,
            mass_loss: self.breaker.is_active(),
        }
    }

    /// Short fingerprints of the VMs that have a stream here, those that wait included: they are not lost.
    pub fn digest(&self) -> Vec<[u8; 16]> {
        self.sessions
            .values()
            .map(|session| {
                let hello = &session.hello;
                Fingerprint::new(&hello.group, &session.caller, &hello.instance_id).short()
            })
            .collect()
    }
}
