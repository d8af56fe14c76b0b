//! The time that a new connection takes, `connect` to `accept`, with rules and without.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use linkerd_harness::redirection::{self, Firewall};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::Plan;
use nix::sys::socket::{setsockopt, sockopt};

use crate::netns::{Namespace, Net};
use crate::plans::{PROXY, RUN_DIR};
use crate::sizes;
use crate::spread::Spread;

const ROUNDS: usize = 9;
const CONNECTIONS: usize = 2000;

pub(crate) fn measure(mode: Mode) {
    let net = Net::new();
    net.vm.run(
        &[
            "sysctl",
            "-qw",
            "net.netfilter.nf_conntrack_tcp_timeout_close=1",
        ],
        "",
    );
    let listen = |namespace: &Namespace, port| {
        namespace.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap())
    };
    let (app, inbound) = (listen(&net.vm, 80), listen(&net.vm, 4143));
    let peer = listen(&net.peer, 80);
    let firewall = sizes::open(&net.vm, mode);
    let plans = [None, Some(sizes::default()), Some(sizes::large())];
    let mut times: [[Vec<Duration>; 3]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (at, plan) in plans.iter().enumerate() {
            set(&net.vm, &firewall, plan.as_ref());
            let redirected = if plan.is_some() { &inbound } else { &app };
            times[0][at].push(median(&net.peer, 0, "10.77.0.1:80", redirected));
            times[1][at].push(median(&net.vm, PROXY, "10.77.0.2:80", &peer));
        }
    }
    for (way, times) in ["inbound, redirected", "outbound, of the proxy"]
        .iter()
        .zip(&times)
    {
        let [none, default, large] = times;
        for (rules, with) in [("default rules", default), ("500 and 500", large)] {
            println!(
                "  new connection {way}, {rules} against none: {}",
                Spread::of_ratios(with, none)
            );
            let added = with.iter().zip(none);
            let added = added.map(|(with, none)| (with.as_secs_f64() - none.as_secs_f64()) * 1e6);
            println!("    added, us: {}", Spread::of(added));
        }
    }
}

fn set(vm: &Namespace, firewall: &impl Firewall, plan: Option<&Plan>) {
    vm.block_on(async {
        match plan {
            Some(plan) => firewall.apply(plan).await.unwrap(),
            None => {
                redirection::cleanup(Path::new(RUN_DIR)).await.unwrap();
            }
        }
    });
}

/// Of many connections, one after the other, that this listener gets.
fn median(client: &Namespace, uid: u32, to: &str, listener: &TcpListener) -> Duration {
    let to: SocketAddr = to.parse().unwrap();
    client.inside(|| {
        nix::unistd::setfsuid(uid.into());
        let mut times: Vec<Duration> = (0..CONNECTIONS)
            .map(|_| {
                let begin = Instant::now();
                let stream = TcpStream::connect(to).unwrap();
                let accepted = listener.accept().unwrap();
                let time = begin.elapsed();
                reset(&stream);
                drop((stream, accepted));
                time
            })
            .collect();
        times.sort_unstable();
        times[times.len() / 2]
    })
}

/// Ends with a reset when it is dropped, which leaves no port in `TIME_WAIT`.
fn reset(stream: &TcpStream) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(stream, sockopt::Linger, &linger).unwrap();
}
