//! The time in which an operator finds out whether he still gets in.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use linkerd_harness::redirection::by_hand::{self, Id, Outcome};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::print;

/// How often we look whether somebody else has confirmed.
const LOOK: Duration = Duration::from_millis(100);

/// Waits at a terminal. A script is not kept: it checks what it wants, then types `redirect confirm`. Whatever becomes of
/// us, who takes the rules back is another process.
pub(super) async fn until_decided(id: &Id, after: Duration, run_dir: &Path) -> ExitCode {
    let terminal = std::io::stdin().is_terminal();
    let here = if terminal {
        ", or press Enter here"
    } else {
        ""
    };
    print::say(
        format_args!(
            "everything is taken back in {} s, unless you type in a new SSH session: linkerd-proxy-harness redirect confirm{here}",
            after.as_secs_f32()
        ),
        ExitCode::SUCCESS,
    );
    if !terminal {
        return ExitCode::SUCCESS;
    }
    let mut enter = enter();
    let mut listens = true;
    loop {
        if let Some(outcome) = by_hand::outcome(id, run_dir) {
            return say(outcome);
        }
        tokio::select! {
            pressed = &mut enter, if listens => {
                listens = false;
                if pressed.is_ok()
                    && let Err(error) = by_hand::confirm(run_dir)
                {
                    let code = error.exit_code().into();
                    return print::failure(&error, error.hint().as_deref(), code);
                }
            }
            () = sleep(LOOK) => {}
        }
    }
}

fn say(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Settled => {
            print::answer("confirmed: the rules stay");
            ExitCode::SUCCESS
        }
        Outcome::LeftToDaemon => print::say(
            "error: not confirmed in time, and not taken back, for the daemon runs: the rules are its own",
            ExitCode::FAILURE,
        ),
        Outcome::TakenBack => print::say(
            "error: not confirmed in time, everything was taken back",
            ExitCode::FAILURE,
        ),
    }
}

/// A thread of its own, for a read from a terminal cannot be called off. A terminal that is gone says nothing.
fn enter() -> oneshot::Receiver<()> {
    let (pressed, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        if read.is_ok_and(|read| read > 0) && pressed.send(()).is_err() {
            tracing::debug!("confirmed elsewhere");
        }
    });
    receiver
}
