//! A test in the lab: named steps on one lab, in order. The step that fails names itself and shows journal and rules.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::lab::Lab;
use crate::screen::say;

/// A lab and what has been done in it.
#[derive(Debug)]
pub struct Story {
    lab: Lab,
}

impl Story {
    /// Brings the lab up; `program` is the `lab` binary.
    pub fn begin(program: &str) -> Result<Self> {
        Ok(Self {
            lab: Lab::start(Path::new(program))?,
        })
    }

    /// Brings the lab up, with the API server of a cluster.
    pub fn begin_in_cluster(program: &str) -> Result<Self> {
        Ok(Self {
            lab: Lab::start_in_cluster(Path::new(program))?,
        })
    }

    /// Does the step `what`, a sentence that is true when it succeeds.
    pub fn then<T>(&mut self, what: &str, act: impl FnOnce(&mut Lab) -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let done = act(&mut self.lab);
        if done.is_err() {
            say(&self.lab.report());
        }
        let done = done.with_context(|| format!("not so: {what}"))?;
        say(&format!(
            "  ok: {what} ({:.1} s)",
            started.elapsed().as_secs_f64()
        ));
        Ok(done)
    }
}
