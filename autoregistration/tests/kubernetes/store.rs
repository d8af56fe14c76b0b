//! The store that is an API server: wishes in, objects there, news out.

mod changes;
mod faults;
mod hands;
mod meddling;
mod pace;
mod scale;
mod slices;
mod writes;

use std::collections::BTreeMap;
use std::time::Duration;

use autoregistration::kubernetes::metrics::Metrics;
use autoregistration::kubernetes::scope::Scope;
use autoregistration::kubernetes::store::{Store, StoreSettings};
use autoregistration::store::{Desired, Failure, Key, News, Ready, Spec, Status, Stored, Wish};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use lab::apiserver::ApiServer;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::{Cluster, DEADLINE};

const DEFINITION: &str = include_str!("externalworkloads.yaml");
/// As many as the API server likes.
const MANY: StoreSettings = StoreSettings {
    writes_per_second: 1000,
};

/// A store in a namespace of a test, and what it has told.
struct Kept {
    client: Client,
    namespace: String,
    wishes: mpsc::UnboundedSender<Wish>,
    news: mpsc::Receiver<News>,
    there: BTreeMap<Key, Stored>,
    failed: BTreeMap<Key, (Failure, String)>,
    /// How often all were told.
    lists: u32,
    task: JoinHandle<()>,
}

impl Kept {
    /// With a namespace of its own, which is empty.
    async fn start(cluster: &Cluster, namespace: &str) -> Self {
        prepare(cluster, namespace).await;
        Self::with(cluster, cluster.client.clone(), namespace).await
    }

    /// With a client of its own.
    async fn with(cluster: &Cluster, own: Client, namespace: &str) -> Self {
        Self::paced(cluster, own, namespace, MANY).await
    }

    /// With so many writes a second.
    async fn paced(
        cluster: &Cluster,
        own: Client,
        namespace: &str,
        settings: StoreSettings,
    ) -> Self {
        let store = Store::load(own, &Scope::everywhere(), settings, Metrics::default()).await;
        let (wishes, receiver) = mpsc::unbounded_channel();
        let (sender, news) = mpsc::channel(16);
        let mut kept = Self {
            client: cluster.client.clone(),
            namespace: namespace.to_owned(),
            wishes,
            news,
            there: BTreeMap::new(),
            failed: BTreeMap::new(),
            lists: 0,
            task: tokio::spawn(store.run(receiver, sender)),
        };
        kept.until("all are told", |kept| kept.lists == 1).await;
        kept
    }

    fn key(&self, name: &str) -> Key {
        (self.namespace.clone(), name.to_owned())
    }

    fn wish(&self, name: &str, desired: Desired) {
        let wish = Wish {
            key: self.key(name),
            desired: Some(desired),
        };
        self.wishes.send(wish).unwrap();
    }

    fn there(&self, name: &str) -> Option<&Stored> {
        self.there.get(&self.key(name))
    }

    fn uid(&self, name: &str) -> String {
        self.there(name).unwrap().uid.clone()
    }

    fn is_so(&self, name: &str, spec: &Spec, ready: &Ready) -> bool {
        self.there(name)
            .is_some_and(|it| it.holds(spec) && it.readiness().same(ready))
    }

