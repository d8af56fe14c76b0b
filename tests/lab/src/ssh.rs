//! SSH from a host without the mesh, as an operator's: with a real server in the VM and a real client.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::exec;
use crate::lab::Lab;
use crate::net;

/// Where the server listens; not 22, which is assumed where nothing is found.
pub const PORT: u16 = 2222;

/// The server's settings.
const SERVER: &str = "etc/ssh/sshd_config.d/lab.conf";

/// A session that is open.
#[derive(Debug)]
pub struct Session {
    ssh: Child,
    keys: ChildStdin,
    screen: BufReader<ChildStdout>,
}

/// Starts the server in the lab's VM, and makes the operator's key.
pub fn serve(lab: &Lab) -> Result<()> {
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(key(lab));
    exec::run(&mut keygen)?.ok()?;
    let public = fs::read_to_string(key(lab).with_extension("pub")).context("read the key")?;
    lab.vm.write("root/.ssh/authorized_keys", &public)?;
    lab.vm.write(SERVER, &format!("Port {PORT}\nUseDNS no\n"))?;
    crate::host::Host::get(&lab.vm, "systemctl start ssh")?;
    Ok(())
}

fn key(lab: &Lab) -> PathBuf {
    lab.run.dir().join("operator")
}

/// An SSH client on the host without the mesh, that runs `command` in the VM; `options` are its own.
fn client(lab: &Lab, options: &[&str], command: &str) -> Command {
    let mut ssh = lab.outsider.command("ssh".as_ref());
    // A dead session ends, so that a test which reads from it does not wait for ever.
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "ConnectTimeout=10",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
    ] {
        ssh.args(["-o", option]);
    }
    ssh.arg("-i").arg(key(lab));
    ssh.args(["-F", "none", "-p", &PORT.to_string()])
        .args(options);
    ssh.arg(format!("root@{}", net::TRAINING_VM)).arg(command);
    ssh
}

/// Types `command` in a new session, without a terminal.
pub fn run(lab: &Lab, command: &str) -> Result<exec::Answer> {
    exec::run_as(&mut client(lab, &[], command), &format!("ssh {command}"))?.ok()
}

/// Opens a new session; whom the server sees as its client.
pub fn seen_client(lab: &Lab) -> Result<String> {
    let answer = run(lab, "echo $SSH_CLIENT")?;
    let seen = answer.stdout.split_whitespace().next();
    Ok(seen.unwrap_or_default().to_owned())
}

impl Session {
    /// Opens one that repeats what it is told.
    pub fn open(lab: &Lab) -> Result<Self> {
        let mut session = Self::begin(client(lab, &[], "cat"))?;
        session.lives("hello")?;
        Ok(session)
    }

    /// Opens one with a terminal, in which `command` runs.
    pub fn at_terminal(lab: &Lab, command: &str) -> Result<Self> {
        Self::begin(client(lab, &["-tt"], command))
    }

    fn begin(mut ssh: Command) -> Result<Self> {
        let mut ssh = ssh
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start ssh")?;
        let (keys, screen) = (ssh.stdin.take(), ssh.stdout.take());
        Ok(Self {
            ssh,
            keys: keys.context("its input is piped")?,
            screen: BufReader::new(screen.context("its output is piped")?),
        })
    }

    /// Reads the screen until a line has `text` in it; fails when the session ends before.
    pub fn shows(&mut self, text: &str) -> Result<()> {
        let mut seen = String::new();
        loop {
            let from = seen.len();
            let read = self.screen.read_line(&mut seen);
            let read = read.context("read from the SSH session")?;
            ensure!(read > 0, "the SSH session ended without `{text}`:\n{seen}");
            if seen.split_at(from).1.contains(text) {
                return Ok(());
            }
        }
    }

    /// Types `word`, and fails unless it comes back.
    pub fn lives(&mut self, word: &str) -> Result<()> {
        writeln!(self.keys, "{word}").context("the SSH session is closed")?;
        let mut line = String::new();
        self.screen
            .read_line(&mut line)
            .context("read from the SSH session")?;
        ensure!(line.trim() == word, "the SSH session answered `{line}`");
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ended = self.ssh.kill();
        let _reaped = self.ssh.wait();
    }
}
