//! Starts the child.

use std::process::Stdio;

use tokio::process::Child;

use super::Launch;
use super::output::Output;
use super::state::{Failure, Reason};
use crate::causes::one_line;
use crate::unprivileged;

/// Starts the proxy. The process that runs is the proxy itself: `setpriv` becomes it by `exec`.
pub(super) fn spawn(launch: &Launch) -> Result<(Child, Output), Failure> {
    let failed = |why: String| Failure::new(Reason::CannotExecute, &launch.program, why);
    let mut command = match unprivileged::command(&launch.program, launch.user_id) {
        Ok(command) => command,
        Err(unprivileged::Error::Missing) => {
            return Err(Failure::new(Reason::ProgramMissing, &launch.program, ""));
        }
        Err(error) => return Err(failed(one_line(&error))),
    };
    let mut child = command
        .envs(&launch.environment)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("`setpriv`: {error}")))?;
    let output = Output::new(child.stdout.take(), child.stderr.take());
    Ok((child, output))
}
