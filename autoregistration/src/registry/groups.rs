//! Edits of the manifests, taken over by living workloads.

use std::sync::Arc;

use tracing::info;

use super::admission::group_key;
use super::hello::Hello;
use super::session::{Stage, Wait};
use super::workload::Presence;
use super::{Registry, assignment};
use crate::manifests::Manifests;

// === impl Registry ===

impl Registry {
    pub(super) fn set_manifests(&mut self, manifests: Arc<Manifests>) {
        let now = self.now;
        self.cluster_ips = crate::cluster_ip::assign(
            &manifests.services,
            self.mesh.service_network,
            &self.cluster_ips,
        );
        self.manifests = manifests;
        let mut bereft = Vec::new();
        for (key, workload) in &mut self.workloads {
            let group = (key.0.clone(), workload.group.name.as_str().to_owned());
            match self.manifests.groups.get(&group) {
                Some(group) => group.clone_into(&mut workload.template),
                None if workload.removal.is_some() => {}
                None => {
                    info!(
                        namespace = key.0,
                        workload = key.1,
                        "group removed, workload follows"
                    );
                    bereft.extend(workload.stream());
                    workload.presence = Presence::Lost(now);
                    workload.retire("GroupDeleted", "its ExternalGroup is gone", now);
                }
            }
        }
        for stream in bereft {
            if let Some(session) = self.sessions.get(&stream) {
                let hello = session.hello.clone();
                self.wait_for_group(stream, &hello);
            }
        }
        self.push_assignments();
        // Those whose group is still missing have been told so.
        let manifests = Arc::clone(&self.manifests);
        self.admit_waiting(|wait, hello| {
            matches!(wait, Wait::Group) && manifests.groups.contains_key(&group_key(hello))
        });
    }

    /// Sends the assignments that have changed.
    pub(super) fn push_assignments(&mut self) {
        let changed = self
            .sessions
            .iter()
            .filter(|(_, session)| match &session.stage {
                Stage::Waiting(_) => false,
                Stage::Joined(key) => self.workloads.get(key).is_some_and(|workload| {
                    assignment::build(&self.mesh, &self.anchors, workload).config_hash
                        != session.sent
                }),
            })
            .map(|(stream, _)| *stream)
            .collect::<Vec<_>>();
        for stream in changed {
            self.assign(stream);
        }
    }

    /// Tries those again that wait for what `which` says.
    pub(super) fn admit_waiting(&mut self, which: impl Fn(&Wait, &Hello) -> bool) {
        let waiting = self
            .sessions
            .iter()
            .filter(|(_, session)| match &session.stage {
                Stage::Waiting(wait) => which(wait, &session.hello),
                Stage::Joined(_) => false,
            })
            .map(|(stream, _)| *stream)
            .collect::<Vec<_>>();
        for stream in waiting {
            // One before it may have ended it.
            if self.waits(stream) {
                self.admit(stream);
            }
        }
    }
}
