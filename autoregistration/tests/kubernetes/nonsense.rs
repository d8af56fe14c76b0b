//! Manifests that make no sense are refused by the API server, with a text that says why, and by the reader of
//! directories as well.

use autoregistration::manifests::{self, Source};

use crate::cluster::Cluster;

/// What is wrong: name, spec, what the API server says.
const CASES: [(&str, &str, &str); 61] = [
    (
        "a.b",
        "{template: {}}",
        "metadata.name must be a DNS label of at most 52 characters",
    ),
    (
        "n23456789-123456789-123456789-123456789-123456789-123",
        "{template: {}}",
        "at most 52 characters",
    ),
    ("a", "{template: []}", "spec.template"),
    // Ports
    (
        "a",
        "{template: {ports: [{port: 0}]}}",
        "spec.template.ports[0].port",
    ),
    (
        "a",
        "{template: {ports: [{port: 65536}]}}",
        "spec.template.ports[0].port",
    ),
    (
        "a",
        "{template: {ports: [{port: '80'}]}}",
        "spec.template.ports[0].port",
    ),
    (
        "a",
        "{template: {ports: [{name: web}]}}",
        "spec.template.ports[0].port",
    ),
    (
        "a",
        "{template: {ports: [{port: 80, name: Web}]}}",
        "spec.template.ports[0].name",
    ),
    (
        "a",
        "{template: {ports: [{port: 80, name: a-name-of-16-cha}]}}",
        "spec.template.ports[0].name",
    ),
    (
        "a",
        "{template: {ports: [{port: 80, name: '80'}]}}",
        "spec.template.ports[0].name",
    ),
    (
        "a",
        "{template: {ports: [{port: 80, name: a-}]}}",
        "must begin and end with a letter or a digit",
    ),
    (
        "a",
        "{template: {ports: [{port: 80, name: linkerd-proxy}]}}",
        "linkerd-proxy is what Linkerd calls the proxy's own port",
    ),
    (
        "a",
        "{template: {ports: [{port: 80}, {port: 80}]}}",
        "Duplicate value",
    ),
    (
        "a",
        "{template: {ports: [{port: 80, name: a}, {port: 81, name: a}]}}",
        "two ports have the same name",
    ),
    (
        "a",
        "{template: {ports: [{port: 80, protocol: SCTP}]}}",
        "spec.template.ports[0].protocol",
    ),
    // Labels and annotations
    (
        "a",
        "{template: {metadata: {labels: {version: 1}}}}",
        "spec.template.metadata.labels.version",
    ),
    (
        "a",
        "{template: {metadata: {labels: {a: 'b c'}}}}",
        "spec.template.metadata.labels.a",
    ),
    (
        "a",
        "{template: {metadata: {labels: {'a b': c}}}}",
        "a key of a label is not valid",
    ),
    (
        "a",
        "{template: {metadata: {labels: {'Ex.com/a': c}}}}",
        "a key of a label is not valid",
    ),
    (
        "a",
        "{template: {metadata: {labels: {'/a': c}}}}",
        "a key of a label is not valid",
    ),
    (
        "a",
        "{template: {metadata: {annotations: {config.linkerd.io/default-inbound-policy: open}}}}",
        "config.linkerd.io/default-inbound-policy must be one of",
    ),
    (
        "a",
        "{template: {metadata: {annotations: {config.linkerd.io/opaque-ports: mysql}}}}",
        "config.linkerd.io/opaque-ports must be ports and ranges",
    ),
    // Probes
    (
        "a",
        "{template: {}, probes: [{}]}",
        "exactly one of httpGet, tcpSocket, grpc and exec",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80}, tcpSocket: {port: 80}}]}",
        "exactly one of httpGet, tcpSocket, grpc and exec",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {}}]}",
        "spec.probes[0].httpGet.port",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 0}}]}",
        "a port is a number from 1 to 65535",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 99999}}]}",
        "a port is a number from 1 to 65535",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: web}}]}",
        "the name of a port of spec.template.ports",
    ),
    (
        "a",
        "{template: {ports: [{port: 80, name: a}]}, probes: [{httpGet: {port: web}}]}",
        "the name of a port of",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80, path: ready}}]}",
        "spec.probes[0].httpGet.path",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80, path: /a b}}]}",
        "spec.probes[0].httpGet.path",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80, scheme: http}}]}",
        "spec.probes[0].httpGet.scheme",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80, host: 'a b'}}]}",
        "spec.probes[0].httpGet.host",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80, httpHeaders: [{name: 'a b', value: c}]}}]}",
        "spec.probes[0].httpGet.httpHeaders[0].name",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80, httpHeaders: [{name: a, value: \"b\\nc\"}]}}]}",
        "spec.probes[0].httpGet.httpHeaders[0].value",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80}, periodSeconds: 0}]}",
        "spec.probes[0].periodSeconds",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80}, initialDelaySeconds: -1}]}",
        "spec.probes[0].initialDelaySeconds",
    ),
    (
        "a",
        "{template: {}, probes: [{httpGet: {port: 80}, timeoutSeconds: 1s}]}",
        "spec.probes[0].timeoutSeconds",
    ),
    (
        "a",
        "{template: {probes: [{httpGet: {port: 80}}]}, probes: [{httpGet: {port: 80}}]}",
        "keep one of the two",
    ),
    (
        "a",
        "{template: {}, probes: [{tcpSocket: {}}]}",
        "spec.probes[0].tcpSocket.port",
    ),
    (
        "a",
        "{template: {}, probes: [{tcpSocket: {port: 65536}}]}",
        "a port is a number from 1 to 65535",
    ),
    (
        "a",
        "{template: {}, probes: [{tcpSocket: {port: web}}]}",
        "the name of a port of spec.template.ports",
    ),
    (
        "a",
        "{template: {}, probes: [{tcpSocket: {port: 80, host: a/b}}]}",
        "spec.probes[0].tcpSocket.host",
    ),
    (
        "a",
        "{template: {}, probes: [{grpc: {}}]}",
        "spec.probes[0].grpc.port",
    ),
    (
        "a",
        "{template: {}, probes: [{grpc: {port: 0}}]}",
        "spec.probes[0].grpc.port",
    ),
    (
        "a",
        "{template: {ports: [{port: 80, name: web}]}, probes: [{grpc: {port: web}}]}",
        "spec.probes[0].grpc.port",
    ),
    (
        "a",
        "{template: {}, probes: [{grpc: {port: 80, service: 1}}]}",
        "spec.probes[0].grpc.service",
    ),
    (
        "a",
        "{template: {}, probes: [{grpc: {port: 80}, exec: {command: [/bin/true]}}]}",
        "exactly one of httpGet, tcpSocket, grpc and exec",
    ),
    (
        "a",
        "{template: {}, probes: [{exec: {}}]}",
        "spec.probes[0].exec.command",
    ),
    (
        "a",
        "{template: {}, probes: [{exec: {command: []}}]}",
        "spec.probes[0].exec.command",
    ),
    (
        "a",
        "{template: {}, probes: [{exec: {command: /bin/true}}]}",
        "spec.probes[0].exec.command",
    ),
    (
        "a",
        "{template: {}, probes: [{exec: {command: ['']}}]}",
        "begins with the absolute path of a program",
    ),
    (
        "a",
        "{template: {}, probes: [{exec: {command: [bin/true]}}]}",
        "begins with the absolute path of a program",
    ),
    (
        "a",
        "{template: {}, probes: [{exec: {command: [/bin/true, 1]}}]}",
        "spec.probes[0].exec.command[1]",
    ),
    (
        "a",
        "{template: {}, probes: [{exec: {command: [/bin/true, null]}}]}",
        "spec.probes[0].exec.command[1]",
    ),
    (
        "a",
        "{template: {}, probes: [{exec: {command: [/bin/true, \"a\\0b\"]}}]}",
        "spec.probes[0].exec.command[1]",
    ),
    // Access
    ("a", "{template: {}, access: {}}", "access says nothing"),
    (
        "a",
        "{template: {}, access: {identities: [proxy-harness]}}",
        "spec.access.identities[0]",
    ),
    (
        "a",
        "{template: {}, access: {identities: ['spiffe://Root/a']}}",
        "spec.access.identities[0]",
    ),
    (
        "a",
        "{template: {}, access: {networks: [10.0.0.0/33]}}",
        "spec.access.networks[0]",
    ),
    (
        "a",
        "{template: {}, access: {maxWorkloads: -1}}",
        "spec.access.maxWorkloads",
    ),
];

