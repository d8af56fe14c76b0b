//! Calls to the API server, and what their answers mean.

use std::collections::BTreeSet;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::header::RETRY_AFTER;
use hyper::{Request, StatusCode};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::client::Body;
use kube::core::Request as Requests;
use kube::core::Status;
use kube::{Client, Resource as _};
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::time::timeout;

use super::drained;
use super::step::Write;
use super::workload::{self, HEALTH, WORKLOAD};
use super::writer::{Answer, Call, Kind};
use crate::crd::ExternalWorkload;
use crate::report;

/// An API server that takes longer is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer is an object, or why not.
const LONGEST_ANSWER: usize = 4 << 20;
const PAGE: u32 = 500;
/// An object that is not there has no version, and one that is has never had this one.
const NEVER: &str = "1";

/// Makes a call and reads the answer.
pub(super) async fn make(client: &Client, call: &Call) -> Answer {
    let request = match request(call) {
        Ok(request) => request,
        Err(error) => return Answer::Refused(report::chain(&error)),
    };
    match timeout(PATIENCE, send(client, request)).await {
        Ok(Ok(reply)) => answer(&call.kind, reply),
        Ok(Err(message)) => Answer::Unavailable(message, None),
        Err(_elapsed) => {
            Answer::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()), None)
        }
    }
}

struct Reply {
    status: StatusCode,
    wait: Option<Duration>,
    body: Vec<u8>,
}

async fn send(client: &Client, request: Request<Vec<u8>>) -> Result<Reply, String> {
    let reply = client.send(request.map(Body::from)).await;
    let reply = reply.map_err(|error| report::chain(&error))?;
    let wait = reply.headers().get(RETRY_AFTER);
    let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
    let status = reply.status();
    let body = Limited::new(reply.into_body(), LONGEST_ANSWER)
        .collect()
        .await;
    let body = body.map_err(|error| format!("read the answer: {error}"))?;
    Ok(Reply {
        status,
        wait: wait.map(Duration::from_secs),
        body: body.to_bytes().to_vec(),
    })
}

fn request(call: &Call) -> Result<Request<Vec<u8>>, kube::core::request::Error> {
    let (namespace, name) = &call.key;
    let requests = Requests::new(ExternalWorkload::url_path(&(), Some(namespace)));
    let apply = |manager| PatchParams::apply(manager).force();
    match &call.kind {
        Kind::Read => requests.get(name, &kube::api::GetParams::default()),
        Kind::Write(Write::Create(spec)) => {
            let mut body = workload::with_spec(&call.key, spec, None);
            // One that somebody else made meanwhile is not overwritten.
            body["metadata"]["resourceVersion"] = NEVER.into();
            requests.patch(name, &apply(WORKLOAD), &Patch::Apply(body))
        }
        Kind::Write(Write::Apply(version, spec)) => {
            let body = workload::with_spec(&call.key, spec, Some(version));
            requests.patch(name, &apply(WORKLOAD), &Patch::Apply(body))
        }
        Kind::Write(Write::Mark(version, ready)) => {
            let since = call.since.clone().unwrap_or_else(now);
            let body = workload::with_ready(&call.key, ready, &since, version);
            requests.patch_subresource("status", name, &apply(HEALTH), &Patch::Apply(body))
        }
        Kind::Write(Write::Delete(version)) => {
            let only = Preconditions {
                uid: Some(version.uid.clone()),
                resource_version: Some(version.resource_version.clone()),
            };
            requests.delete(name, &DeleteParams::background().preconditions(only))
        }
    }
}

fn answer(kind: &Kind, reply: Reply) -> Answer {
    let Reply { status, wait, body } = reply;
    if status.is_success() {
        return object(kind, &body);
    }
    let told = serde_json::from_slice::<Status>(&body).ok();
    let told = told
        .map(|told| told.message)
        .filter(|told| !told.is_empty());
    let message = told.unwrap_or_else(|| format!("the API server answers {status}"));
    match status {
        StatusCode::NOT_FOUND => match kind {
            // Its namespace, or the definition of the kind, is not there.
            Kind::Write(Write::Create(_) | Write::Apply(..)) => Answer::Refused(message),
            _ => Answer::Gone,
        },
        StatusCode::CONFLICT => Answer::Conflict,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Unavailable(message, wait),
        _ if status.is_client_error() => Answer::Refused(message),
        _ => Answer::Failed(message),
    }
}

fn object(kind: &Kind, body: &[u8]) -> Answer {
    let value = match serde_json::from_slice::<Value>(body) {
        Ok(value) => value,
        Err(error) => return Answer::Failed(format!("cannot read the answer: {error}")),
    };
    // What was deleted is answered, or a mere `Status`, unless it has finalizers.
    let is_deleted = matches!(kind, Kind::Write(Write::Delete(_)))
        && value.pointer("/metadata/finalizers").is_none();
    if is_deleted {
        return Answer::Gone;
    }
    match serde_json::from_value::<DynamicObject>(value) {
        Ok(object) => Answer::There(Box::new(workload::read(object).1)),
        Err(error) => Answer::Failed(format!("cannot read the answer: {error}")),
    }
}

/// As Kubernetes writes moments.
fn now() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    // Of numbers only, which cannot fail.
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// Lists the workloads of `namespace` that have a ready endpoint.
pub(super) async fn ready_endpoints(
    client: &Client,
    namespace: &str,
) -> Result<BTreeSet<String>, String> {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    let mut ready = BTreeSet::new();
    let mut page = ListParams::default().labels(drained::SLICES).limit(PAGE);
    loop {
        let list = match timeout(PATIENCE, slices.list(&page)).await {
            Ok(list) => list.map_err(|error| report::chain(&error))?,
            Err(_elapsed) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        ready.extend(drained::ready(&list.items));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(ready),
        }
    }
}
