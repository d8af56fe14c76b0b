//! Manifests that people have apply unchanged, and mean the same here and in a directory.

use std::fs;
use std::path::Path;

use autoregistration::crd::ExternalGroup;
use autoregistration::manifests::{self, Source};

use crate::cluster::Cluster;

/// Everything that a group can say.
pub(crate) const FULL: &str = "
apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata: { name: full }
spec:
  probes:
  - httpGet: { path: /ready?a=b, port: web, scheme: HTTPS, host: localhost, httpHeaders: [{ name: X-A, value: b c }] }
    failureThreshold: 5
    successThreshold: 2
    initialDelaySeconds: 0
    timeoutSeconds: 2
    periodSeconds: 1
  - httpGet: { port: 8081 }
  template:
    metadata:
      labels: { app: full, example.com/tier: back_end, empty: '' }
      annotations: { config.linkerd.io/default-inbound-policy: all-authenticated, config.linkerd.io/opaque-ports: '25, 587,4000-4100', other: x }
    ports:
    - { name: web, port: 8080 }
    - { port: 53, protocol: UDP }
    - { port: 53 }
  access:
    identities: ['spiffe://root.linkerd.cluster.local/proxy-harness', 'spiffe://root.linkerd.cluster.local/vms/*']
    networks: [10.0.0.0/8, 'fd00::/8']
    allowedLabels: [zone, example.com/rack]
    maxWorkloads: 100
";

/// The groups in the documentation and in the walk-through.
fn of_the_tree() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![root.join("README.md")];
    for directory in ["docs", "tests/lab/manifests"] {
        let entries = fs::read_dir(root.join(directory)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line != "apiVersion: workload.buoyant.io/v1alpha1" {
                continue;
            }
            let mut manifest = format!("{line}\n");
            while let Some(line) = lines.next_if(|line| !["---", "EOF", "```"].contains(line)) {
                manifest.push_str(line);
                manifest.push('\n');
            }
            found.push((file.display().to_string(), manifest));
        }
    }
    found
}

#[tokio::test]
async fn every_manifest_of_the_tree_applies_unchanged_and_means_the_same_in_a_directory() {
    let cluster = Cluster::shared().await;
    let mut manifests = of_the_tree();
    assert!(manifests.len() >= 5, "{manifests:?}");
    manifests.push(("the full one".to_owned(), FULL.to_owned()));
    for (index, (place, manifest)) in manifests.iter().enumerate() {
        let namespace = format!("manifests-{index}");
        cluster.namespace(&namespace).await;
        let object = cluster.create(&namespace, manifest).await;
        let object = object.unwrap_or_else(|refusal| panic!("{place}: {refusal}\n{manifest}"));

        let answered = serde_norway::to_value(&object).unwrap();
        let mut group = manifests::group(&answered).unwrap();
        let source = Source {
            file: place.clone(),
            text: manifest.clone(),
        };
        let (read, _) = manifests::parse(&[source]).unwrap();
        let of_a_directory = read.groups.values().next().unwrap();
        group.namespace.clone_from(&of_a_directory.namespace);
        group.uid.clone_from(&of_a_directory.uid);
        assert_eq!(&group, of_a_directory, "{place}");

        let typed: ExternalGroup = object.try_parse().unwrap();
        assert_eq!(typed.spec.probes.len(), group.probes.len(), "{place}");
    }
}

#[tokio::test]
async fn an_api_server_fills_in_the_defaults_that_the_reader_has() {
    let cluster = Cluster::shared().await;
    cluster.namespace("defaults").await;
    let manifest = "{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {name: a}, \
                    spec: {probes: [{httpGet: {port: 80}}], template: {ports: [{port: 80}]}}}";
    let object = cluster.create("defaults", manifest).await.unwrap();
    let spec = &object.data["spec"];
    assert_eq!(
        spec["probes"][0],
        serde_json::json!({
            "httpGet": { "path": "/", "port": 80, "scheme": "HTTP" },
            "failureThreshold": 3, "successThreshold": 1, "initialDelaySeconds": 0, "timeoutSeconds": 1, "periodSeconds": 10,
        })
    );
    assert_eq!(
        spec["template"]["ports"][0],
        serde_json::json!({ "port": 80, "protocol": "TCP" })
    );
}

#[tokio::test]
async fn every_kind_of_probe_is_taken_by_the_api_server_and_by_the_reader() {
    let cluster = Cluster::shared().await;
    cluster.namespace("kinds").await;
    for (name, kind) in [
        ("tcp", "{tcpSocket: {port: web}}"),
        ("grpc", "{grpc: {port: 80, service: a.B}}"),
        ("exec", "{exec: {command: [/bin/true, '', a b]}}"),
    ] {
        let manifest = format!(
            "{{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {{name: {name}}}, \
             spec: {{probes: [{kind}], template: {{ports: [{{name: web, port: 80}}]}}}}}}"
        );
        let object = cluster.create("kinds", &manifest).await.unwrap();
        let group = manifests::group(&serde_norway::to_value(&object).unwrap()).unwrap();
        let probe = &group.probes[0];
        assert_eq!(
            (
                probe.tcp_socket.as_ref().map(|socket| socket.port),
                probe.grpc.as_ref().map(|grpc| grpc.port),
                probe.exec.as_ref().map(|exec| exec.command.len()),
            ),
            match name {
                "tcp" => (Some(80), None, None),
                "grpc" => (None, Some(80), None),
                _ => (None, None, Some(3)),
            }
        );
    }
}
