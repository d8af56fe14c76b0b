//! A cluster in which somebody else has installed a definition of the same name.

use autoregistration::crd::ExternalGroup;
use autoregistration::manifests;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams};

use crate::cluster::{Cluster, definition_name};

pub(crate) const DEFINITION: &str = include_str!("foreign.yaml");

const GROUP: &str = "
apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata:
  name: a
  annotations:
    meshexpansion.io/probes: |
      - httpGet: { path: /deep, port: web }
        periodSeconds: 60
    meshexpansion.io/access: |
      identities: ['spiffe://root.linkerd.cluster.local/vms/*']
      maxWorkloads: 3
spec:
  probes:
  - httpGet: { path: /ready, port: 80 }
  template:
    metadata: { labels: { app: a } }
    ports: [{ name: web, port: 80, protocol: TCP }]
";

#[tokio::test]
async fn the_definition_of_somebody_else_stays_and_our_fields_come_from_annotations() {
    let cluster = Cluster::alone().await;
    let theirs = serde_norway::from_str(DEFINITION).unwrap();
    cluster.install(&theirs).await;
    let all = Api::<CustomResourceDefinition>::all(cluster.client.clone());
    // What an operator does who installs ours as well, without --force-conflicts.
    let ours = Patch::Apply(autoregistration::crd::external_group());
    let kubectl = PatchParams::apply("kubectl");
    match all.patch(definition_name(), &kubectl, &ours).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 409, "{}", status.message),
        other => panic!("{other:?}"),
    }
    let still = all.get(definition_name()).await.unwrap();
    assert_eq!(
        still.metadata.labels.unwrap()["app.kubernetes.io/managed-by"],
        "somebody-else"
    );

    cluster.namespace("foreign").await;
    let created = cluster.create("foreign", GROUP).await.unwrap();
    let group = manifests::group(&serde_norway::to_value(&created).unwrap()).unwrap();
    let paths = group
        .probes
        .iter()
        .map(|probe| probe.http_get.as_ref().unwrap().path.as_str());
    assert_eq!(paths.collect::<Vec<_>>(), ["/ready", "/deep"]);
    assert_eq!(group.probes[1].period_seconds, 60);
    let access = group.access.unwrap();
    assert_eq!(access.max_workloads, Some(3));
    let id = |text: &str| text.parse().unwrap();
    let patterns = access.identities.unwrap();
    assert!(patterns[0].matches(&id("spiffe://root.linkerd.cluster.local/vms/a/b")));
    assert!(!patterns[0].matches(&id("spiffe://root.linkerd.cluster.local/vms-of-others/a")));

    let typed = Api::<ExternalGroup>::namespaced(cluster.client.clone(), "foreign");
    let listed = typed.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items[0].spec.template.ports[0].port, 80);
}
