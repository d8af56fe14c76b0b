#[path = "renewal.rs"]
mod renewal;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness::identity;
use linkerd_harness::registration::instance::Instance;
use linkerd_harness::registration::{self, Inputs, LeaveMode, Phase, Reason, State};
use linkerd_harness_api::v1::{
    self, controller_message::Kind as Says, harness_message::Kind as Hears,
};
use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::config::{Backoff, Config, Identity};
use linkerd_harness_core::health::{Health, State as HealthState};
use linkerd_harness_core::status;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::controller::{Controller, SERVER_ID, Session, mk_assignment, mk_controller};
use crate::pki::{Authority, mk_authority};
use crate::workload_api::{Agent, Says as AgentSays, mk_agent, mk_svid};

const ID: &str = "spiffe://root.linkerd.cluster.local/proxy-harness";

/// A VM's registration and what drives it.
struct Vm {
    dir: tempfile::TempDir,
    health: watch::Sender<Health>,
    leave: watch::Sender<Option<LeaveMode>>,
    states: watch::Receiver<State>,
    assignment: watch::Receiver<Option<Arc<Assignment>>>,
    agent: Agent,
}

fn mk_config(address: SocketAddr, server_id: &str) -> Config {
    let text = serde_json::json!({
        "WorkloadGroup": { "Name": "training-vm", "Namespace": "training" },
        "Control": { "Address": address.to_string(), "ServerId": server_id },
    });
    Config::parse(&text.to_string()).unwrap()
}

fn mk_vm(authority: &Authority, config: Config) -> Vm {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let svid = mk_svid(authority, ID, &authority.mk_svid(ID, 600));
    let agent = mk_agent(&socket, AgentSays::Issues(vec![svid]));
    let (identity_is, identity) = watch::channel(identity::State::default());
    let backoff = Backoff {
        min: Duration::from_millis(10),
        max: Duration::from_millis(50),
        jitter_percent: 0,
    };
    let source = Identity {
        spire_socket: socket,
        spiffe_id: None,
        trust_anchors: None,
        backoff,
    };
    tokio::spawn(identity::supervise(source, identity_is));
    let (health, health_seen) = watch::channel(Health::new(HealthState::Starting, "Starting", ""));
    let (leave, leave_seen) = watch::channel(None);
    let (states_are, states) = watch::channel(State::default());
    let (assignment_is, assignment) = watch::channel(None);
    let inputs = Inputs {
        config: Arc::new(config),
        identity,
        health: health_seen,
        leave: leave_seen,
        store: store(&dir),
        instance: Instance {
            id: vec![7; 32],
            boot: vec![1],
            session: vec![2; 16],
            hostname: "vm".to_owned(),
        },
    };
    tokio::spawn(registration::supervise(inputs, states_are, assignment_is));
    Vm {
        dir,
        health,
        leave,
        states,
        assignment,
        agent,
    }
}

fn store(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("assignment.json")
}

impl Vm {
    async fn until(&mut self, what: &str, wanted: impl FnMut(&State) -> bool) -> State {
        let waiting = timeout(Duration::from_secs(20), self.states.wait_for(wanted));
        let Ok(state) = waiting.await else {
            panic!("never {what}")
        };
        state.unwrap().clone()
    }

    async fn until_refused(&mut self, reason: Reason) -> String {
        let state = self
            .until("refused", |state| matches!(&state.phase, Phase::Retrying(why) | Phase::Pending(why) if why.reason == reason))
            .await;
        match state.phase {
            Phase::Retrying(refusal) | Phase::Pending(refusal) => refusal.message,
            other => panic!("{other:?}"),
        }
    }

    async fn until_registered(&mut self) {
        self.until("registered", |state| {
            matches!(state.phase, Phase::Registered { .. })
        })
        .await;
    }
}

/// A VM that has its assignment, of this generation of the group.
async fn mk_registered(authority: &Authority, generation: i64) -> (Controller, Vm, Session) {
    let mut controller = mk_controller(authority).await;
    let mut vm = mk_vm(authority, mk_config(controller.address, SERVER_ID));
    let session = controller.session().await;
    let assignment = mk_assignment(authority, ID, generation);
    session.say(Says::Assignment(assignment)).await;
    vm.until_registered().await;
    (controller, vm, session)
}

