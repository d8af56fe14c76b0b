//! Whether the proxy really serves: its own `/ready` is not enough.
//!
//! `/ready` means that a certificate was once loaded. It stays 200 after that certificate has expired, and it is 200
//! without any certificate and with closed ports when the proxy's identity task has panicked. So four facts are
//! taken together: `/ready`, a certificate that was loaded, its expiry, and an open inbound port.

use std::time::Duration;

mod metrics;
#[cfg(test)]
mod tests;

pub use metrics::{Metrics, Scan};

/// What was seen of the proxy at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Status of `GET /ready`; `None` when the admin port did not answer.
    pub ready: Option<u16>,
    /// The figures of `GET /metrics`; `None` when the admin port did not give them.
    pub metrics: Option<Metrics>,
    /// Whether the inbound port takes connections.
    pub listening: bool,
    /// Whether the proxy's log said that it was certified. Counts only where policy closes the admin port to us.
    pub said_certified: bool,
}

/// What follows from an [`Observation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The inbound port is closed, and the proxy does not claim to be ready.
    NotListening,
    /// The admin port does not answer.
    NotReady,
    /// Started, and waits for its first certificate.
    NotCertified,
    /// The certificate has expired; peers refuse it.
    CertificateExpired,
    /// Claims to be ready without a certificate or with a closed port: what is left after a panic at start. It does
    /// not recover by itself.
    FalseReady,
    /// Serves inbound, but has no policy controller: every new outbound connection through it would hang.
    ControlPlaneUnreached,
    /// Serves inbound, as far as the log tells: the default policy, which holds until the policy controller answers,
    /// refuses our look at the admin port.
    ServingUnseen,
    /// Serves.
    Serving,
}

/// Judges. `now` is the time since the Unix epoch.
pub fn judge(seen: &Observation, now: Duration) -> Verdict {
    match seen.ready {
        None => {
            if seen.listening {
                Verdict::NotReady
            } else {
                Verdict::NotListening
            }
        }
        // The inbound policy holds for the admin port too, and an ExternalWorkload gets no exemption for probes.
        Some(403 | 404) => match (seen.said_certified, seen.listening) {
            (true, true) => Verdict::ServingUnseen,
            (_, false) => Verdict::NotListening,
            (false, true) => Verdict::NotCertified,
        },
        Some(200) => match &seen.metrics {
            // It answered a moment ago; without figures nothing is proved.
            None => Verdict::NotReady,
            Some(metrics) if metrics.refreshes == 0 || !seen.listening => Verdict::FalseReady,
            Some(metrics) if metrics.expires <= now => Verdict::CertificateExpired,
            Some(metrics) if metrics.policy_endpoints == 0 => Verdict::ControlPlaneUnreached,
            Some(_) => Verdict::Serving,
        },
        Some(503) => Verdict::NotCertified,
        Some(_) => Verdict::NotReady,
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether inbound traffic is served.
    pub fn serves(self) -> bool {
        matches!(
            self,
            Self::Serving | Self::ServingUnseen | Self::ControlPlaneUnreached
        )
    }

    /// Whether outbound traffic would be served too: the policy controller is reached. A refused look means that it has
    /// not answered: to each of its answers the proxy adds that this host may look (measured), the default policy does not.
    pub fn reaches_control_plane(self) -> bool {
        self == Self::Serving
    }
}
