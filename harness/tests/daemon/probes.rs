//! The group's probes: all of them must pass, and programs run only where the host allows them.

use linkerd_harness_api::v1;
use linkerd_harness_core::status::{State, Status};

use super::*;

#[test]
fn programs_of_the_group_are_not_run_unless_the_host_allows_them() {
    probed(false, |report, status, ran| {
        assert_eq!(report.state(), Health::Unhealthy);
        assert_eq!(report.reason, "ProbeNotAllowed");
        let typed = "--health-allow-exec-probes=true";
        assert!(report.message.contains(typed), "{}", report.message);
        assert_eq!(status.probes[1].state, State::Failed);
        assert_eq!(ran, None);
    });
}

#[test]
fn a_workload_is_ready_when_every_kind_of_probe_passes() {
    probed(true, |report, status, ran| {
        assert_eq!(
            (report.state(), report.reason.as_str()),
            (Health::Healthy, "ProbeSucceeded")
        );
        let words: Vec<_> = status.probes.iter().map(|probe| &probe.message).collect();
        assert_eq!(words[0], "connect to 127.0.0.1:4192: connected");
        assert!(words[1].ends_with("success: fine"), "{}", words[1]);
        // The proxy's user, with nothing of the daemon's.
        assert_eq!(ran, Some("65534\n"));
    });
}

/// Gives a daemon a group with two probes, and the first report that is no waiting, its page then, and what the program
/// left.
fn probed(allowed: bool, check: fn(&v1::HealthReport, &Status, Option<&str>)) {
    let net = Net::new();
    let vm = &net.vm;
    vm.block_on(async {
        let authority = mk_authority();
        let mut controller = mk_controller(&authority).await;
        let dir = mk_dir();
        let (socket, ran) = (dir.path().join("api.sock"), dir.path().join("ran"));
        let program = dir.path().join("check");
        let text = format!("#!/bin/sh\nid -u > {}\necho fine\n", ran.display());
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let _daemon = start(
            dir,
            &serde_json::json!({
                "WorkloadGroup": { "Name": "training-vm", "Namespace": "training" },
                "Control": { "Address": controller.address.to_string(), "ServerId": SERVER_ID },
                "Identity": { "SpireSocketAddress": socket },
                "Health": { "AllowExecProbes": allowed },
                "ProxyUserID": 65534,
                "ProxyPath": mk_proxy(socket.parent().unwrap(), "good"),
            }),
            "running",
        );
        let svid = mk_svid(&authority, ID, &authority.mk_svid(ID, 600));
        let _agent = mk_agent(&socket, AgentSays::Issues(vec![svid]));
        let mut session = controller.session().await;
        let socket = v1::TcpSocket {
            host: String::new(),
            port: 4192,
        };
        let exec = v1::Exec {
            command: vec![program.to_str().unwrap().to_owned()],
        };
        let mut assignment = mk_assignment(&authority, ID, 1);
        assignment.probes = vec![
            v1::Probe {
                tcp_socket: Some(socket),
                ..v1::Probe::default()
            },
            v1::Probe {
                exec: Some(exec),
                timeout_seconds: 10,
                ..v1::Probe::default()
            },
        ];
        session.say(Says::Assignment(assignment)).await;
        let verdict = |kind| match kind {
            Hears::Health(report) if report.state() != Health::Starting => Some(report),
            _ => None,
        };
        let report = session.hear(verdict).await;
        let page = vm.run(&["curl", "-s", "127.0.0.1:4192/status"], "");
        let status = serde_json::from_str(&page).unwrap();
        let ran = std::fs::read_to_string(&ran).ok();
        check(&report, &status, ran.as_deref());
    });
}
