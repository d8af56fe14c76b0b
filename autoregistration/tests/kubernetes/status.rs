//! The status of groups, as the leader writes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use autoregistration::kubernetes::events::{Events, events};
use autoregistration::kubernetes::groups::{Followed, Groups};
use autoregistration::kubernetes::leader::Leadership;
use autoregistration::kubernetes::metrics::Metrics;
use autoregistration::kubernetes::scope::Scope;
use autoregistration::kubernetes::status::{Inputs, Statuses};
use autoregistration::linkerd::{Flags, Settings};
use autoregistration::registry::DefaultAccess;
use autoregistration::registry::group_totals::GroupTotals;
use autoregistration::registry::task::Command;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use lab::apiserver::ApiServer;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, DEADLINE};

static LEADERS: AtomicUsize = AtomicUsize::new(0);

/// A leader, whose registry counts what the test says.
struct Leader {
    settings: watch::Sender<Arc<Settings>>,
    counts: watch::Sender<[usize; 3]>,
    /// What its events name; others report of the same groups meanwhile.
    instance: String,
    /// How often it has counted.
    asked: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Leader {
    /// One that knows of the groups of this namespace: of two in one place, each would write its own counts.
    async fn start(
        cluster: &Cluster,
        namespace: &str,
        leadership: Leadership,
        counts: [usize; 3],
    ) -> Self {
        let scope = Scope::new([namespace.to_owned()]);
        let load = Groups::load(&cluster.client, &scope, Metrics::default());
        let (groups, followed) = load.await;
        let mut leader = Self::over(cluster, followed, leadership, counts);
        leader.tasks.spawn(groups.run());
        leader
    }

    /// One that knows of these groups.
    fn over(
        cluster: &Cluster,
        followed: Followed,
        leadership: Leadership,
        counts: [usize; 3],
    ) -> Self {
        let mut tasks = JoinSet::new();
        let metrics = autoregistration::metrics::Metrics::default();
        let instance = format!("leader-{}", LEADERS.fetch_add(1, Ordering::SeqCst));
        let (events, publisher) = events(cluster.client.clone(), &instance, metrics);
        tasks.spawn(publisher.run());
        let (settings, settings_receiver) = watch::channel(Arc::new(settings("a.test")));
        let (counts, counts_receiver) = watch::channel(counts);
        let (registry, commands) = mpsc::channel(1);
        let asked = Arc::new(AtomicUsize::new(0));
        let manifests = followed.clone();
        tasks.spawn(count(
            commands,
            manifests,
            counts_receiver,
            Arc::clone(&asked),
        ));
        let inputs = inputs(followed, settings_receiver, registry, leadership, events);
        tasks.spawn(Statuses::new(cluster.client.clone(), inputs).run());
        Self {
            settings,
            counts,
            instance,
            asked,
            tasks,
        }
    }

    /// It has looked at everything once more, from beginning to end.
    async fn looks_again(&self) {
        for number in 0..2 {
            let before = self.asked.load(Ordering::SeqCst);
            let domain = format!("b{number}-{before}.test");
            self.settings.send_replace(Arc::new(settings(&domain)));
            poll("it looks", async || {
                (self.asked.load(Ordering::SeqCst) > before).then_some(())
            })
            .await;
        }
    }
}

fn inputs(
    followed: Followed,
    settings: watch::Receiver<Arc<Settings>>,
    registry: mpsc::Sender<Command>,
    leadership: Leadership,
    events: Events,
) -> Inputs {
    Inputs {
        followed,
        settings,
        registry,
        leadership,
        events,
        default_access: DefaultAccess::TrustDomain,
    }
}

async fn count(
    mut commands: mpsc::Receiver<Command>,
    followed: Followed,
    counts: watch::Receiver<[usize; 3]>,
    asked: Arc<AtomicUsize>,
) {
    while let Some(command) = commands.recv().await {
        let Command::Groups { reply } = command else {
            panic!("{command:?}");
        };
        asked.fetch_add(1, Ordering::SeqCst);
        let [workloads, ready, updated] = *counts.borrow();
        let manifests = Arc::clone(&followed.manifests.borrow());
        let totals = manifests.groups.iter().map(|(key, group)| {
            let of = Some((group.uid.clone(), group.generation));
            let totals = GroupTotals {
                of,
                workloads,
                ready,
                updated,
            };
            (key.clone(), totals)
        });
        drop(reply.send(totals.collect::<BTreeMap<_, _>>()));
    }
}

fn settings(cluster_domain: &str) -> Settings {
    let flags = Flags {
        cluster_domain: cluster_domain.to_owned(),
        identity_trust_domain: "root.test".to_owned(),
        linkerd_namespace: "linkerd".to_owned(),
        cluster_networks: Vec::new(),
        default_inbound_policy: "all-unauthenticated".to_owned(),
    };
    Settings::from_flags(flags, Arc::from("anchors"))
}

async fn poll<T>(what: &str, found: impl AsyncFn() -> Option<T>) -> T {
    let polled = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let polled = tokio::time::timeout(DEADLINE, polled).await;
    polled.unwrap_or_else(|_| panic!("not so: {what}"))
}

/// The object, once its status is so.
async fn shows(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Value {
    let groups = cluster.groups(namespace);
    let found = poll("the status", async || {
        let object = serde_json::to_value(groups.get(name).await.unwrap()).unwrap();
        is_so(&object["status"]).then_some(object)
    });
    found.await
}

fn condition(object: &Value, name: &str) -> (String, String, String) {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|it| it["type"] == name).unwrap();
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    (text("status"), text("reason"), text("message"))
}

fn manifest(name: &str, more: &str) -> String {
    format!(
        "{{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {{name: {name}}}, spec: {{{more}}}}}"
    )
}

#[tokio::test]
async fn the_status_says_what_has_become_of_a_group_and_is_written_only_when_that_changes() {
    let cluster = Cluster::shared().await;
    cluster.namespace("status").await;
    let ignored = "template: {metadata: {annotations: {config.linkerd.io/proxy-cpu-limit: much, config.linkerd.io/proxy-log-level: 'x\\ny'}}}";
    cluster
        .create("status", &manifest("open", ignored))
        .await
        .unwrap();
    let closed = "template: {}, access: {networks: [10.0.0.0/8]}";
    cluster
        .create("status", &manifest("closed", closed))
        .await
        .unwrap();
    let leader = Leader::start(&cluster, "status", Leadership::always(), [3, 2, 1]).await;
    let open = shows(&cluster, "status", "open", |it| it["workloads"] == 3).await;
    assert_eq!(open["status"]["ready"], 2);
    assert_eq!(open["status"]["updated"], 1);
    assert_eq!(open["status"]["observedGeneration"], 1);
    assert_eq!(condition(&open, "Accepted").1, "Accepted");
    assert_eq!(condition(&open, "Restricted").1, "OpenAccess");
    let (status, reason, message) = condition(&open, "RolledOut");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "RollingOut"));
    assert!(message.starts_with("1 of 3 workloads"), "{message}");
    let closed = shows(&cluster, "status", "closed", |it| it["workloads"] == 3).await;
    assert_eq!(condition(&closed, "Restricted").1, "AccessGiven");
    let managers = open["metadata"]["managedFields"].as_array().unwrap();
    let ours = managers
        .iter()
        .find(|it| it["manager"] == "meshexpansion/status");
    assert_eq!(ours.unwrap()["subresource"], "status");

    // Another leader finds all as it wants it.
    leader.looks_again().await;
    drop(leader);
    let leader = Leader::start(&cluster, "status", Leadership::always(), [3, 2, 1]).await;
    leader.looks_again().await;
    let still = shows(&cluster, "status", "closed", |_| true).await;
    assert_eq!(
        still["metadata"]["resourceVersion"],
        closed["metadata"]["resourceVersion"]
    );

    // Of this one it has written nothing yet, so it need not wait.
    let patch = json!({ "spec": { "template": { "ports": [{ "port": 80 }] } } });
    let groups = cluster.groups("status");
    let (by_hand, patch) = (PatchParams::default(), Patch::Merge(patch));
    drop(groups.patch("closed", &by_hand, &patch).await.unwrap());
    leader.counts.send_replace([3, 3, 3]);
    let done = shows(&cluster, "status", "closed", |it| it["updated"] == 3).await;
    assert_eq!(done["status"]["observedGeneration"], 2);
    assert_eq!(condition(&done, "RolledOut").0, "True");
}

