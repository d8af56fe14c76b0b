//! The time to apply.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use linkerd_harness::redirection::{self, Firewall, Host};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::{Family, Plan, iptables};

use crate::netns::Namespace;
use crate::plans::RUN_DIR;
use crate::sizes;
use crate::spread::Spread;

const REPETITIONS: usize = 15;

pub(crate) fn measure(backend: &str, mode: Mode) {
    let vm = Namespace::new("vm");
    let firewall = sizes::open(&vm, mode);
    let (default, large) = (sizes::default(), sizes::large());
    // A table of our own has no such commands; what `iptables` means on such a host is the nft backend.
    let iptables = if backend == "legacy" { "legacy" } else { "nft" };
    let commands = commands(&default, iptables);
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..REPETITIONS {
        times[0].push(first(&vm, &firewall, &default));
        times[1].push(clean(&vm, || one_by_one(&vm, &commands)));
        times[2].push(first(&vm, &firewall, &large));
        times[3].push(clean(&vm, || {
            apply(&vm, &firewall, &default);
            apply(&vm, &firewall, &default)
        }));
    }
    let [ours, single, large, again] = &times;
    let millis = |times| Spread::of_millis(times);
    println!(
        "  apply, both families, against {} single commands: {}  (aim 0.3)",
        commands.len(),
        Spread::of_ratios(ours, single)
    );
    println!("    ms: {} against {}", millis(ours), millis(single));
    println!(
        "  apply 500 ports and 500 subnets against the default: {}  (aim 2)",
        Spread::of_ratios(large, ours)
    );
    println!("    ms: {}", millis(large));
    println!("  apply what is applied, ms: {}", millis(again));
}

/// What `iptables` would have to be called with, once a chain and once a rule.
fn commands(plan: &Plan, backend: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for (program, family) in [("iptables", Family::V4), ("ip6tables", Family::V6)] {
        let show = iptables::show(plan, family);
        let (chains, rules): (Vec<&str>, Vec<&str>) = show
            .lines()
            .filter(|line| line.starts_with([':', '-']))
            .partition(|line| line.starts_with(':'));
        let chains = chains.iter().map(|line| {
            let name = line.trim_start_matches(':').split(' ').next();
            vec!["-N", name.unwrap()]
        });
        // No word of these rules has a blank in it.
        let rules = rules.iter().map(|rule| rule.split(' ').collect());
        commands.extend(chains.chain(rules).map(|words: Vec<&str>| {
            let mut command = vec![format!("{program}-{backend}"), "-t".into(), "nat".into()];
            command.extend(words.iter().map(|word| word.replace('"', "")));
            command
        }));
    }
    commands
}

fn one_by_one(vm: &Namespace, commands: &[Vec<String>]) -> Duration {
    vm.inside(|| {
        let begin = Instant::now();
        for words in commands {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).stdin(Stdio::null());
            assert!(command.status().unwrap().success(), "{words:?}");
        }
        begin.elapsed()
    })
}

fn first(vm: &Namespace, firewall: &Host, plan: &Plan) -> Duration {
    clean(vm, || apply(vm, firewall, plan))
}

fn apply(vm: &Namespace, firewall: &Host, plan: &Plan) -> Duration {
    vm.block_on(async {
        let begin = Instant::now();
        firewall.apply(plan).await.unwrap();
        begin.elapsed()
    })
}

/// On a host without rules of ours, and leaves none.
fn clean(vm: &Namespace, work: impl FnOnce() -> Duration) -> Duration {
    let time = work();
    vm.block_on(redirection::cleanup(Path::new(RUN_DIR)))
        .unwrap();
    time
}
