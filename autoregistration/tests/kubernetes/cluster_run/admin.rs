//! What a replica shows to whoever reaches its admin port.

use super::replica::Plan;
use super::{Mesh, Vm};

#[tokio::test]
async fn the_admin_port_tells_of_no_vm() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (_session, workload) = Vm::new(1).join_well(replica.registration()).await;
    for path in [
        "/hosts",
        "/api/v1/services",
        "/apis/workload.buoyant.io/v1alpha1/externalgroups",
        "/apis/workload.linkerd.io/v1beta1/externalworkloads",
        "/nonsense",
    ] {
        let answer = replica.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(!answer.contains(&workload), "{path}: {answer}");
        assert!(!answer.contains("/apis/"), "there is no such: {answer}");
    }
    for path in ["/", "/live", "/ready", "/metrics"] {
        let answer = replica.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert!(!answer.contains(&workload), "{path}: {answer}");
    }
}
