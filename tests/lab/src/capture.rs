//! What passes between the hosts, as bytes on the wire: the proof that it was TLS.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::net::Net;
use crate::poll;
use crate::run::Run;
use crate::wire::Wire;

/// tcpdump on the bridge.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Child,
    file: PathBuf,
}

impl Capture {
    /// Listens on the bridge to everything that `filter` (of pcap) lets through.
    pub fn start(run: &Run, net: &Net, filter: &str) -> Result<Self> {
        let (file, log) = (run.dir().join("wire.pcap"), run.dir().join("tcpdump.log"));
        let mut tcpdump = Command::new("ip");
        tcpdump.args([
            "netns",
            "exec",
            &net.fabric(),
            "tcpdump",
            "-i",
            "br0",
            "-n",
            "-U",
            "--immediate-mode",
            "-s0",
            "-Z",
            "root",
            "-w",
        ]);
        tcpdump.arg(&file).arg(filter);
        tcpdump
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).context("open tcpdump's log")?);
        let tcpdump = tcpdump.spawn().context("start tcpdump")?;
        poll::until("tcpdump to listen", Duration::from_secs(10), || {
            let said = fs::read_to_string(&log).context("read tcpdump's log")?;
            ensure!(said.contains("listening on"), "it said: {said}");
            Ok(())
        })?;
        Ok(Self { tcpdump, file })
    }

    /// Stops listening; what was heard.
    pub fn finish(mut self) -> Result<Wire> {
        // tcpdump may be a moment behind the wire, and drops what it has not read when it is ended.
        let mut written = 0;
        poll::until("tcpdump to catch up", Duration::from_secs(10), || {
            std::thread::sleep(Duration::from_millis(300));
            let before = written;
            written = fs::metadata(&self.file)
                .context("look at what tcpdump wrote")?
                .len();
            ensure!(written == before, "it still writes");
            Ok(())
        })?;
        let pid = i32::try_from(self.tcpdump.id()).context("number of tcpdump's process")?;
        // It closes its file and ends.
        kill(Pid::from_raw(pid), Signal::SIGINT).context("end tcpdump")?;
        self.tcpdump.wait().context("wait for tcpdump")?;
        let bytes = fs::read(&self.file).context("read what tcpdump wrote")?;
        Wire::read(&bytes).context("tcpdump wrote something else than Ethernet frames")
    }
}
