//! Who this VM is: the X.509 SVID that the local SPIRE agent gives, checked, and ready for use in TLS.
//!
//! [`supervise`] owns the state and is its only writer. It never ends because identity is missing: it waits, says why in
//! one of a closed set of [`Reason`]s, and tries again. The last good SVID is kept until it expires, also when the agent
//! goes away or sends something unusable.

mod check;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod trouble;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use linkerd_harness_core::config;
use linkerd_harness_core::status;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use spiffe::transport::Endpoint;
use spiffe::{WorkloadApiClient, X509Context};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::clock::rfc3339;
use crate::report::Report;
pub use trouble::{Reason, Trouble};

/// The wall clock is looked at this often while an SVID is held, since a suspended VM's timers sleep too.
const EXPIRY_SWEEP: Duration = Duration::from_secs(30);

/// A wait that lasts longer is said again, this often.
const REMINDER: Duration = Duration::from_secs(15);

/// What is known of this VM's identity.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The newest SVID that passed every check and has not expired.
    pub certified: Option<Arc<Certified>>,
    /// What is wrong now, if anything.
    pub trouble: Option<Trouble>,
}

/// An SVID that passed every check.
#[derive(Debug)]
pub struct Certified {
    /// e.g. `spiffe://root.linkerd.cluster.local/proxy-harness`
    pub spiffe_id: String,
    /// End of its life.
    pub not_after: SystemTime,
    /// Presents the SVID and trusts the anchors. TLS 1.3, no ALPN, no resumption. Replaced at each rotation; connections
    /// that are open keep the one they began with.
    pub tls: Arc<ClientConfig>,
}

/// Takes SVIDs from the agent for as long as somebody watches.
pub async fn supervise(config: config::Identity, states: watch::Sender<State>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let limits = &config.backoff;
    let mut backoff = Backoff::new(limits.min, limits.max, limits.jitter_percent);
    let mut reminder = Reminder::default();
    while !states.is_closed() {
        let ended = tokio::select! {
            ended = stream(&config, &provider, &states, &mut backoff, &mut reminder) => ended,
            () = sweep(&states) => Ok(()),
        };
        let trouble = match ended {
            Ok(()) => Trouble::new(Reason::StreamEnded, "the SPIRE agent ended the stream"),
            Err(error) => Trouble::from_workload_api(&error, &config.spire_socket),
        };
        reminder.wait(&trouble, states.borrow().certified.is_some());
        publish_trouble(&states, trouble);
        sleep(backoff.next_wait()).await;
    }
}

/// One stream from the agent, until it ends.
async fn stream(
    config: &config::Identity,
    provider: &Arc<CryptoProvider>,
    states: &watch::Sender<State>,
    backoff: &mut Backoff,
    reminder: &mut Reminder,
) -> Result<(), spiffe::WorkloadApiError> {
    let endpoint = Endpoint::Unix(config.spire_socket.clone());
    let client = WorkloadApiClient::connect(endpoint).await?;
    let mut updates = client.stream_x509_contexts().await?;
    while let Some(update) = updates.next().await {
        let update = update?;
        // Only now: a stream that opens and then fails must not be asked for without a pause.
        backoff.reset();
        match examine(config, provider, &update) {
            Ok(certified) => {
                let until = rfc3339(certified.not_after);
                info!(spiffe_id = %certified.spiffe_id, expires = %until, "identity certified");
                reminder.over();
                states.send_replace(State {
                    certified: Some(Arc::new(certified)),
                    trouble: None,
                });
            }
            Err(trouble) => {
                reminder.wait(&trouble, states.borrow().certified.is_some());
                publish_trouble(states, trouble);
            }
        }
    }
    Ok(())
}

/// Gives up the SVID when its life is over, also while the agent hangs.
async fn sweep(states: &watch::Sender<State>) {
    loop {
        sleep(EXPIRY_SWEEP).await;
        states.send_if_modified(drop_expired);
    }
}

fn examine(
    config: &config::Identity,
    provider: &Arc<CryptoProvider>,
    update: &X509Context,
) -> Result<Certified, Trouble> {
    let anchors = config
        .trust_anchors
        .as_deref()
        .map(read_anchors)
        .transpose()?;
    let offered = check::Offered::from_context(update);
    let chosen = check::choose(offered, config.spiffe_id.as_deref())?;
    check::certify(chosen, anchors, provider, SystemTime::now())
}

fn read_anchors(path: &Path) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let unusable = |why: String| {
        let message = format!(
            "cannot take trust anchors from `{}` (Identity.TrustAnchors): {why}",
            path.display()
        );
        Trouble::new(Reason::TrustAnchorsUnreadable, message)
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("it holds no certificate in PEM".to_owned()));
    }
    Ok(certificates)
}

fn publish_trouble(states: &watch::Sender<State>, trouble: Trouble) {
    states.send_if_modified(|state| {
        let expired = drop_expired(state);
        let changed = state.trouble.as_ref() != Some(&trouble);
        state.trouble = Some(trouble);
        changed || expired
    });
}

/// Gives up an SVID whose life is over. True when it did.
fn drop_expired(state: &mut State) -> bool {
    let over = state
        .certified
        .as_ref()
        .filter(|held| held.not_after <= SystemTime::now());
    let Some(over) = over else { return false };
    let message = format!(
        "the SVID of {} expired and SPIRE gave no new one",
        over.spiffe_id
    );
    warn!(spiffe_id = %over.spiffe_id, "identity expired");
    *state = State {
        certified: None,
        trouble: Some(Trouble::new(Reason::Expired, message)),
    };
    true
}

/// Says a wait once, and again every [`REMINDER`] while it lasts.
#[derive(Debug, Default)]
struct Reminder {
    said: Option<(Reason, tokio::time::Instant)>,
}

impl Reminder {
    fn wait(&mut self, trouble: &Trouble, certified: bool) {
        let due = self
            .said
            .as_ref()
            .is_none_or(|(reason, at)| *reason != trouble.reason || at.elapsed() >= REMINDER);
        if !due {
            return;
        }
        self.said = Some((trouble.reason, tokio::time::Instant::now()));
        if certified {
            warn!(reason = ?trouble.reason, "no news from SPIRE, keeping the identity that we have: {}", trouble.message);
        } else {
            warn!(reason = ?trouble.reason, "waiting for identity: {}", trouble.message);
        }
    }

    fn over(&mut self) {
        self.said = None;
    }
}

// === impl State ===

impl State {
    /// For `/status`.
    pub fn report(&self) -> Report {
        match (&self.certified, &self.trouble) {
            (Some(held), None) => {
                let message = format!("{}, until {}", held.spiffe_id, rfc3339(held.not_after));
                Report::new(status::State::Ok, "Certified", message)
            }
            (Some(held), Some(trouble)) => {
                let message = format!(
                    "{} until {}, but {}",
                    held.spiffe_id,
                    rfc3339(held.not_after),
                    trouble.message
                );
                Report::new(status::State::Degraded, trouble.reason.as_str(), message)
            }
            (None, Some(trouble)) => Report::new(
                status::State::Waiting,
                trouble.reason.as_str(),
                trouble.message.clone(),
            ),
            (None, None) => {
                Report::new(status::State::Waiting, "Starting", "asking the SPIRE agent")
            }
        }
    }
}