#[tokio::test]
async fn a_vm_registers_reports_health_and_leaves() {
    let authority = mk_authority();
    let mut controller = mk_controller(&authority).await;
    let mut vm = mk_vm(&authority, mk_config(controller.address, SERVER_ID));
    let mut session = controller.session().await;
    assert_eq!(session.hello.group.as_ref().unwrap().name, "training-vm");
    assert_eq!(session.hello.ips, ["127.0.0.1"]);
    assert_eq!(
        session.hello.health.as_ref().unwrap().state(),
        v1::health_report::State::Starting
    );
    assert!(
        session
            .hello
            .capabilities
            .iter()
            .any(|known| known == "pending")
    );

    session
        .say(Says::Pending(v1::Pending {
            reason: "GROUP_NOT_FOUND".to_owned(),
            message: "no group training/training-vm".to_owned(),
        }))
        .await;
    assert!(
        vm.until_refused(Reason::GroupNotFound)
            .await
            .contains("training-vm")
    );

    session
        .say(Says::Assignment(mk_assignment(&authority, ID, 1)))
        .await;
    vm.until_registered().await;
    let outcome = session
        .hear(|kind| {
            if let Hears::ConfigAck(ack) = kind {
                Some(ack.outcome())
            } else {
                None
            }
        })
        .await;
    assert_eq!(outcome, v1::config_ack::Outcome::Applied);
    assert_eq!(
        vm.assignment.borrow().as_ref().unwrap().workload.name,
        "training-vm-0123456789"
    );
    assert!(store(&vm.dir).exists());

    vm.health
        .send_replace(Health::new(HealthState::Healthy, "ProbeSucceeded", ""));
    let report = session
        .hear(|kind| {
            if let Hears::Health(report) = kind {
                Some(report)
            } else {
                None
            }
        })
        .await;
    assert_eq!(report.state(), v1::health_report::State::Healthy);
    session.confirm(report.seq).await;
    vm.until("confirmed", |state| {
        state
            .confirmed
            .as_ref()
            .is_some_and(|health| health.state == HealthState::Healthy)
    })
    .await;

    // Other words for the same stay on that host.
    let words = Health::new(HealthState::Healthy, "ProbeSucceeded", "other words");
    vm.health.send_replace(words);
    let question = 1 << 63 | 5;
    session
        .say(Says::Heartbeat(v1::Heartbeat { seq: question }))
        .await;
    let beat = |kind| {
        if let Hears::Heartbeat(beat) = kind {
            Some(beat.seq)
        } else {
            None
        }
    };
    assert_eq!(session.hear(beat).await, question, "a live VM answers");

    let failed = Health::new(HealthState::Unhealthy, "ProbeFailed", "probe 2 of 2: 503");
    vm.health.send_replace(failed);
    let next = session
        .hear(|kind| {
            if let Hears::Health(report) = kind {
                Some(report)
            } else {
                None
            }
        })
        .await;
    assert_eq!(
        (next.seq, next.state(), next.message.as_str()),
        (
            report.seq + 1,
            v1::health_report::State::Unhealthy,
            "probe 2 of 2: 503"
        )
    );

    vm.leave.send_replace(Some(LeaveMode::Reboot));
    let leave = session
        .hear(|kind| {
            if let Hears::Leave(leave) = kind {
                Some(leave)
            } else {
                None
            }
        })
        .await;
    assert_eq!(leave.mode(), v1::leave::Mode::Reboot);
    drop(session);
    vm.until("gone", |state| matches!(state.phase, Phase::Left))
        .await;
}

