//! A cluster with Linkerd's objects, as replicas find it. Of one test alone, since a leader looks after all workloads.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use autoregistration::crd::ExternalWorkload;
use autoregistration::crd::external_workload::Condition;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use lab::apiserver::ApiServer;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Replica;
use super::replica::{self, Plan};
use crate::cluster::{Cluster, DEADLINE};

/// Where replicas are.
pub(super) const OURS: &str = "linkerd-expansion";
/// Where VMs are.
pub(super) const NAMESPACE: &str = "training";
pub(super) const GROUP: &str = "training-vm";
/// Of all replicas in any test.
const NUMBERS: [u8; 6] = [1, 2, 3, 11, 12, 13];
pub(super) const LEASE: &str = "linkerd-autoregistration";
pub(super) const LINKERD: &str = "linkerd";
const DEFINITION: &str = include_str!("../externalworkloads.yaml");
const VALUES: &str =
    "clusterDomain: cluster.local\nclusterNetworks: 10.0.0.0/8\nproxy: { logLevel: info }\n";

/// How many there are in this process.
static TESTS: AtomicU8 = AtomicU8::new(0);

pub(super) struct Mesh {
    server: Option<ApiServer>,
    pub(super) client: Client,
    pub(super) kubeconfig: PathBuf,
    /// Replicas are at `127.a.b.number`, where nobody else is.
    network: [u8; 2],
}

/// A workload as it is there, and its condition.
pub(super) type Seen = (ExternalWorkload, Option<Condition>);

// === impl Mesh ===

impl Mesh {
    /// With a group, and nobody in it.
    pub(super) async fn start() -> Self {
        let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
        let server = server.await.unwrap();
        let cluster = Cluster::at(&server).await;
        Self::on(server, &cluster).await
    }

    /// The same on an API server that has something already.
    pub(super) async fn on(server: ApiServer, cluster: &Cluster) -> Self {
        let workload = serde_norway::from_str(DEFINITION).unwrap();
        cluster.install(&workload).await;
        cluster
            .install(&autoregistration::crd::external_group())
            .await;
        for namespace in [OURS, LINKERD, NAMESPACE] {
            cluster.namespace(namespace).await;
        }
        let test = TESTS.fetch_add(1, Ordering::Relaxed);
        let mesh = Self {
            kubeconfig: server.kubeconfig(),
            server: Some(server),
            client: cluster.client.clone(),
            network: [std::process::id().to_le_bytes()[0].max(1), test],
        };
        mesh.settings(VALUES).await;
        mesh.anchors(&certificate()).await;
        // Of one that is not there, the first leader is sure only after its whole time.
        mesh.put::<Lease>(OURS, LEASE, json!({ "spec": {} })).await;
        mesh.group(json!({})).await;
        mesh
    }

    pub(super) fn ip(&self, number: u8) -> Ipv4Addr {
        let [a, b] = self.network;
        Ipv4Addr::new(127, a, b, number)
    }

    /// Three replicas that know of each other; the first of them leads.
    pub(super) async fn three(&self, plan: impl Fn(Plan) -> Plan) -> Vec<Replica> {
        self.three_at(plan, |listens| listens).await
    }

    /// The same, where the others reach each at another address than it listens at.
    pub(super) async fn three_at(
        &self,
        plan: impl Fn(Plan) -> Plan,
        mut at: impl FnMut(SocketAddr) -> SocketAddr,
    ) -> Vec<Replica> {
        let plans = [1, 2, 3].map(|number| plan(Plan::new(self, number)));
        for plan in &plans {
            let reached = at(plan.args.cluster.peer_listen);
            self.list(&plan.name, reached).await;
        }
        let mut replicas = futures::future::join_all(plans.map(Plan::start)).await;
        let leader = self.leader("").await;
        replicas.sort_by_key(|replica| replica.name != leader);
        replicas
    }

    /// What was called, as the API server's audit log has it.
    pub(super) fn calls(&self) -> String {
        self.server.as_ref().unwrap().calls().unwrap()
    }

