//! The log: to stderr, one line an event, fields visible.
//!
//! Under systemd each line begins with its priority (sd-daemon(3)), so that `journalctl -p warning` works, and carries no
//! time, which the journal adds.

use std::fmt;
use std::io::IsTerminal;

use linkerd_harness_core::config::{Config, LogFormat};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Starts logging as configured. The filter was checked with the configuration; one that the subscriber cannot read after
/// all acts as `info`.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(filter(&config.log_level))
        .unwrap_or_else(|_| EnvFilter::new(filter("info")));
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let terminal = !journal && std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal && std::env::var_os("NO_COLOR").is_none())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Plain if terminal => {
            let timer = tracing_subscriber::fmt::time::uptime();
            builder.with_timer(timer).init();
        }
        LogFormat::Plain => builder.event_format(Lines { priority: journal }).init(),
    }
}

/// A bare level is meant for us and for the proxy's lines, not for every library. In a filter a component may go by the
/// name that its lines carry, `identity=debug`.
fn filter(level: &str) -> String {
    if level.parse::<Level>().is_ok() {
        return format!("warn,linkerd_harness={level},linkerd_proxy_harness={level},proxy={level}");
    }
    let named = |directive: &&str| {
        directive
            .split_once('=')
            .is_some_and(|(target, _)| target.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let directives = level.split(',').map(str::trim);
    let ours = directives.clone().filter(named);
    let ours = ours.map(|directive| format!("linkerd_harness::{directive}"));
    directives
        .map(str::to_owned)
        .chain(ours)
        .collect::<Vec<_>>()
        .join(",")
}

struct Lines {
    priority: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (number, name) = match *event.metadata().level() {
            Level::ERROR => (3, "ERROR"),
            Level::WARN => (4, "WARN"),
            Level::INFO => (6, "INFO"),
            Level::DEBUG => (7, "DEBUG"),
            Level::TRACE => (7, "TRACE"),
        };
        if self.priority {
            write!(writer, "<{number}>")?;
        }
        write!(writer, "{name} {}: ", component(event.metadata().target()))?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// `linkerd_harness::identity::check` is of `identity`; other targets are shown as they are.
fn component(target: &str) -> &str {
    let inner = target.strip_prefix("linkerd_harness::").unwrap_or(target);
    inner.split("::").next().unwrap_or(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_is_ours() {
        assert!(filter("debug").contains("linkerd_harness=debug"));
    }

    #[test]
    fn a_filter_is_taken_as_it_is_and_may_name_a_component() {
        let harmless = "info,hyper=trace,linkerd_harness::hyper=trace";
        assert_eq!(filter("info, hyper=trace"), harmless);
        assert_eq!(filter("warn,hyper::proto=debug"), "warn,hyper::proto=debug");
        assert!(filter("info,identity=debug").contains("linkerd_harness::identity=debug"));
    }

    #[test]
    fn lines_name_the_component() {
        assert_eq!(component("linkerd_harness::identity::check"), "identity");
        assert_eq!(component("proxy"), "proxy");
    }
}
