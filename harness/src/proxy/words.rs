//! What the proxy's lines mean: into our log at their level, with a few facts kept.

use tracing::{error, info, warn};

use super::output::Line;

/// Facts from the lines so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// A task of the proxy panicked.
    pub(super) panicked: bool,
    /// It said that it got a certificate.
    pub(super) certified: bool,
    /// Its version, from its first line.
    pub(super) version: Option<String>,
    /// Last line of level ERROR, without time and level.
    error: Option<String>,
    /// Last words outside the log.
    complaint: Option<String>,
}

/// Level of a line of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Info,
    Warn,
    Error,
}

// === impl Line ===

impl Line {
    /// Into our log, at the proxy's level where that is a warning or worse.
    /// Blank lines, which a panic writes around itself, are left out.
    pub(super) fn log(&self) {
        let (level, text) = match self {
            Self::Log(text) => (
                log_level(text).map_or(Level::Info, |(level, _)| level),
                text,
            ),
            Self::Plain(text) => (
                if is_complaint(text) {
                    Level::Error
                } else {
                    Level::Info
                },
                text,
            ),
        };
        match level {
            _ if text.is_empty() => {}
            Level::Info => info!(target: "proxy", "{text}"),
            Level::Warn => warn!(target: "proxy", "{text}"),
            Level::Error => error!(target: "proxy", "{text}"),
        }
    }
}

// === impl Seen ===

impl Seen {
    pub(super) fn take(&mut self, line: &Line) {
        match line {
            Line::Log(text) => {
                self.certified |= text.contains("Certified identity");
                if self.version.is_none() {
                    self.version = version(text);
                }
                if let Some((Level::Error, rest)) = log_level(text) {
                    self.error = Some(rest.to_owned());
                }
            }
            // The first panic tells most: those of other tasks follow from it.
            Line::Plain(text) if is_complaint(text) => {
                if !self.panicked {
                    self.complaint = Some(text.clone());
                }
                self.panicked |= text.contains("panicked at");
            }
            // Since Rust 1.73 the message of a panic is on the line after its place.
            Line::Plain(text) => match &mut self.complaint {
                Some(complaint)
                    if complaint.contains("panicked at") && complaint.ends_with(':') =>
                {
                    complaint.push(' ');
                    complaint.push_str(text);
                }
                _ => {}
            },
        }
    }

    /// What the proxy said of its own end. A panic is told outside its log, a bad setting inside.
    pub(super) fn last_words(&self, panicked: bool) -> Option<&str> {
        let (first, second) = if panicked {
            (&self.complaint, &self.error)
        } else {
            (&self.error, &self.complaint)
        };
        first.as_deref().or(second.as_deref())
    }
}

/// Level and rest of `[     0.001234s]  WARN ThreadId(01) linkerd_app: text`; levels below WARN are information.
fn log_level(text: &str) -> Option<(Level, &str)> {
    let (_, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (word, rest) = rest.trim_start().split_once(' ')?;
    let level = match word {
        "ERROR" => Level::Error,
        "WARN" => Level::Warn,
        "INFO" | "DEBUG" | "TRACE" => Level::Info,
        _ => return None,
    };
    Some((level, rest.trim_start()))
}

/// Words on standard error that tell of an end; the access log goes there too.
fn is_complaint(text: &str) -> bool {
    text.contains("panicked at")
        || ["Invalid ", "Initialization failure", "setpriv: "]
            .iter()
            .any(|begin| text.starts_with(begin))
        || text.contains("error while loading shared libraries")
        || text.contains("version `GLIBC_")
}

/// From `… linkerd2_proxy: release 2.366.0 (29637b6) by linkerd on 2026-08-21T00:00:00Z`.
fn version(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("linkerd2_proxy: ")?;
    let mut words = rest.split(' ');
    let (_profile, version, commit) = (words.next()?, words.next()?, words.next()?);
    (commit.starts_with('(') && words.next() == Some("by")).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_proxy() {
        let level = |text| log_level(text).map(|(level, _)| level);
        assert_eq!(
            level("[     0.000123s]  INFO ThreadId(01) linkerd2_proxy: x"),
            Some(Level::Info)
        );
        assert_eq!(
            level("[    15.000123s]  WARN ThreadId(01) a: [x] ERROR y"),
            Some(Level::Warn)
        );
        assert_eq!(
            level("[1234567.000123s] ERROR ThreadId(01) a: y"),
            Some(Level::Error)
        );
        assert_eq!(level("ERROR a"), None);
        assert_eq!(level("[ERROR"), None);
    }

    /// Collects what the log writes.
    #[derive(Clone, Default)]
    struct Journal(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Journal {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_reach_our_log_marked_at_their_level_and_untouched() {
        let journal = Journal::default();
        let writer = journal.clone();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for line in [
                Line::Log(
                    "[     0.000001s]  INFO ThreadId(01) a: Admin interface on {b}".to_owned(),
                ),
                Line::Log("[     0.000002s] DEBUG ThreadId(01) a: b".to_owned()),
                Line::Log("[     0.000003s]  WARN ThreadId(01) a: b".to_owned()),
                Line::Plain(String::new()),
                Line::Plain("Invalid configuration: x".to_owned()),
            ] {
                line.log();
            }
        });
        let text = String::from_utf8(journal.0.lock().unwrap().clone()).unwrap();
        let expected = [
            " INFO proxy: [     0.000001s]  INFO ThreadId(01) a: Admin interface on {b}",
            " INFO proxy: [     0.000002s] DEBUG ThreadId(01) a: b",
            " WARN proxy: [     0.000003s]  WARN ThreadId(01) a: b",
            "ERROR proxy: Invalid configuration: x",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn facts_are_kept() {
        let mut seen = Seen::default();
        for text in [
            "[     0.000123s]  INFO ThreadId(01) linkerd2_proxy: release 2.366.0 (29637b6) by linkerd on now",
            "[     0.000200s] ERROR ThreadId(01) linkerd_app::env: A=\"30\" is not valid: NotADuration",
            "[     0.000300s]  INFO ThreadId(02) identity: linkerd_app: Certified identity id=spiffe://a/b",
        ] {
            seen.take(&Line::Log(text.to_owned()));
        }
        seen.take(&Line::Plain(
            "Invalid configuration: invalid environment variable".to_owned(),
        ));
        assert_eq!(seen.version.as_deref(), Some("2.366.0"));
        assert!(seen.certified && !seen.panicked);
        let words = "ThreadId(01) linkerd_app::env: A=\"30\" is not valid: NotADuration";
        assert_eq!(seen.last_words(false), Some(words));
    }

    #[test]
    fn the_first_panic_is_kept_with_its_message() {
        let mut seen = Seen::default();
        for text in [
            "",
            "thread 'admin' (26630) panicked at a.rs:1:2:",
            "spire client must",
            "note: run with",
            "",
            "thread 'main' (26589) panicked at b.rs:1:2:",
            "identity sender must be held",
        ] {
            seen.take(&Line::Plain(text.to_owned()));
        }
        assert!(seen.panicked);
        assert_eq!(
            seen.last_words(true),
            Some("thread 'admin' (26630) panicked at a.rs:1:2: spire client must")
        );
    }

    #[test]
    fn the_access_log_is_no_complaint() {
        let mut seen = Seen::default();
        seen.take(&Line::Plain(
            "10.0.0.1 - - \"GET / HTTP/1.1\" 200".to_owned(),
        ));
        assert_eq!(seen.last_words(true), None);
    }
}
