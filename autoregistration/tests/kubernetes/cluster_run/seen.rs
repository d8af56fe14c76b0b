//! What an operator sees: metrics of every name that dashboard and alerts ask for, events, columns, and a line for each
//! decision about who may join. Of the program itself, as it is deployed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use linkerd_harness_api::v1::health_report::State;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::mesh::{GROUP, NAMESPACE, OURS, until};
use super::replica::{Plan, scrape};
use super::{Mesh, Vm};
use crate::cluster::DEADLINE;

/// The program, and what it says.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: Vec<Value>,
}

// === impl Program ===

impl Program {
    fn start(mesh: &Mesh) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_autoregistration"))
            .args(["--kubeconfig", mesh.kubeconfig.to_str().unwrap()])
            .args(["--namespace", OURS, "--pod-name", "replica-1"])
            .args(["--registration-listen=127.0.0.1:0"])
            .args(["--peer-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .args(["--identity=sidecar", "--log-format=json"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// The next line that is so.
    async fn says(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let hearing = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let line: Value = serde_json::from_str(&line).unwrap();
                self.said.push(line.clone());
                if is_so(&line) {
                    return line;
                }
            }
            panic!("it has ended");
        };
        let said = timeout(DEADLINE, hearing).await;
        said.unwrap_or_else(|_| panic!("no {what} in {:#?}", self.said))
    }

    async fn decides(&mut self, outcome: &str) -> Value {
        self.says(outcome, |line| {
            line["target"] == "audit" && line["outcome"] == outcome
        })
        .await
    }
}

#[tokio::test]
async fn each_decision_is_a_line_of_the_audit_log_and_the_program_ends_well() {
    let mesh = Mesh::start().await;
    let mut program = Program::start(&mesh);
    let serving = program
        .says("serving", |line| line["message"] == "serving")
        .await;
    let addr = serving["registration"].as_str().unwrap().parse().unwrap();

    let (_session, workload) = Vm::new(1).join_well(addr).await;
    let line = program.decides("assigned").await;
    let told = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    assert_eq!(told(&line, "spiffe_id"), Vm::new(1).identity);
    assert_eq!(told(&line, "group"), format!("{NAMESPACE}/{GROUP}"));
    assert_eq!(told(&line, "ips"), "10.77.0.1");
    assert_eq!(told(&line, "hostname"), "vm-1");
    let ending = told(&line, "instance");
    let (_, suffix) = workload.rsplit_once('-').unwrap();
    assert!(suffix.starts_with(&ending), "{workload} {ending}");

    let mut second = Vm::new(2);
    second.hello.ips = vec!["10.77.0.1".to_owned()];
    second.hello.build.as_mut().unwrap().hostname = "vm\n2".to_owned();
    assert_eq!(second.is_refused(addr).await, "ADDRESS_IN_USE");
    let line = program.decides("refused").await;
    assert_eq!(told(&line, "reason"), "ADDRESS_IN_USE");
    assert_eq!(told(&line, "spiffe_id"), second.identity);
    assert!(told(&line, "detail").contains(&workload), "{line}");
    let mut third = Vm::new(3);
    third.identity = "spiffe://another.domain/vms/3".to_owned();
    assert_eq!(third.is_refused(addr).await, "WRONG_TRUST_DOMAIN");
    let line = program.decides("refused").await;
    assert_eq!(told(&line, "reason"), "WRONG_TRUST_DOMAIN");
    let mut waits = Vm::new(4);
    waits.hello.group.as_mut().unwrap().name = "not-there".to_owned();
    let mut waiting = waits.open(addr).await.unwrap();
    assert_eq!(waiting.pending().await, "GROUP_NOT_FOUND");
    let line = program.decides("pending").await;
    assert_eq!(told(&line, "reason"), "GROUP_NOT_FOUND");

    let pid = program.child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    let ended = timeout(DEADLINE, program.child.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(0));
}

/// What is counted by its reason is there once something was counted, which is not so here.
const NOT_YET: [&str; 5] = [
    "autoregistration_goaways_total",
    "autoregistration_peer_queries_total",
    "autoregistration_rate_limited_total",
    "autoregistration_session_end_total",
    "autoregistration_watch_restarts_total",
];

/// Names of metrics in a file of queries.
fn asked_for(file: &str) -> BTreeSet<String> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let text = std::fs::read_to_string(tree.join(file)).unwrap();
    let of_a_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c: char| !of_a_name(c));
    let names = words.filter(|word| word.starts_with("autoregistration_"));
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_replica_has_the_metrics_of_dashboard_and_alerts_and_tells_its_workloads_events() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (mut session, workload) = Vm::new(1).join_well(replica.registration()).await;
    session.reports(State::Unhealthy).await;
    let mut asked = asked_for("grafana/linkerd-autoregistration.json");
    asked.extend(asked_for("prometheus/alerts.yaml"));
    assert!(asked.len() > 10, "{asked:?}");
    let text = scrape(replica.addresses.admin).await;
    let types = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name, kind))
    });
    // As a Prometheus server names what it reads there.
    let there = types.flat_map(|(name, kind)| match kind {
        "counter" => vec![format!("{name}_total")],
        "histogram" => ["_bucket", "_sum", "_count"]
            .map(|end| format!("{name}{end}"))
            .into(),
        _ => vec![name.to_owned()],
    });
    let there = there.collect::<BTreeSet<_>>();
    let missing = asked.difference(&there).map(String::as_str);
    assert_eq!(missing.collect::<Vec<_>>(), NOT_YET, "{text}");
    for (line, value) in [
        ("autoregistration_sessions{stage=\"joined\"}", 1),
        ("autoregistration_workloads{state=\"unready\"}", 1),
        ("autoregistration_hellos_total{outcome=\"ASSIGNED\"}", 1),
        // How many writes two flips are is a matter of when they come.
        ("autoregistration_ready_transition_seconds_count", 1),
        ("autoregistration_api_available", 1),
    ] {
        until(line, || async {
            (replica.metric(line).await >= value).then_some(())
        })
        .await;
    }
    let _leads = mesh.leader("").await;
    let leader = "autoregistration_leader";
    until(leader, || async {
        (replica.metric(leader).await == 1).then_some(())
    })
    .await;

    until("the events are there", || async {
        let events = Api::<Event>::namespaced(mesh.client.clone(), NAMESPACE);
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let of = |name: &str, reason: &str, words: &str| {
            events.iter().any(|event| {
                let regarding = event.regarding.as_ref().unwrap();
                regarding.name.as_deref() == Some(name)
                    && event.reason.as_deref() == Some(reason)
                    && event.note.as_ref().is_some_and(|note| note.contains(words))
            })
        };
        let there = of(&workload, "Ready", "")
            && of(&workload, "ProbeFailed", "GET /ready")
            && of(GROUP, "Registered", &workload)
            && of(GROUP, "OpenAccess", "access");
        there.then_some(())
    })
    .await;
}
