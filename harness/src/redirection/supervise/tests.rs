mod heard;

use std::sync::Mutex;

use linkerd_harness_core::config::FailurePolicy;
use linkerd_harness_core::redirect::backend::{Backend, NoBackend};
use linkerd_harness_core::redirect::netlink::{Reader, Transaction, Writer};
use linkerd_harness_core::redirect::{Look, State};
use tokio::time::{sleep, timeout};

use super::super::exec::note_child;
use super::*;

/// The process that changes rules for us.
const CHILD: u32 = 7;

/// A host in memory, on which changes can be made to fail.
#[derive(Clone, Debug, Default)]
struct FakeHost(Arc<Mutex<Host>>);

#[derive(Debug, Default)]
struct Host {
    rules: Option<Plan>,
    failures: u32,
    applied: u32,
    looks: u32,
    withdrawals: u32,
    /// What the kernel says, where it does.
    heard: Option<watch::Sender<Heard>>,
    /// Somebody undoes what the next look shows, before we know what it shows.
    undone_in_look: Option<(&'static str, u32)>,
    /// So often somebody undoes what we apply, at once.
    undone: u32,
}

impl FakeHost {
    fn change<T>(&self, change: impl FnOnce(&mut Host) -> T) -> Result<T, Error> {
        let mut host = self.0.lock().unwrap();
        if host.failures > 0 {
            host.failures -= 1;
            return Err(Error::NoBackend {
                none: NoBackend::Unusable,
                why: None,
            });
        }
        Ok(change(&mut host))
    }

    fn peek<T>(&self, look: impl FnOnce(&mut Host) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }
}

impl Host {
    fn tell(&self, name: &str, pid: u32) {
        if let Some(heard) = &self.heard {
            heard.send_modify(|heard| {
                heard.add(Transaction {
                    concerns_us: true,
                    writer: Some(Writer {
                        pid,
                        port: 0,
                        name: name.to_owned(),
                    }),
                });
            });
        }
    }

    fn undo(&mut self, name: &str, pid: u32) {
        self.rules = None;
        self.tell(name, pid);
    }
}

impl Firewall for FakeHost {
    async fn apply(&self, plan: &Plan) -> Result<(), Error> {
        tokio::task::yield_now().await;
        self.change(|host| {
            host.rules = Some(plan.clone());
            host.applied += 1;
            note_child(CHILD);
            host.tell("iptables-nft-re", CHILD);
            if host.undone > 0 {
                host.undone -= 1;
                host.undo("firewalld", 123);
            }
        })
    }

    async fn withdraw(&self) -> Result<bool, Error> {
        tokio::task::yield_now().await;
        self.change(|host| {
            host.withdrawals += 1;
            host.rules.take().is_some()
        })
    }

