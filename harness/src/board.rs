//! The one page on which every component's state stands together, for `/status`, `/ready`, systemd and the log.

use std::sync::Arc;
use std::time::SystemTime;

use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::config::{Config, FailurePolicy};
use linkerd_harness_core::health::Health;
use linkerd_harness_core::status::{Component, Probe, Proof, State, Status};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::rfc3339;
use crate::launch::Decision;
use crate::report::Report;
use crate::{health, identity, proof, proxy, registration};

/// Everything that the page is made of.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The host's configuration.
    pub config: Arc<Config>,
    /// Who we are.
    pub identity: watch::Receiver<identity::State>,
    /// The session with autoregistration.
    pub registration: watch::Receiver<registration::State>,
    /// What the mesh says.
    pub assignment: watch::Receiver<Option<Arc<Assignment>>>,
    /// Whether the proxy should run.
    pub decision: watch::Receiver<Decision>,
    /// What the proxy does.
    pub proxy: watch::Receiver<proxy::State>,
    /// The rules on this host.
    pub rules: watch::Receiver<Report>,
    /// Whether they were seen to work.
    pub proof: watch::Receiver<Option<Proof>>,
    /// Whether the workload may receive traffic.
    pub health: watch::Receiver<Health>,
    /// The group's probes.
    pub probes: watch::Receiver<Vec<Probe>>,
}

/// The newest report of each component, in the order of the flow.
struct Reports {
    identity: Report,
    registration: Report,
    proxy: Report,
    redirection: Report,
    health: Report,
    probes: Vec<Probe>,
    proof: Option<Proof>,
}

/// Keeps the page true for as long as the components live.
pub async fn keep(mut watched: Watched, page: watch::Sender<Arc<Status>>) {
    loop {
        update(&page, watched.reports());
        let alive = tokio::select! {
            changed = watched.identity.changed() => changed,
            changed = watched.registration.changed() => changed,
            changed = watched.assignment.changed() => changed,
            changed = watched.decision.changed() => changed,
            changed = watched.proxy.changed() => changed,
            changed = watched.rules.changed() => changed,
            changed = watched.proof.changed() => changed,
            changed = watched.health.changed() => changed,
            changed = watched.probes.changed() => changed,
        };
        if alive.is_err() {
            return;
        }
    }
}

impl Watched {
    fn reports(&mut self) -> Reports {
        let assigned = self.assignment.borrow_and_update().is_some();
        let decision = self.decision.borrow_and_update().clone();
        let proxy = self.proxy.borrow_and_update().clone();
        let proof = self.proof.borrow_and_update().clone();
        Reports {
            identity: self.identity.borrow_and_update().report(),
            registration: self
                .registration
                .borrow_and_update()
                .report(&self.config, assigned),
            proxy: match decision {
                Decision::Hold(why) if matches!(proxy, proxy::State::Stopped) => why,
                _ => proxy.report(),
            },
            redirection: {
                let rules = self.rules.borrow_and_update().clone();
                let rules = proof::report(&rules, proof.as_ref());
                held_closed(self.config.redirect.failure_policy, rules, &proxy)
            },
            health: health::report(&self.health.borrow_and_update()),
            probes: self.probes.borrow_and_update().clone(),
            proof,
        }
    }
}

/// Rules that are in place are no good news while the proxy behind them cannot serve: what `closed` does to the host.
fn held_closed(policy: FailurePolicy, rules: Report, proxy: &proxy::State) -> Report {
    if policy == FailurePolicy::Open || rules.state != State::Ok || proxy.serves_outbound() {
        return rules;
    }
    let who = if proxy.serves() {
        "new outbound connections wait until the proxy reaches the mesh's policy API"
    } else {
        "new connections are refused until the proxy serves"
    };
    let message = format!(
        "FailurePolicy is closed: {who}; to open this host: systemctl stop linkerd-proxy-harness"
    );
    Report::new(State::Degraded, "HeldClosed", message)
}

/// The page before anything is known.
pub fn blank(group: String) -> Status {
    let nothing = || Component {
        state: State::Waiting,
        reason: "Starting".to_owned(),
        message: String::new(),
        since: now(),
    };
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        group,
        meshed: false,
        identity: nothing(),
        registration: nothing(),
        proxy: nothing(),
        redirection: nothing(),
        health: nothing(),
        probes: Vec::new(),
        proof: None,
    }
}

