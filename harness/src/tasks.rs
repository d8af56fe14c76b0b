//! The daemon's long tasks, by name. None of them may end while the daemon runs: when one does, the daemon ends, non-zero,
//! and systemd starts it anew.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinSet};

/// Running tasks.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a task.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits until one of them ends, and names it.
    pub async fn first_to_end(&mut self) -> &'static str {
        let id = match self.set.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return "none",
        };
        self.names.get(&id).copied().unwrap_or("unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_task_that_ends_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("for ever", std::future::pending());
        tasks.spawn("short", async {});
        assert_eq!(tasks.first_to_end().await, "short");
    }
}