    pub(super) fn kill(&mut self) {
        self.server.as_mut().unwrap().kill();
    }

    /// The API server says nothing from now on, and ends nothing.
    pub(super) fn pause(&self) {
        self.server.as_ref().unwrap().pause().unwrap();
    }

    pub(super) fn resume(&self) {
        self.server.as_ref().unwrap().resume().unwrap();
    }

    pub(super) async fn restart(&mut self) {
        let mut server = self.server.take().unwrap();
        let started = tokio::task::spawn_blocking(move || {
            server.restart().unwrap();
            server
        });
        self.server = Some(started.await.unwrap());
    }

    /// Makes an object say this.
    pub(super) async fn put<K>(&self, namespace: &str, name: &str, mut says: Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let kind = K::DynamicType::default();
        says["apiVersion"] = K::api_version(&kind).into();
        says["kind"] = K::kind(&kind).into();
        says["metadata"]["name"] = name.into();
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let params = PatchParams::apply("test").force();
        api.patch(name, &params, &Patch::Apply(says)).await.unwrap();
    }

    pub(super) async fn settings(&self, values: &str) {
        let data = json!({ "data": { "values": values } });
        self.put::<ConfigMap>(LINKERD, "linkerd-config", data).await;
    }

    pub(super) async fn anchors(&self, pem: &str) {
        let data = json!({ "data": { "ca-bundle.crt": pem } });
        self.put::<ConfigMap>(LINKERD, "linkerd-identity-trust-roots", data)
            .await;
    }

    /// Makes the group; what is in `edit` is in place of what it has else.
    pub(super) async fn group(&self, edit: Value) {
        self.group_in(NAMESPACE, edit).await;
    }

    /// The same in another namespace.
    pub(super) async fn group_in(&self, namespace: &str, edit: Value) {
        let mut template = json!({
            "metadata": { "labels": { "app": "training" }, "annotations": { "config.linkerd.io/opaque-ports": "25" } },
            "ports": [{ "name": "http", "port": 80 }],
        });
        let mut probe = json!({ "httpGet": { "path": "/ready", "port": "http" } });
        merge(&mut template, &edit["template"]);
        merge(&mut probe, &edit["probe"]);
        let mut spec = json!({ "spec": { "probes": [probe], "template": template } });
        for (part, name) in [("spec", "access"), ("metadata", "annotations")] {
            if !edit[name].is_null() {
                spec[part][name] = edit[name].clone();
            }
        }
        self.put::<autoregistration::crd::ExternalGroup>(namespace, GROUP, spec)
            .await;
    }

    pub(super) fn groups(&self) -> Api<DynamicObject> {
        let kind = kube::core::ApiResource::erase::<autoregistration::crd::ExternalGroup>(&());
        Api::namespaced_with(self.client.clone(), NAMESPACE, &kind)
    }

