//! `ip` of iproute2, in the network namespace of the calling thread.

use std::path::PathBuf;

use crate::causes;
use crate::redirection::exec;

/// Where it is.
#[derive(Clone, Debug)]
pub(super) struct Ip(PathBuf);

impl Ip {
    pub(super) fn find() -> Result<Self, String> {
        let program =
            exec::find("ip").ok_or("no `ip` is installed (try: apt-get install iproute2)")?;
        Ok(Self(program))
    }

    /// Some commands, a line each, up to the first that fails.
    pub(super) fn batch(&self, commands: &str) -> Result<(), String> {
        self.run(&["-batch", "-"], commands).map(drop)
    }

    /// What one command prints.
    pub(super) fn ask(&self, args: &[&str]) -> Result<String, String> {
        self.run(args, "")
    }

    fn run(&self, args: &[&str], input: &str) -> Result<String, String> {
        // A runtime of its own: programs start in the namespace of the thread that starts them.
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?
            .block_on(exec::run(&self.0, args, input))
            .map_err(|error| causes::one_line(&error))
    }
}