/// Writes the newest reports on the page, with since when each holds, and logs when the VM enters or leaves the mesh.
fn update(page: &watch::Sender<Arc<Status>>, reports: Reports) {
    page.send_if_modified(|held| {
        let mut next = Status::clone(held);
        let pairs = [
            (&mut next.identity, reports.identity),
            (&mut next.registration, reports.registration),
            (&mut next.proxy, reports.proxy),
            (&mut next.redirection, reports.redirection),
            (&mut next.health, reports.health),
        ];
        for (component, report) in pairs {
            replace(component, report);
        }
        next.probes = reports.probes;
        next.proof = reports.proof;
        next.meshed = next
            .components()
            .iter()
            .all(|(_, part)| matches!(part.state, State::Ok | State::Degraded));
        let changed = next != **held;
        if next.meshed != held.meshed {
            let summary = crate::systemd::summary(&next);
            if next.meshed || next.health.reason == "Draining" {
                info!("{summary}");
            } else {
                warn!("no longer meshed: {summary}");
            }
        }
        *held = Arc::new(next);
        changed
    });
}

/// Says why nothing can be redirected, before the components are there.
pub(crate) fn cannot_redirect(page: &watch::Sender<Arc<Status>>, why: Report) {
    page.send_modify(|held| replace(&mut Arc::make_mut(held).redirection, why));
}

fn replace(component: &mut Component, report: Report) {
    if component.state != report.state || component.reason != report.reason {
        component.since = now();
    }
    component.state = report.state;
    report.reason.clone_into(&mut component.reason);
    component.message = report.message;
}

fn now() -> String {
    rfc3339(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_reports(state: State) -> Reports {
        let report = |state| Report::new(state, "Reason", "message");
        Reports {
            identity: report(State::Ok),
            registration: report(state),
            proxy: report(State::Ok),
            redirection: report(State::Ok),
            health: report(State::Ok),
            probes: Vec::new(),
            proof: None,
        }
    }

    #[test]
    fn rules_without_a_proxy_behind_them_are_told_as_what_they_do() {
        let rules = || Report::new(State::Ok, "Applied", "rules are in place");
        let stopped = proxy::State::Stopped;
        let serving = |control_plane| proxy::State::Serving {
            pid: 1,
            since: SystemTime::UNIX_EPOCH,
            control_plane,
            unseen: false,
            version: None,
        };
        let told = |policy, proxy: &proxy::State| held_closed(policy, rules(), proxy);
        let refused = told(FailurePolicy::Closed, &stopped);
        assert_eq!(
            (refused.state, refused.reason),
            (State::Degraded, "HeldClosed")
        );
        assert!(refused.message.contains("new connections are refused"));
        let waits = told(FailurePolicy::Closed, &serving(false));
        assert!(waits.message.contains("outbound connections wait"));
        assert_eq!(told(FailurePolicy::Closed, &serving(true)), rules());
        assert_eq!(told(FailurePolicy::Open, &stopped), rules());
        let failed = Report::new(State::Failed, "ApplyFailed", "");
        assert_eq!(
            held_closed(FailurePolicy::Closed, failed.clone(), &stopped),
            failed
        );
    }

    #[test]
    fn meshed_means_that_no_part_waits_or_failed() {
        let (page, seen) = watch::channel(Arc::new(blank("training/training-vm".to_owned())));
        for (state, meshed) in [
            (State::Ok, true),
            (State::Degraded, true),
            (State::Waiting, false),
            (State::Failed, false),
        ] {
            update(&page, mk_reports(state));
            assert_eq!(seen.borrow().meshed, meshed, "{state:?}");
        }
    }

    #[test]
    fn since_moves_with_state_and_reason_and_not_with_the_words() {
        let mut component = blank(String::new()).identity;
        component.since = "before".to_owned();
        replace(
            &mut component,
            Report::new(State::Waiting, "Starting", "other words"),
        );
        assert_eq!(
            (component.since.as_str(), component.message.as_str()),
            ("before", "other words")
        );
        replace(&mut component, Report::new(State::Ok, "Certified", ""));
        assert_ne!(component.since, "before");
    }
}