#[tokio::test]
async fn a_status_is_not_written_of_another_group_of_that_name() {
    let cluster = Cluster::alone().await;
    cluster
        .install(&autoregistration::crd::external_group())
        .await;
    cluster.namespace("another").await;
    cluster
        .create("another", &manifest("a", "template: {}"))
        .await
        .unwrap();
    // What is known is of before.
    let scope = Scope::everywhere();
    let load = Groups::load(&cluster.client, &scope, Metrics::default());
    let (_not_followed, older) = load.await;
    let groups = cluster.groups("another");
    let deleted = groups.delete("a", &DeleteParams::default()).await;
    drop(deleted.unwrap());
    cluster
        .create("another", &manifest("a", "template: {}"))
        .await
        .unwrap();
    let leader = Leader::over(&cluster, older, Leadership::always(), [3, 2, 1]);
    poll("it has tried", async || {
        (leader.asked.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    leader.looks_again().await;
    let object = shows(&cluster, "another", "a", |_| true).await;
    assert_eq!(object["status"], Value::Null);
}

#[tokio::test]
async fn of_a_group_that_everybody_may_join_it_is_told_once() {
    let cluster = Cluster::shared().await;
    cluster.namespace("open").await;
    cluster
        .create("open", &manifest("a", "template: {}"))
        .await
        .unwrap();
    let closed = "template: {}, access: {networks: [10.0.0.0/8]}";
    cluster
        .create("open", &manifest("b", closed))
        .await
        .unwrap();
    let leader = Leader::start(&cluster, "open", Leadership::always(), [0; 3]).await;
    let events = Api::<Event>::namespaced(cluster.client.clone(), "open");
    let told = || async {
        let mut all = events.list(&ListParams::default()).await.unwrap().items;
        all.retain(|it| it.reason.as_deref() == Some("OpenAccess"));
        all.retain(|it| it.reporting_instance.as_ref() == Some(&leader.instance));
        all
    };
    let first = poll("an event", async || told().await.pop()).await;
    assert_eq!(first.type_.as_deref(), Some("Warning"));
    assert_eq!(first.regarding.unwrap().name.as_deref(), Some("a"));
    leader.looks_again().await;
    let all = told().await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].series, None);
}

/// A definition of somebody else has a status, and drops what it does not know of it.
#[tokio::test]
async fn a_definition_that_keeps_little_of_the_status_does_not_make_it_written_for_ever() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start_audited().unwrap());
    let server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    let mut theirs: Value = serde_norway::from_str(crate::foreign::DEFINITION).unwrap();
    let version = &mut theirs["spec"]["versions"][0];
    version["subresources"] = json!({ "status": {} });
    version["schema"]["openAPIV3Schema"]["properties"]["status"] =
        json!({ "type": "object", "properties": { "workloads": { "type": "integer" } } });
    cluster
        .install(&serde_json::from_value(theirs).unwrap())
        .await;
    cluster.namespace("pruned").await;
    cluster
        .create("pruned", &manifest("a", "template: {}"))
        .await
        .unwrap();
    cluster
        .create(
            "pruned",
            &manifest("broken", "template: {ports: [{port: 0}]}"),
        )
        .await
        .unwrap();
    let leader = Leader::start(&cluster, "pruned", Leadership::always(), [3, 2, 1]).await;
    let kept = shows(&cluster, "pruned", "a", |it| it["workloads"] == 3).await;
    assert_eq!(kept["status"], json!({ "workloads": 3 }));
    shows(&cluster, "pruned", "broken", |it| it["workloads"] == 0).await;
    let version = async || {
        let object = cluster.groups("pruned").get("a").await.unwrap();
        let fields = object.metadata.managed_fields.unwrap();
        let ours = fields
            .into_iter()
            .find(|it| it.manager.as_deref() == Some("meshexpansion/status"));
        (object.metadata.resource_version, ours.unwrap().time)
    };
    let before = version().await;
    // One that changes nothing leaves the object as it is, and is a write all the same.
    let written = || {
        let calls = server.calls().unwrap();
        let is_ours = |call: &&str| {
            call.contains("\"verb\":\"patch\"") && call.contains("externalgroups/a/status")
        };
        calls.lines().filter(is_ours).count()
    };
    let writes = written();
    assert!(writes > 0);
    // Past the time within which nothing is written anyway.
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    leader.looks_again().await;
    assert_eq!(version().await, before);
    assert_eq!(written(), writes);
}

#[tokio::test]
async fn a_replica_that_does_not_lead_writes_nothing_and_counts_nothing() {
    let cluster = Cluster::alone().await;
    cluster
        .install(&autoregistration::crd::external_group())
        .await;
    cluster.namespace("follower").await;
    cluster
        .create("follower", &manifest("a", "template: {}"))
        .await
        .unwrap();
    let follower = Leader::start(&cluster, "follower", Leadership::never(), [9; 3]).await;
    let _leader = Leader::start(&cluster, "follower", Leadership::always(), [1; 3]).await;
    shows(&cluster, "follower", "a", |it| it["workloads"] == 1).await;
    assert_eq!(follower.asked.load(Ordering::SeqCst), 0);
}
