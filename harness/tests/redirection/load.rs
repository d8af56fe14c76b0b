//! Rules that change while connections come and go: no connection is refused, and none passes un-redirected.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use linkerd_harness::redirection::{Firewall, Host};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::{Plan, State};

use crate::netns::{Connection, Namespace, Net};
use crate::setup::{RUN_DIR, apply, cleanup, mk_plan_of, mk_redirect, state, withdraw};

const APPLIES: usize = 200;

/// With fewer connections while the rules change, the test would prove little. It sees thousands.
const ENOUGH: usize = 1000;

/// Where connections go, and who answers while they are redirected and while they are not.
const WAYS: [Way; 4] = [
    Way::new(From::Peer, "10.77.0.1:80", "inbound", "app"),
    Way::new(From::Peer, "[fd77::1]:80", "inbound", "app"),
    Way::new(From::Vm, "10.77.0.2:80", "outbound", "peer"),
    Way::new(From::Vm, "[fd77::2]:80", "outbound", "peer"),
];

#[derive(Clone, Copy)]
enum From {
    Peer,
    Vm,
}

struct Way {
    from: From,
    to: &'static str,
    redirected: &'static str,
    plain: &'static str,
}

/// What became of the connections of one way.
#[derive(Default)]
struct Tally {
    redirected: AtomicUsize,
    stop: AtomicBool,
}

pub(crate) fn reapplying_under_load_opens_no_gap(mode: Mode) {
    let net = mk_net();
    let plans = [mk_plan(&["5000-5100"]), mk_plan(&["6000", "6002", "6004"])];
    let mut before = open_one_each_way(&net, Redirected::No);
    net.vm.block_on(async {
        let (firewall, _) = open(mode).await;
        firewall.prepare_connections(&plans[0]).await.unwrap();
    });
    echo(&mut before, "after the groundwork");
    apply(&net.vm, mode, &plans[0]);
    echo(&mut before, "after the first apply");

    let mut first = open_one_each_way(&net, Redirected::Yes);
    let mut during = while_connections_are_opened(&net, || {
        let mut during = Vec::new();
        net.vm.block_on(async {
            let (firewall, _) = open(mode).await;
            for round in 0..APPLIES {
                // A, B, B, A, A, B, …: another plan and the same one take turns.
                let plan = &plans[round.div_ceil(2) % 2];
                firewall.apply(plan).await.unwrap();
                if round == APPLIES / 2 {
                    during = open_one_each_way(&net, Redirected::Yes);
                }
                if round % 20 == 0 {
                    for open in [&mut before, &mut first, &mut during] {
                        echo(open, &format!("after apply {round}"));
                    }
                }
            }
            let last = &plans[(APPLIES - 1).div_ceil(2) % 2];
            assert_eq!(firewall.look(last).await.unwrap().state, State::Applied);
        });
        during
    });

    withdraw(&net.vm, mode);
    let mut plain = open_one_each_way(&net, Redirected::No);
    apply(&net.vm, mode, &plans[1]);
    assert_eq!(state(&net.vm, mode, &plans[1]), State::Applied);
    for open in [&mut before, &mut first, &mut during, &mut plain] {
        echo(open, "after withdrawal and return");
    }
    withdraw(&net.vm, mode);
    for open in [&mut before, &mut first, &mut during, &mut plain] {
        echo(open, "after the second withdrawal");
    }
    // At a stop, the proxy has ended before this: its connections are gone, all others carry on.
    drop((first, during));
    assert!(!cleanup(&net.vm).is_empty(), "withdrawal leaves the chains");
    for open in [&mut before, &mut plain] {
        echo(open, "after cleanup");
    }
}

