//! The proxy's supervision, with a child that can be told how to behave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness::proxy::{Launch, Reason, State};
use linkerd_harness_core::status::State as Coarse;
use linkerd_harness_core::truth::Verdict;

#[path = "proxy_support/lab.rs"]
mod lab;

use lab::{Lab, eventually, process};

#[tokio::test]
async fn it_serves_when_the_truth_test_holds_and_not_before() {
    let mut lab = Lab::new("");
    lab.set("FAKE_CERTIFIED_AFTER", "600");
    lab.start();
    lab.until(|state| {
        matches!(
            state,
            State::Starting {
                verdict: Verdict::NotCertified,
                ..
            }
        )
    })
    .await;
    let state = lab.until(State::serves).await;
    assert!(state.serves_outbound(), "{state:?}");
    assert_eq!(state.version(), Some("2.366.0"));
    assert_eq!(state.report().state, Coarse::Ok);
    lab.stop().await;
}

#[tokio::test]
async fn the_child_has_this_environment_this_user_and_no_capability() {
    let lab = Lab::new("");
    lab.start();
    let pid = lab.until(State::serves).await.pid().unwrap();
    assert_eq!(
        process(pid, "cmdline").split('\0').next(),
        Some(lab.launch.program.to_str().unwrap())
    );
    let environment: BTreeMap<String, String> = process(pid, "environ")
        .split_terminator('\0')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(environment, lab.launch.environment);
    let status = process(pid, "status");
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_ascii_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    assert_eq!(field("Uid:"), vec![lab.launch.user_id.to_string(); 4]);
    if lab::is_root() {
        assert_eq!(field("CapBnd:"), ["0000000000000000"]);
        assert_eq!(field("Groups:"), [""; 0]);
    }
    lab.stop().await;
}

#[tokio::test]
async fn a_certified_proxy_is_asked_to_stop() {
    let lab = Lab::new("");
    lab.start();
    let pid = lab.until(State::serves).await.pid().unwrap();
    lab.send(None);
    lab.until(|state| *state == State::Stopped).await;
    assert_eq!(
        lab.events(),
        [format!("start {pid}"), format!("term {pid}")]
    );
    assert!(!lab::is_alive(pid));
}

#[tokio::test]
async fn a_proxy_that_was_never_certified_is_killed_at_once() {
    let lab = Lab::new("uncertified");
    lab.start();
    let waits = |state: &State| {
        matches!(
            state,
            State::Starting {
                verdict: Verdict::NotCertified,
                ..
            }
        )
    };
    let pid = lab.until(waits).await.pid().unwrap();
    // The lab's deadline is shorter than the grace period, so waiting for it would fail.
    lab.stop().await;
    assert_eq!(lab.events(), [format!("start {pid}")]);
    assert!(!lab::is_alive(pid));
}

#[tokio::test]
async fn a_proxy_that_does_not_stop_is_killed_after_its_grace_period() {
    let mut lab = Lab::new("deaf");
    lab.config_mut().proxy.shutdown_grace = Duration::from_millis(100);
    lab.start();
    let pid = lab.until(State::serves).await.pid().unwrap();
    lab.send(None);
    lab.until(|state| *state == State::Stopping { pid }).await;
    lab.until(|state| *state == State::Stopped).await;
    assert_eq!(
        lab.events(),
        [format!("start {pid}"), format!("term {pid}")]
    );
    assert!(!lab::is_alive(pid));
}

#[tokio::test]
async fn a_panic_before_the_first_certificate_leads_to_a_restart() {
    let lab = Lab::new("panic");
    lab.start();
    let failed = lab.until_failed(Reason::Panicked).await;
    let message = failed.report().message;
    assert!(
        message.contains("spire client must gracefully handle errors"),
        "{message}"
    );
    eventually("two starts", || lab.events().len() >= 2).await;
    lab.stop().await;
    assert!(
        lab.events().iter().all(|event| event.starts_with("start")),
        "{:?}",
        lab.events()
    );
}

