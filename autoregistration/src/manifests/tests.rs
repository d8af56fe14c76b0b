use super::*;

const WALKTHROUGH: &str = r"
apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata: { name: training-vm, namespace: training }
spec:
  probes:
  - failureThreshold: 1
    httpGet: { path: /ready, port: 80, scheme: HTTP, host: 127.0.0.1 }
    initialDelaySeconds: 3
    periodSeconds: 10
    successThreshold: 1
    timeoutSeconds: 1
  template:
    metadata: { labels: { app: training-app, location: vm } }
    ports:
    - port: 80
---
apiVersion: v1
kind: Service
metadata: { name: training-vm, namespace: training }
spec:
  selector: { app: training-app, location: vm }
  ports:
  - { port: 80, name: http, targetPort: 80 }
  - { port: 53, protocol: UDP }
";

fn one(text: &str) -> Result<(Manifests, Vec<Ignored>), Error> {
    parse(&[Source {
        file: "a.yaml".into(),
        text: text.into(),
    }])
}

fn problems(text: &str) -> Vec<String> {
    let error = one(text).unwrap_err();
    error.problems.iter().map(Problem::to_string).collect()
}

fn group(spec: &str) -> String {
    format!(
        "apiVersion: workload.buoyant.io/v1alpha1\nkind: ExternalGroup\nmetadata: {{ name: g }}\nspec: {spec}\n"
    )
}

#[test]
fn the_walkthroughs_manifests_are_taken_unchanged() {
    let (manifests, ignored) = one(WALKTHROUGH).unwrap();
    let key = ("training".to_owned(), "training-vm".to_owned());
    let group = &manifests.groups[&key];
    assert_eq!(group.ports, [(String::new(), 80)]);
    assert_eq!(group.labels["location"], "vm");
    let probe = &group.probes[0];
    assert_eq!(
        (probe.initial_delay_seconds, probe.failure_threshold),
        (3, 1)
    );
    let service = &manifests.services[&key];
    assert_eq!(service.cluster_ips, ClusterIps::Computed);
    assert_eq!(
        service.ports,
        [ServicePort {
            port: 80,
            target: crate::view::TargetPort::Number(80)
        }]
    );
    assert_eq!(ignored, []);
}

#[test]
fn probes_are_taken_under_the_template_with_kubernetes_defaults_and_named_ports() {
    let text = group(
        "{ template: { ports: [{ name: web, port: 8080 }], probes: [{ httpGet: { port: web } }] } }",
    );
    let (manifests, _) = one(&text).unwrap();
    let group = &manifests.groups[&("default".to_owned(), "g".to_owned())];
    let probe = &group.probes[0];
    assert_eq!(
        (
            probe.failure_threshold,
            probe.success_threshold,
            probe.initial_delay_seconds,
            probe.timeout_seconds,
            probe.period_seconds
        ),
        (3, 1, 0, 1, 10)
    );
    let get = probe.http_get.as_ref().unwrap();
    assert_eq!(
        (get.port, get.host.as_str(), get.path.as_str()),
        (8080, "127.0.0.1", "/")
    );
}

#[test]
fn every_kind_of_probe_is_taken_from_the_spec_and_from_the_annotation() {
    let text = r#"
apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata:
  name: g
  annotations:
    meshexpansion.io/probes: |
      - exec: { command: [/usr/bin/pg_isready, --host, "", "a b"] }
        timeoutSeconds: 5
      - grpc: { port: 50051 }
spec:
  template: { ports: [{ name: db, port: 5432 }] }
  probes:
  - tcpSocket: { port: db }
  - tcpSocket: { port: 5433, host: db.example }
    exec: null
    failureThreshold: 1
  - grpc: { port: 50051, service: shop.Cart }
"#;
    let (manifests, _) = one(text).unwrap();
    let group = &manifests.groups[&("default".to_owned(), "g".to_owned())];
    let defaults = v1::Probe {
        period_seconds: 10,
        timeout_seconds: 1,
        success_threshold: 1,
        failure_threshold: 3,
        ..v1::Probe::default()
    };
    let socket = |host: &str, port| {
        Some(v1::TcpSocket {
            host: host.into(),
            port,
        })
    };
    let grpc = |service: &str| {
        Some(v1::Grpc {
            port: 50051,
            service: service.into(),
        })
    };
    let command = ["/usr/bin/pg_isready", "--host", "", "a b"];
    assert_eq!(
        group.probes,
        [
            v1::Probe {
                tcp_socket: socket("127.0.0.1", 5432),
                ..defaults.clone()
            },
            v1::Probe {
                tcp_socket: socket("db.example", 5433),
                failure_threshold: 1,
                ..defaults.clone()
            },
            v1::Probe {
                grpc: grpc("shop.Cart"),
                ..defaults.clone()
            },
            v1::Probe {
                exec: Some(v1::Exec {
                    command: command.map(str::to_owned).into(),
                }),
                timeout_seconds: 5,
                ..defaults.clone()
            },
            v1::Probe {
                grpc: grpc(""),
                ..defaults
            },
        ]
    );
}