/// Opens connections every way without pause while `work` runs, and panics when one of them was refused or passed by the
/// proxy, or when they were too few.
fn while_connections_are_opened<T>(net: &Net, work: impl FnOnce() -> T) -> T {
    let tallies: [Tally; 4] = Default::default();
    std::thread::scope(|scope| {
        let openers: Vec<_> = WAYS
            .iter()
            .zip(&tallies)
            .map(|(way, tally)| scope.spawn(|| way.client(net).inside(|| way.open_until(tally))))
            .collect();
        // Also when `work` panics: else the scope would wait for ever.
        let stop = Stop(&tallies);
        let deadline = Instant::now() + Duration::from_secs(30);
        while tallies.iter().any(|tally| tally.count() == 0) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let started: Vec<usize> = tallies.iter().map(Tally::count).collect();
        let done = work();
        let during = tallies.iter().zip(started);
        let during: Vec<usize> = during
            .map(|(tally, before)| tally.count() - before)
            .collect();
        drop(stop);
        let wrong: Vec<String> = openers
            .into_iter()
            .filter_map(|opener| opener.join().unwrap().err())
            .collect();
        assert!(
            wrong.is_empty(),
            "{wrong:#?}, after {during:?} good connections"
        );
        assert!(
            during.iter().all(|count| *count >= ENOUGH / WAYS.len()),
            "only {during:?} connections were opened meanwhile"
        );
        done
    })
}

/// Ends all openers when it is dropped.
struct Stop<'a>(&'a [Tally]);

#[derive(Clone, Copy)]
enum Redirected {
    Yes,
    No,
}

fn open_one_each_way(net: &Net, redirected: Redirected) -> Vec<Connection> {
    WAYS.iter()
        .map(|way| {
            let open = way.client(net).connect_as(0, way.to).unwrap();
            let who = match redirected {
                Redirected::Yes => way.redirected,
                Redirected::No => way.plain,
            };
            assert_eq!(open.greeting, format!("{who} {}", way.to));
            open
        })
        .collect()
}

fn echo(connections: &mut [Connection], when: &str) {
    for open in connections {
        assert!(open.echoes(), "{} is broken {when}", open.greeting);
    }
}

fn mk_net() -> Net {
    let net = Net::new();
    for (port, label) in [
        (80, "app"),
        (4143, "inbound"),
        (4140, "outbound"),
        (4150, "outbound"),
    ] {
        net.vm.serve(port, label);
    }
    net.peer.serve(80, "peer");
    // Of the many connections that are reset here, no memory is kept for long.
    net.vm.run(
        &[
            "sysctl",
            "-qw",
            "net.netfilter.nf_conntrack_tcp_timeout_close=1",
        ],
        "",
    );
    net
}

fn mk_plan(ignored: &[&str]) -> Plan {
    let mut redirect = mk_redirect(true);
    redirect.inbound_ignore = ignored.iter().map(|port| port.parse().unwrap()).collect();
    redirect.outbound_ignore = redirect.inbound_ignore.clone();
    mk_plan_of(&redirect)
}

async fn open(mode: Mode) -> (Host, linkerd_harness_core::redirect::backend::Choice) {
    Host::open(mode, Path::new(RUN_DIR)).await.unwrap()
}

// === impl Way ===

impl Way {
    const fn new(
        from: From,
        to: &'static str,
        redirected: &'static str,
        plain: &'static str,
    ) -> Self {
        Self {
            from,
            to,
            redirected,
            plain,
        }
    }

    fn client<'a>(&self, net: &'a Net) -> &'a Namespace {
        match self.from {
            From::Peer => &net.peer,
            From::Vm => &net.vm,
        }
    }

    /// Opens one connection after the other; the first that does not reach the proxy with its original destination is the
    /// error.
    fn open_until(&self, tally: &Tally) -> Result<(), String> {
        let to: SocketAddr = self.to.parse().unwrap();
        let wanted = format!("{} {to}", self.redirected);
        while !tally.stop.load(Ordering::Relaxed) {
            let open = Connection::open(to).map_err(|error| format!("to {to}: {error}"))?;
            if open.greeting != wanted {
                return Err(format!("to {to}: `{}` answered", open.greeting));
            }
            open.reset();
            tally.redirected.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Tally {
    fn count(&self) -> usize {
        self.redirected.load(Ordering::Relaxed)
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        for tally in self.0 {
            tally.stop.store(true, Ordering::Relaxed);
        }
    }
}
