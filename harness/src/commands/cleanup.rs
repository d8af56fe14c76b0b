//! `cleanup`: `ExecStopPost=` of the unit.

use std::process::ExitCode;

use linkerd_harness::paths::Paths;
use linkerd_harness::redirection;

use super::print;

pub(super) async fn run(paths: &Paths) -> ExitCode {
    // What systemd tells of the daemon's end.
    let result = std::env::var("SERVICE_RESULT").ok();
    if redirection::keeps_rules(&paths.roots(), result.as_deref()) {
        let text = "the daemon did not stop cleanly and FailurePolicy is closed: the rules stay, and new connections are \
                    refused until the proxy serves again; open this host by hand: linkerd-proxy-harness cleanup";
        return print::say(text, ExitCode::SUCCESS);
    }
    match redirection::cleanup(&paths.runtime).await {
        Ok(removed) => {
            for rules in removed {
                print::say(format_args!("removed {rules}"), ExitCode::SUCCESS);
            }
            ExitCode::SUCCESS
        }
        Err(errors) => print::say(&errors, ExitCode::FAILURE),
    }
}
