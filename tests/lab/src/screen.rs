//! What a person sees: lines on standard output, and a progress line on anything that takes longer than 2 s.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Silence that nobody should have to bear.
const SILENCE: Duration = Duration::from_secs(2);
/// How often a long step says that it is still at it.
const AGAIN: Duration = Duration::from_secs(15);

/// Prints one line. Written to the stream itself, so that a test harness does not hold it back.
pub fn say(line: &str) {
    // Nobody reads any more: nothing to be done about it.
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}

/// Does `work`; says what is being done when it takes longer than 2 s.
pub fn working<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (done, waiting) = mpsc::channel::<()>();
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut silence = SILENCE;
            while waiting.recv_timeout(silence) == Err(RecvTimeoutError::Timeout) {
                say(&format!("  … {what} ({} s)", started.elapsed().as_secs()));
                silence = AGAIN;
            }
        });
        let result = work();
        drop(done);
        if started.elapsed() > SILENCE && result.is_ok() {
            say(&format!(
                "  … {what}: done in {:.1} s",
                started.elapsed().as_secs_f64()
            ));
        }
        result
    })
}