#[tokio::test]
async fn labels_are_said_and_what_is_not_taken_of_them_is_on_the_page_of_a_member() {
    let authority = mk_authority();
    let mut controller = mk_controller(&authority).await;
    let mut config = mk_config(controller.address, SERVER_ID);
    config.labels = [("rack", "r7"), ("topology.kubernetes.io/zone", "eu-1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let mut vm = mk_vm(&authority, config.clone());
    let session = controller.session().await;
    assert_eq!(session.hello.zone, "eu-1");
    let labels = &session.hello.labels;
    assert_eq!(labels.len(), 1, "the zone is no label of a VM: {labels:?}");
    assert_eq!(labels["rack"], "r7");

    let warning = "label `rack` is not taken";
    let assignment = v1::Assignment {
        warnings: vec![warning.to_owned()],
        ..mk_assignment(&authority, ID, 1)
    };
    session.say(Says::Assignment(assignment)).await;
    vm.until_registered().await;
    let report = vm.states.borrow().report(&config, true);
    assert_eq!(report.state, status::State::Ok);
    assert!(report.message.ends_with(warning), "{}", report.message);

    let allowed = mk_assignment(&authority, ID, 2);
    session.say(Says::Assignment(allowed)).await;
    vm.until("without a warning", |state| {
        !state.report(&config, true).message.contains("warning")
    })
    .await;
}

#[tokio::test]
async fn a_lost_session_is_opened_again_with_what_was_assigned() {
    let authority = mk_authority();
    let (mut controller, mut vm, session) = mk_registered(&authority, 3).await;
    session.refuse(Status::unavailable("going down")).await;

    let again = controller.session().await;
    assert_eq!(again.hello.resume.as_ref().unwrap().group_generation, 3);
    assert!(again.hello.stream_seq > 1);
    again
        .say(Says::Assignment(mk_assignment(&authority, ID, 2)))
        .await;
    again
        .say(Says::Assignment(mk_assignment(&authority, ID, 4)))
        .await;
    let newest = timeout(
        Duration::from_secs(20),
        vm.assignment
            .wait_for(|held| held.as_ref().is_some_and(|held| held.group_generation != 3)),
    );
    let generation = newest
        .await
        .unwrap()
        .unwrap()
        .as_ref()
        .unwrap()
        .group_generation;
    assert_eq!(
        generation, 4,
        "an older assignment must not replace a newer one"
    );
}

#[tokio::test]
async fn another_spiffe_id_registers_at_once() {
    let authority = mk_authority();
    let (mut controller, vm, session) = mk_registered(&authority, 1).await;
    // A rotation of the same identity does not end the session.
    let issue =
        |id: &str| AgentSays::Issues(vec![mk_svid(&authority, id, &authority.mk_svid(id, 900))]);
    vm.agent.says.send_replace(issue(ID));
    vm.health
        .send_replace(Health::new(HealthState::Healthy, "ProbeSucceeded", ""));
    let mut session = session;
    session
        .hear(|kind| {
            if let Hears::Health(report) = kind {
                Some(report)
            } else {
                None
            }
        })
        .await;
    vm.agent
        .says
        .send_replace(issue("spiffe://root.linkerd.cluster.local/other"));
    assert_eq!(controller.session().await.hello.stream_seq, 2);
}

#[tokio::test]
async fn a_vm_starts_from_disk_while_the_controller_is_away() {
    let authority = mk_authority();
    let (_controller, vm, _session) = mk_registered(&authority, 1).await;
    let kept = std::fs::read(store(&vm.dir)).unwrap();

    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let config = mk_config(nobody, SERVER_ID);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(store(&dir), kept).unwrap();
    let (assignment_is, mut assignment) = watch::channel(None);
    let (states_are, _states) = watch::channel(State::default());
    let (_identity_is, identity) = watch::channel(identity::State::default());
    let (_health_is, health) = watch::channel(Health::new(HealthState::Starting, "Starting", ""));
    let (_leave_is, leave) = watch::channel(None);
    let instance = Instance {
        id: vec![7; 32],
        boot: vec![1],
        session: vec![2; 16],
        hostname: "vm".to_owned(),
    };
    let inputs = Inputs {
        config: Arc::new(config),
        identity,
        health,
        leave,
        store: store(&dir),
        instance,
    };
    tokio::spawn(registration::supervise(inputs, states_are, assignment_is));
    let held = timeout(
        Duration::from_secs(20),
        assignment.wait_for(Option::is_some),
    )
    .await
    .unwrap()
    .unwrap()
    .clone();
    assert_eq!(held.unwrap().workload.name, "training-vm-0123456789");
}

#[tokio::test]
async fn each_failure_has_its_own_reason() {
    let authority = mk_authority();
    let controller = mk_controller(&authority).await;
    let mut wrong_name = mk_vm(
        &authority,
        mk_config(controller.address, "somebody-else.linkerd.cluster.local"),
    );
    wrong_name.until_refused(Reason::WrongController).await;

    let foreign = mk_authority();
    let mut wrong_root = mk_vm(&foreign, mk_config(controller.address, SERVER_ID));
    wrong_root.until_refused(Reason::ControllerUntrusted).await;

    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mut alone = mk_vm(&authority, mk_config(nobody, SERVER_ID));
    assert!(
        alone
            .until_refused(Reason::Unreachable)
            .await
            .contains(&nobody.to_string())
    );
}

#[tokio::test]
async fn what_the_controller_says_reaches_the_operator() {
    let authority = mk_authority();
    let mut controller = mk_controller(&authority).await;
    let mut vm = mk_vm(&authority, mk_config(controller.address, SERVER_ID));
    let mut details = ErrorDetails::new();
    details.set_error_info(
        "IDENTITY_NOT_ALLOWED",
        "meshexpansion.io",
        std::collections::HashMap::new(),
    );
    details.set_retry_info(Some(Duration::from_millis(50)));
    let status = Status::with_error_details(
        Code::PermissionDenied,
        "not in the access list of training-vm",
        details,
    );
    controller.session().await.refuse(status).await;
    assert!(
        vm.until_refused(Reason::IdentityNotAllowed)
            .await
            .contains("access list")
    );
    // And it tries again when told to.
    let session = controller.session().await;
    session
        .say(Says::Assignment(mk_assignment(&authority, ID, 1)))
        .await;
    vm.until_registered().await;
}
