use std::path::Path;
use std::time::Duration;

use linkerd_harness::identity::{self, Reason, State};
use linkerd_harness_core::config::{Backoff, Identity};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::pki::mk_authority;
use crate::workload_api::{Says, mk_agent, mk_svid};

const ID: &str = "spiffe://root.linkerd.cluster.local/proxy-harness";

fn supervise(socket: &Path) -> watch::Receiver<State> {
    let config = Identity {
        spire_socket: socket.to_owned(),
        spiffe_id: None,
        trust_anchors: None,
        backoff: Backoff {
            min: Duration::from_millis(10),
            max: Duration::from_millis(50),
            jitter_percent: 10,
        },
    };
    let (states, seen) = watch::channel(State::default());
    tokio::spawn(identity::supervise(config, states));
    seen
}

async fn until(
    seen: &mut watch::Receiver<State>,
    what: &str,
    wanted: impl FnMut(&State) -> bool,
) -> State {
    let waiting = timeout(Duration::from_secs(20), seen.wait_for(wanted));
    let Ok(state) = waiting.await else {
        panic!("never {what}")
    };
    state.unwrap().clone()
}

fn waits_for(reason: Reason) -> impl FnMut(&State) -> bool {
    move |state| {
        state.certified.is_none()
            && state
                .trouble
                .as_ref()
                .is_some_and(|trouble| trouble.reason == reason)
    }
}

#[tokio::test]
async fn it_waits_for_socket_agent_and_entry_and_goes_on_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let mut seen = supervise(&socket);
    let missing = until(&mut seen, "missing", waits_for(Reason::SocketMissing)).await;
    assert!(missing.trouble.unwrap().message.contains("api.sock"));

    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    until(&mut seen, "refused", waits_for(Reason::SocketRefused)).await;
    std::fs::remove_file(&socket).unwrap();

    let agent = mk_agent(&socket, Says::Unavailable);
    until(
        &mut seen,
        "unavailable",
        waits_for(Reason::AgentUnavailable),
    )
    .await;
    agent.says.send_replace(Says::NoEntry);
    let refused = until(&mut seen, "without entry", waits_for(Reason::NoEntry)).await;
    assert!(
        refused
            .trouble
            .unwrap()
            .message
            .contains("-selector unix:uid:")
    );

    let authority = mk_authority();
    let svid = mk_svid(&authority, ID, &authority.mk_svid(ID, 60));
    agent.says.send_replace(Says::Issues(vec![svid]));
    let state = until(&mut seen, "certified", |state| state.certified.is_some()).await;
    assert_eq!(state.certified.unwrap().spiffe_id, ID);
    assert!(state.trouble.is_none());
}

#[tokio::test]
async fn the_last_good_svid_is_kept_through_denial_restart_and_nonsense() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let authority = mk_authority();
    let good = |seconds| {
        Says::Issues(vec![mk_svid(
            &authority,
            ID,
            &authority.mk_svid(ID, seconds),
        )])
    };
    let agent = mk_agent(&socket, good(60));
    let mut seen = supervise(&socket);
    let first = until(&mut seen, "certified", |state| state.certified.is_some())
        .await
        .certified
        .unwrap();

    agent.says.send_replace(Says::NoEntry);
    let denied = until(&mut seen, "in trouble", |state| state.trouble.is_some()).await;
    assert!(
        denied.certified.is_some(),
        "an entry that is made anew must not open a hole"
    );

    let foreign = mk_authority();
    let mut nonsense = mk_svid(&authority, ID, &foreign.mk_svid(ID, 60));
    nonsense.bundle = authority.certificate.to_vec();
    agent.says.send_replace(Says::Issues(vec![nonsense]));
    let untrusted = |state: &State| {
        state
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.reason == Reason::Untrusted)
    };
    assert!(
        until(&mut seen, "untrusted", untrusted)
            .await
            .certified
            .is_some()
    );

    drop(agent);
    let gone = |state: &State| {
        state
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.reason == Reason::SocketMissing)
    };
    assert!(until(&mut seen, "gone", gone).await.certified.is_some());

    let _agent = mk_agent(&socket, good(120));
    let rotated = until(&mut seen, "rotated", |state| state.trouble.is_none())
        .await
        .certified
        .unwrap();
    assert!(rotated.not_after > first.not_after);
}

#[tokio::test]
async fn an_svid_that_expires_without_a_successor_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let authority = mk_authority();
    let agent = mk_agent(
        &socket,
        Says::Issues(vec![mk_svid(&authority, ID, &authority.mk_svid(ID, 2))]),
    );
    let mut seen = supervise(&socket);
    until(&mut seen, "certified", |state| state.certified.is_some()).await;
    drop(agent);
    until(&mut seen, "expired", |state| state.certified.is_none()).await;
}
