//! Why the VM is not registered: what the controller says, or what happened on the way to it.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::causes::{causes, one_line};

/// What a Linkerd proxy on the way says when the answer is its own.
const PROXY_ERROR: &str = "l5d-proxy-error";

/// The longest that the controller may have us wait. It says seconds; a slip of its must not keep a VM away for days.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

/// What happened, what to do about it, when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the closed set.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// When the controller wants the next attempt; else our own backoff.
    pub retry_after: Option<Duration>,
}

/// Every way in which registration can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The controller's name does not resolve.
    NameNotResolved,
    /// No connection.
    Unreachable,
    /// Another identity answers at the controller's address.
    WrongController,
    /// The controller's certificate does not chain to our trust anchors.
    ControllerUntrusted,
    /// The controller does not accept our certificate.
    CertificateRefused,
    /// What answers is no autoregistration.
    NotAController,
    /// The stream was lost.
    Lost,
    /// The group does not exist.
    GroupNotFound,
    /// The group takes nobody new.
    GroupPaused,
    /// Our identity may not join this group.
    IdentityNotAllowed,
    /// Another live workload has our address and port.
    AddressInUse,
    /// Another machine with our id is registered.
    DuplicateInstance,
    /// The controller takes no more registrations now.
    RateLimited,
    /// The controller cannot reach its API.
    ApiUnavailable,
    /// The assignment cannot be used.
    BadAssignment,
    /// A newer stream of this process took over.
    Superseded,
    /// Anything else that the controller says.
    Refused,
}

impl Reason {
    /// CamelCase, for status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NameNotResolved => "NameNotResolved",
            Self::Unreachable => "Unreachable",
            Self::WrongController => "WrongController",
            Self::ControllerUntrusted => "ControllerUntrusted",
            Self::CertificateRefused => "CertificateRefused",
            Self::NotAController => "NotAController",
            Self::Lost => "Lost",
            Self::GroupNotFound => "GroupNotFound",
            Self::GroupPaused => "GroupPaused",
            Self::IdentityNotAllowed => "IdentityNotAllowed",
            Self::AddressInUse => "AddressInUse",
            Self::DuplicateInstance => "DuplicateInstance",
            Self::RateLimited => "RateLimited",
            Self::ApiUnavailable => "ApiUnavailable",
            Self::BadAssignment => "BadAssignment",
            Self::Superseded => "Superseded",
            Self::Refused => "Refused",
        }
    }

    /// The reason that the controller names in `google.rpc.ErrorInfo` or in `Pending`.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "GROUP_NOT_FOUND" => Self::GroupNotFound,
            "GROUP_PAUSED" => Self::GroupPaused,
            "IDENTITY_NOT_ALLOWED" | "WRONG_TRUST_DOMAIN" | "NOT_SPIFFE" | "NO_CLIENT_IDENTITY" => {
                Self::IdentityNotAllowed
            }
            "ADDRESS_IN_USE" => Self::AddressInUse,
            "DUPLICATE_INSTANCE" => Self::DuplicateInstance,
            "RATE_LIMITED" | "GROUP_FULL" => Self::RateLimited,
            "API_UNAVAILABLE" => Self::ApiUnavailable,
            "SUPERSEDED" => Self::Superseded,
            "DRAINING" | "HEARTBEAT_MISSED" => Self::Lost,
            _ => Self::Refused,
        }
    }
}

