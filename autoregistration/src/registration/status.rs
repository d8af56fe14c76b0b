//! A refusal as a gRPC status with the details that harnesses read: reason, faulty fields, time to wait.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::refusal::{Reason, Refusal};

/// Domain of our `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "meshexpansion.registration.v1";

/// Characters of a message. A status travels in headers; what is longer than a client takes of those breaks its connection,
/// which behind a Linkerd proxy is that of many.
const LONGEST_MESSAGE: usize = 2048;

/// The status.
pub fn from_refusal(refusal: &Refusal) -> Status {
    let mut details = ErrorDetails::with_error_info(
        refusal.reason().as_str(),
        DOMAIN,
        HashMap::<String, String>::new(),
    );
    if !refusal.violations().is_empty() {
        let violations = refusal
            .violations()
            .iter()
            .map(|violation| FieldViolation::new(&violation.field, &violation.problem))
            .collect::<Vec<_>>();
        details.set_bad_request(violations);
    }
    if let Some(wait) = refusal.wait() {
        details.set_retry_info(Some(wait));
    }
    Status::with_error_details(
        code(refusal.reason()),
        beginning(refusal.message()),
        details,
    )
}

fn beginning(message: &str) -> String {
    message.chars().take(LONGEST_MESSAGE).collect()
}

fn code(reason: Reason) -> Code {
    match reason {
        Reason::NoClientIdentity | Reason::NotSpiffe => Code::Unauthenticated,
        Reason::WrongTrustDomain | Reason::IdentityNotAllowed | Reason::AddressNotAllowed => {
            Code::PermissionDenied
        }
        Reason::GroupNotFound => Code::NotFound,
        Reason::InvalidHello | Reason::InvalidMessage | Reason::NoHello => Code::InvalidArgument,
        Reason::AddressInUse | Reason::DuplicateInstance => Code::AlreadyExists,
        Reason::NameTaken
        | Reason::StaleGeneration
        | Reason::UnusableIdentity
        | Reason::GroupTerminating
        | Reason::GroupPaused => Code::FailedPrecondition,
        Reason::Superseded => Code::Aborted,
        Reason::RateLimited | Reason::GroupFull => Code::ResourceExhausted,
        Reason::HeartbeatMissed
        | Reason::Draining
        | Reason::ApiUnavailable
        | Reason::ApiRefused => Code::Unavailable,
    }
}