fn manifest(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: workload.buoyant.io/v1alpha1\nkind: ExternalGroup\nmetadata: {{ name: {name} }}\nspec: {spec}\n"
    )
}

#[tokio::test]
async fn nonsense_is_refused_by_the_api_server_and_by_the_reader_of_directories() {
    let cluster = Cluster::shared().await;
    cluster.namespace("nonsense").await;
    let mut wrong = Vec::new();
    for (name, spec, expected) in CASES {
        let text = manifest(name, spec);
        match cluster.create("nonsense", &text).await {
            Ok(_) => {
                wrong.push(format!("the API server takes {spec}"));
                let parameters = kube::api::DeleteParams::default();
                drop(
                    cluster
                        .groups("nonsense")
                        .delete(name, &parameters)
                        .await
                        .unwrap(),
                );
            }
            Err(message) if !message.contains(expected) => {
                wrong.push(format!("for {spec} the API server says: {message}"));
            }
            Err(_) => {}
        }
        let source = Source {
            file: "a.yaml".to_owned(),
            text,
        };
        // In a file, ports of other protocols than TCP are ignored, whatever they are.
        let tolerated = spec.contains("SCTP");
        if manifests::parse(&[source]).is_ok() != tolerated {
            wrong.push(format!("the reader and the API server differ on {spec}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn unknown_fields_and_too_many_of_anything_are_refused() {
    let cluster = Cluster::shared().await;
    cluster.namespace("limits").await;
    let ports = |many: usize| {
        let list = (1..=many).map(|port| format!("{{port: {port}}}"));
        format!(
            "{{template: {{ports: [{}]}}}}",
            list.collect::<Vec<_>>().join(", ")
        )
    };
    let probes = |many| {
        format!(
            "{{template: {{}}, probes: [{}]}}",
            vec!["{httpGet: {port: 80}}"; many].join(", ")
        )
    };
    let command = |arguments: usize, length: usize| {
        let arguments = vec!["a".repeat(length); arguments].join(", ");
        format!("{{template: {{}}, probes: [{{exec: {{command: [/bi, {arguments}]}}}}]}}")
    };
    for (spec, expected) in [
        (
            "{template: {}, acess: {}}".to_owned(),
            "unknown field \"spec.acess\"",
        ),
        (ports(65), "must have at most 64 items"),
        (probes(17), "must have at most 16 items"),
        (command(64, 10), "must have at most 64 items"),
        (command(1, 4094), "at most 4096 characters"),
        (command(2, 2047), "at most 4096 characters"),
        (
            format!(
                "{{template: {{}}, probes: [{{grpc: {{port: 1, service: {}}}}}]}}",
                "s".repeat(254)
            ),
            "may not be more than 253",
        ),
    ] {
        let message = cluster
            .create("limits", &manifest("a", &spec))
            .await
            .unwrap_err();
        assert!(message.contains(expected), "{message}");
        if !spec.contains("acess") {
            let file = "a.yaml".to_owned();
            let text = manifest("a", &spec);
            assert!(
                manifests::parse(&[Source { file, text }]).is_err(),
                "the reader takes {spec}"
            );
        }
    }
    for (name, spec) in [
        ("ports", ports(64)),
        ("probes", probes(16)),
        ("words", command(63, 10)),
        ("characters", command(1, 4093)),
    ] {
        let text = manifest(name, &spec);
        cluster.create("limits", &text).await.unwrap();
        let file = "a.yaml".to_owned();
        manifests::parse(&[Source { file, text }]).unwrap();
    }
}
