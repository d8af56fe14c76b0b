//! Where log lines go and how they look: standard error; under systemd without time and colour but with the priority
//! prefix, so that `journalctl -p warning` works; on a terminal with uptime and colour.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::Uptime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::args::LogFormat;

/// Overrides the filter, e.g. `debug` or `warn,autoregistration=debug`.
pub const VARIABLE: &str = "AUTOREGISTRATION_LOG";
// `kube_client` says each connection that fails; we say once that the API server is away.
const FILTER: &str = "warn,kube_client=off,autoregistration=info,audit=info";

/// The filter in the variable cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE} is `{value}`; write for example `debug` or `{FILTER}`")]
pub struct Error {
    value: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Begins to log; `filter` is the variable's value, `journal` whether standard error is the journal.
pub fn start(format: LogFormat, filter: Option<String>, journal: bool) -> Result<(), Error> {
    let value = filter.unwrap_or_else(|| FILTER.to_owned());
    let filter = EnvFilter::try_new(&value).map_err(|source| Error { value, source })?;
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text if journal => builder
            .with_ansi(false)
            .event_format(Journal(
                Format::default()
                    .without_time()
                    .with_level(false)
                    .with_target(false),
            ))
            .init(),
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_timer(Uptime::default())
            .with_target(false)
            .init(),
    }
    Ok(())
}

/// Puts the priority of syslog before each line.
struct Journal(Format<Full, ()>);

// === impl Journal ===

impl<S, N> FormatEvent<S, N> for Journal
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
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}
