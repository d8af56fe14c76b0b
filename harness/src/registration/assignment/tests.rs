use linkerd_harness_core::probe::{Check, Scheme};

use super::*;

fn wire() -> v1::Assignment {
    let anchor = rcgen::generate_simple_self_signed(vec!["root".into()])
        .unwrap()
        .cert
        .pem();
    v1::Assignment {
        workload: Some(v1::Workload {
            namespace: "training".into(),
            name: "training-vm-0123456789".into(),
            uid: "uid".into(),
            identity: "spiffe://root.linkerd.cluster.local/proxy-harness".into(),
            server_name: "training-vm-0123456789.training.external.identity.linkerd.cluster.local"
                .into(),
            ips: vec!["10.77.0.2".into()],
            ports: vec![v1::Port {
                name: String::new(),
                port: 80,
                protocol: "TCP".into(),
            }],
        }),
        probes: vec![v1::Probe {
            http_get: Some(v1::HttpGet {
                port: 80,
                path: "/ready".into(),
                ..v1::HttpGet::default()
            }),
            ..v1::Probe::default()
        }],
        proxy: Some(v1::ProxyConfig {
            trust_anchors_pem: anchor,
            cluster_domain: "cluster.local".into(),
            cluster_networks: vec!["10.0.0.0/8".into()],
            destination: Some(v1::Endpoint {
                addr: "linkerd-dst-headless.linkerd.svc.cluster.local.:8086".into(),
                identity:
                    "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
                        .into(),
            }),
            policy: Some(v1::Endpoint {
                addr: "linkerd-policy.linkerd.svc.cluster.local.:8090".into(),
                identity:
                    "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
                        .into(),
            }),
            default_inbound_policy: "all-unauthenticated".into(),
            opaque_ports: "25,587,4000-4100".into(),
            ..v1::ProxyConfig::default()
        }),
        group_generation: 1,
        config_hash: vec![1, 2, 255],
        timing: None,
        controller: "test".into(),
        capabilities: Vec::new(),
        warnings: vec!["label `rack` is not taken".into()],
    }
}

#[test]
fn warnings_are_some_lines_for_a_terminal() {
    let assignment = from_wire(v1::Assignment {
        warnings: vec![format!("a\n\u{1b}[2J{}", "b".repeat(9999)); 99],
        ..wire()
    });
    let warnings = assignment.unwrap().warnings;
    assert_eq!(warnings.len(), MOST_WARNINGS);
    assert!(warnings[0].starts_with("a[2Jbb"), "{}", warnings[0]);
    assert_eq!(warnings[0].len(), LONGEST_WARNING);
}

#[test]
fn a_good_assignment_gets_the_defaults_and_survives_a_round_trip() {
    let assignment = from_wire(wire()).unwrap();
    assert_eq!(assignment.config_hash, "0102ff");
    assert_eq!(assignment.timing.heartbeat, Duration::from_secs(30));
    let probe = &assignment.probes[0];
    assert_eq!(
        (probe.period, probe.timeout, probe.initial_delay),
        (
            Duration::from_secs(10),
            Duration::from_secs(1),
            Duration::ZERO
        )
    );
    assert_eq!((probe.success_threshold, probe.failure_threshold), (1, 3));
    let Check::HttpGet { scheme, host, .. } = &probe.check else {
        panic!("{:?} is no httpGet", probe.check);
    };
    assert_eq!((*scheme, host.as_str()), (Scheme::Http, "127.0.0.1"));
    assert_eq!(from_wire(to_wire(&assignment)), Ok(assignment));
}

