//! A gRPC probe: `grpc.health.v1.Health/Check` in clear, on a connection of its own; `SERVING` passes.

use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::causes::one_line;

/// A state is two bytes.
const LARGEST_ANSWER: usize = 4096;

/// Asks once, on 127.0.0.1.
pub(super) async fn check(port: u16, service: &str, limit: Duration) -> Result<String, String> {
    let answer = timeout(limit, ask(port, service));
    let state = match answer.await {
        Ok(answer) => answer?,
        Err(_) => return Err(format!("no answer in {} s", limit.as_secs())),
    };
    match ServingStatus::try_from(state) {
        Ok(ServingStatus::Serving) => Ok("SERVING".to_owned()),
        Ok(other) => Err(other.as_str_name().to_owned()),
        Err(_) => Err(format!("a state that is not known, {state}")),
    }
}

async fn ask(port: u16, service: &str) -> Result<i32, String> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
        .and_then(|endpoint| {
            endpoint.user_agent(concat!("linkerd-proxy-harness/", env!("CARGO_PKG_VERSION")))
        })
        .map_err(|error| one_line(&error))?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| cause(&error, "no connection"))?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel)
        .max_decoding_message_size(LARGEST_ANSWER)
        .check(request)
        .await;
    match answer {
        Ok(answer) => Ok(answer.into_inner().status),
        Err(status) => Err(refusal(&status)),
    }
}

/// What a status means here.
fn refusal(status: &Status) -> String {
    match status.code() {
        Code::NotFound => "the server does not know this service (NOT_FOUND)".to_owned(),
        Code::Unimplemented => {
            "the server has no grpc.health.v1.Health (UNIMPLEMENTED); probe it with tcpSocket or httpGet"
                .to_owned()
        }
        // Made by our own side: what the server speaks is not gRPC, or the connection broke.
        _ if std::error::Error::source(status).is_some() => cause(status, "no answer in gRPC, which must be in clear"),
        code => format!("{code:?}: {}", status.message()),
    }
}

/// The innermost cause, which says most; those around it are the layers of our client.
fn cause(error: &(dyn std::error::Error + 'static), what: &str) -> String {
    crate::causes::causes(error)
        .last()
        .map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"))
}

#[cfg(test)]
mod tests;
