//! Following one stream of answers for as long as somebody is interested.

use crate::backoff::Backoff;
use crate::config::Limits;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Code, Response, Status, Streaming};
use tracing::{debug, warn};

/// What a stream that ends after it has answered means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterMessage {
    /// Ask again at once: what the real proxy does for policies and profiles, however often.
    AskAtOnce,
    /// Wait a little first, as for endpoints.
    Wait,
}

/// Asks, hands every message to `on_message`, and asks again when the stream ends.
///
/// Returns only with a status that `is_final`.
pub(crate) async fn watch<M, F, S>(
    (limits, backoff, after): (Limits, Backoff, AfterMessage),
    mut open: F,
    is_final: fn(Code) -> bool,
    mut on_message: impl FnMut(M),
) -> Status
where
    F: FnMut() -> S,
    S: Future<Output = Result<Response<Streaming<M>>, Status>>,
{
    let mut tries = backoff.tries();
    loop {
        let mut answered = false;
        let status = one(limits, open(), |message| {
            answered = true;
            on_message(message);
        })
        .await;
        if is_final(status.code()) {
            return status;
        }
        if status.code() == Code::Ok {
            debug!(target: "linkerd_tonic_watch", { grpc.message = status.message() }, "Completed; retrying with a backoff");
        } else {
            warn!(
                target: "linkerd_tonic_watch",
                { grpc.status = %status.code(), grpc.message = status.message() },
                "Unexpected controller response; retrying with a backoff"
            );
        }
        if answered {
            tries.reset();
        }
        if !answered || after == AfterMessage::Wait {
            sleep(tries.wait()).await;
        }
    }
}

/// One stream, cut at the limits.
async fn one<M>(
    limits: Limits,
    open: impl Future<Output = Result<Response<Streaming<M>>, Status>>,
    mut on_message: impl FnMut(M),
) -> Status {
    let start = Instant::now();
    let at = |limit: Option<Duration>, from: Instant| limit.map(|limit| from + limit);
    let lifetime = at(limits.lifetime, start);
    let mut silence = at(limits.initial, start);
    let mut stream = tokio::select! {
        opened = open => match opened {
            Ok(response) => response.into_inner(),
            Err(status) => return status,
        },
        () = until(silence) => return Status::deadline_exceeded("initial item not received within timeout"),
    };
    loop {
        tokio::select! {
            message = stream.message() => match message {
                Ok(Some(message)) => on_message(message),
                Ok(None) => return Status::ok("stream ended"),
                Err(status) => return status,
            },
            () = until(silence) => return Status::deadline_exceeded("no item received within timeout"),
            () = until(lifetime) => return Status::ok("stream lifetime exceeded"),
        }
        silence = at(limits.idle, Instant::now());
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
