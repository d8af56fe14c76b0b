//! The log, in the shape of the real proxy's: uptime, level, thread, spans, target, message; on stdout.

use crate::config::Env;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

const DEFAULT_FILTER: &str = "warn,linkerd=info,hickory=error";

/// Sets the log up from `LINKERD2_PROXY_LOG` and `LINKERD2_PROXY_LOG_FORMAT`.
///
/// Parts of a filter that cannot be read are left out, an unknown format is plain: both as in the real proxy.
pub(crate) fn init(env: &Env) {
    let filter = env.text("LINKERD2_PROXY_LOG").unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::builder().parse_lossy(filter);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_thread_ids(true);
    let json = env
        .text("LINKERD2_PROXY_LOG_FORMAT")
        .is_some_and(|f| f.trim().eq_ignore_ascii_case("json"));
    if json {
        builder
            .json()
            .with_timer(SystemTime)
            .with_span_list(true)
            .with_current_span(false)
            .init();
    } else {
        builder.with_timer(Uptime(Instant::now())).init();
    }
}

/// Time since the start, as `[     0.001234s]`.
struct Uptime(Instant);

impl FormatTime for Uptime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        write_uptime(self.0.elapsed(), out)
    }
}

fn write_uptime(uptime: Duration, out: &mut impl fmt::Write) -> fmt::Result {
    write!(
        out,
        "[{:>6}.{:06}s]",
        uptime.as_secs(),
        uptime.subsec_micros()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_padded_as_the_real_one_pads_it() {
        let mut out = String::new();
        write_uptime(Duration::from_micros(1_000_042), &mut out).unwrap();
        assert_eq!(out, "[     1.000042s]");
    }
}
