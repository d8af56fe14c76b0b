//! Whatever happens, the rules hold.

use super::*;

#[test]
fn whatever_happens_there_is_one_session_a_workload_and_nothing_is_removed_while_ready() {
    // A fixed walk over everything that harnesses, people and time do.
    let mut bench = Bench::new(GROUP);
    let mut seed = 7_u64;
    let mut next = |bound: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    let mut stream = 0;
    for step in 0..5000 {
        let (before, moment) = (bench.view(), bench.now);
        let old = next(stream + 1);
        match next(9) {
            0 | 1 => {
                stream += 1;
                let vm = Vm {
                    instance: u8::try_from(next(3)).unwrap(),
                    session: u8::try_from(next(3)).unwrap(),
                    seq: next(4),
                    ip: ["10.77.0.2", "10.77.0.3"][usize::try_from(next(2)).unwrap()],
                    state: [State::Healthy, State::Unhealthy][usize::try_from(next(2)).unwrap()],
                    can_wait: next(2) == 0,
                };
                bench.open(stream, &vm);
            }
            2 => drop(bench.event(Event::Closed { stream: old })),
            3 => drop(bench.heartbeat(stream, next(100))),
            4 => drop(bench.report(stream, step, State::Healthy, "")),
            5 => {
                let mode =
                    [Mode::Drain, Mode::Reboot, Mode::Remove][usize::try_from(next(3)).unwrap()];
                bench.leave(old, mode);
            }
            6 => {
                let text = [GROUP, ""][usize::from(next(4) == 0)];
                bench.event(Event::Manifests(manifests(text)));
            }
            7 => drop(bench.pass(seconds(next(20)))),
            _ => drop(bench.pass(seconds(next(400)))),
        }
        let after = bench.view();
        let joined = bench
            .registry
            .sessions
            .iter()
            .filter_map(|(id, session)| match &session.stage {
                Stage::Joined(key) => Some((key.clone(), *id)),
                Stage::Waiting(_) => None,
            })
            .collect::<Vec<_>>();
        for (key, id) in &joined {
            assert_eq!(
                bench.registry.workloads.get(key).unwrap().stream(),
                Some(*id),
                "step {step}"
            );
        }
        let connected = bench
            .registry
            .workloads
            .values()
            .filter(|workload| workload.stream().is_some())
            .count();
        assert_eq!(connected, joined.len(), "step {step}");
        let mut ips = after
            .members
            .values()
            .flat_map(|member| &member.ips)
            .collect::<Vec<_>>();
        ips.sort();
        ips.dedup();
        assert_eq!(
            ips.len(),
            after.members.len(),
            "step {step}: an address twice"
        );
        // While time passes, a workload goes through "not ready" unseen by this test.
        let gone_while_ready = before
            .members
            .iter()
            .any(|(key, member)| member.ready && !after.members.contains_key(key));
        assert!(!gone_while_ready || bench.now > moment, "step {step}");
    }
}