    async fn look(&self, plan: &Plan) -> Result<Look, Error> {
        let applied = self.peek(|host| {
            host.looks += 1;
            let applied = host.rules.as_ref() == Some(plan);
            if let Some((name, pid)) = host.undone_in_look.take() {
                host.undo(name, pid);
            }
            applied
        });
        Ok(Look {
            text: String::new(),
            state: if applied {
                State::Applied
            } else {
                State::Absent
            },
            rules: vec![],
        })
    }
}

struct Running {
    views: watch::Receiver<Option<View>>,
    host: FakeHost,
    plans: watch::Sender<Option<Arc<Plan>>>,
    phase: watch::Receiver<Redirection>,
    reports: watch::Receiver<Report>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn state(&self) -> (Phase, u64) {
        let state = *self.phase.borrow();
        (state.phase, state.repairs)
    }
}

/// On a host whose kernel tells nothing.
fn start() -> Running {
    start_with(FakeHost::default(), SWEEP)
}

fn start_with(host: FakeHost, sweep: Duration) -> Running {
    let heard = host.peek(|host| host.heard.clone()).unwrap_or_default();
    let (plans, plans_in) = watch::channel(None);
    let (phase_out, phase) = watch::channel(Redirection::default());
    let (views_out, views) = watch::channel(None);
    let (reports_out, reports) = watch::channel(report::starting());
    let task = tokio::spawn(supervise(
        host.clone(),
        Inputs {
            plans: plans_in,
            heard: heard.subscribe(),
            sweep,
        },
        phase_out,
        reports_out,
        views_out,
    ));
    Running {
        views,
        host,
        plans,
        phase,
        reports,
        task,
    }
}

fn mk_plan(uid: u32) -> Arc<Plan> {
    mk_plan_under(FailurePolicy::Open, uid)
}

fn mk_plan_under(failure_policy: FailurePolicy, uid: u32) -> Arc<Plan> {
    let redirect = linkerd_harness_core::config::Redirect {
        inbound_ports: vec![],
        inbound_ignore: vec![],
        outbound_ignore: vec![],
        subnets_ignore: vec![],
        subnets_redirect: vec![],
        ipv6: false,
        mode: linkerd_harness_core::config::Mode::Auto,
        failure_policy,
    };
    let ports = linkerd_harness_core::redirect::ProxyPorts {
        inbound: 4143,
        outbound: 4140,
        outbound_v6: 4140,
        admin: vec![],
    };
    Arc::new(Plan::new(&redirect, ports, uid, []))
}

/// A report with this reason, before long.
async fn reason(reports: &mut watch::Receiver<Report>, reason: &str) -> Report {
    let wanted = reports.wait_for(|report| report.reason == reason);
    let limit = Duration::from_secs(10_000);
    timeout(limit, wanted).await.unwrap().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn rules_of_a_daemon_before_are_removed_when_nothing_is_wanted() {
    let mut running = start();
    running
        .host
        .peek(|host| host.rules = Some(Plan::clone(&mk_plan(1))));
    running
        .phase
        .wait_for(|state| state.phase == Phase::Removed)
        .await
        .unwrap();
    assert!(running.host.peek(|host| host.rules.is_none()));
    assert_eq!(
        reason(&mut running.reports, "NotWanted").await.state,
        linkerd_harness_core::status::State::Waiting
    );
}

#[tokio::test(start_paused = true)]
async fn removed_is_never_said_of_an_earlier_plan() {
    let mut running = start();
    for uid in 1..50 {
        running
            .phase
            .wait_for(|state| state.phase == Phase::Removed)
            .await
            .unwrap();
        running.plans.send_replace(Some(mk_plan(uid)));
        for _ in 0..uid % 5 {
            tokio::task::yield_now().await;
        }
        running.plans.send_replace(None);
        running
            .phase
            .wait_for(|state| state.phase == Phase::Removed)
            .await
            .unwrap();
        assert!(running.host.peek(|host| host.rules.is_none()), "uid {uid}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_and_said() {
    let mut running = start();
    running
        .phase
        .wait_for(|state| state.phase == Phase::Removed)
        .await
        .unwrap();
    running.host.peek(|host| host.failures = 7);
    running.plans.send_replace(Some(mk_plan(1)));
    let report = reason(&mut running.reports, "ApplyFailed").await;
    assert!(
        report.message.contains("no iptables program works here"),
        "{report:?}"
    );
    assert_eq!(running.phase.borrow().phase, Phase::Changing);
    reason(&mut running.reports, "Applied").await;
    running.host.peek(|host| host.failures = 7);
    running.plans.send_replace(None);
    reason(&mut running.reports, "RemoveFailed").await;
    running
        .phase
        .wait_for(|state| state.phase == Phase::Removed)
        .await
        .unwrap();
    assert!(running.host.peek(|host| host.rules.is_none()));
}

#[tokio::test(start_paused = true)]
async fn drift_is_repaired_and_counted_and_a_new_plan_is_no_drift() {
    let mut running = start();
    running.plans.send_replace(Some(mk_plan(1)));
    reason(&mut running.reports, "Applied").await;
    running.host.peek(|host| host.rules = None);
    let report = reason(&mut running.reports, "Repaired").await;
    assert!(report.message.contains("all rules were gone"), "{report:?}");
    assert_eq!(running.state(), (Phase::Applied, 1));
    // A clean look later it is plain news no more.
    reason(&mut running.reports, "Applied").await;
    running.plans.send_replace(Some(mk_plan(2)));
    sleep(SWEEP * 3).await;
    assert_eq!(
        running.host.peek(|host| host.rules.clone()),
        Some(Plan::clone(&mk_plan(2)))
    );
    assert_eq!(running.state(), (Phase::Applied, 1));
    assert_eq!(
        running.host.peek(|host| host.applied),
        3,
        "a host that matches is left alone"
    );
}

#[tokio::test(start_paused = true)]
async fn where_every_change_is_heard_of_a_quiet_host_is_looked_at_rarely() {
    let host = FakeHost::default();
    let heard = watch::Sender::new(Heard::default());
    host.peek(|host| host.heard = Some(heard.clone()));
    let mut running = start_with(host, SWEEP);
    let complete = |complete| heard.send_modify(|heard| heard.set_complete(complete));
    complete(true);
    running.plans.send_replace(Some(mk_plan(1)));
    reason(&mut running.reports, "Applied").await;
    let looks = |running: &Running| running.host.peek(|host| host.looks);
    sleep(SWEEP / 2).await;
    let before = looks(&running);
    sleep(SWEEP * 5).await;
    assert_eq!(looks(&running), before);
    sleep(SWEEP).await;
    assert_eq!(looks(&running), before + 1, "it is still looked at");

    // The kernel stops telling, and what was not heard is found.
    complete(false);
    running.host.peek(|host| host.rules = None);
    let lost = Reader::new(Backend::Nft).lost();
    heard.send_if_modified(|heard| heard.add(lost));
    reason(&mut running.reports, "Repaired").await;
    // It tells again, but of what happened meanwhile it does not.
    complete(true);
    running.host.peek(|host| host.rules = None);
    sleep(SWEEP * 2).await;
    assert!(running.host.peek(|host| host.rules.is_some()));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_plans_and_leaves_the_host_as_it_is() {
    let mut running = start();
    running.plans.send_replace(Some(mk_plan(1)));
    reason(&mut running.reports, "Applied").await;
    drop(running.plans);
    running.task.await.unwrap();
    assert!(running.host.peek(|host| host.rules.is_some()));
}

#[tokio::test(start_paused = true)]
async fn rules_that_come_back_while_none_are_wanted_are_withdrawn_unheard() {
    let mut running = start();
    running.plans.send_replace(Some(mk_plan(1)));
    reason(&mut running.reports, "Applied").await;
    running.plans.send_replace(None);
    let removed = |state: &Redirection| state.phase == Phase::Removed;
    running.phase.wait_for(removed).await.unwrap();
    running
        .host
        .peek(|host| host.rules = Some(Plan::clone(&mk_plan(1))));
    sleep(SWEEP * 2).await;
    assert!(running.host.peek(|host| host.rules.is_none()));
    assert_eq!(running.state(), (Phase::Removed, 0));
    assert_eq!(running.reports.borrow().reason, "NotWanted");

    // What cannot be known to be gone is not said to be.
    running.host.peek(|host| {
        host.rules = Some(Plan::clone(&mk_plan(1)));
        host.failures = 7;
    });
    reason(&mut running.reports, "RemoveFailed").await;
    assert_eq!(running.phase.borrow().phase, Phase::Changing);
    running.phase.wait_for(removed).await.unwrap();
    assert!(running.host.peek(|host| host.rules.is_none()));
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_after_a_change_is_what_it_made() {
    let mut running = start();
    let shown = |running: &Running| {
        let view = running.views.borrow();
        view.as_ref().map(|view| view.look.state.clone())
    };
    running.plans.send_replace(Some(mk_plan(1)));
    reason(&mut running.reports, "Applied").await;
    assert_eq!(shown(&running), Some(State::Applied));
    running.host.peek(|host| host.rules = None);
    reason(&mut running.reports, "Repaired").await;
    assert_eq!(shown(&running), Some(State::Applied));
    // Gone again at once: not said to be there, and not yet another repair.
    running.host.peek(|host| {
        host.rules = None;
        host.undone = 1;
    });
    let repaired = running.phase.wait_for(|state| state.repairs == 2);
    repaired.await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(shown(&running), Some(State::Absent));
    assert_eq!(running.state(), (Phase::Changing, 2));
    sleep(SWEEP).await;
    assert_eq!(running.state(), (Phase::Applied, 3));
}