    /// Takes news until it is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            let Ok(news) = timeout(DEADLINE, self.news.recv()).await else {
                let (there, failed) = (&self.there, &self.failed);
                panic!("not within {DEADLINE:?}: {what}; {there:#?} {failed:?}");
            };
            self.take(news.unwrap());
        }
    }

    async fn until_so(&mut self, name: &str, spec: &Spec, ready: &Ready) {
        let what = format!("`{name}` is {} {}", ready.status.as_str(), ready.reason);
        self.until(&what, |kept| kept.is_so(name, spec, ready))
            .await;
    }

    fn take(&mut self, news: News) {
        match news {
            News::All(all) => {
                self.there = all;
                self.lists += 1;
            }
            News::One(key, stored) => {
                self.failed.remove(&key);
                self.there.insert(key, *stored);
            }
            News::Gone(key) => {
                self.failed.remove(&key);
                self.there.remove(&key);
            }
            News::Contested(_) => {}
            News::Failed {
                key,
                failure,
                message,
            } => drop(self.failed.insert(key, (failure, message))),
        }
    }

    /// What was wished before has been looked at: a wish that came after it is so.
    async fn until_quiet(&mut self, sign: &str) {
        self.wish(sign, present(&spec(sign), Ready::starting()));
        self.until_so(sign, &spec(sign), &Ready::starting()).await;
    }

    fn api(&self) -> Api<DynamicObject> {
        workloads(&self.client, &self.namespace)
    }

    async fn object(&self, name: &str) -> Option<Value> {
        let object = self.api().get_opt(name).await.unwrap();
        object.map(|object| serde_json::to_value(object).unwrap())
    }

    async fn version(&self, name: &str) -> String {
        let object = self.api().get(name).await.unwrap();
        object.metadata.resource_version.unwrap()
    }

    /// Edits as a person does.
    async fn edit(&self, name: &str, patch: Value) {
        let by_hand = PatchParams::apply("kubectl-edit");
        let by_hand = PatchParams {
            force: false,
            ..by_hand
        };
        let edited = self.api().patch(name, &by_hand, &Patch::Merge(patch)).await;
        drop(edited.unwrap());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn prepare(cluster: &Cluster, namespace: &str) {
    let definition = serde_norway::from_str(DEFINITION).unwrap();
    cluster.install(&definition).await;
    cluster.namespace(namespace).await;
}

fn workloads(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<autoregistration::crd::ExternalWorkload>(&());
    Api::namespaced_with(client.clone(), namespace, &kind)
}

/// Creates an object as a person does, and says its uid.
async fn create(client: &Client, namespace: &str, value: Value) -> String {
    let object: DynamicObject = serde_json::from_value(value).unwrap();
    let all = workloads(client, namespace);
    let made = all.create(&PostParams::default(), &object).await;
    made.unwrap().metadata.uid.unwrap()
}

async fn delete(client: &Client, namespace: &str, name: &str) {
    let all = workloads(client, namespace);
    let deleted = all.delete(name, &DeleteParams::default()).await;
    drop(deleted.unwrap());
}

fn foreign(name: &str) -> Value {
    json!({
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": { "name": name, "labels": { "app": "theirs" } },
        "spec": {
            "meshTLS": { "identity": "spiffe://root/theirs", "serverName": "theirs" },
            "ports": [{ "port": 8080 }],
            "workloadIPs": [{ "ip": "10.9.9.9" }],
        },
    })
}

fn spec(name: &str) -> Spec {
    Spec {
        group: "training-vm".to_owned(),
        group_uid: "8ad0a7e8-3c2b-4f0f-8a3a-000000000001".to_owned(),
        fingerprint: "ab".repeat(32),
        hostname: "vm-1".to_owned(),
        labels: [("app".to_owned(), "training-app".to_owned())].into(),
        annotations: BTreeMap::new(),
        ports: vec![("http".to_owned(), 80)],
        proxy_inbound_port: 4143,
        ips: vec!["10.77.0.2".parse().unwrap()],
        identity: "spiffe://root.linkerd.cluster.local/vm-1".to_owned(),
        server_name: format!("{name}.training.external.identity.linkerd.cluster.local"),
    }
}

fn ready(status: Status, reason: &str) -> Ready {
    Ready {
        status,
        reason: reason.to_owned(),
        message: format!("{reason} is why"),
    }
}

fn healthy() -> Ready {
    ready(Status::True, "ProbeSucceeded")
}

fn failed() -> Ready {
    ready(Status::False, "ProbeFailed")
}

fn present(spec: &Spec, ready: Ready) -> Desired {
    Desired::Present {
        spec: std::sync::Arc::new(spec.clone()),
        ready,
    }
}

fn gone(uid: Option<&str>) -> Desired {
    Desired::Gone {
        uid: uid.map(str::to_owned),
        ready: ready(Status::False, "Removed"),
    }
}

fn rises(versions: &[&str]) -> bool {
    let numbers = versions
        .iter()
        .map(|version| version.parse::<u64>().unwrap());
    let numbers: Vec<u64> = numbers.collect();
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}
