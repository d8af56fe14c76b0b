//! What a replica calls, by the API server's own log, is what the chart grants: all of it, and nothing more.

use std::collections::BTreeSet;

use serde_json::Value;

use super::mesh::{LINKERD, OURS};
use crate::chart::calls::{CALLS, Place};

/// Granted, and not called here: resource, verb, and when it is.
const RARE: [(&str, &str, &str); 3] = [
    (
        "workload.linkerd.io/externalworkloads",
        "create",
        "an apply needs it beside patch, and is called patch",
    ),
    (
        "workload.linkerd.io/externalworkloads",
        "get",
        "after somebody else has written in between",
    ),
    (
        "events.k8s.io/events",
        "patch",
        "of an event that repeats after a minute",
    ),
];

/// Compares what was called with what is granted: by a replica that did all that it has to.
pub(super) fn are_those_granted(log: &str, user: &str) {
    let mut called = BTreeSet::new();
    let mut refused = Vec::new();
    for line in log.lines() {
        // The last may not be whole yet.
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if event["impersonatedUser"]["username"] != user {
            continue;
        }
        if event["responseStatus"]["code"] == 403 {
            refused.push(line.to_owned());
        }
        called.insert(call(&event));
    }
    assert!(refused.is_empty(), "{refused:#?}");
    let mut idle = Vec::new();
    for calls in CALLS {
        let place = match calls.place {
            Place::Watched | Place::Namespaces => None,
            Place::Own => Some(OURS),
            Place::Linkerd => Some(LINKERD),
        };
        for verb in calls.verbs {
            let is_called = called.iter().any(|(resource, namespace, its)| {
                resource == calls.resource
                    && its == verb
                    && place.is_none_or(|place| namespace == place)
            });
            let is_rare = RARE
                .iter()
                .any(|(resource, its, _)| (*resource, *its) == (calls.resource, *verb));
            if !is_called && !is_rare {
                idle.push(format!("{verb} {} in {:?}", calls.resource, calls.place));
            }
        }
    }
    assert!(
        idle.is_empty(),
        "granted, and never called: {idle:#?}\n{called:#?}"
    );
}

/// Resource as in a rule, namespace and verb.
fn call(event: &Value) -> (String, String, String) {
    let object = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut resource = format!(
        "{}/{}",
        text(&object["apiGroup"]),
        text(&object["resource"])
    );
    if let Some(part) = object["subresource"].as_str() {
        resource = format!("{resource}/{part}");
    }
    (resource, text(&object["namespace"]), text(&event["verb"]))
}