impl Refusal {
    /// A refusal without a time of the controller's.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retry_after: None,
        }
    }

    /// What a gRPC status means: said by the controller, or made by the transport.
    pub(super) fn from_status(status: &Status, control: &str, server_id: &str) -> Self {
        if let Some(transport) = status.source() {
            return Self::from_transport(transport, control, server_id);
        }
        if let Some(error) = proxy_error(status.metadata()) {
            return Self::from_proxy(&error, status.code(), control);
        }
        let info = status.get_details_error_info();
        let reason = match (&info, status.code()) {
            (Some(info), _) => Reason::named(&info.reason),
            (None, Code::Unimplemented) => Reason::NotAController,
            (None, Code::Unknown | Code::Unavailable | Code::Cancelled) => Reason::Lost,
            (None, _) => Reason::Refused,
        };
        let said = match status.message() {
            "" => status.code().description().to_owned(),
            message => message.to_owned(),
        };
        Self {
            reason,
            message: format!("autoregistration at {control}: {said}"),
            retry_after: status
                .get_details_retry_info()
                .and_then(|info| info.retry_delay)
                .map(|wait| wait.min(LONGEST_WAIT)),
        }
    }

    /// What it means that a Linkerd proxy before the controller answers in its place, in its own words.
    pub(super) fn from_proxy(error: &str, code: Code, control: &str) -> Self {
        let reason = match code {
            Code::PermissionDenied | Code::Unauthenticated => Reason::Refused,
            _ => Reason::Unreachable,
        };
        Self::new(
            reason,
            format!(
                "the Linkerd proxy before autoregistration at {control} says: l5d-proxy-error: {error}"
            ),
        )
    }

    /// What an error on the way to the controller means.
    pub(super) fn from_transport(
        error: &(dyn Error + 'static),
        control: &str,
        server_id: &str,
    ) -> Self {
        if let Some(tls) = causes(error).find_map(tls_error) {
            return Self::from_tls(tls, control, server_id);
        }
        let io = causes(error)
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .last();
        let (reason, hint) = match io.map(std::io::Error::kind) {
            Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                (Reason::Lost, "the connection was closed")
            }
            Some(ErrorKind::ConnectionRefused) => (Reason::Unreachable, "nobody listens there"),
            Some(ErrorKind::TimedOut) => (
                Reason::Unreachable,
                "no answer; check the route and the firewall to it",
            ),
            Some(_) => (
                Reason::Unreachable,
                "check the route and the firewall to it",
            ),
            None => (Reason::Lost, "the connection was lost"),
        };
        Self::new(
            reason,
            format!(
                "no session with autoregistration at {control}: {hint} ({})",
                one_line(error)
            ),
        )
    }

    fn from_tls(error: &rustls::Error, control: &str, server_id: &str) -> Self {
        use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
        let (reason, hint) = match error {
            Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => (
                Reason::WrongController,
                format!("it is not {server_id}; check Control.Address and Control.ServerId (harnessctl get-config)"),
            ),
            // A root that was made anew under the same name shows as a bad signature.
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_),
            ) => (
                Reason::ControllerUntrusted,
                "its certificate does not chain to our trust anchors; SPIRE and Linkerd must share a trust anchor".to_owned(),
            ),
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                (Reason::ControllerUntrusted, "its certificate has expired".to_owned())
            }
            Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                (Reason::ControllerUntrusted, "its certificate is not valid yet: check this host's clock".to_owned())
            }
            Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::CertificateExpired
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError,
            ) => (Reason::CertificateRefused, "it does not accept our SVID; SPIRE must sign under Linkerd's trust anchor".to_owned()),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                (Reason::NotAController, "what answers there does not speak TLS".to_owned())
            }
            _ => (Reason::ControllerUntrusted, "the TLS handshake failed".to_owned()),
        };
        Self::new(
            reason,
            format!("no session with autoregistration at {control}: {hint} ({error})"),
        )
    }
}

/// Says whether the answer is that of a Linkerd proxy on the way, and what it says; as text that stays in its line.
pub(super) fn proxy_error(headers: &MetadataMap) -> Option<String> {
    let value = headers.get(PROXY_ERROR)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    Some(text.escape_debug().to_string())
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let wrapped = |error: &'a std::io::Error| {
        error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    };
    error
        .downcast_ref::<rustls::Error>()
        .or_else(|| error.downcast_ref::<std::io::Error>().and_then(wrapped))
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::{CertificateError, Error as TlsError};
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn tls(error: TlsError) -> Reason {
        let io = io::Error::new(ErrorKind::InvalidData, error);
        Refusal::from_transport(&io, "control:8081", "controller").reason
    }

    #[test]
    fn errors_of_tls_are_told_apart() {
        assert_eq!(
            tls(TlsError::InvalidCertificate(
                CertificateError::NotValidForName
            )),
            Reason::WrongController
        );
        assert_eq!(
            tls(TlsError::InvalidCertificate(CertificateError::BadSignature)),
            Reason::ControllerUntrusted
        );
        assert_eq!(
            tls(TlsError::AlertReceived(rustls::AlertDescription::UnknownCA)),
            Reason::CertificateRefused
        );
    }

    #[test]
    fn the_controllers_reason_and_time_are_taken() {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            "GROUP_NOT_FOUND",
            "meshexpansion.io",
            std::collections::HashMap::new(),
        );
        details.set_retry_info(Some(Duration::from_secs(15)));
        let status = Status::with_error_details(Code::NotFound, "no such group", details);
        let refusal = Refusal::from_status(&status, "control:8081", "controller");
        assert_eq!(refusal.reason, Reason::GroupNotFound);
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(15)));
        assert!(
            refusal.message.contains("no such group"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn a_refused_connection_is_unreachable_and_says_where() {
        let io = io::Error::from(ErrorKind::ConnectionRefused);
        let refusal = Refusal::from_transport(&io, "control:8081", "controller");
        assert_eq!(refusal.reason, Reason::Unreachable);
        assert!(
            refusal.message.contains("control:8081"),
            "{}",
            refusal.message
        );
    }
    #[test]
    fn what_a_linkerd_proxy_on_the_way_says_is_said_in_its_words() {
        let mut status = Status::permission_denied("unauthorized request on route");
        let said = "client 10.0.0.1:4143: server: 10.1.1.1:8081: unauthorized";
        status
            .metadata_mut()
            .insert(PROXY_ERROR, said.parse().unwrap());
        let refusal = Refusal::from_status(&status, "control:8081", "controller");
        assert_eq!(refusal.reason, Reason::Refused);
        assert!(refusal.message.contains(said), "{}", refusal.message);
    }

    #[test]
    fn no_controller_keeps_a_vm_away_for_days() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(Duration::from_secs(1_000_000)));
        let status = Status::with_error_details(Code::ResourceExhausted, "later", details);
        let refusal = Refusal::from_status(&status, "control:8081", "controller");
        assert_eq!(refusal.retry_after, Some(LONGEST_WAIT));
    }
}
