//! One question of a proxy, counted when it comes and written to the log, at debug, when its stream is over: who asked
//! what, what it was told, for how long it listened. A proxy that asks a thousand times a second shows in both.

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tonic::Request;
use tracing::{Level, debug, enabled};

use crate::metrics::Metrics;
use crate::tls::Peer;

/// A question, for as long as it is being answered.
#[derive(Debug)]
pub(super) struct Asked {
    open: Gauge,
    /// Only when it will be written: proxies' clients choose what is asked, so that nothing is kept of it otherwise.
    line: Option<Box<Line>>,
}

/// What a proxy was told, as the log calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing.
    Nothing,
    /// What it asked for.
    Answer,
    /// That nothing is known of it.
    Unknown,
    /// That it cannot be read.
    Invalid,
}

#[derive(Debug)]
struct Line {
    method: &'static str,
    proxy: String,
    workload: String,
    about: String,
    since: Instant,
    told: Told,
    messages: u64,
}

// === impl Asked ===

impl Asked {
    /// A question in `request`, by the proxy of `workload`.
    pub(super) fn new<T>(
        metrics: &Metrics,
        method: &'static str,
        request: &Request<T>,
        (workload, about): (&str, impl FnOnce() -> String),
    ) -> Self {
        let line = enabled!(Level::DEBUG).then(|| {
            let peer = request.extensions().get::<Peer>();
            Box::new(Line {
                method,
                proxy: peer
                    .and_then(Peer::spiffe_id)
                    .unwrap_or("unknown")
                    .to_owned(),
                workload: workload.to_owned(),
                about: about(),
                since: Instant::now(),
                told: Told::Nothing,
                messages: 0,
            })
        });
        Self {
            open: metrics.question(method),
            line,
        }
    }

    /// Notes that the proxy was told this.
    pub(super) fn told(&mut self, told: Told) {
        if let Some(line) = &mut self.line {
            line.told = told;
            line.messages += u64::from(told == Told::Answer);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.open.dec();
        if let Some(line) = &self.line {
            debug!(
                method = line.method,
                proxy = line.proxy,
                workload = line.workload,
                about = line.about,
                told = ?line.told,
                messages = line.messages,
                seconds = line.since.elapsed().as_secs_f64(),
                "stream over"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use linkerd2_proxy_api::destination::GetDestination;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(level: Level) -> String {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(level)
            .with_writer(lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let request = Request::new(GetDestination::default());
            let target = || "10.77.0.2:80".to_owned();
            let question = ("training:vm-a", target);
            let mut asked = Asked::new(&Metrics::default(), "GetProfile", &request, question);
            asked.told(Told::Answer);
            asked.told(Told::Answer);
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_question_is_one_line_at_debug_and_none_at_info() {
        let line: serde_json::Value = serde_json::from_str(&logged(Level::DEBUG)).unwrap();
        for (field, wanted) in [
            ("message", "stream over"),
            ("method", "GetProfile"),
            ("proxy", "unknown"),
            ("workload", "training:vm-a"),
            ("about", "10.77.0.2:80"),
            ("told", "Answer"),
        ] {
            assert_eq!(line[field], wanted, "{line}");
        }
        assert_eq!(line["messages"], 2);
        assert!(line["seconds"].is_number());
        assert_eq!(logged(Level::INFO), "");
    }
}