#[tokio::test]
async fn a_false_claim_to_be_ready_is_no_service_and_leads_to_a_restart() {
    let lab = Lab::new("false-ready");
    lab.start();
    lab.until(|state| {
        matches!(
            state,
            State::Starting {
                verdict: Verdict::FalseReady,
                ..
            }
        )
    })
    .await;
    lab.until_failed(Reason::FalseReady).await;
    eventually("two starts", || lab.events().len() >= 2).await;
    lab.stop().await;
}

#[tokio::test]
async fn a_refused_configuration_is_told_in_the_proxys_words() {
    let lab = Lab::new("usage");
    lab.start();
    let report = lab
        .until_failed(Reason::ConfigurationRefused)
        .await
        .report();
    assert_eq!(report.reason, "ConfigurationRefused");
    assert!(report.message.contains("exit 64"), "{}", report.message);
    assert!(
        report
            .message
            .contains("LINKERD2_PROXY_X=\"30\" is not valid"),
        "{}",
        report.message
    );
    lab.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_told_from_other_panics() {
    let lab = Lab::new("");
    let holder = std::net::TcpListener::bind(lab.config().proxy.inbound_listen).unwrap();
    lab.start();
    let report = lab.until_failed(Reason::PortTaken).await.report();
    assert!(
        report.message.contains("Address already in use"),
        "{}",
        report.message
    );
    drop(holder);
    lab.until(State::serves).await;
    lab.stop().await;
}

#[tokio::test]
async fn a_proxy_that_dies_comes_back_with_longer_and_longer_waits() {
    let mut lab = Lab::new("mortal");
    lab.set("FAKE_LIFE", "150");
    lab.start();
    let mut waits = Vec::new();
    for _ in 0..3 {
        let failed = lab.until_failed(Reason::Exited).await;
        let State::Backoff { wait, .. } = &failed else {
            unreachable!()
        };
        waits.push(*wait);
        assert!(
            failed.report().message.contains("out of luck"),
            "{}",
            failed.report().message
        );
        lab.until(|state| *state != failed).await;
    }
    assert!(waits.is_sorted(), "{waits:?}");
    lab.stop().await;
}

#[tokio::test]
async fn a_changed_launch_restarts_the_child_and_an_equal_one_does_not() {
    let mut lab = Lab::new("");
    lab.start();
    let first = lab.until(State::serves).await.pid().unwrap();
    lab.send(Some(Launch::clone(&lab.launch)));
    lab.set("FAKE_NOTE", "changed");
    lab.start();
    let second = lab
        .until(|state| state.serves() && state.pid() != Some(first))
        .await
        .pid()
        .unwrap();
    assert!(process(second, "environ").contains("FAKE_NOTE=changed"));
    let expected = [
        format!("start {first}"),
        format!("term {first}"),
        format!("start {second}"),
    ];
    assert_eq!(lab.events(), expected);
    lab.stop().await;
}

#[tokio::test]
async fn a_missing_program_is_started_when_it_is_put_there() {
    let lab = Lab::new("");
    let elsewhere = lab.launch.program.with_extension("away");
    std::fs::rename(&lab.launch.program, &elsewhere).unwrap();
    lab.start();
    let report = lab.until_failed(Reason::ProgramMissing).await.report();
    assert!(
        report.message.contains("install -m 0755"),
        "{}",
        report.message
    );
    std::fs::rename(&elsewhere, &lab.launch.program).unwrap();
    lab.until(State::serves).await;
    lab.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_ends_the_service_but_not_the_proxy() {
    let lab = Lab::new("");
    lab.start();
    let pid = lab.until(State::serves).await.pid().unwrap();
    lab.switch("expired", true);
    let state = lab.until(|state| !state.serves()).await;
    assert_eq!(
        state,
        State::NotServing {
            pid,
            verdict: Verdict::CertificateExpired
        }
    );
    lab.switch("expired", false);
    assert_eq!(lab.until(State::serves).await.pid(), Some(pid));
    lab.stop().await;
}

#[tokio::test]
async fn a_lost_control_plane_is_told_without_ending_the_service() {
    let lab = Lab::new("");
    lab.start();
    lab.until(State::serves_outbound).await;
    lab.switch("alone", true);
    let state = lab.until(|state| !state.serves_outbound()).await;
    assert!(state.serves(), "{state:?}");
    assert_eq!(state.report().reason, "ControlPlaneUnreached");
    lab.switch("alone", false);
    lab.until(State::serves_outbound).await;
    lab.stop().await;
}

#[tokio::test]
async fn a_port_that_closes_while_serving_leads_to_a_restart() {
    let lab = Lab::new("");
    lab.start();
    let first = lab.until(State::serves).await.pid().unwrap();
    lab.switch("closed", true);
    lab.until_failed(Reason::FalseReady).await;
    lab.switch("closed", false);
    assert_ne!(lab.until(State::serves).await.pid(), Some(first));
    lab.stop().await;
}

#[tokio::test]
async fn where_policy_closes_the_admin_port_the_log_and_the_open_port_count() {
    let lab = Lab::new("refused");
    lab.start();
    let state = lab.until(State::serves).await;
    assert_eq!(state.report().reason, "AdminPortRefused");
    assert!(
        !state.serves_outbound(),
        "the policy API has not answered, or our look would be allowed"
    );
    lab.stop().await;
}

#[tokio::test]
async fn when_nobody_gives_orders_any_more_the_proxy_is_stopped_and_the_task_ends() {
    let mut lab = Lab::new("");
    lab.start();
    let pid = lab.until(State::serves).await.pid().unwrap();
    lab.hang_up().await;
    assert_eq!(
        lab.events(),
        [format!("start {pid}"), format!("term {pid}")]
    );
    assert!(!lab::is_alive(pid));
}

#[tokio::test]
async fn a_daemon_that_is_gone_leaves_no_proxy_behind() {
    let lab = Lab::new("");
    let (config, launch, state) = lab.parts();
    lab.send(Some(lab.launch.clone()));
    let daemon = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let watching = state.subscribe();
        let pid = runtime.block_on(async move {
            let mut watching = watching;
            tokio::spawn(linkerd_harness::proxy::supervise(
                Arc::new(config),
                launch,
                state,
            ));
            let state = tokio::time::timeout(lab::DEADLINE, watching.wait_for(State::serves)).await;
            state.unwrap().unwrap().pid().unwrap()
        });
        // As if killed: nothing is dropped, only the thread ends.
        std::mem::forget(runtime);
        pid
    });
    let pid = tokio::task::spawn_blocking(|| daemon.join().unwrap())
        .await
        .unwrap();
    let _orphan = lab::KillOnDrop(pid);
    eventually("the proxy's end", || !lab::is_alive(pid)).await;
    assert_eq!(lab.events(), [format!("start {pid}")], "killed, not asked");
}

/// As under systemd: an unprivileged daemon with ambient capabilities. Run as root, or it has none to give.
#[test]
fn a_daemon_with_capabilities_keeps_them_to_itself() {
    let dir = lab::open_dir();
    let test = dir.path().join("deps/proxy");
    for (from, to) in [
        (std::env::current_exe().unwrap(), &test),
        (lab::fake_proxy(), &dir.path().join("examples/fake-proxy")),
    ] {
        std::fs::create_dir(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
    let mut command = std::process::Command::new("/usr/bin/setpriv");
    if lab::is_root() {
        let capabilities = "+net_admin,+net_raw";
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(format!("--inh-caps={capabilities}"));
        command.arg(format!("--ambient-caps={capabilities}"));
    }
    let name = "the_child_has_this_environment_this_user_and_no_capability";
    let output = command
        .arg("--")
        .arg(&test)
        .args([name, "--exact"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}
