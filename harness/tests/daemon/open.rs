//! `FailurePolicy: open`: each way in which a proxy cannot serve gives the host its network back.

use std::time::Duration;

use linkerd_harness_api::v1::controller_message::Kind as Says;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::controller::{SERVER_ID, Session, mk_assignment, mk_controller};
use crate::netns::Net;
use crate::pki::mk_authority;
use crate::workload_api::{Agent, Says as AgentSays, mk_agent, mk_svid};
use crate::{DEADLINE, Daemon, ID, mk_dir, mk_proxy, redirects, start};

/// A second, and time for a busy machine; without the look at the proxy's pulse a standstill takes seven seconds at least.
const SOON: Duration = Duration::from_secs(5);

struct Meshed<'a> {
    net: &'a Net,
    daemon: Daemon,
    _agent: Agent,
    _session: Session,
}

impl<'a> Meshed<'a> {
    /// A daemon with an identity and an assignment, and a proxy that plays `mode`.
    async fn new(net: &'a Net, mode: &str) -> Self {
        let authority = mk_authority();
        let mut controller = mk_controller(&authority).await;
        let dir = mk_dir();
        let socket = dir.path().join("api.sock");
        let svid = mk_svid(&authority, ID, &authority.mk_svid(ID, 600));
        let agent = mk_agent(&socket, AgentSays::Issues(vec![svid]));
        let config = serde_json::json!({
            "WorkloadGroup": { "Name": "training-vm", "Namespace": "training" },
            "Control": { "Address": controller.address.to_string(), "ServerId": SERVER_ID },
            "Identity": { "SpireSocketAddress": socket },
            "ProxyUserID": 65534,
            "ProxyPath": mk_proxy(dir.path(), mode),
        });
        let daemon = start(dir, &config, "running");
        let session = controller.session().await;
        session
            .say(Says::Assignment(mk_assignment(&authority, ID, 1)))
            .await;
        Self {
            net,
            daemon,
            _agent: agent,
            _session: session,
        }
    }

    async fn until_redirected(&self, wanted: bool, within: Duration, when: &str) {
        let deadline = Instant::now() + within;
        while redirects(&self.net.vm.rules("nft")) != wanted {
            assert!(Instant::now() < deadline, "{when}\n{}", self.daemon.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The proxy that was started last.
    fn proxy(&self) -> Pid {
        let events = self.daemon.events();
        let mut started = events
            .lines()
            .filter_map(|event| event.strip_prefix("start "));
        Pid::from_raw(started.next_back().unwrap().parse().unwrap())
    }

    fn switch(&self, name: &str, on: bool) {
        let file = self.daemon.dir.path().join(name);
        if on {
            std::fs::write(file, "").unwrap();
        } else {
            std::fs::remove_file(file).unwrap();
        }
    }
}

/// Breaks the proxy, and mends it.
fn the_host_has_its_network_while(
    broken: &str,
    break_it: fn(&Meshed<'_>),
    mend_it: fn(&Meshed<'_>),
) {
    let net = Net::new();
    net.vm.block_on(async {
        let meshed = Meshed::new(&net, "good").await;
        meshed.until_redirected(true, DEADLINE, "it serves").await;
        break_it(&meshed);
        meshed.until_redirected(false, SOON, broken).await;
        mend_it(&meshed);
        meshed
            .until_redirected(true, DEADLINE, "it serves again")
            .await;
    });
}

#[test]
fn the_host_has_its_network_while_the_proxy_is_dead() {
    // It is missing, too, so that it stays dead until it is put back.
    the_host_has_its_network_while(
        "it is dead",
        |meshed| {
            let dir = meshed.daemon.dir.path();
            std::fs::rename(dir.join("linkerd2-proxy"), dir.join("away")).unwrap();
            kill(meshed.proxy(), Signal::SIGKILL).unwrap();
        },
        |meshed| {
            let dir = meshed.daemon.dir.path();
            std::fs::rename(dir.join("away"), dir.join("linkerd2-proxy")).unwrap();
        },
    );
}

#[test]
fn the_host_has_its_network_while_the_proxy_stands_still() {
    the_host_has_its_network_while(
        "it stands still",
        |meshed| kill(meshed.proxy(), Signal::SIGSTOP).unwrap(),
        |meshed| kill(meshed.proxy(), Signal::SIGCONT).unwrap(),
    );
}

#[test]
fn the_host_has_its_network_while_the_proxys_port_is_closed() {
    the_host_has_its_network_while(
        "its port is closed",
        |meshed| meshed.switch("closed", true),
        |meshed| meshed.switch("closed", false),
    );
}

#[test]
fn the_host_has_its_network_while_the_proxys_certificate_has_expired() {
    the_host_has_its_network_while(
        "its certificate has expired",
        |meshed| meshed.switch("expired", true),
        |meshed| meshed.switch("expired", false),
    );
}

#[test]
fn nothing_is_redirected_to_a_proxy_that_was_never_certified() {
    let net = Net::new();
    net.vm.block_on(async {
        let mut meshed = Meshed::new(&net, "uncertified").await;
        meshed.daemon.until_told("STATUS=proxy: NotCertified").await;
        assert!(!redirects(&net.vm.rules("nft")));
    });
}
