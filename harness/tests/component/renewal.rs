//! Sessions that the controller asks to be renewed: the old one goes on until there is another.

use super::*;

fn go_away(within: Option<Duration>) -> Says {
    Says::GoAway(v1::GoAway {
        reason: "REBALANCE".to_owned(),
        reconnect: true,
        within: within.map(|within| within.try_into().unwrap()),
    })
}

fn health(state: HealthState) -> Health {
    Health::new(state, "Probed", "")
}

/// The next health that is reported on a session.
async fn reported(session: &mut Session) -> v1::health_report::State {
    let report = |kind| match kind {
        Hears::Health(report) => Some(report.state()),
        _ => None,
    };
    session.hear(report).await
}

async fn assign(session: &Session, authority: &Authority) {
    let assignment = mk_assignment(authority, ID, 1);
    session.say(Says::Assignment(assignment)).await;
}

/// Fails when the VM is anything but registered from now on.
struct Watched(tokio::task::JoinHandle<Option<Phase>>);

impl Watched {
    fn new(vm: &Vm) -> Self {
        let mut states = vm.states.clone();
        Self(tokio::spawn(async move {
            let left = states.wait_for(|state| !matches!(state.phase, Phase::Registered { .. }));
            left.await.ok().map(|state| state.phase.clone())
        }))
    }

    async fn stayed(self) {
        assert!(!self.0.is_finished(), "{:?}", self.0.await);
    }
}

#[tokio::test]
async fn a_session_goes_on_until_the_moment_of_its_renewal() {
    let authority = mk_authority();
    let (_controller, vm, mut session) = mk_registered(&authority, 1).await;
    session.say(go_away(Some(Duration::from_secs(3600)))).await;
    for state in [HealthState::Healthy, HealthState::Unhealthy] {
        vm.health.send_replace(health(state));
    }
    assert_eq!(
        reported(&mut session).await,
        v1::health_report::State::Unhealthy
    );
}

#[tokio::test]
async fn a_session_goes_on_until_the_vm_is_a_member_on_the_next() {
    let authority = mk_authority();
    let (mut controller, vm, mut old) = mk_registered(&authority, 1).await;
    let watched = Watched::new(&vm);
    old.say(go_away(None)).await;
    let mut new = controller.session().await;
    assert_eq!(new.hello.stream_seq, 2);
    vm.health.send_replace(health(HealthState::Healthy));
    assert_eq!(
        reported(&mut old).await,
        v1::health_report::State::Healthy,
        "the old one is the only one that counts"
    );
    assign(&new, &authority).await;
    assert_eq!(
        reported(&mut new).await,
        v1::health_report::State::Healthy,
        "the new one was told something older in its Hello"
    );
    old.ended().await;
    vm.health.send_replace(health(HealthState::Unhealthy));
    assert_eq!(
        reported(&mut new).await,
        v1::health_report::State::Unhealthy
    );
    watched.stayed().await;
}

#[tokio::test]
async fn a_session_goes_on_while_no_other_is_to_be_had() {
    let authority = mk_authority();
    let (mut controller, vm, mut old) = mk_registered(&authority, 1).await;
    let watched = Watched::new(&vm);
    old.say(go_away(None)).await;
    let mut details = ErrorDetails::new();
    details.set_error_info(
        "RATE_LIMITED",
        "meshexpansion.io",
        std::collections::HashMap::new(),
    );
    details.set_retry_info(Some(Duration::from_millis(10)));
    let busy = Status::with_error_details(Code::ResourceExhausted, "busy", details);
    controller.session().await.refuse(busy.clone()).await;
    let again = controller.session().await;
    assert_eq!(again.hello.stream_seq, 3);
    vm.health.send_replace(health(HealthState::Healthy));
    assert_eq!(reported(&mut old).await, v1::health_report::State::Healthy);
    again.refuse(busy).await;
    let new = controller.session().await;
    assign(&new, &authority).await;
    old.ended().await;
    watched.stayed().await;
}

#[tokio::test]
async fn a_session_that_is_ended_for_the_next_is_no_loss() {
    let authority = mk_authority();
    let (mut controller, vm, old) = mk_registered(&authority, 1).await;
    let watched = Watched::new(&vm);
    old.say(go_away(None)).await;
    let mut new = controller.session().await;
    // As a controller does that has the VM on a newer stream.
    old.refuse(Status::aborted("superseded")).await;
    vm.health.send_replace(health(HealthState::Healthy));
    assign(&new, &authority).await;
    assert_eq!(reported(&mut new).await, v1::health_report::State::Healthy);
    watched.stayed().await;
    vm.leave.send_replace(Some(LeaveMode::Reboot));
    let leave = |kind| matches!(kind, Hears::Leave(_)).then_some(());
    new.hear(leave).await;
}
