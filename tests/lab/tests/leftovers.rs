//! The lab itself leaves nothing on this machine, however it ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{cgroup, exec, place, poll};

/// What a killed lab may not leave: namespaces, mounts, control groups, its directory.
fn traces(name: &str) -> Result<String> {
    let namespaces = exec::line("ip netns list")?.stdout;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let dir = place::runs().join(name);
    let groups: Vec<String> = cgroup::named(&format!("{name}-"))
        .iter()
        .map(|group| group.display().to_string())
        .collect();
    let lines = namespaces
        .lines()
        .filter(|line| line.starts_with(name))
        .map(str::to_owned);
    let lines = lines.chain(
        mounts
            .lines()
            .filter(|line| line.contains(&*dir.to_string_lossy()))
            .map(str::to_owned),
    );
    let dir = dir.exists().then(|| dir.display().to_string());
    Ok(lines
        .chain(groups)
        .chain(dir)
        .collect::<Vec<_>>()
        .join("\n"))
}

/// Killed at the end of the test, however that comes.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already.
        let _dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_lab_that_is_killed_is_cleared_away() -> Result<()> {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    let mut lab = Killed(lab.arg("hold").stdout(Stdio::piped()).spawn()?);
    let said = BufReader::new(lab.0.stdout.take().context("its output is piped")?).lines();
    // Lines of progress come before.
    let name = said
        .map_while(Result::ok)
        .find(|line| line.starts_with('l'))
        .context("it did not come up")?;
    ensure!(
        !traces(&name)?.is_empty(),
        "the lab that is up has no trace: the test looks in the wrong place"
    );
    lab.0.kill()?;
    poll::until("its traces to go", Duration::from_secs(30), || {
        let left = traces(&name)?;
        ensure!(left.is_empty(), "these are left:\n{left}");
        Ok(())
    })
}
