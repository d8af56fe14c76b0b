//! Runs a program to its end: input given, output kept, time limited.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longer than any of our programs takes; the wait for the xtables lock is shorter.
const LIMIT: Duration = Duration::from_secs(10);

/// Where programs are when `PATH` does not say; people's `PATH` often lacks the `sbin` directories.
const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Why a program did not do what we wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot run `{command}`")]
    Start {
        /// Program and arguments.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It could not be talked to.
    #[error("lost `{command}` while it ran")]
    Io {
        /// Program and arguments.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error("`{command}` was killed, for it took more than {} s", LIMIT.as_secs())]
    TimedOut {
        /// Program and arguments.
        command: String,
    },
    /// It ended, but not well.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// Program and arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said, its last lines, on one line.
        stderr: String,
    },
}

tokio::task_local! {
    /// The children of the change that goes on; see [`with_children`].
    static CHILDREN: RefCell<Vec<u32>>;
}

/// Does something, and tells the process ids of what it ran: the kernel calls writers of rules by them, and ours are no
/// strangers.
pub(super) async fn with_children<T>(work: impl Future<Output = T>) -> (T, Vec<u32>) {
    let noted = async { (work.await, CHILDREN.with(RefCell::take)) };
    CHILDREN.scope(RefCell::default(), noted).await
}

/// Takes a note of a child, where somebody wants to know.
pub(super) fn note_child(pid: u32) {
    // Nobody asked: then nobody is told.
    CHILDREN
        .try_with(|children| children.borrow_mut().push(pid))
        .unwrap_or_default();
}

/// The path of a program; `None` when it is not installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_absolute() && file.is_file())
}

/// Runs a program with `input` and gives what it printed.
pub(crate) async fn run(
    program: &Path,
    args: &[&str],
    input: &str,
) -> Result<String, CommandError> {
    let command = std::iter::once(program.display().to_string())
        .chain(args.iter().map(ToString::to_string))
        .collect::<Vec<_>>()
        .join(" ");
    let mut child = Command::new(program)
        .args(args)
        // The messages that we look into are those of the C locale.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| CommandError::Start {
            command: command.clone(),
            source,
        })?;
    if let Some(pid) = child.id() {
        note_child(pid);
    }
    let Ok(ended) = timeout(LIMIT, talk(&mut child, input)).await else {
        // Killed and waited for: a program that is still about to change rules must not outlive this call.
        child.kill().await.map_err(|source| CommandError::Io {
            command: command.clone(),
            source,
        })?;
        return Err(CommandError::TimedOut { command });
    };
    let (status, stdout, stderr) = ended.map_err(|source| CommandError::Io {
        command: command.clone(),
        source,
    })?;
    if status.success() {
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    } else {
        Err(CommandError::Failed {
            command,
            status,
            stderr: last_lines(&stderr),
        })
    }
}

async fn talk(child: &mut Child, input: &str) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        let Some(mut stdin) = stdin else {
            return Ok(());
        };
        match stdin.write_all(input.as_bytes()).await {
            // It stopped reading: its exit status and its words say more than this.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    };
    let (written, out, err, status) = tokio::join!(write, read(stdout), read(stderr), child.wait());
    written?;
    Ok((status?, out?, err?))
}

async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut bytes).await?;
    }
    Ok(bytes)
}

fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines
        .get(lines.len().saturating_sub(4)..)
        .unwrap_or_default();
    if last.is_empty() {
        "it said nothing".to_owned()
    } else {
        last.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, input: &str) -> Result<String, CommandError> {
        run(Path::new("/bin/sh"), &["-c", script], input).await
    }

    #[tokio::test]
    async fn output_comes_back_and_failure_says_what_who_and_why() {
        assert_eq!(sh("cat", "hello").await.unwrap(), "hello");
        let error = sh("echo no good >&2; exit 3", "x")
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "`/bin/sh -c echo no good >&2; exit 3` failed (exit status: 3): no good"
        );
        let error = run(Path::new("/nowhere/iptables"), &[], "")
            .await
            .unwrap_err();
        assert!(matches!(error, CommandError::Start { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_read_or_writes_much_does_not_hang_us() {
        let much = "x".repeat(1 << 20);
        assert_eq!(sh("cat", &much).await.unwrap().len(), much.len());
        assert_eq!(sh("exec 0<&-; echo done", &much).await.unwrap(), "done\n");
    }

    #[tokio::test]
    async fn children_are_told_to_whom_they_belong() {
        let (said, children) = with_children(sh("echo $$", "")).await;
        assert_eq!(said.unwrap().trim(), children[0].to_string());
        assert_eq!(children.len(), 1);
        assert_eq!(with_children(async {}).await.1, [0; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_hangs_is_killed() {
        let error = sh("exec sleep 1000", "").await.unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
    }
}