#[test]
fn what_is_wrong_with_a_kind_is_said_with_its_field() {
    for (probe, expected) in [
        ("{}", "spec.probes[0]: has no kind; write one"),
        (
            "{grpc: {port: 1}, exec: {command: [/a]}}",
            "spec.probes[0]: has more than one kind",
        ),
        (
            "{grpc: {port: web}}",
            "spec.probes[0].grpc.port: `web` is not a port",
        ),
        (
            "{exec: {}}",
            "spec.probes[0].exec.command: is empty; write the path of a program",
        ),
        (
            "{exec: {command: /bin/true}}",
            "spec.probes[0].exec.command: is not a list",
        ),
        (
            "{exec: {command: [true]}}",
            "spec.probes[0].exec.command[0]: `true` is not text",
        ),
        (
            "{exec: {command: [pg_isready]}}",
            "spec.probes[0].exec.command: begins with `pg_isready`; write the absolute path",
        ),
    ] {
        let found = problems(&group(&format!(
            "{{template: {{ports: [{{name: web, port: 80}}]}}, probes: [{probe}]}}"
        )));
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "`{expected}` is not in {found:#?}"
        );
    }
}

#[test]
fn other_kinds_are_ignored_and_lists_are_opened() {
    let (manifests, ignored) = one(
        "{apiVersion: v1, kind: List, items: [\
         {apiVersion: v1, kind: Namespace, metadata: {name: a}},\
         {apiVersion: v1, kind: Service, metadata: {name: s}, spec: {clusterIP: None, unknown: 1}}]}\n---\n",
    )
    .unwrap();
    assert_eq!(manifests.services.len(), 1);
    assert_eq!(ignored.len(), 1);
    assert!(ignored[0].what.starts_with("Namespace of v1"));
}

#[test]
fn every_problem_names_its_file_document_and_field() {
    let text = format!(
        "{WALKTHROUGH}---\n{}",
        group(
            "{ probes: [{ periodSeconds: 0, httpGet: { port: 99999, path: ready } }, { tcpSocket: { port: db } }], \
             template: { metadata: { labels: { version: 1 } }, ports: [{ port: 0 }, { port: 80 }, { port: 80 }] } }"
        )
    );
    let found = problems(&text);
    for expected in [
        "`a.yaml`, document 3, spec.probes[0].httpGet.port: `99999` is not a port",
        "`a.yaml`, document 3, spec.probes[0].httpGet.path: `ready` is not a path",
        "`a.yaml`, document 3, spec.probes[0].periodSeconds: `0` is not a whole number of at least 1",
        "`a.yaml`, document 3, spec.probes[1].tcpSocket.port: no port of spec.template.ports is named `db`",
        "`a.yaml`, document 3, spec.template.metadata.labels.version: `1` is not text; put it in quotes",
        "`a.yaml`, document 3, spec.template.ports[0].port: `0` is not a port",
        "`a.yaml`, document 3, spec.template.ports: port 80 is listed twice",
    ] {
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "`{expected}` is not in {found:#?}"
        );
    }
}

#[test]
fn nonsense_is_refused_with_a_remedy() {
    for (text, expected) in [
        ("a: [", "document 1: is not YAML"),
        ("just text", "is not a mapping"),
        ("kind: Service", "apiVersion: is missing"),
        (
            "{apiVersion: workload.buoyant.io/v2, kind: ExternalGroup}",
            "write workload.buoyant.io/v1alpha1",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: Bad_Name}, spec: {}}",
            "metadata.name: `Bad_Name` is not a DNS label",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}}",
            "spec: is missing",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: ten}}",
            "spec.clusterIP: `ten` is not a cluster IP",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: {port: 1}}}",
            "spec.ports: is not a list",
        ),
        (
            "{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {name: \
             a2345678901234567890123456789012345678901234567890123}, spec: {}}",
            "has 53 characters; at most 52",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}, {port: 80, name: b}]}}",
            "spec.ports: port 80 is listed twice",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: 127.0.0.2}}",
            "spec.clusterIP: `127.0.0.2` is not a cluster IP",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: 169.254.0.2}}",
            "spec.clusterIP: `169.254.0.2` is not a cluster IP",
        ),
        (
            "{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {name: a}, spec: \
             {template: {metadata: {annotations: {config.linkerd.io/default-inbound-policy: open}}}}}",
            "`open` is not known; write one of deny",
        ),
    ] {
        let found = problems(text);
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "`{expected}` is not in {found:#?}"
        );
    }
}

#[test]
fn an_object_and_an_address_may_be_given_only_once() {
    let file = |file: &str, name: &str| Source {
        file: file.into(),
        text: format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{clusterIP: 10.96.0.9}}}}"
        ),
    };
    let twice = parse(&[file("a.yaml", "a"), file("b.yaml", "a")]).unwrap_err();
    assert!(
        twice.to_string().contains("is already in `a.yaml`"),
        "{twice}"
    );
    let same_ip = parse(&[file("a.yaml", "a"), file("b.yaml", "b")]).unwrap_err();
    assert!(
        same_ip
            .to_string()
            .contains("also the address of Service default/a"),
        "{same_ip}"
    );
}

#[test]
fn an_ipv4_cluster_ip_written_as_ipv6_is_the_same_address_and_counts_once() {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIPs: \
                ['::ffff:10.96.0.9', 10.96.0.9]}}";
    let (manifests, _) = one(text).unwrap();
    let service = &manifests.services[&("default".to_owned(), "a".to_owned())];
    let wanted = ClusterIps::Fixed(vec!["10.96.0.9".parse().unwrap()]);
    assert_eq!(service.cluster_ips, wanted);
}

#[test]
fn a_tcp_and_a_udp_port_may_have_the_same_number() {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: \
                [{port: 53, name: u, protocol: UDP}, {port: 53, name: t}]}}";
    let (manifests, _) = one(text).unwrap();
    assert_eq!(manifests.services.values().next().unwrap().ports.len(), 1);
}
