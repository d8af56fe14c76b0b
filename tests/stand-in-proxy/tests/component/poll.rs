//! Waiting for something to become true.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; nothing is asserted about how long things take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again until there is an answer, or fails with the last word on why not.
pub(crate) async fn until<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(why) => assert!(
                start.elapsed() < PATIENCE,
                "{what}: not within {PATIENCE:?}: {why:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