    pub(super) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), OURS)
    }

    /// Name of the replica that leads, once there is one and it is not `not`.
    pub(super) async fn leader(&self, not: &str) -> String {
        until("a replica leads", || async {
            let lease = self.leases().get(LEASE).await.ok()?;
            let holder = lease.spec?.holder_identity?;
            let name = holder.split_once('_')?.0.to_owned();
            (name != not).then_some(name)
        })
        .await
    }

    /// A replica is in the Service, for all others.
    ///
    /// Each has a Service of its own, since no endpoint may be on loopback, and of other addresses a machine has but one.
    pub(super) async fn list(&self, name: &str, addr: SocketAddr) {
        for other in NUMBERS.map(replica::name) {
            if other == name {
                continue;
            }
            let slice = json!({
                "metadata": { "labels": { "kubernetes.io/service-name": peers(&other), "test/replica": name } },
                "addressType": "IPv4",
                "endpoints": [{ "addresses": [addr.ip().to_string()], "conditions": { "ready": true } }],
                "ports": [{ "name": "peers", "port": addr.port() }],
            });
            let slice_name = format!("{name}-for-{other}");
            self.put::<EndpointSlice>(OURS, &slice_name, slice).await;
        }
    }

    /// A replica is in the Service no more.
    pub(super) async fn unlist(&self, name: &str) {
        let slices = Api::<EndpointSlice>::namespaced(self.client.clone(), OURS);
        let those = ListParams::default().labels(&format!("test/replica={name}"));
        let params = DeleteParams::default();
        drop(slices.delete_collection(&params, &those).await.unwrap());
    }

    /// Waits until the group shows this reason for its condition `Accepted`; answers with the message.
    pub(super) async fn group_shows(&self, reason: &str) -> String {
        until(&format!("the group is {reason}"), || async {
            let group = self.groups().get(GROUP).await.ok()?;
            let conditions = group.data["status"]["conditions"].as_array()?.clone();
            let accepted = conditions.iter().find(|it| it["type"] == "Accepted")?;
            let message = accepted["message"].as_str()?.to_owned();
            (accepted["reason"] == reason).then_some(message)
        })
        .await
    }

    pub(super) fn workloads(&self) -> Api<ExternalWorkload> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// All workloads by name.
    pub(super) async fn all(&self) -> BTreeMap<String, ExternalWorkload> {
        let all = self.workloads().list(&ListParams::default()).await;
        let all = all.unwrap().items.into_iter();
        all.map(|workload| (workload.name_any(), workload))
            .collect()
    }

    /// Which versions there are, by name.
    pub(super) async fn versions(&self) -> BTreeMap<String, String> {
        let all = self.all().await.into_iter();
        all.map(|(name, workload)| (name, workload.resource_version().unwrap()))
            .collect()
    }

    pub(super) async fn workload(&self, name: &str) -> Seen {
        let workload = self.workloads().get(name).await.unwrap();
        let ready = ready(&workload);
        (workload, ready)
    }

    /// The workload, once it is like this.
    pub(super) async fn comes_to_be(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&ExternalWorkload, &str) -> bool,
    ) -> Seen {
        until(what, || async {
            let workload = self.workloads().get_opt(name).await.ok()??;
            let ready = ready(&workload);
            let status = ready.as_ref().map_or("", |ready| &ready.status);
            is(&workload, status).then(|| (workload.clone(), ready.clone()))
        })
        .await
    }

    /// The workload, once it has this readiness.
    pub(super) async fn is_ready(&self, name: &str, status: &str) -> Seen {
        let what = format!("{name} is {status}");
        self.comes_to_be(name, &what, |_, there| there == status)
            .await
    }

    pub(super) async fn is_gone(&self, name: &str) {
        until("the workload is gone", || async {
            let workload = self.workloads().get_opt(name).await.ok()?;
            workload.is_none().then_some(())
        })
        .await;
    }
}

/// Name of the Service in which the others of a replica are.
pub(super) fn peers(replica: &str) -> String {
    format!("peers-of-{replica}")
}

/// An address of this machine that is not on loopback. Nothing is sent.
pub(super) fn address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    let ip = socket.local_addr().unwrap().ip();
    assert!(
        !ip.is_loopback(),
        "replicas need an address of this machine"
    );
    ip
}

/// Waits until it answers.
pub(super) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(DEADLINE, looking).await;
    found.unwrap_or_else(|_| panic!("not so in time: {what}"))
}

pub(super) fn ready(workload: &ExternalWorkload) -> Option<Condition> {
    let status = workload.status.as_ref()?;
    assert_eq!(status.conditions.len(), 1, "{status:?}");
    status.conditions.first().cloned()
}

pub(super) fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["root.linkerd".to_owned()]).unwrap();
    params.self_signed(&key).unwrap().pem()
}

fn merge(into: &mut Value, edit: &Value) {
    match (into, edit) {
        (Value::Object(into), Value::Object(edit)) => {
            for (name, value) in edit {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, edit) => *into = edit.clone(),
    }
}
