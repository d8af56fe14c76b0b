//! The manifests that an operator gives autoregistration.

use autoregistration::manifests::{Source, parse};

use crate::{Target, text};

pub(crate) const MANIFESTS: Target = Target {
    name: "manifests",
    run,
    seeds: || vec![MANIFEST.into()],
};

fn run(input: &[u8]) -> bool {
    let source = Source {
        file: "a.yaml".to_owned(),
        text: text(input).into_owned(),
    };
    match parse(&[source]) {
        Ok((manifests, _)) => !manifests.groups.is_empty(),
        Err(error) => {
            assert!(!error.problems.is_empty(), "refused without a reason");
            false
        }
    }
}

const MANIFEST: &str = "apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata: { name: training-vm, namespace: training }
spec:
  probes:
  - failureThreshold: 1
    httpGet: { path: /ready, port: 80, scheme: HTTP, host: 127.0.0.1 }
    initialDelaySeconds: 3
    periodSeconds: 10
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
