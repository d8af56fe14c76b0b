//! For the fuzz targets only: our reader of the proxy's log.

use super::output::Line;
use super::words::Seen;

/// Takes each line both as one of the log and as one outside of it.
pub fn log(text: &str) {
    let mut seen = Seen::default();
    for line in text.lines() {
        seen.take(&Line::Log(line.to_owned()));
        seen.take(&Line::Plain(line.to_owned()));
    }
    for panicked in [true, false] {
        seen.last_words(panicked);
    }
}