#[test]
fn every_problem_is_listed_at_once() {
    let mut bad = wire();
    let workload = bad.workload.as_mut().unwrap();
    workload.name = "not a label".into();
    workload.identity = "training-vm.serviceaccount".into();
    workload.ips = vec!["10.0.0.300".into()];
    workload.ports[0].port = 70_000;
    let get = bad.probes[0].http_get.as_mut().unwrap();
    get.scheme = "FTP".into();
    get.path = "/ready\r\nX-Evil: 1".into();
    get.headers = vec![v1::Header {
        name: "X-A".into(),
        value: "a\r\nb".into(),
    }];
    let proxy = bad.proxy.as_mut().unwrap();
    proxy.trust_anchors_pem = "none".into();
    proxy.cluster_networks = vec!["10.0.0.0/33".into()];
    proxy.default_inbound_policy = "allow".into();
    proxy.opaque_ports = "25,x".into();
    proxy.destination = None;
    proxy.extra_env = [("A=B".to_owned(), String::new())].into();
    bad.config_hash.clear();
    bad.timing = Some(v1::Timing {
        heartbeat: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
        ..v1::Timing::default()
    });
    let error = from_wire(bad).unwrap_err();
    for expected in [
        "workload.name",
        "workload.identity",
        "10.0.0.300",
        "70000",
        "scheme `FTP`",
        "path `",
        "`X-A` is not a valid header",
        "trust_anchors_pem holds no certificate",
        "10.0.0.0/33",
        "default_inbound_policy `allow`",
        "proxy.opaque_ports `x`",
        "proxy.destination is missing",
        "extra_env `A=B`",
        "config_hash is empty",
        "timing.heartbeat is negative",
    ] {
        assert!(
            error.problems().iter().any(|p| p.contains(expected)),
            "{expected} is not in {error}"
        );
    }
}

#[test]
fn an_empty_message_is_refused() {
    assert!(from_wire(v1::Assignment::default()).is_err());
}

fn with(probe: v1::Probe) -> v1::Assignment {
    v1::Assignment {
        probes: vec![probe],
        ..wire()
    }
}

fn exec(words: &[&str]) -> v1::Probe {
    v1::Probe {
        exec: Some(v1::Exec {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
        }),
        ..v1::Probe::default()
    }
}

#[test]
fn every_kind_of_probe_survives_the_way_to_the_wire_and_back() {
    let socket = v1::Probe {
        tcp_socket: Some(v1::TcpSocket {
            host: String::new(),
            port: 5432,
        }),
        ..v1::Probe::default()
    };
    let grpc = v1::Probe {
        grpc: Some(v1::Grpc {
            port: 50051,
            service: "shop.Cart".into(),
        }),
        ..v1::Probe::default()
    };
    for (probe, expected) in [
        (
            socket,
            Check::TcpSocket {
                host: "127.0.0.1".into(),
                port: 5432,
            },
        ),
        (
            grpc,
            Check::Grpc {
                port: 50051,
                service: "shop.Cart".into(),
            },
        ),
        (
            exec(&["/bin/true", ""]),
            Check::Exec {
                command: vec!["/bin/true".into(), String::new()],
            },
        ),
    ] {
        let read = from_wire(with(probe)).unwrap();
        assert_eq!(read.probes[0].check, expected);
        assert_eq!(from_wire(to_wire(&read)).unwrap(), read);
    }
}

#[test]
fn a_probe_of_no_known_kind_of_two_or_of_nonsense_is_refused() {
    let both = v1::Probe {
        grpc: Some(v1::Grpc {
            port: 1,
            service: String::new(),
        }),
        ..exec(&["/bin/true"])
    };
    let nowhere = v1::Probe {
        tcp_socket: Some(v1::TcpSocket {
            host: "a b".into(),
            port: 0,
        }),
        ..v1::Probe::default()
    };
    for (probe, expected) in [
        (
            v1::Probe::default(),
            "probes[0] is of a kind that this harness does not know",
        ),
        (both, "probes[0] is of more than one kind"),
        (nowhere.clone(), "probes[0]: host `a b` is not a host"),
        (nowhere, "probes[0]: 0 is not a port"),
        (exec(&[]), "probes[0]: command is empty"),
        (
            exec(&["sh", "-c", "id"]),
            "probes[0]: command begins with `sh`",
        ),
        (exec(&["/bin/true", "a\0b"]), "probes[0]: command has a NUL"),
    ] {
        let error = from_wire(with(probe)).unwrap_err();
        assert!(
            error
                .problems()
                .iter()
                .any(|problem| problem.starts_with(expected)),
            "{error}"
        );
    }
}
