//! A leader, and an API server that does not take what it writes.

use std::sync::Mutex;

use http_body_util::BodyExt as _;
use hyper::{Request, Response, StatusCode};
use kube::client::Body;
use tower::service_fn;

use super::*;
use crate::linkerd::Flags;
use crate::manifests::{Group, Manifests};
use crate::metrics::Metrics;

/// Of groups with these names, in this order.
const GROUPS: [&str; 2] = ["a", "b"];

/// What was written: of which group, with which version, after how many seconds.
type Written = Arc<Mutex<Vec<(String, String, u64)>>>;

struct Bench {
    written: Written,
    /// When leadership ends.
    until: watch::Sender<Instant>,
    // So that what is followed does not end.
    _manifests: watch::Sender<Arc<Manifests>>,
    _shown: watch::Sender<Arc<BTreeMap<Key, Shown>>>,
    _settings: watch::Sender<Arc<Settings>>,
}

fn key(name: &str) -> Key {
    ("n".to_owned(), name.to_owned())
}

fn uid(name: &str) -> String {
    format!("uid-of-{name}")
}

fn version(name: &str) -> String {
    format!("version-of-{name}")
}

/// A leader over groups that have no status yet. `answers` says what becomes of the nth write, of this group.
fn start(
    answers: impl Fn(usize, &str, &watch::Sender<Instant>) -> StatusCode + Clone + Send + Sync + 'static,
) -> Bench {
    let written = Written::default();
    let until = watch::Sender::new(Instant::now() + Duration::from_secs(100_000));
    let client = api_server(Arc::clone(&written), until.clone(), answers);
    let shown = GROUPS.map(|name| {
        let shown = Shown {
            uid: uid(name),
            version: version(name),
            generation: 1,
            ..Shown::default()
        };
        (key(name), shown)
    });
    let groups = GROUPS.map(|name| {
        let group = Group {
            uid: uid(name),
            generation: 1,
            ..Group::default()
        };
        (key(name), group)
    });
    let manifests = Manifests {
        groups: groups.into(),
        ..Manifests::default()
    };
    let (manifests, manifests_receiver) = watch::channel(Arc::new(manifests));
    let (shown, shown_receiver) = watch::channel(Arc::new(BTreeMap::from(shown)));
    let flags = Flags {
        cluster_domain: "cluster.local".into(),
        identity_trust_domain: "cluster.local".into(),
        linkerd_namespace: "linkerd".into(),
        cluster_networks: Vec::new(),
        default_inbound_policy: "deny".into(),
    };
    let settings = Settings::from_flags(flags, "ANCHORS".into());
    let (settings, settings_receiver) = watch::channel(Arc::new(settings));
    let (registry, commands) = mpsc::channel(1);
    tokio::spawn(count(commands));
    let (events, _) = events::events(client.clone(), "replica", Metrics::default());
    let inputs = Inputs {
        followed: Followed {
            manifests: manifests_receiver,
            refused: watch::channel(Arc::default()).1,
            shown: shown_receiver,
        },
        settings: settings_receiver,
        registry,
        leadership: Leadership::until(until.subscribe()),
        events,
        default_access: DefaultAccess::TrustDomain,
    };
    tokio::spawn(Statuses::new(client, inputs).run());
    Bench {
        written,
        until,
        _manifests: manifests,
        _shown: shown,
        _settings: settings,
    }
}

fn api_server(
    written: Written,
    until: watch::Sender<Instant>,
    answers: impl Fn(usize, &str, &watch::Sender<Instant>) -> StatusCode + Clone + Send + Sync + 'static,
) -> Client {
    let began = Instant::now();
    let service = service_fn(move |request: Request<Body>| {
        let (written, until, answers) = (Arc::clone(&written), until.clone(), answers.clone());
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let object: Value = serde_json::from_slice(&body).unwrap();
            let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
            let (name, version) = (text("name"), text("resourceVersion"));
            let number = {
                let mut written = written.lock().unwrap();
                written.push((name.clone(), version, began.elapsed().as_secs()));
                written.len()
            };
            let code = answers(number, &name, &until);
            let answer = if code.is_success() {
                object
            } else {
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16() })
            };
            let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
            *response.status_mut() = code;
            Ok::<_, std::io::Error>(response)
        }
    });
    Client::new(service, "n")
}

/// A registry in which each group has one workload.
async fn count(mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        let Command::Groups { reply } = command else {
            panic!("{command:?}");
        };
        let totals = GROUPS.map(|name| {
            let totals = GroupTotals {
                of: Some((uid(name), 1)),
                workloads: 1,
                ready: 1,
                updated: 1,
            };
            (key(name), totals)
        });
        drop(reply.send(totals.into()));
    }
}

impl Bench {
    /// What is written in this time: groups, and when.
    async fn within(&self, seconds: u64) -> Vec<(String, u64)> {
        sleep(Duration::from_secs(seconds)).await;
        let written = self.written.lock().unwrap();
        let times = written.iter().map(|(name, _, at)| (name.clone(), *at));
        times.collect()
    }
}

fn is(name: &str, at: u64) -> (String, u64) {
    (name.to_owned(), at)
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_tried_again_after_minutes_and_keeps_nobody_else_waiting() {
    let bench = start(|_, name, _| {
        if name == "a" {
            StatusCode::FORBIDDEN
        } else {
            StatusCode::OK
        }
    });
    let written = bench.within(pace::REFUSED.as_secs() - 1).await;
    let others = written.iter().filter(|(name, _)| name == "b");
    assert_eq!(others.count() + 1, written.len(), "{written:?}");
    assert_eq!(written[..2], [is("a", 0), is("b", 0)]);
    let written = bench.within(COUNTED.as_secs() + 2).await;
    let refused = written.iter().filter(|(name, _)| name == "a");
    assert_eq!(refused.count(), 2, "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_asks_for_patience_is_left_alone_until_the_next_look() {
    let bench = start(|number, _, _| match number {
        1 => StatusCode::TOO_MANY_REQUESTS,
        2 => StatusCode::INTERNAL_SERVER_ERROR,
        3 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    });
    assert_eq!(bench.within(COUNTED.as_secs() - 1).await, [is("a", 0)]);
    let written = bench.within(3 * COUNTED.as_secs()).await;
    let names = written.iter().map(|(name, _)| name.as_str());
    assert!(written[1].1 >= COUNTED.as_secs(), "{written:?}");
    assert_eq!(names.take(5).collect::<String>(), "aaaab");
}

#[tokio::test(start_paused = true)]
async fn each_write_names_the_group_that_it_is_of_and_one_that_is_another_now_is_let_be() {
    let bench = start(|_, name, _| {
        if name == "a" {
            StatusCode::CONFLICT
        } else {
            StatusCode::OK
        }
    });
    let written = bench.within(pace::BETWEEN.as_secs() - 1).await;
    assert_eq!(written, [is("a", 0), is("b", 0)]);
    for (name, written, _) in bench.written.lock().unwrap().iter() {
        assert_eq!(*written, version(name));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_loses_the_lease_among_groups_writes_no_more_of_them() {
    let bench = start(|_, _, until| {
        until.send_replace(Instant::now());
        StatusCode::OK
    });
    assert_eq!(bench.within(100).await, [is("a", 0)]);
    // Nobody else has taken it.
    let later = Instant::now() + Duration::from_secs(100_000);
    bench.until.send_replace(later);
    let written = bench.within(COUNTED.as_secs() + 2).await;
    assert_eq!(written.len(), 2, "{written:?}");
}
