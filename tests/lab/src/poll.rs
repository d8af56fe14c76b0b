//! Waits for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `ready` again and again until it answers `Ok`; at the deadline fails with its last error.
pub fn until<T>(what: &str, patience: Duration, mut ready: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match ready() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                bail!("waited {} s for {what}: {error:#}", patience.as_secs())
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}
